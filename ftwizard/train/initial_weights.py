"""Initial weights of a branched run, kept in its own folder ``origin/``.

They are a copy because the parent rotates its checkpoints and may be deleted.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, Parent, publish
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Method
from ftwizard.runs.checkpoints import MARKER, find_damage, is_weights

ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
_FULL_MODEL = ("config.json", "generation_config.json", "model.safetensors.index.json")


def save_initial_weights(folder: JobFolder, checkpoint: Path, method: Method) -> None:
    """Copy the weights of a checkpoint to ``origin/`` of ``folder``."""
    part = folder.path / ".origin.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if _is_wanted(file.name, method):
            try:  # a hard link, because weights are large
                os.link(file, part / file.name)
            except OSError:
                shutil.copyfile(file, part / file.name)
    publish(part, folder.origin)


def model_folder(worker: Worker, method: Method, base: Path) -> Path:
    """Return the folder to load the model from: ``base``, or a full fine-tune's initial weights.

    Raises FtwizardError if the initial weights are missing.
    """
    return worker.folder.origin if method == "full" and _has_weights(worker) else base


def load_adapter(worker: Worker, model: Any) -> bool:
    """Load the run's initial adapter weights into ``model``, if it has any; return whether it has.

    Raises FtwizardError if they are missing or belong to another adapter.
    """
    if not _has_weights(worker):
        return False
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(worker.folder.origin / ADAPTER[0])
    expected = set(get_peft_model_state_dict(model))
    try:
        unexpected = set_peft_model_state_dict(model, weights).unexpected_keys
    except RuntimeError as error:  # torch: another shape
        unexpected = [str(error)]
    if unexpected or expected != set(weights):
        raise FtwizardError(
            f"The weights in {worker.folder.origin} do not match this adapter.",
            "A library update may have renamed them. Start a new run: ftwizard train",
        )
    return True


def _has_weights(worker: Worker) -> bool:
    """Return whether the run has initial weights, and report their origin."""
    parent = worker.record.parent
    if parent is None or not (parent.step or worker.folder.origin.is_dir()):
        return False
    if not worker.folder.origin.is_dir():
        raise FtwizardError(
            f"The run's initial weights are missing: {worker.folder.origin}.",
            f"Create the branch again: ftwizard branch {parent.id} --from {parent.step}",
        )
    if (worker.folder.origin / MARKER).exists():  # not in runs of earlier versions
        _refuse_damage(worker.folder.origin, parent)
    worker.phase("loading", what=f"weights of {parent.id}, step {parent.step}")
    return True


def _refuse_damage(origin: Path, parent: Parent) -> None:
    if damage := find_damage(origin, is_weights, is_copy=True):
        raise FtwizardError(
            f"The run's initial weights are damaged: {', '.join(damage)} in {origin}.",
            f"Create the branch again: ftwizard branch {parent.id} --from {parent.step or 'start'}",
        )


def _is_wanted(name: str, method: Method) -> bool:
    if name == MARKER:  # with hashes of the files
        return True
    if method != "full":
        return name in ADAPTER
    return name in _FULL_MODEL or (name.startswith("model") and name.endswith(".safetensors"))
