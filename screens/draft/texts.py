"""Texts shared by the wizard's screens and its plain mode."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from ftwizard.advice import questions, time_cap
from ftwizard.advice.recipe_rules import AdvisedValue, Setting
from ftwizard.advice.run_history import EarlierLoss
from ftwizard.errors import FtwizardError
from ftwizard.estimate import report_text
from ftwizard.estimate.report import EstimateReport
from ftwizard.hardware.machine import MachineInfo
from ftwizard.pricing import machine_rate
from ftwizard.screens import palette
from ftwizard.screens.draft import setting_values, time_limit
from ftwizard.screens.draft.drafts import Draft
from ftwizard.text import (
    format_bytes,
    format_count,
    format_duration_range,
    format_epochs,
    make_visible,
)

ESTIMATE_NAMES_WIDTH = 12
"""Cells of the name column of an estimate."""
COUNTING = "Counting with the model's tokenizer"
COUNTING_AGAIN = "Counting again, with settings from the first count"
EXAMPLE_ROWS = Text.assemble(
    ("A row is one line, for example one of these:\n", "dim"),
    '{"messages": [{"role": "user", "content": "Hello?"},\n'
    '   {"role": "assistant", "content": "Hi! How can I help?"}]}\n'
    '{"prompt": "Hello?", "completion": "Hi! How can I help?"}\n',
    ("Also Alpaca, ShareGPT, preferences; JSON, CSV, Parquet.", "dim"),
)  # fmt: skip
"""Two rows of usual formats, shown until a file is named."""
NO_VALIDATION = (
    "Without validation data, overfitting goes unnoticed.",
    "10% of the rows is enough. Their loss is the dashed line in the chart.",
    "no validation",
)
"""A warning, its fix, and the phrase that confirms it."""
FACTS_QUESTION = "Fine-tune on facts that change?"
SUBJECT_QUESTION = "Fine-tune on facts about one subject?"
UNCLEAR_SUBJECT = ("Is the data about one subject, product or event?", "no, continue", "yes, back")
"""A question, and its answers."""
HOUR_PRICE_QUESTION = "What does this machine cost per hour?"
HOUR_PRICE_NAME = "US dollars per hour"
HOUR_PRICE_REASON = "Rent, or power and wear. The cost of a run is its time × this price."
SAVE_PRICE = "Save this price?"
MANY_EPOCHS = ("You can confirm that you want more.", "many epochs")
"""The fix and the phrase for the warning of the plan's own check."""


def describe_machine(facts: MachineInfo, width: int = 200) -> str:
    """Describe this machine on a line, shorter if ``width`` is small."""
    summary = questions.describe_machine(facts)
    room, cpu = f"{summary['memory']} memory, {summary['free disk']} free disk", summary["CPU"]
    gpu = f"GPU {summary['GPU']}" if facts.gpus else "no GPU"
    reason = "" if facts.gpus else f" ({make_visible(facts.no_gpu or 'not found', 80)})"
    lines = (
        f"This machine: {gpu}{reason}; {room}; {cpu}",
        f"This machine: {gpu}; {room}; {cpu}",
        f"This machine: {gpu}; {room}",
        f"{gpu}; {room}",
    )
    return next((line for line in lines if cell_len(line) <= width), lines[-1])


def format_adjustments(changes: Sequence[str]) -> Text:
    """Format the settings that were adjusted to the model's size."""
    text = Text()
    for change in changes:
        text.append("\n· ", palette.ACCENT).append(f"adjusted to the model's size  {change}")
    return text


def format_limit(draft: Draft, undo: str = "") -> Text:
    """Format the time limit and what it gives up, on a new line; ``undo``: how to undo it."""
    text, words = Text(), time_limit.describe_limit(draft)
    if words:
        worse = f" {time_cap.WORSE}" if time_limit.gives_up(draft) else ""
        text.append("\n! ", f"bold {palette.WARNING}").append(f"{words}.{worse}")
        text.append(f" {undo}." if undo else "", "dim")
    return text


def file_changed_error(draft: Draft) -> FtwizardError:
    """Return the error for a file that changed after its check."""
    return FtwizardError(
        f"{make_visible(draft.plan.data.files.train, 300)} has changed since it was checked.",
        "Check it again: press enter on the Data page.",
    )


def format_earlier_run(before: EarlierLoss, epochs: float) -> Text:
    """Format what an earlier run on the same data says about this many epochs."""
    mark, style = ("✓ ", palette.GOOD) if before.falling else ("! ", f"bold {palette.WARNING}")
    return Text.assemble((mark, style), f"{format_epochs(epochs)}: {before.summary}\n")


def format_estimate(draft: Draft, price_hint: str, probe_hint: str = "") -> Text:
    """Format the estimate of a draft at its hourly price; hints: see ``report_text.Hints``."""
    if draft.estimate is None:
        return Text()
    report = draft.estimate.with_price(draft.hour)
    hints = report_text.Hints(price=price_hint, probe=probe_hint or "ftwizard probe measures it")
    text = Text()
    for line in report_text.format_report(report, hints):
        text.append(f"{line.name:<{ESTIMATE_NAMES_WIDTH}}" if line.spans else "", "dim")
        text.append_text(palette.to_text(line.spans)).append("\n")
    return text


def describe_summary(draft: Draft) -> str:
    """Describe steps, time and disk of the run to start; empty without an estimate."""
    report = draft.estimate
    if not report:
        return ""
    parts = [format_count(report.steps, "step")] if report.steps else []
    whole = (report.run.whole if report.run else None) or report.time
    if whole and whole.low is not None and whole.high is not None:
        ends = time.strftime("%H:%M", time.localtime(time.time() + whole.value))
        until = "after its wait in the queue" if report.queued else f"ends about {ends}"
        parts.append(f"{format_duration_range(whole.low, whole.high)}, {until}")
    if disk := report.disk:
        parts.append(f"about {format_bytes(disk.needed.value)} of disk space")
    parts.append("runs in the background")
    return " · ".join(parts)


def format_reason(setting: Setting, advised: AdvisedValue | None, origin: str) -> Text:
    """Format why a setting has its value, with sources.

    ``origin``: ``default``, ``advised`` or ``yours``.
    """
    text = Text.assemble(
        (setting.label, "bold"), f"  {setting_values.describe_reason(setting, advised)}"
    )
    return text.append(f"\n{setting_values.describe_sources(setting, advised, origin)}", "dim")


def describe_saved_price() -> str:
    """Describe what saving the hourly price does."""
    return f"Later estimates and runs use it. It is saved in {machine_rate.shown_file()}."


def describe_rental(report: EstimateReport | None) -> str:
    """Describe the rental price of the estimate's GPU; empty if unknown."""
    return machine_rate.describe_rental(report.hour.rental if report else None)
