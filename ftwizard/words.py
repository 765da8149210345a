"""A run in words: what it does, how it ended, what it made; one wording for every view."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ftwizard import outcome, runs
from ftwizard.figure import Figure
from ftwizard.jobs.ending import IN_WORDS, NEXT_STEP, sentence
from ftwizard.jobs.folder import JobFolder, Parent
from ftwizard.jobs.status import Status
from ftwizard.outcome import Outcome
from ftwizard.runs import Progress, RunStatus
from ftwizard.text import dollars, duration, plural, size, visible

__all__ = [
    "IN_WORDS", "MARKS", "all_trained", "clock", "comparison", "doing", "ending", "off",
    "predicted_and_actual", "result_lines", "rows_trained", "sentence", "spread", "state",
]  # fmt: skip

COST_UNKNOWN = "not known: started without --price machine=USD, which says what an hour costs"
MEASURED = "measured over its last steps"
"""Of how long a run still takes: after its first steps that is no longer an estimate."""
SHOWN_LINES = 5
"""Of rows that were left out."""
MARKS = {"finished": "✓", "early_stopped": "✓", "stopped": "■", "refused": "✗"}


def ending(folder: JobFolder, status: Status) -> list[str]:
    """Say how a run ended and what to do next, a line each."""
    reason = status.end_reason or "lost"
    lines = [f"{MARKS.get(reason, '✗')} Run {folder.id} {sentence(reason)}."]
    if status.message:
        lines.append(visible(status.message, 600))
    if reason == "stopped" and (kept := kept_weights(folder)):
        lines.append(kept)
    # A hint is the command's own text, in which braces mean nothing.
    step = status.hint or NEXT_STEP.get(reason, "").format(id=folder.id, folder=folder.path)
    if step:
        lines.append(visible(step, 600))
    return lines


def kept_weights(folder: JobFolder) -> str:
    """Say which weights a stopped run has kept and where; empty if it has trained none."""
    training = runs.trained(folder)
    step = training.get("step")
    if not isinstance(step, int):
        return ""
    where = folder.adapter
    if training.get("method") == "full":
        where = folder.checkpoints / f"checkpoint-{step}"
    which = "newest" if training.get("eval_loss") is None else "best"
    return f"The {which} weights, of step {step}, are in {where}." if where.is_dir() else ""


def origin(parent: Parent) -> str:
    """Say where a child run comes from: ``one, from its step 40: learning_rate 0.0002 → 0.0001``."""
    began = f"from its step {parent.step}" if parent.step else "from the start"
    changes = ", ".join(
        f"{visible(name, 60).removeprefix('recipe.')} {old:g} → {new:g}"
        for name, (old, new) in parent.changes.items()
    )
    return f"{visible(parent.id, 64)}, {began}: {changes}"


def result_lines(folder: JobFolder) -> list[str]:
    """Say what a finished run made: an adapter, a whole model, the comparison."""
    result = runs.result(folder)
    lines: list[str] = []
    training = result.get("training") or {}
    best = f"best of step {training.get('step')}"
    if trained := rows_trained(training):
        lines.append(f"rows         {trained}")
    has_adapter = training and training.get("method") != "full"
    if has_adapter:
        lines.append(f"adapter      {folder.adapter} ({best})")
    if merged := result.get("merged"):
        name, which = ("merged", "") if has_adapter else ("model ", f"{best}, ")
        what = f"{which}{size(merged['bytes'])}, {merged['dtype']}"
        lines.append(f"{name}       {folder.merged} ({what})")
    if came := outcome.of_result(result):
        lines += predicted_and_actual(came)
    compared = result.get("compare") or {}
    if compared.get("rows"):
        lines += ["", *comparison(compared)]
    return lines


def predicted_and_actual(came: Outcome) -> list[str]:
    """Say what the training took, a line each, beside what was predicted."""
    lines = []
    for name, said, words in (
        ("seconds", "training    ", duration),
        ("peak_memory", "memory      ", size),
        ("cost", "cost        ", dollars),
    ):
        actual: Figure | None = getattr(came.actual, name)
        if actual is None:
            if name == "cost" and came.actual.seconds:
                lines.append(f"{said} {COST_UNKNOWN}")
            continue
        before: Figure | None = getattr(came.predicted, name)
        error = came.error.get(name)
        line = f"{said} {words(actual.value)}"
        if before and error is not None:
            line += f"; predicted {spread(before, words)}, {off(error)}"
        lines.append(line)
    return lines


def spread(figure: Figure, words: Callable[[float], str]) -> str:
    """Return a figure's range in ``words``, or the value that it is exactly."""
    if figure.low is None or figure.high is None:
        return words(figure.value)
    low, high = words(figure.low), words(figure.high)
    return low if low == high else f"{low} – {high}"


def off(error: float) -> str:
    """Return how far a prediction was off: ``12 % too much``."""
    share = round(abs(error) * 100)
    return f"{share} % too {'much' if error > 0 else 'little'}" if share else "which was right"


def all_trained(training: dict[str, Any]) -> bool:
    """Tell whether every row that was given was trained on."""
    counts = training.get("rows") or {}
    return bool(counts.get("train_given") == counts.get("train_used"))


def rows_trained(training: dict[str, Any]) -> str:
    """Say whether every row that was given was trained on, and if not which; empty if unknown."""
    counts = training.get("rows") or {}
    if "train_given" not in counts:
        return ""
    given, used = counts["train_given"], counts["train_used"]
    words = f"{plural(used, 'row')} trained on, all that were given"
    if used != given:
        words = f"{used:,} of {plural(given, 'row')} trained on"
    if mixed := counts.get("mix_used"):
        words += f"; {plural(mixed, 'general row')} beside them"
    for part, what in (
        ("train", ""), ("mix", " of the general ones"), ("validation", " of validation"),
        ("test", " held out"),
    ):  # fmt: skip
        out = counts.get(f"{part}_given", 0) - counts.get(f"{part}_used", 0)
        if out:
            lines = (training.get("left_out") or {}).get(part, [])
            where = f" (line {', '.join(map(str, lines[:SHOWN_LINES]))}" if lines else ""
            where += ("…)" if out > SHOWN_LINES else ")") if lines else ""
            words += f"; {plural(out, 'row')}{what} left out, with no token to train on{where}"
    if skipped := sum((training.get("unreadable") or {}).values()):
        words += f"; {plural(skipped, 'row')} could not be read and {'was' if skipped == 1 else 'were'} skipped"
    return words


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
