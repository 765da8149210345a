"""Runs of a person's own script, recorded by ``WatchCallback``: what is known of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.text import make_visible

KIND = "watched"
"""``kind`` in ``job.json`` of such a run."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """The training of a watched run, in ``inputs`` of ``job.json``."""

    output_dir: str
    """The trainer's own folder, absolute; checkpoints are below it."""
    trainer: str = ""
    """Name of the trainer's class."""
    model: str = ""
    """Name or folder of the model, as it was loaded."""
    processes: int = 1
    """Processes that train together."""


def read(folder: JobFolder) -> Script | None:
    """Return the training of a watched run; None for other runs, and where it is unreadable."""
    with contextlib.suppress(OSError, FtwizardError, ValueError):
        job = folder.read_job()
        if job.kind == KIND:
            return msgspec.convert(job.inputs, Script)
    return None


def list_saved_steps(script: Script) -> list[int]:
    """Return the steps whose checkpoints are in the trainer's own folder."""
    steps = []
    with contextlib.suppress(OSError):
        for path in Path(script.output_dir).glob("checkpoint-*"):
            if (number := path.name[11:]).isdecimal() and path.is_dir():
                steps.append(int(number))
    return sorted(steps)


def require_own(folder: JobFolder, done: str) -> None:
    """Raise FtwizardError for a watched run; ``done`` is what cannot be done with it: ``merged``."""
    script = read(folder)
    if script is None:
        return
    run, output = make_visible(folder.id, 64), make_visible(script.output_dir, 200)
    hints = {
        "resumed": "Run the script again with trainer.train(resume_from_checkpoint=True). "
        "WatchCallback then continues this run.",
        "branched": "Change the script and run it again, with another output_dir.",
        "repeated": "Run the script again.",
        "merged": f"Merge one of its checkpoints: ftwizard merge {output}/checkpoint-STEP --base MODEL "
        "--out DIR",
        "exported": f"Export a merged model: ftwizard export FOLDER --to gguf   Its weights: {output}",
        "evaluated": f"Evaluate its weights: ftwizard eval FOLDER --base MODEL   They are in {output}",
    }
    raise FtwizardError(
        f"Run {run} trains in a script of your own, which WatchCallback only records, so it cannot be "
        f"{done} here.",
        hints.get(done, f"Its weights are where the script saves them: {output}"),
    )


def describe_next(folder: JobFolder, reason: str) -> str:
    """Describe what to do after the end of a watched run; empty for other runs."""
    script = read(folder)
    if script is None:
        return ""
    output = make_visible(script.output_dir, 200)
    steps = list_saved_steps(script)
    if reason in ("finished", "early_stopped"):
        return f"Its checkpoints are in {output}." if steps else f"Its output folder: {output}"
    again = "Run the script again with trainer.train(resume_from_checkpoint=True)."
    advice = {
        "out_of_gpu_memory": "Use a smaller batch with more gradient accumulation. ",
        "out_of_memory": "Close other programs, or use a smaller batch. ",
        "disk_full": "Free disk space first. ",
        "nan": "Use a lower learning rate, or 32 bit. ",
        "lost": "Its process is gone: it was killed, or the machine went down. ",
    }.get(reason, "")
    if not steps:
        return f"{advice}It saved no checkpoint in {output}."
    return f"{advice}To continue from step {steps[-1]}: {again[0].lower()}{again[1:]}"


def list_settings(folder: JobFolder) -> dict[str, Any]:
    """Return what is known of a watched run, under the names of a plan's settings."""
    script = read(folder)
    if script is None:
        return {}
    return {"model.name": script.model, "trainer": script.trainer, "output_dir": script.output_dir}
