"""A run in words: what it does, how it ended, what it made; one wording for every view."""

from __future__ import annotations

import time
from typing import Any

from ftwizard import runs
from ftwizard.jobs.ending import NEXT_STEP
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.runs import Progress, RunStatus
from ftwizard.text import duration, size, visible

MARKS = {"finished": "✓", "early_stopped": "✓", "stopped": "■", "refused": "✗"}
IN_WORDS = {
    "finished": "finished",
    "early_stopped": "finished early",
    "stopped": "stopped",
    "killed": "killed",
    "out_of_gpu_memory": "out of GPU memory",
    "out_of_memory": "out of memory",
    "disk_full": "disk full",
    "nan": "the loss became no number",
    "crashed": "crashed",
    "refused": "refused",
    "cancelled": "cancelled",
    "lost": "lost",
}


def ending(folder: JobFolder, status: Status) -> list[str]:
    """Say how a run ended and what to do next, a line each."""
    reason = status.end_reason or "lost"
    lines = [f"{MARKS.get(reason, '✗')} Run {folder.id} {sentence(reason)}."]
    if status.message:
        lines.append(visible(status.message, 600))
    # A hint is the command's own text, in which braces mean nothing.
    step = status.hint or NEXT_STEP.get(reason, "").format(id=folder.id, folder=folder.path)
    if step:
        lines.append(visible(step, 600))
    return lines


def sentence(reason: str) -> str:
    """Return what follows “run X”: ``has finished``, ``was stopped``."""
    words = IN_WORDS.get(reason, reason)
    if reason in ("finished", "early_stopped", "crashed"):
        return f"has {words}" if reason != "crashed" else "crashed"
    if reason in ("out_of_gpu_memory", "out_of_memory"):
        return f"ran {words}"
    if reason in ("disk_full", "nan"):
        return f"ended: {words}"
    return f"was {words}"


def result_lines(folder: JobFolder) -> list[str]:
    """Say what a finished run made: an adapter, a whole model, the comparison."""
    result = runs.result(folder)
    lines: list[str] = []
    training = result.get("training") or {}
    best = f"best of step {training.get('step')}"
    has_adapter = training and training.get("method") != "full"
    if has_adapter:
        lines.append(f"adapter      {folder.adapter} ({best})")
    if merged := result.get("merged"):
        name, which = ("merged", "") if has_adapter else ("model ", f"{best}, ")
        what = f"{which}{size(merged['bytes'])}, {merged['dtype']}"
        lines.append(f"{name}       {folder.merged} ({what})")
    compared = result.get("compare") or {}
    if compared.get("rows"):
        lines += ["", *comparison(compared)]
    return lines


def comparison(compared: dict[str, Any]) -> list[str]:
    """Say how base and tuned model did, as a small table of text."""
    lines = [f"On {compared['rows']} held-out rows           base     tuned"]
    base, tuned = compared["base"]["loss"], compared["tuned"]["loss"]
    if base is not None and tuned is not None:
        lines.append(f"  loss of the answers       {base:7.3f}   {tuned:7.3f}")
    for key, name in (("exact", "exactly as expected "), ("json_valid", "valid by the schema ")):
        if compared["base"][key] is not None:
            base, tuned = compared["base"][key], compared["tuned"][key]
            lines.append(f"  {name}      {base:6.0%}    {tuned:6.0%}")
    return lines


def state(found: RunStatus) -> str:
    """Return mark and state: ``✓ finished``, ``running: training``."""
    if found.state == "ended":
        reason = found.end_reason or "lost"
        return f"{MARKS.get(reason, '✗')} {IN_WORDS.get(reason, reason)}"
    if found.state == "running" and found.phase:
        return f"running: {found.phase}"
    return found.state


def clock(seconds: float) -> str:
    """``14:32 (in 25 min)``; without the hour where no calendar reaches so far."""
    try:
        then = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    except (OverflowError, ValueError, OSError):
        return f"in {duration(seconds)}"
    return f"{then} (in {duration(seconds)})"


def doing(progress: Progress) -> str:
    """Return what it does at the moment, with how far it is."""
    if not progress.phase:
        return "starting"
    words = visible(progress.phase, 40)
    if progress.what:
        words += f": {visible(progress.what, 200)}"
    if progress.done is not None and progress.phase != "training":
        if progress.total is None:
            of = size(progress.done) if progress.unit == "bytes" else f"{progress.done:,.0f}"
            words += f", {of}" if progress.unit == "bytes" else f", {of} {progress.unit}"
        elif progress.unit == "bytes":
            words += f", {size(progress.done)} of {size(progress.total)}"
        else:
            words += f", {progress.done:,.0f} of {progress.total:,.0f} {progress.unit}"
    return words
