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

from ftwizard import diagnosis, words
from ftwizard.advice.recipe import in_words
from ftwizard.follow import Follower
from ftwizard.jobs.events import Event
from ftwizard.plan import Plan
from ftwizard.runs import ACTIVE, Progress, RunStatus
from ftwizard.screens import palette
from ftwizard.screens.states import state
from ftwizard.text import duration, size, visible

BAR = "━"
STALE_S = 15.0
"""An older reading of the machine is not shown as if it were of now."""
SEVERITY = {
    "error": ("✗", f"bold {palette.BAD}"),
    "warning": ("!", f"bold {palette.WARNING}"),
    "info": ("·", "dim"),
}
ENDED = {
    "healthy": "", "insufficient": "",
    "plateau": "A new run from the best with half the rate may bring more.",
    "overfit": "Next time fewer epochs, or more diverse rows.",
    "memorising": "Next time fewer epochs, and rows held out for validation where there are none.",
    "spike": "Look at the rows of that step if it returns.",
    "diverged": "Start again from the best checkpoint with half the rate.",
    "zero_loss": "See which tokens are trained on: ftwizard mask.",
}  # fmt: skip
"""What a finding comes to once the run has ended, where its own advice is for one that goes on."""


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
    report, progress = follower.report, follower.shown
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


def figures(
    progress: Progress,
    report: RunStatus,
    spent: tuple[str, str] | None = None,
    *,
    with_speed: bool = True,
) -> list[tuple[str, str]]:
    """Return name and value of each figure there is, the most wanted first, ``spent`` among them."""
    found: list[tuple[str, str]] = []
    if progress.loss is not None:
        found.append(("loss", f"{progress.loss:.4f}"))
    if progress.eval_loss is not None:
        found.append(("validation", f"{progress.eval_loss:.4f}"))
    if report.best_eval_loss is not None:
        found.append(("best", f"{report.best_eval_loss:.4f} at step {report.best_step:,}"))
    trains = progress.phase in ACTIVE and report.state != "ended"
    if progress.tokens_per_s and trains and with_speed:
        found.append(("speed", f"{progress.tokens_per_s:,.0f} tokens/s"))
    if spent is not None:
        found.append(spent)
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


def machine(samples: Sequence[dict[str, Any]], width: int) -> Text:
    """Return the newest reading of processors and memory, with the reason why there is no GPU."""
    if not is_new(samples):
        return Text("no reading of the machine yet" if not samples else "", "dim")
    sample = samples[-1]
    parts = [Text.assemble(("cpu ", "dim"), f"{number(sample, 'cpu', 0.0):3.0f} %")]
    used, total = number(sample, "memory_used"), number(sample, "memory_total")
    if used is not None and total is not None:
        parts.append(Text.assemble(("memory ", "dim"), f"{size(used)} of {size(total)}"))
    if not sample.get("gpus"):
        reason = visible(str(sample.get("no_gpu", "")), 80)
        if sample.get("hung"):
            said = "! GPU: the driver hangs, it does not answer"
            parts.append(Text(said, f"bold {palette.WARNING}"))
        else:
            parts.append(Text(f"no GPU: {reason}", "dim"))
    return Text("\n").join(_lines(parts, width, "   "))


def is_new(samples: Sequence[dict[str, Any]]) -> bool:
    """Say whether the newest reading may be shown as one of now."""
    return bool(samples) and time.time() - number(samples[-1], "t", 0.0) <= STALE_S


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


def findings(progress: Progress, lines: int, *, lives: bool) -> Text:
    """Return the newest verdict on the curve, then the newest findings, the newest last."""
    verdict = next((one for one in reversed(progress.findings) if one.get("verdict")), None)
    rows = [] if verdict is None else [_verdict(verdict)]
    spoken = [one for one in progress.findings if not one.get("verdict") or _alarms(one)]
    for event in spoken[-(lines - len(rows)) :]:
        if event is not verdict:
            mark = finding_mark(event)
            rows.append(Text.assemble(mark, visible(str(event.get("message")), 400)))
    if verdict is not None and _alarms(verdict):
        rows.append(Text(visible(str(verdict.get("message")), 400)))
        rows.append(Text.assemble("→ ", (advice(verdict, lives=lives), "bold")))
    return Text("\n").join(rows)


def advice(event: Event, *, lives: bool) -> str:
    """Return what a finding says to do; of a run that has ended, what can be done still."""
    said = event.get("action")
    if not isinstance(said, str):
        return ""
    code = str(event.get("code"))
    return visible(said, 300) if lives else ENDED.get(code, visible(said, 300))


def finding_mark(event: Event) -> tuple[str, str]:
    """Return the mark of a finding and the style it is shown in."""
    if event.get("code") == "healthy":
        return "✓ ", f"bold {palette.GOOD}"
    mark, style = SEVERITY.get(str(event.get("severity")), SEVERITY["info"])
    return f"{mark} ", style


def finding_name(event: Event) -> str:
    """Return what a finding is called."""
    code = str(event.get("code"))
    known = next((words for name, words in diagnosis.IN_WORDS.items() if name == code), None)
    return known or visible(code.replace("_", " "), 40)


def _verdict(event: Event) -> Text:
    line = Text.assemble(finding_mark(event), (finding_name(event), "bold"))
    sure = event.get("confidence")
    tells = event.get("code") != "insufficient"
    if tells and isinstance(sure, int | float) and not isinstance(sure, bool):
        line.append(f"  {100 * sure:.0f} % sure", "dim")
    return line


def _alarms(event: Event) -> bool:
    return event.get("severity") in ("warning", "error")


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


def number(reading: dict[str, Any], name: str, default: Any = None) -> Any:
    """Return a field that is a finite number, else ``default``."""
    value = reading.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return value
