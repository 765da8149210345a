"""State of a run and its machine as text of a given width; pure functions."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from ftwizard import diagnosis
from ftwizard.advice.recipe_advice import format_learning_rate
from ftwizard.jobs.events import Event
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import ACTIVE, Progress
from ftwizard.runs.store import RunStatus
from ftwizard.screens import layout, palette, run_state
from ftwizard.text import format_bytes, format_duration, make_visible

STALE_S = 15.0
"""Age from which a machine reading is stale."""
SEVERITY = {
    "error": ("✗", f"bold {palette.BAD}"),
    "warning": ("!", f"bold {palette.WARNING}"),
    "info": ("·", "dim"),
}
ADVICE_AFTER_END = {
    "healthy": "", "insufficient": "",
    "plateau": "A new run from the best checkpoint with half the learning rate may improve it.",
    "overfit": "Next time, train for fewer epochs or on more diverse data.",
    "memorising": "Next time, train for fewer epochs and use validation data.",
    "spike": "If it recurs, inspect the examples of that step.",
    "diverged": "Start a new run from the best checkpoint with half the learning rate.",
    "zero_loss": "Check the loss mask: ftwizard mask",
}  # fmt: skip
"""Advice once the run has ended, where the finding's own advice is for a live run."""


def format_progress(follower: Follower, width: int) -> Text:
    """Return state and progress of the run: one line, a bar, and the parts that did not fit."""
    report, progress = follower.run_status, follower.shown
    parts: list[Text] = []
    if follower.is_gone:
        parts.append(Text("✗ deleted", palette.BAD))
    elif report.state == "ended":
        parts.append(Text.assemble(run_state.describe_state(report)))
        if report.started and follower.status.ended:
            parts.append(
                Text(f"after {format_duration(follower.status.ended - report.started)}", "dim")
            )
    elif progress.phase in ACTIVE and progress.total_steps:
        parts.append(Text(f"● {progress.phase}", palette.ACCENT))
        parts.append(Text(f"step {progress.step:,} of {progress.total_steps:,}", "bold"))
        if progress.phase == "evaluating" and progress.total:
            count = f"{progress.done or 0:,.0f} of {progress.total:,.0f}"
            parts.append(Text(f"{count} {make_visible(progress.unit, 20)}"))
        elif progress.epoch is not None:
            parts.append(Text(f"epoch {progress.epoch:.2f}"))
        if report.eta_s is not None:
            parts.append(Text(f"ends {describe.format_clock(report.eta_s)}"))
    else:
        activity = "queued" if report.state == "queued" else describe.describe_progress(progress)
        parts.append(Text(f"● {activity}", palette.ACCENT))
    if report.state == "stopping":
        parts.append(Text("stopping: saving first", "bold"))
    share_done = 1.0 if report.end_reason == "finished" else run_state.completed_share(progress)
    first, *rest = _flow(parts, width, "  ")
    return Text("\n").join([first, _bar_or_line(share_done, width), *rest])


def _bar_or_line(share_done: float | None, width: int) -> Text:
    return (
        layout.draw_bar(share_done, width) if share_done is not None else Text("─" * width, "dim")
    )


def _flow(parts: Sequence[Text], width: int, between: str) -> list[Text]:
    """Place parts side by side, on as many lines as needed."""
    lines: list[Text] = [Text(no_wrap=True, overflow="ellipsis")]
    for part in parts:
        if lines[-1] and lines[-1].cell_len + part.cell_len + len(between) > width:
            lines.append(Text(no_wrap=True, overflow="ellipsis"))
        lines[-1].append(between if lines[-1] else "").append_text(part)
    return lines


def list_figures(
    progress: Progress,
    report: RunStatus,
    spent: tuple[str, str] | None = None,
    *,
    with_speed: bool = True,
) -> list[tuple[str, str]]:
    """Return name and value of each available figure, most important first, including ``spent``."""
    pairs: list[tuple[str, str]] = []
    if progress.loss is not None:
        pairs.append(("loss", f"{progress.loss:.4f}"))
    if progress.eval_loss is not None:
        pairs.append(("validation", f"{progress.eval_loss:.4f}"))
    if report.best_eval_loss is not None:
        pairs.append(("best", f"{report.best_eval_loss:.4f} at step {report.best_step:,}"))
    is_training = progress.phase in ACTIVE and report.state != "ended"
    if progress.tokens_per_s and is_training and with_speed:
        pairs.append(("speed", f"{progress.tokens_per_s:,.0f} tokens/s"))
    if spent is not None:
        pairs.append(spent)
    if progress.learning_rate is not None:
        pairs.append(("lr", f"{progress.learning_rate:.2e}"))
    if progress.grad_norm is not None:
        pairs.append(("grad norm", f"{progress.grad_norm:.3g}"))
    if report.attempt > 1:
        pairs.append(("attempt", str(report.attempt)))
    return pairs


def format_columns(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """Return one figure per line, names dim, values aligned."""
    name_cells = max((len(name) for name, _ in pairs), default=0)
    lines = [
        Text.assemble((f"{name:<{name_cells}}  ", "dim"), value, no_wrap=True)
        for name, value in pairs
    ]
    return Text("\n").join(lines)


def format_inline(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """Return figures side by side, on as many lines as needed."""
    parts = [Text.assemble((f"{name} ", "dim"), value) for name, value in pairs]
    return Text("\n").join(_flow(parts, width, "   "))


def format_machine(samples: Sequence[dict[str, Any]], width: int) -> Text:
    """Return the newest reading of CPU and memory, and why there is no GPU."""
    if not is_recent(samples):
        return Text("no machine reading yet" if not samples else "", "dim")
    sample = samples[-1]
    parts = [Text.assemble(("cpu ", "dim"), f"{get_number(sample, 'cpu', 0.0):3.0f}%")]
    used, total = get_number(sample, "memory_used"), get_number(sample, "memory_total")
    if used is not None and total is not None:
        parts.append(
            Text.assemble(("memory ", "dim"), f"{format_bytes(used)} of {format_bytes(total)}")
        )
    if not sample.get("gpus"):
        reason = make_visible(str(sample.get("no_gpu", "")), 80)
        if sample.get("hung"):
            parts.append(Text("! GPU driver is not responding", f"bold {palette.WARNING}"))
        else:
            parts.append(Text(f"no GPU: {reason}", "dim"))
    return Text("\n").join(_flow(parts, width, "   "))


def is_recent(samples: Sequence[dict[str, Any]]) -> bool:
    """Return whether the newest reading is recent enough to show."""
    return bool(samples) and time.time() - get_number(samples[-1], "t", 0.0) <= STALE_S


def format_plan(plan: Plan, width: int) -> Text:
    """Return model, data and method."""
    recipe = plan.recipe
    rate = format_learning_rate(recipe.learning_rate) if recipe.learning_rate else "default"
    pairs = [
        ("model", make_visible(plan.model.name)),
        ("data", make_visible(Path(plan.data.files.train).name)),
        ("method", f"{recipe.method}, lr {rate}, {recipe.epochs:g} epochs"),
    ]
    return format_columns(
        [(name, _truncate_left(value, width - 8)) for name, value in pairs], width
    )


def _truncate_left(text: str, width: int) -> str:
    """Return the end of a text that fits into ``width`` cells."""
    while cell_len(text) > width:
        text = text[max(1, len(text) - width) :]
    return text


def format_findings(progress: Progress, max_lines: int, *, is_alive: bool) -> Text:
    """Return the newest diagnosis of the curve, then the newest findings, newest last."""
    newest_first = reversed(progress.findings)
    verdict = next((event for event in newest_first if event.get("verdict")), None)
    rows = [] if verdict is None else [_format_verdict(verdict)]
    relevant = [
        event for event in progress.findings if not event.get("verdict") or _is_alarm(event)
    ]
    for event in relevant[-(max_lines - len(rows)) :]:
        if event is not verdict:
            mark = finding_mark(event)
            rows.append(Text.assemble(mark, make_visible(str(event.get("message")), 400)))
    if verdict is not None and _is_alarm(verdict):
        rows.append(Text(make_visible(str(verdict.get("message")), 400)))
        rows.append(Text.assemble("→ ", (get_advice(verdict, is_alive=is_alive), "bold")))
    return Text("\n").join(rows)


def get_advice(event: Event, *, is_alive: bool) -> str:
    """Return the advice of a finding, adapted if the run has ended."""
    action = event.get("action")
    if not isinstance(action, str):
        return ""
    code = str(event.get("code"))
    return (
        make_visible(action, 300)
        if is_alive
        else ADVICE_AFTER_END.get(code, make_visible(action, 300))
    )


def finding_mark(event: Event) -> tuple[str, str]:
    """Return mark and style of a finding."""
    if event.get("code") == "healthy":
        return "✓ ", f"bold {palette.GOOD}"
    mark, style = SEVERITY.get(str(event.get("severity")), SEVERITY["info"])
    return f"{mark} ", style


def finding_name(event: Event) -> str:
    """Return the display name of a finding."""
    code = str(event.get("code"))
    label = next((text for name, text in diagnosis.PATTERN_NAMES.items() if name == code), None)
    return label or make_visible(code.replace("_", " "), 40)


def _format_verdict(event: Event) -> Text:
    line = Text.assemble(finding_mark(event), (finding_name(event), "bold"))
    confidence = event.get("confidence")
    if event.get("code") == "insufficient" or isinstance(confidence, bool):
        return line
    if isinstance(confidence, int | float):
        line.append(f"  {100 * confidence:.0f}% confidence", "dim")
    return line


def _is_alarm(event: Event) -> bool:
    return event.get("severity") in ("warning", "error")


def format_log(lines: Sequence[str]) -> Text:
    """Return log lines, dim."""
    return Text("\n".join(make_visible(line, 300) for line in lines), "dim", no_wrap=True)


def get_number(reading: dict[str, Any], name: str, default: Any = None) -> Any:
    """Return a field if it is a finite number, else ``default``."""
    value = reading.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return value
