"""``origin/``: the weights that a child run begins with, kept in its own folder.

They are its own: the parent rotates its checkpoints, and may be removed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, publish
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Method

ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
_WHOLE = ("config.json", "generation_config.json", "model.safetensors.index.json")


def keep(folder: JobFolder, checkpoint: Path, method: Method) -> None:
    """Keep the weights of a checkpoint as what ``folder``'s run begins with."""
    part = folder.path / ".origin.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if _is_wanted(file.name, method):
            _link(file, part / file.name)
    publish(part, folder.origin)


def base(worker: Worker, method: Method, model: Path) -> Path:
    """Return the folder that the model is loaded from: its own, or the weights it begins with.

    Raises FtwizardError if those are gone.
    """
    return worker.folder.origin if method == "full" and _has_one(worker) else model


def give_adapter(worker: Worker, model: Any) -> None:
    """Let the adapter of ``model`` begin with the weights of the parent's checkpoint, if it has one.

    Raises FtwizardError if they are gone, or are another adapter's.
    """
    if not _has_one(worker):
        return
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(worker.folder.origin / ADAPTER[0])
    wanted = set(get_peft_model_state_dict(model))
    try:
        unexpected = set_peft_model_state_dict(model, weights).unexpected_keys
    except RuntimeError as error:  # torch: another shape
        unexpected = [str(error)]
    if unexpected or wanted != set(weights):
        raise FtwizardError(
            f"The weights in {worker.folder.origin} are of another adapter.",
            "Another version of the libraries may name them otherwise. Begin anew: ftwizard train",
        )


def _has_one(worker: Worker) -> bool:
    """Say whether the run begins with weights of its own, and name them in the events."""
    parent = worker.record.parent
    if parent is None or not (parent.step or worker.folder.origin.is_dir()):
        return False
    if not worker.folder.origin.is_dir():
        raise FtwizardError(
            f"The weights that this run begins with are gone: {worker.folder.origin}.",
            f"Branch it again: ftwizard branch {parent.id} --from {parent.step}",
        )
    worker.phase("loading", what=f"weights of {parent.id}, step {parent.step}")
    return True


def _is_wanted(name: str, method: Method) -> bool:
    if method != "full":
        return name in ADAPTER
    return name in _WHOLE or (name.startswith("model") and name.endswith(".safetensors"))


def _link(old: Path, new: Path) -> None:
    """Give a file a second name, or copy it where that cannot be: weights are large."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
