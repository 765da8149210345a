"""The data's part of ``advise``: evidence, costs by provider and a suggested recipe."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ftwizard import user_paths
from ftwizard.advice import evidence, report
from ftwizard.advice.evidence import Evidence
from ftwizard.advice.provider_costs import ProviderCost
from ftwizard.advice.questions import Answers, planned_size
from ftwizard.advice.recipe_rules import AdvisedValue, setting
from ftwizard.catalog.providers import catalog
from ftwizard.cli import output, progress
from ftwizard.data.documents import DataReport
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import MachineInfo
from ftwizard.plan.schema import Recipe
from ftwizard.text import format_count, format_learning_rate, make_visible

if TYPE_CHECKING:
    from rich.console import Console

MAX_REPORT_BYTES = 64_000_000
"""A larger file is not a report of ``check``."""
SHOWN_SETTINGS = ("method", "learning_rate", "epochs", "max_length", "packing", "batch_size",
         "gradient_accumulation", "rank")  # fmt: skip
"""Recipe settings to print; the JSON has all."""


def read_evidence(data: str, read: ReadOptions = AS_IS) -> Evidence:
    """Return the evidence in a data file or in a report of ``check``.

    Raises FtwizardError for any other file, and where no row can be used.
    """
    checked = _read_report(Path(data))
    data_evidence = evidence.read_evidence(checked or _check(data, read))
    if not data_evidence.usable:
        name = make_visible(data_evidence.path, 200)
        raise FtwizardError(f"No row of {name} can be used.", f"To see why: ftwizard check {name}")
    return data_evidence


def _check(data: str, read: ReadOptions) -> DataReport:
    from ftwizard.data.checks import run
    from ftwizard.data.hub import datasets

    with progress.reporter() as say:
        file, _ = datasets.locate(data, say)
        # Near-duplicates do not affect provider or recipe.
        options = run.CheckOptions(max_length=Recipe().max_length, near=False, read=read)
        return run.check_files(file, options, say=say)


def _read_report(file: Path) -> DataReport | None:
    """Return a report of ``check``; None for any other file, which is then read as rows."""
    try:
        if file.suffix != ".json":
            return None
        document = json.loads(user_paths.read_bytes(file, MAX_REPORT_BYTES))
    except (FtwizardError, OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not {"verdict", "findings", "usable"} <= document.keys():
        return None
    try:
        return msgspec.convert(document, DataReport)
    except msgspec.ValidationError as error:
        raise FtwizardError(
            "This is not a data check report: fields of ftwizard check --json are missing.",
            "Create one with: ftwizard check DATA --json > report.json",
        ) from error


def print_report(
    out: Console,
    data_evidence: Evidence,
    facts: MachineInfo,
    answers: Answers,
    today: datetime.date,
) -> None:
    """Print the evidence, the costs and the suggested recipe."""
    output.print_lines(out, "", f"Rows: {make_visible(data_evidence.path)}")
    lines = [
        ("rows", f"{data_evidence.usable:,} of {format_count(data_evidence.rows, 'row')} usable")
    ]
    if tokens := data_evidence.tokens:
        span = f" ({tokens.low:,.0f}–{tokens.high:,.0f})" if tokens.low is not None else ""
        about = "about " if span else ""
        lines.append(("tokens", f"{about}{tokens.value:,.0f}{span}, {tokens.source}"))
    if again := evidence.warn_of_facts(data_evidence):
        label, numbers = (
            "✗ tool" if again.wrong_tool else "! tool",
            ", ".join(map(str, again.lines)),
        )
        lines.append((label, f"{again.message} Lines: {numbers}."))
    if rft := data_evidence.rft:
        offered = f"Offered by {', '.join(rft.where)}. {evidence.describe_template(rft)}".rstrip()
        lines.append(("RFT", f"{rft.reason} {rft.caution} {offered}"))
    out.print(output.build_pair_table(lines))
    label = catalog().need(planned_size(facts, answers)).label
    _print_costs(out, report.cost_by_provider(data_evidence, facts, answers, today), label)
    output.print_lines(out, "", "Suggested recipe for this machine")
    by_name = {value.name: value for value in report.advise_recipe(data_evidence, facts)}
    advised = [by_name[name] for name in SHOWN_SETTINGS if name in by_name]
    out.print(output.build_pair_table(map(_format_setting, advised)))


def _print_costs(out: Console, costs_by_provider: tuple[ProviderCost, ...], label: str) -> None:
    """Print the cost on each provider; ``label``: the size of the model that it is for."""
    if not costs_by_provider:
        return
    title = f"Training cost for these rows, {Recipe().epochs:g} epochs, a model {label}"
    output.print_lines(out, "", title)
    names = {provider.id: provider.name for provider in catalog().providers}
    rows = ((names[cost.provider], _format_cost(cost)) for cost in costs_by_provider)
    out.print(output.build_pair_table(rows))
    output.print_lines(
        out,
        "Cheapest offers. 10% of the rows are for validation, 10% for the test set.",
        "All offers: ftwizard estimate DATA --model M",
    )


def _format_cost(provider_cost: ProviderCost) -> str:
    text, owner = f"{provider_cost.amount}: {provider_cost.details}", provider_cost.owner
    if owner and not provider_cost.why_not:
        text += f"; weights: {owner[0].lower()}{owner[1:]}"
    return text


def _format_setting(advice: AdvisedValue) -> tuple[str, str]:
    text = f"{_format_value(advice)}: {advice.reason} ({advice.source}, {advice.as_of})"
    return setting(advice.name).label, text


def _format_value(advice: AdvisedValue) -> str:
    if options := setting(advice.name).options:
        return next(option.label for option in options if option.value == advice.value)
    if advice.name == "learning_rate" and isinstance(advice.value, float):
        return format_learning_rate(advice.value)
    return f"{advice.value:g}" if isinstance(advice.value, int | float) else str(advice.value)
