"""What a run and its machine say, as text in the right width; pure functions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from ftwizard import words
from ftwizard.advice.recipe import in_words
from ftwizard.follow import Follower
from ftwizard.plan import Plan
from ftwizard.runs import Progress, RunStatus
from ftwizard.screens import palette
from ftwizard.text import duration, plural, size, visible

BAR = "━"
BAR_CELLS = 8
"""Of the memory of a GPU."""
LEAST_NAME = 10
"""Cells; less of a GPU's name says nothing."""
STALE_S = 15.0
"""An older reading of the machine is not shown as if it were of now."""
ACTIVE = ("training", "evaluating", "saving")
SEVERITY = {
    "error": ("✗", f"bold {palette.BAD}"),
    "warning": ("!", f"bold {palette.WARNING}"),
    "info": ("·", "dim"),
}


def state(report: RunStatus) -> tuple[str, str]:
    """Return a run's state with its mark, and the style it is shown in."""
    if report.state == "ended":
        style = {"finished": palette.GOOD, "early_stopped": palette.GOOD, "stopped": ""}
        said = visible(words.state(report), 40)
        return said, style.get(report.end_reason or "lost", palette.BAD)
    phase = report.phase if report.state == "running" and report.phase else report.state
    return f"● {visible(phase, 30)}", palette.ACCENT


def bar(share: float, width: int) -> Text:
    """Return a bar that is told from its rest without colour too."""
    done = round(max(0.0, min(1.0, share)) * width)
    return Text.assemble((BAR * done, palette.ACCENT), ("─" * (width - done), "dim"))


def share(progress: Progress) -> float | None:
    """Return how much of the phase is done, None where that is unknown."""
    if progress.phase in ACTIVE and progress.total_steps:
        return (progress.step or 0) / progress.total_steps
    if progress.total:
        return (progress.done or 0.0) / progress.total
    return None


def now(follower: Follower, width: int) -> Text:
    """Return what the run does and how far it is: a line, a bar, and what has no room before it."""
    report, progress = follower.report, follower.progress
    parts: list[Text] = []
    if follower.is_gone:
        parts.append(Text("✗ gone", palette.BAD))
    elif report.state == "ended":
        parts.append(Text.assemble(state(report)))
        if report.started and follower.status.ended:
            parts.append(Text(f"after {duration(follower.status.ended - report.started)}", "dim"))
    elif progress.phase in ACTIVE and progress.total_steps:
        parts.append(Text(f"● {progress.phase}", palette.ACCENT))
        parts.append(Text(f"step {progress.step:,} of {progress.total_steps:,}", "bold"))
        if progress.phase == "evaluating" and progress.total:
            of = f"{progress.done or 0:,.0f} of {progress.total:,.0f}"
            parts.append(Text(f"{of} {visible(progress.unit, 20)}"))
        elif progress.epoch is not None:
            parts.append(Text(f"epoch {progress.epoch:.2f}"))
        if report.eta_s is not None:
            parts.append(Text(f"ends {words.clock(report.eta_s)}"))
    else:
        doing = "queued" if report.state == "queued" else words.doing(progress)
        parts.append(Text(f"● {doing}", palette.ACCENT))
    if report.state == "stopping":
        parts.append(Text("stopping: it saves first", "bold"))
    done = 1.0 if report.end_reason == "finished" else share(progress)
    first, *rest = _lines(parts, width, "  ")
    return Text("\n").join([first, _bar_or_line(done, width), *rest])


def _bar_or_line(done: float | None, width: int) -> Text:
    return bar(done, width) if done is not None else Text("─" * width, "dim")


def _lines(parts: Sequence[Text], width: int, between: str) -> list[Text]:
    """Return parts side by side, on as many lines as they need."""
    lines: list[Text] = [Text(no_wrap=True, overflow="ellipsis")]
    for part in parts:
        if lines[-1] and lines[-1].cell_len + part.cell_len + len(between) > width:
            lines.append(Text(no_wrap=True, overflow="ellipsis"))
        lines[-1].append(between if lines[-1] else "").append_text(part)
    return lines


def figures(progress: Progress, report: RunStatus) -> list[tuple[str, str]]:
    """Return name and value of each figure there is, the most wanted first."""
    found: list[tuple[str, str]] = []
    if progress.loss is not None:
        found.append(("loss", f"{progress.loss:.4f}"))
    if progress.eval_loss is not None:
        found.append(("validation", f"{progress.eval_loss:.4f}"))
    if report.best_eval_loss is not None:
        found.append(("best", f"{report.best_eval_loss:.4f} at step {report.best_step:,}"))
    if progress.tokens_per_s and progress.phase in ACTIVE and report.state != "ended":
        found.append(("speed", f"{progress.tokens_per_s:,.0f} tokens/s"))
    if progress.learning_rate is not None:
        found.append(("rate", f"{progress.learning_rate:.2e}"))
    if progress.grad_norm is not None:
        found.append(("gradient", f"{progress.grad_norm:.3g}"))
    if report.attempt > 1:
        found.append(("attempt", str(report.attempt)))
    return found


def in_columns(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """Return figures one a line, names dim, values aligned."""
    names = max((len(name) for name, _ in pairs), default=0)
    lines = [
        Text.assemble((f"{name:<{names}}  ", "dim"), value, no_wrap=True) for name, value in pairs
    ]
    return Text("\n").join(lines)


def in_line(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """Return figures side by side, on as many lines as they need."""
    parts = [Text.assemble((f"{name} ", "dim"), value) for name, value in pairs]
    return Text("\n").join(_lines(parts, width, "   "))


def machine(samples: Sequence[dict[str, Any]], width: int, lines: int = 8) -> Text:
    """Return the newest reading: a line a GPU, ``lines`` at most, then processors and memory, with
    the reason why there is no GPU."""
    if not samples or time.time() - _number(samples[-1], "t", 0.0) > STALE_S:
        return Text("no reading of the machine yet" if not samples else "", "dim")
    sample = samples[-1]
    said = sample.get("gpus")
    gpus = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    rows = [gpu(one, width) for one in gpus[:lines]]
    parts = [Text.assemble(("cpu ", "dim"), f"{_number(sample, 'cpu', 0.0):3.0f} %")]
    used, total = _number(sample, "memory_used"), _number(sample, "memory_total")
    if used is not None and total is not None:
        parts.append(Text.assemble(("memory ", "dim"), f"{size(used)} of {size(total)}"))
    if len(gpus) > lines:
        parts.append(Text(f"and {plural(len(gpus) - lines, 'more GPU')}", "dim"))
    if not rows:
        parts.append(Text(f"no GPU: {visible(str(sample.get('no_gpu', '')), 80)}", "dim"))
    return Text("\n").join([*rows, *_lines(parts, width, "   ")])


def gpu(reading: dict[str, Any], width: int) -> Text:
    """Return one GPU in one line; what the driver does not tell is ``n/a``.

    Where that is too long, the bar goes first, then the name.
    """
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"GPU {visible(str(reading.get('index')), 8)} ", "dim")
    if reading.get("lost"):
        return line.append("! lost: the driver no longer answers for it", f"bold {palette.WARNING}")
    use, heat = _number(reading, "utilisation"), _number(reading, "temperature")
    power = _number(reading, "power")
    line.append(" n/a " if use is None else f"{use:3.0f} %")
    share, memory = _memory(reading)
    rest = f"{memory}  {'n/a' if heat is None else f'{heat:.0f} °C'}"
    rest += f"  {'n/a' if power is None else f'{power:.0f} W'}"
    if share is not None and line.cell_len + BAR_CELLS + 3 + len(rest) <= width:
        line.append("  ").append_text(bar(share, BAR_CELLS)).append(f" {rest}")
    else:
        line.append(f"  {rest}")
    name = visible(str(reading.get("name") or ""), 40)
    return line.append(f"  {name}", "dim") if width - line.cell_len > LEAST_NAME else line


def _memory(reading: dict[str, Any]) -> tuple[float | None, str]:
    """Return the share of a GPU's memory that is used, None where it is not told, and words."""
    used, total = _number(reading, "memory_used"), _number(reading, "memory_total")
    if used is None or not total:
        return None, "memory n/a"
    if total >= 1e11:
        return used / total, f"{used / 1e9:.0f} of {total / 1e9:.0f} GB"
    return used / total, f"{used / 1e9:.1f} of {size(total)}"


def about(plan: Plan, width: int) -> Text:
    """Return what is trained on what, and how."""
    recipe = plan.recipe
    rate = in_words(recipe.learning_rate) if recipe.learning_rate else "usual"
    pairs = [
        ("model", visible(plan.model.name)),
        ("rows", visible(Path(plan.data.files.train).name)),
        ("method", f"{recipe.method}, rate {rate}, {recipe.epochs:g} epochs"),
    ]
    return in_columns([(name, _end(value, width - 8)) for name, value in pairs], width)


def _end(text: str, width: int) -> str:
    """Return the end of a text, as much as fits into ``width`` cells."""
    while cell_len(text) > width:
        text = text[max(1, len(text) - width) :]
    return text


def findings(progress: Progress, lines: int) -> Text:
    """Return the newest findings, the newest last."""
    rows = []
    for event in progress.findings[-lines:]:
        mark, style = SEVERITY.get(str(event.get("severity")), SEVERITY["info"])
        rows.append(Text.assemble((f"{mark} ", style), visible(str(event.get("message")), 400)))
    return Text("\n").join(rows)


def table(rows: Iterable[tuple[Text | str, Text | str]]) -> Table:
    """Return names and values in two columns; a long value goes on below itself."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, Text(value) if isinstance(value, str) else value)
    return grid


def log(lines: Sequence[str]) -> Text:
    """Return the tail of the log, dim."""
    return Text("\n".join(visible(line, 300) for line in lines), "dim", no_wrap=True)


def _number(reading: dict[str, Any], name: str, default: Any = None) -> Any:
    value = reading.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return value
