"""The adapter that a platform trained, on this machine: its base model, and the record of a local run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export.adapters import read_adapter
from ftwizard.jobs.folder import JobFolder, hash_file, read_json, write_json
from ftwizard.models import hub
from ftwizard.models.hub import ModelSource
from ftwizard.runs import base_weights
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.result import TrainResult
from ftwizard.runs.summary import read_progress
from ftwizard.text import make_visible
from ftwizard.train import adapter, model_loading

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_OWN_SUFFIXES = ("-Reference", "__TOG__FT", "-Turbo")
"""Ends of Together's names of models whose weights the Hub has without them."""


def list_base_names(folder: JobFolder, record: RemoteJob) -> list[str]:
    """Return names on the Hub that the base model of a run may have, the likeliest first.

    Folders are left out: a platform's name must not lead to a folder of this machine.
    """
    config = read_json(folder.adapter / "adapter_config.json", dict[str, Any]) or {}
    names: list[str] = []
    for name in (record.model, str(config.get("base_model_name_or_path") or "")):
        shorter = name
        for suffix in _OWN_SUFFIXES:
            shorter = shorter.removesuffix(suffix)
        names += [shorter, name]
    return [
        name for name in dict.fromkeys(names)
        if _HUB_ID.fullmatch(name) and not hub.is_folder(name)
    ]  # fmt: skip


def find_cached_base(folder: JobFolder, record: RemoteJob) -> ModelSource | None:
    """Return the base model of a run from the Hugging Face cache; None if it is not there."""
    sources = map(hub.find_cached, list_base_names(folder, record))
    return next((source for source in sources if source), None)


def locate_base(folder: JobFolder, record: RemoteJob) -> ModelSource:
    """Return where the base model of a run is; raise FtwizardError if it is nowhere.

    The Hub is asked, and nothing is downloaded.
    """
    if cached := find_cached_base(folder, record):
        return cached
    reason = "."
    for name in list_base_names(folder, record):
        try:
            return hub.locate(name)
        except FtwizardError as error:
            reason = f": {error.message}"
    run, model = make_visible(folder.id, 64), make_visible(record.model, 200)
    raise FtwizardError(
        f"The base model of run {run}, {model}, could not be located{reason}",
        f"Name its folder or its name on the Hub: ftwizard merge {run} --base FOLDER|ID",
    )


def make_trained(
    folder: JobFolder, record: RemoteJob, base: Path, source: ModelSource
) -> TrainResult:
    """Return the record that a local training would have written, and complete ``adapter/``.

    The tokenizer is the base model's where the platform packed none. Raises FtwizardError for a
    damaged adapter.
    """
    modules = read_adapter(folder.adapter).modules
    _add_tokenizer(folder.adapter, base)
    ends = model_loading.read_stop_ids(base)
    if not ends:
        end = model_loading.load_tokenizer(base).eos_token_id
        ends = set() if end is None else {int(end)}
    progress = read_progress(folder)
    steps = [kept for kept in record.checkpoints if kept.model in (None, record.tuned_model)]
    last = max(steps, key=lambda kept: kept.step, default=None)
    step = last.step if last else progress.step or 0
    rows = {
        f"{part}_{kind}": file.rows
        for part, file in record.files.items()
        for kind in ("given", "used")
    }
    return TrainResult(
        method="lora",
        reason="finished",
        message="",
        targets=sorted({name.rpartition(".")[2] for name in modules}),
        step=step,
        eval_loss=last.eval_loss if last else None,
        last_step=step,
        total_steps=progress.total_steps or step,
        base=str(base),
        base_name=source.description,
        end_ids=sorted(ends),
        rows=rows,
        tokens=record.trained_tokens or 0,
        trainable_text=[],
        hashes={path.name: hash_file(path) for path in sorted(folder.adapter.iterdir()) if path.is_file()},
    )  # fmt: skip


def _add_tokenizer(folder: Path, base: Path) -> None:
    """Copy the base model's tokenizer next to an adapter without one, or with a part of one."""
    if any((folder / name).exists() for name in _VOCABULARIES):
        return
    for path in base.iterdir():
        if path.name.startswith(adapter.TOKENIZER_PREFIXES) and path.is_file():
            shutil.copyfile(path, folder / path.name)


def record_trained(folder: JobFolder, trained: TrainResult, source: ModelSource) -> None:
    """Make a hosted run like a local one: write ``trained.json``, and where its base model is from.

    The base weights are hashed in a thread: wait for ``base_weights.wait`` before the process ends.
    """
    base = Path(trained.base)
    job = folder.read_job()
    write_json(
        folder.job,
        msgspec.structs.replace(job, inputs=job.inputs | {"model": msgspec.to_builtins(source)}),
    )
    base_weights.record_later(folder, base, base_weights.read_stamps(base))
    write_json(folder.trained, trained)
