"""State, figures and machine of a run as text of a given width; pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from ftwizard import diagnosis
from ftwizard.catalog.prices import PriceRate
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.ending import END_NAMES
from ftwizard.jobs.events import Event, to_measure
from ftwizard.plan.schema import Budget, Plan
from ftwizard.pricing import machine_rate, money
from ftwizard.runs import describe, objective_figures, rank_summary
from ftwizard.runs.curve_follower import CurveFollower
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import ACTIVE, RATE_WINDOW, Progress
from ftwizard.runs.store import RunStatus
from ftwizard.runs.watched import Script
from ftwizard.screens import layout, palette, run_state
from ftwizard.text import (
    format_age,
    format_bytes,
    format_dollars,
    format_duration,
    format_epochs,
    format_learning_rate,
    make_visible,
)
from ftwizard.timeseries import Series

STALE_S = 15.0
"""Age from which a machine reading is stale."""
SHARES = {"padding_share": "padding", "wait_share": "data wait", "flops_share": "MFU"}
"""Step metrics and their labels."""
SEVERITY = {
    "error": ("✗", f"bold {palette.BAD}"),
    "warning": ("!", f"bold {palette.WARNING}"),
    "info": ("·", "dim"),
}
ADVICE_AFTER_END = {
    "healthy": "", "insufficient": "",
    "plateau": "A new run from the best checkpoint with half the learning rate may improve it.",
    "overfit": "Next time, train for fewer epochs or on more diverse data.",
    "memorizing": "Next time, train for fewer epochs and use validation data.",
    "spike": "If it recurs, inspect the examples of that step.",
    "diverged": "Start a new run from the best checkpoint with half the learning rate.",
    "zero_loss": "Check the loss mask: ftwizard mask",
    "margin_explosion": "Next time, train fewer steps, with half the learning rate or a higher beta.",
    "no_reward_signal": "Next time, use prompts that some completions solve and others do not.",
    "reward_hacking": "Read the sample answers, and give the falling score more weight in the reward.",
    "reward_collapse": "Start a new run from the best checkpoint with half the learning rate.",
    "entropy_collapse": "Next time, use a higher temperature, a beta above 0 or half the learning rate.",
}  # fmt: skip
"""Advice once the run has ended, where the finding's own advice is for a live run."""


def format_progress(follower: Follower, width: int) -> Text:
    """Return state and progress of the run: one line, a bar, and the parts that did not fit."""
    report, progress = follower.run_status, follower.shown
    parts: list[Text] = []
    if follower.is_gone:
        parts.append(Text("✗ moved or deleted", palette.BAD))
    elif isinstance(follower, CurveFollower) and report.state != "ended":
        parts += _list_curve_parts(follower)
    elif report.state == "ended":
        parts.append(Text.assemble(run_state.describe_state(report)))
        if (took_s := follower.status.took_s) is not None:
            parts.append(Text(f"after {format_duration(took_s)}", "dim"))
    elif report.end_reason:
        name = make_visible(END_NAMES.get(report.end_reason, report.end_reason), 40)
        parts.append(Text(f"● {name}, closing its process", palette.ACCENT))
    elif progress.phase in ACTIVE and progress.total_steps:
        activity = f"{progress.phase} {progress.detail or ''}".rstrip()
        parts.append(Text(f"● {make_visible(activity, 40)}", palette.ACCENT))
        parts.append(Text(f"step {progress.step:,} of {progress.total_steps:,}", "bold"))
        if progress.phase == "evaluating" and progress.total:
            count = f"{progress.done or 0:,.0f} of {progress.total:,.0f}"
            parts.append(Text(f"{count} {make_visible(progress.unit, 20)}"))
        elif progress.epoch is not None:
            parts.append(Text(f"epoch {progress.epoch:.2f}"))
        parts.append(Text(describe.describe_wait(progress, follower.status)))
        if report.eta_s:  # what follows the last step is not timed
            parts.append(Text(f"ends {describe.format_clock(report.eta_s)}"))
    else:
        activity = "queued" if report.state == "queued" else describe.describe_progress(progress)
        parts.append(Text(f"● {activity}", palette.ACCENT))
        if report.state == "queued" and report.slurm:
            parts += map(Text, describe.list_queue_facts(report.slurm))
        else:
            parts.append(Text(describe.describe_wait(progress, follower.status)))
    if report.ranks:
        parts.append(Text(rank_summary.describe(report.ranks)))
    if report.state == "stopping" and not report.end_reason:
        parts.append(Text("stopping: saving first", "bold"))
    share_done = 1.0 if report.end_reason == "finished" else progress.share
    first, *rest = _flow([part for part in parts if part], width, "  ")
    return Text("\n").join([first, layout.draw_bar(share_done, width), *rest])


def _list_curve_parts(follower: CurveFollower) -> list[Text]:
    """Return what is known of a training that only its files tell of."""
    progress, report = follower.shown, follower.run_status
    age = follower.changed_s or 0.0
    state = "· not changing" if follower.is_quiet else "● growing"
    parts = [Text(state, "" if follower.is_quiet else palette.ACCENT)]
    if progress.step is not None:
        total = f" of {progress.total_steps:,}" if progress.total_steps else ""
        parts.append(Text(f"step {progress.step:,}{total}", "bold"))
    if progress.epoch is not None:
        parts.append(Text(f"epoch {progress.epoch:.2f}"))
    parts.append(Text(f"changed {format_age(age)} ago", "dim"))
    if report.eta_s:
        parts.append(Text(f"ends {describe.format_clock(report.eta_s)}"))
    return parts


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
    losses = [
        (name, f"{loss:.4f}")
        for name, loss in (("loss", progress.loss), ("validation", progress.eval_loss))
        if loss is not None
    ]
    pairs = objective_figures.list_figures(progress)
    if objective_figures.get_objective(progress) != "grpo":  # whose loss shows nothing
        pairs = [*losses, *pairs]
    if report.best_eval_loss is not None:
        pairs.append(("best", f"{report.best_eval_loss:.4f} at step {report.best_step:,}"))
    if progress.eval_reward is not None:
        best = f"best {progress.best_eval_reward:.4g} at step {progress.best_step:,}"
        pairs.append(("validation reward", f"{progress.eval_reward:.4g}, {best}"))
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


def list_efficiency(progress: Progress) -> list[tuple[str, str]]:
    """Return name and value of the speed, of each known share and of the best saving.

    The list is empty while no share is known or the run is not training.
    """
    shares = [
        (name, f"{100 * share:.0f}%")
        for measured, name in SHARES.items()
        if (share := _recent_mean(progress.metrics.get(measured))) is not None
    ]
    if progress.phase not in ACTIVE or not shares:
        return []
    speed = progress.tokens_per_s
    speeds = [("speed", f"{speed:,.0f} tokens/s")] if speed else []
    return [*speeds, *shares, *_best_saving(progress)]


def _recent_mean(series: Series | None) -> float | None:
    """Return the mean of the last steps, None if it is not between 0 and 1."""
    if series is None:
        return None
    newest = range(max(0, len(series) - RATE_WINDOW), len(series))
    values = [y for index in newest if math.isfinite(y := series[index][1])]
    mean = sum(values) / len(values) if values else math.nan
    return mean if 0 <= mean <= 1 else None


def _best_saving(progress: Progress) -> list[tuple[str, str]]:
    newest_first = reversed(progress.findings)
    finding = next((item for item in newest_first if item.get("code") == "efficiency"), {})
    setting, share = finding.get("setting"), to_measure(finding.get("saves"))
    if not isinstance(setting, str) or share is None or share > 1:
        return []
    saving = f"{make_visible(setting, 60)} would save up to {100 * share:.0f}% of the time"
    return [("→", saving)]


def format_spent(
    progress: Progress, hour: PriceRate | None, budget: Budget, now: Instant | None
) -> tuple[str, str] | None:
    """Return name and value of the figure: ``cost``, ``$0.42 of $2.00 · 0.3 of 4 h``.

    ``hour`` is the machine's hourly price. ``now`` is None for a run that has ended.
    Return None without a price and without a time budget.
    """
    parts = []
    if hour is not None:
        cost = money.format_price(
            machine_rate.measured_cost(progress.alive.billed_seconds(now), hour)
        )
        parts.append(cost if budget.usd is None else f"{cost} of {format_dollars(budget.usd)}")
    if budget.minutes is not None:
        parts.append(f"{progress.limited_s(now) / 60:.0f} of {budget.minutes:.3g} min")
    if budget.hours is not None:
        is_training = progress.phase in ACTIVE
        used_s = progress.training.seconds_of(progress.attempt, now if is_training else None)
        if budget.hours >= 1:
            parts.append(f"{used_s / 3600:.1f} of {budget.hours:g} h")
        else:
            parts.append(f"{used_s / 60:.0f} of {60 * budget.hours:.3g} min")
    return ("cost" if hour else "time", " · ".join(parts)) if parts else None


def format_columns(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """Return one figure per line, names dim, values aligned."""
    cells = max((len(name) for name, _ in pairs), default=0)
    lines = (
        Text.assemble((f"{name:<{cells}}  ", "dim"), value, no_wrap=True) for name, value in pairs
    )
    return Text("\n").join(lines)


def format_inline(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    parts = [Text.assemble((f"{name} ", "dim"), value) for name, value in pairs]
    return Text("\n").join(_flow(parts, width, "   "))


def format_machine(samples: Sequence[dict[str, Any]], now: Instant, width: int) -> Text:
    """Return the newest reading of CPU and memory, and why there is no GPU."""
    if not is_recent(samples, now):
        return Text("no machine reading yet" if not samples else "", "dim")
    sample = samples[-1]
    parts = [Text.assemble(("cpu ", "dim"), f"{get_number(sample, 'cpu', 0.0):3.0f}%")]
    used, total = get_number(sample, "memory_used"), get_number(sample, "memory_total")
    if used is not None and total is not None:
        memory = f"{format_bytes(used)} of {format_bytes(total)}"
        parts.append(Text.assemble(("memory ", "dim"), memory))
    if sample.get("hung") and not sample.get("gpus"):
        parts.append(Text("! GPU driver is not responding", f"bold {palette.WARNING}"))
    elif not sample.get("gpus"):
        parts.append(Text(f"no GPU: {make_visible(str(sample.get('no_gpu', '')), 80)}", "dim"))
    return Text("\n").join(_flow(parts, width, "   "))


def is_recent(samples: Sequence[dict[str, Any]], now: Instant) -> bool:
    if not samples:
        return False
    m = get_number(samples[-1], "m")
    if now.m is not None and m is not None:
        return bool(0 <= now.m - m <= STALE_S)
    return bool(now.t - get_number(samples[-1], "t", 0.0) <= STALE_S)


def format_plan(plan: Plan, width: int) -> Text:
    recipe = plan.recipe
    rate = format_learning_rate(recipe.learning_rate) if recipe.learning_rate else "default"
    objective = "" if recipe.objective == "sft" else f"{recipe.objective.upper()}, "
    values = {
        "model": make_visible(plan.model.name),
        "data": make_visible(Path(plan.data.files.train).name),
        "method": f"{objective}{recipe.method}, lr {rate}, {format_epochs(recipe.epochs)}",
    }
    pairs = [(name, _truncate_left(value, width - 8)) for name, value in values.items()]
    return format_columns(pairs, width)


def format_script(script: Script, width: int) -> Text:
    """Return what is known of a script of the user's own, a line each."""
    values = {"trainer": script.trainer, "model": script.model, "output": script.output_dir}
    pairs = [
        (name, _truncate_left(make_visible(value), width - 9))
        for name, value in values.items()
        if value
    ]
    if script.processes > 1:
        pairs.append(("ranks", str(script.processes)))
    return format_columns(pairs, width)


def _truncate_left(text: str, width: int) -> str:
    """Return the end of a text that fits into ``width`` cells."""
    while cell_len(text) > width:
        text = text[max(1, len(text) - width) :]
    return text


def format_findings(progress: Progress, max_lines: int, *, is_alive: bool) -> Text:
    """Return the newest diagnosis of the curve, then other findings, newest last.

    Where not all fit, warnings are kept before notes, and newer ones before older.
    """
    verdict = find_verdict(progress.findings)
    rows = [] if verdict is None else [_format_verdict(verdict, progress.findings)]
    relevant = [
        event for event in progress.findings if not event.get("verdict") or _is_alarm(event)
    ]
    by_weight = sorted(relevant, key=lambda event: not event.get("verdict") and _is_alarm(event))
    kept = [id(event) for event in by_weight[max(0, len(relevant) - max_lines + len(rows)) :]]
    for event in relevant:
        if id(event) in kept and event is not verdict:
            message = make_visible(str(event.get("message")), 400)
            rows.append(Text.assemble(finding_mark(event), message))
    if verdict is not None and _is_alarm(verdict):
        rows.append(Text(make_visible(str(verdict.get("message")), 400)))
        rows.append(Text.assemble("→ ", (get_advice(verdict, is_alive=is_alive), "bold")))
    return Text("\n").join(rows)


def find_verdict(findings: Sequence[Event]) -> Event | None:
    return next((event for event in reversed(findings) if event.get("verdict")), None)


def get_advice(event: Event, *, is_alive: bool) -> str:
    """Return the advice of a finding, adapted if the run has ended."""
    action = event.get("action")
    advice = make_visible(action, 300) if isinstance(action, str) else ""
    return (
        advice if is_alive or not advice else ADVICE_AFTER_END.get(str(event.get("code")), advice)
    )


def finding_mark(event: Event) -> tuple[str, str]:
    if event.get("code") == "healthy":
        return "✓ ", f"bold {palette.GOOD}"
    mark, style = SEVERITY.get(str(event.get("severity")), SEVERITY["info"])
    return f"{mark} ", style


def finding_name(event: Event) -> str:
    code = str(event.get("code"))
    names = {str(pattern): name for pattern, name in diagnosis.PATTERN_NAMES.items()}
    return names.get(code) or make_visible(code.replace("_", " "), 40)


def _format_verdict(event: Event, findings: Sequence[Event]) -> Text:
    line = Text.assemble(finding_mark(event), (finding_name(event), "bold"))
    confidence = event.get("confidence")
    if isinstance(confidence, int | float):
        line.append(f"  {100 * confidence:.0f}% confidence", "dim")
    if former := diagnosis.describe_former(findings):
        line.append(f"  {former}", "dim")
    return line


def _is_alarm(event: Event) -> bool:
    return event.get("severity") in ("warning", "error")


def format_log(lines: Sequence[str]) -> Text:
    return Text("\n".join(make_visible(line, 300) for line in lines), "dim", no_wrap=True)


def get_number(reading: dict[str, Any], name: str, default: Any = None) -> Any:
    """Return a field if it is a finite number, else ``default``."""
    value = reading.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return value
