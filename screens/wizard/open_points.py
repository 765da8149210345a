"""What still stands before the start: warnings, and decisions against advice, each on a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from rich.text import Text

from ftwizard.advice import evidence, recipe_advice, time_cap
from ftwizard.advice.recipe_rules import setting
from ftwizard.catalog.providers import catalog
from ftwizard.data.documents import DataReport
from ftwizard.data.findings import Finding
from ftwizard.estimate.gpu_fit import judge_bytes
from ftwizard.estimate.report import EstimateReport
from ftwizard.estimate.report_text import PART_NAMES
from ftwizard.plan import objective_checks
from ftwizard.runs import evaluation_plan, paired_tests, ship_verdict
from ftwizard.screens import palette
from ftwizard.screens.draft import STEPS, drafts, live_estimate, setting_values, time_limit
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.data import report_text
from ftwizard.text import format_byte_range, format_bytes, format_count, make_visible

HEADING = "Still open, with the page that changes it:"
NAMES_WIDTH = 12
"""Cells of mark and page."""
_CONSEQUENCES = {
    "rate-too-low": ("learning_rate", "the model may learn nothing"),
    "rate-too-high": ("learning_rate", "training may diverge"),
    "rate-from-another-size": ("learning_rate", "chosen for a model of another size"),
    "many-epochs": ("epochs", "usually leads to memorization"),
}
"""The setting and the consequence that each warning about a recipe is about."""
_FACTS = {evidence.CHANGING_FACTS_CODE, evidence.SUBJECT_FACTS_CODE}
_MARKS = {
    "error": ("✗ ", f"bold {palette.BAD}"),
    "warning": ("! ", f"bold {palette.WARNING}"),
    "choice": ("· ", "dim"),
}


class OpenPoint(NamedTuple):
    """Something to know before the start."""

    step: str
    """The page where it can be changed, one of ``STEPS``."""
    text: str
    kind: Literal["error", "warning", "choice"] = "warning"
    """A choice was made against advice, and has no other warning."""


def format_open_points(draft: Draft) -> Text:
    """Format what still stands, a line each below a heading; empty if nothing does."""
    text = Text()
    for point in sorted(list_open_points(draft), key=lambda point: STEPS.index(point.step)):
        text.append("\n").append(*_MARKS[point.kind])
        text.append(f"{point.step:<{NAMES_WIDTH - 2}}", "dim").append(make_visible(point.text, 300))
    return Text.assemble((HEADING, "dim"), text) if text else text


def list_open_points(draft: Draft) -> Iterator[OpenPoint]:
    """Yield what still stands; what is settled is left out."""
    yield from _list_provider_points(draft)
    if draft.checked:
        yield from _list_data_points(draft.checked)
    if not draft.validates:
        yield OpenPoint("Data", "no validation data: overfitting goes unnoticed")
    yield from _list_recipe_points(draft)
    if draft.estimate:
        yield from _list_row_points(draft.estimate)
        yield from _list_test_points(draft, draft.estimate)
        yield from _list_machine_points(draft.estimate)


def _list_provider_points(draft: Draft) -> Iterator[OpenPoint]:
    if draft.answers.get("fit") == "facts":
        yield OpenPoint("Provider", "facts that change: fine-tuning is the wrong tool for these")
    if draft.provider != draft.recommended:
        names = {provider.id: provider.name for provider in catalog().providers}
        text = f"{names[draft.provider]}, although {names[draft.recommended]} was recommended"
        yield OpenPoint("Provider", text, "choice")


def _list_data_points(report: DataReport) -> Iterator[OpenPoint]:
    """Yield what was confirmed about the rows, then the findings; skipped rows have no others."""
    if bad := report.rows - report.usable:
        yield OpenPoint("Data", f"{format_count(bad, 'row')} unusable, left out", "choice")
    yield from _list_facts(report)
    for finding in report.findings:
        is_settled = (finding.severity == "error" and bad) or finding.code in _FACTS
        if not is_settled:
            yield from _describe_finding(finding, "row")
    for finding in report.validation.findings if report.validation else ():
        yield from _describe_finding(finding, "validation row")


def _describe_finding(finding: Finding, noun: str) -> Iterator[OpenPoint]:
    if finding.severity != "info":
        text = f"{format_count(finding.count, noun)}: {report_text.format_title(finding)}"
        yield OpenPoint("Data", text, finding.severity)


def _list_facts(report: DataReport) -> Iterator[OpenPoint]:
    """Yield the warning of facts, unless it was only a question."""
    data = evidence.read_evidence(report)
    warning = evidence.warn_of_facts(data)
    if warning and warning.kind == "changing":
        rows = format_count(data.changing, "row")
        yield OpenPoint("Data", f"{rows} with facts that change: not for fine-tuning")
    elif warning and warning.wrong_tool:
        rows = format_count(data.about_subject, "row")
        yield OpenPoint("Data", f"{rows} with facts about one subject: taught poorly")


def _list_recipe_points(draft: Draft) -> Iterator[OpenPoint]:
    """Yield settings that were chosen against advice, with the consequence that is warned of."""
    recipe, before = draft.plan.recipe, drafts.find_earlier_run(draft)
    falling = before is not None and before.falling
    raised = recipe_advice.warnings(recipe, draft.parameters, draft.earlier, falling=falling)
    consequences = dict(_CONSEQUENCES[warning.code] for warning in raised)
    if before is not None:
        consequences["epochs"] = before.summary
    advice = setting_values.get_advice(draft, recipe.method)
    for name, advised in advice.items():
        value = setting_values.get_value(draft.plan, setting(name))
        is_chosen = name in draft.touched and not time_limit.is_limited(draft, name)
        consequence = consequences.get(name)
        usual = setting_values.to_value(advised)
        if not consequence and not (is_chosen and value not in (None, usual)):
            continue
        text = _describe_choice(name, value, usual)
        is_warned = consequence and not (name == "epochs" and falling)
        text += f": {consequence}" if consequence else ""
        yield OpenPoint("Recipe", text, "warning" if is_warned else "choice")
    if not objective_checks.takes_mix(draft.plan):
        name = setting("objective").option(recipe.objective).name
        yield OpenPoint("Recipe", f"the general examples are left out: {name} takes none", "choice")
    if words := time_limit.describe_limit(draft):
        worse = f". {time_cap.WORSE}" if time_limit.gives_up(draft) else ""
        yield OpenPoint("Recipe", words + worse, "warning" if worse else "choice")
    if caution := live_estimate.summarize_caution(draft.plan.model.name, recipe):
        yield OpenPoint("Recipe", caution)


def _describe_choice(name: str, value: Any, advised: Any) -> str:
    label = setting(name).label.lower()
    chosen, usual = (
        setting_values.format_value(name, each, details=False) for each in (value, advised)
    )
    return f"{label} {chosen}, advised {usual}"


def _list_row_points(report: EstimateReport) -> Iterator[OpenPoint]:
    """Yield what the exact count says about the rows."""
    for name, part in report.parts.items():
        of = f"{PART_NAMES[name]} row"
        if part.truncated:
            limit = f" to {report.recipe.max_length:,} tokens" if report.recipe else ""
            yield OpenPoint("Recipe", f"{format_count(part.truncated, of)} truncated{limit}")
        for dropped, count in part.dropped.items():
            rows = format_count(count, of)
            yield OpenPoint("Data", f"{rows} without {dropped}: the template drops it")
        if lost := len(part.lines_without_loss):
            text = f"{format_count(lost, of)} without trainable tokens, left out"
            yield OpenPoint("Data", text)
        if equal := len(part.equal_pairs):
            pairs = format_count(equal, f"{PART_NAMES[name]} pair")
            yield OpenPoint("Data", f"{pairs} with two equal answers, left out")
        if long := len(part.too_long):
            prompts = format_count(long, f"{PART_NAMES[name]} prompt")
            yield OpenPoint("Recipe", f"{prompts} longer than the max length, left out")
    if report.mix_short:
        yield OpenPoint("Data", report.mix_short)


def _list_test_points(draft: Draft, report: EstimateReport) -> Iterator[OpenPoint]:
    """Yield that the test rows cannot show the gain that the gate asks for."""
    tested, gate = report.parts.get("test"), draft.plan.gate
    if tested is None or not draft.plan.finish.compare:
        return
    provable = paired_tests.find_provable_change(tested.used)
    if provable is None or provable > gate.gain:
        rows, is_enough = (
            format_count(tested.used, "test row"),
            tested.used >= ship_verdict.MIN_ROWS,
        )
        wanted = gate.gain if is_enough else evaluation_plan.WANTED_GAIN
        needed = f"about {paired_tests.count_needed_rows(wanted):,}"
        text = f"{rows}: too few for a verdict, {needed} show {wanted:.0%} more"
        if is_enough and provable:
            text = f"{rows} can show {provable:.0%} more right, {needed} the gate’s {wanted:.0%}"
        yield OpenPoint("Data", text, "choice" if is_enough else "warning")


def _list_machine_points(report: EstimateReport) -> Iterator[OpenPoint]:
    """Yield what may not run on this machine."""
    if report.refused:
        yield OpenPoint("Recipe", report.refused, "error")
    here = report.room or (report.here.memory if report.here else None)
    if here and report.memory:
        needed = report.measured or report.memory.peak
        most = needed.value if report.measured else needed.highest
        verdict = judge_bytes(needed.value, most, here)
        if verdict != "fits":
            range = format_byte_range(needed.value if report.measured else needed.lowest, most)
            kind: Literal["error", "warning"] = "warning" if verdict == "tight" else "error"
            text = f"memory {verdict}: {range} of {format_bytes(here)}"
            yield OpenPoint("Recipe", text, kind)
    if (disk := report.disk) and disk.short:
        text = f"not enough free disk space: {format_bytes(disk.short.missing)} missing"
        yield OpenPoint("Estimate", text, "error")
