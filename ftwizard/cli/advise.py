"""``advise``: a comparison of providers for this machine, data and answers, with reasons."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING

from ftwizard.advice import questions, report
from ftwizard.advice.provider_advice import Recommendation, format_provider
from ftwizard.advice.provider_costs import ProviderCost, compare_costs
from ftwizard.catalog.prices import STALE_DAYS
from ftwizard.catalog.providers import Factor, ProviderFacts, catalog
from ftwizard.cli import advise_data, output, read_arguments
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware import machine
from ftwizard.text import make_visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

WIDE = 76
"""Terminal width from which the longest words fit into the table."""
PLATFORMS_BY: tuple[Factor, ...] = ("ownership", "cost", "data")
"""Factors in which the cloud platforms differ."""
EDITION = "2026-04"
"""The edition of the article; its claims show no date."""


def advise(arguments: argparse.Namespace) -> int:
    """Compare the providers and recommend one."""
    answers = _parse_answers(arguments.answer)
    evidence = None
    if arguments.data:
        read = read_arguments.get_options(arguments)
        evidence = advise_data.read_evidence(arguments.data, read)
    facts = machine.read_machine_info()
    today = datetime.date.today()
    advice = report.build_report(facts, answers, evidence, today)
    if arguments.json:
        output.print_json(advice)
        return 0
    effective_answers, recommended = advice.answers, advice.recommendation
    out = output.make_console()
    provider_costs = (
        report.cost_by_provider(evidence, facts, effective_answers, today) if evidence else ()
    )
    _print_recommendation(out, recommended, provider_costs)
    if evidence:
        advise_data.print_report(out, evidence, facts, effective_answers, today)
    output.print_lines(out, "", "This machine")
    out.print(output.build_pair_table(questions.describe_machine(facts).items()))
    _print_claims(out, recommended)
    legend = f"No date: edition {EDITION}. !: over {STALE_DAYS} days old."
    output.print_lines(out, "", legend, "Sources: ftwizard advise --json")
    _print_questions(out, advice.questions)
    return 0


def _parse_answers(texts: Iterable[str]) -> dict[str, str]:
    answers: dict[str, str] = {}
    for text in texts:
        name, equals, option = text.partition("=")
        if not equals:
            raise FtwizardError(
                f"“{make_visible(text, 60)}” is not an answer.", "Use the form data=stay.", USAGE
            )
        answers[name] = option
    return answers


def _print_claims(out: Console, recommended: Recommendation) -> None:
    """Print the factors by provider, and what differs between the cloud platforms."""
    providers, cloud = catalog().providers, catalog().provider("cloud")
    rows = {
        label: [
            _format_claims(
                provider.claims(factor, recommended.cloud if provider == cloud else None)
            )
            for provider in providers
        ]
        for factor, label in catalog().factors.items()
    }
    first = "" if recommended.blocked else catalog().provider(recommended.first.provider).name
    _print_matrix(out, "", [provider.name for provider in providers], rows, first)
    rows = {
        platform.name: [
            _format_claims(cloud.claims(factor, platform.id)[:1]) for factor in PLATFORMS_BY
        ]
        for platform in cloud.platforms
    }
    _print_matrix(out, "Cloud", [catalog().factors[factor] for factor in PLATFORMS_BY], rows)


def _format_claims(claims: ProviderFacts) -> list[str]:
    """Format claims, newest first, each with its date except the article's own."""
    today = datetime.date.today()
    newest, *older = claims
    date = newest.date(today)
    first = newest.statement if date == EDITION and not older else f"{newest.statement} [{date}]"
    return [first, *(f"({claim.date(today)}: {claim.statement})" for claim in older)]


def _print_matrix(
    out: Console, corner: str, columns: list[str], rows: dict[str, list[list[str]]], first: str = ""
) -> None:
    """Print a table, or a list for each row on a narrow terminal; ``first`` is a marked column."""
    if out.width < WIDE:
        for label, cells in rows.items():
            output.print_lines(out, "", label)
            out.print(output.build_pair_table(zip(columns, map("; ".join, cells), strict=True)))
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=False)
    table.add_column(corner, max_width=12)
    for name in columns:
        table.add_column(f"→ {name}" if name == first else name, ratio=1, overflow="fold")
    for label, cells in rows.items():
        table.add_row(label, *map("\n".join, cells), end_section=True)
    out.print("", table, sep="\n")


def _print_recommendation(
    out: Console, recommendation: Recommendation, costs: tuple[ProviderCost, ...]
) -> None:
    name = format_provider(recommendation.provider, recommendation.platform)
    if recommendation.blocked:
        _print_list(out, "", [recommendation.blocked], mark="✗")
        pairs = zip(recommendation.changes, recommendation.change_answers, strict=True)
        changes = (f"{change} ({answer})" if answer else change for change, answer in pairs)
        _print_list(out, "Change one of these", changes)
        output.print_lines(out, "", f"Closest: {name}")
    else:
        _print_first(out, recommendation)
    _print_list(out, "", recommendation.reasons, mark="+")
    _print_list(out, "", recommendation.ruled_out, mark="✗")
    _print_list(out, "", recommendation.cautions, mark="-")
    if recommendation.fit:
        _print_list(out, "", [recommendation.fit], mark="✗" if recommendation.wrong_tool else "✓")
    if recommendation.close_to:
        close_to = catalog().provider(recommendation.close_to).name
        _print_list(out, "", [f"{close_to} is about as good here."], mark="~")
    assumed = (f"{assumption[0].upper()}{assumption[1:]}." for assumption in recommendation.assumed)
    _print_list(out, "Assumptions", assumed)
    if not recommendation.blocked:
        subject = "this" if recommendation.starts_with_the_best else "the best in general"
        _print_list(out, f"What would change {subject}", recommendation.flips)
    _print_list(out, "Other providers", _describe_others(recommendation, costs))


def _print_first(out: Console, recommendation: Recommendation) -> None:
    """Print the provider to try first, and the name of the best in general if it is another."""
    from rich.text import Text

    first = recommendation.first
    here = " on this machine" if first.provider == "local" else ""
    now = "" if first.problem else " It can start now."
    name = format_provider(first.provider, first.platform)
    out.print(Text(f"→ Try first: {name}{here}.{now}"))
    _print_list(out, "", [first.problem] if first.problem else [], mark="!")
    if recommendation.starts_with_the_best:
        return
    _print_list(out, "", first.reasons, mark="+")
    _print_list(out, "", first.cautions, mark="-")
    label = catalog().need(recommendation.size).label
    best = format_provider(recommendation.provider, recommendation.platform)
    out.print("", Text(f"Best in general, for a model {label}: {best}"), sep="\n")


def _describe_others(
    recommendation: Recommendation, costs: tuple[ProviderCost, ...]
) -> Iterator[str]:
    """Yield each other provider: whether ftwizard can start it, its drawbacks and its costs."""
    cost_of = {cost.provider: cost for cost in costs}
    for id, words in recommendation.costs_of.items():
        baseline = cost_of.get(recommendation.first.provider)
        money = compare_costs(cost_of[id], baseline) if baseline else ""
        parts = (recommendation.start_problems.get(id, ""), words, money)
        name = format_provider(id, recommendation.cloud if id == "cloud" else None)
        yield f"{name}: {' '.join(filter(None, parts))}"


def _print_list(out: Console, title: str, lines: Iterable[str], mark: str = "·") -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row(f"  {mark}", line)
    if table.row_count:
        output.print_lines(out, *(["", title] if title else []))
        out.print(table)


def _print_questions(out: Console, unanswered: tuple[questions.Question, ...]) -> None:
    from rich.table import Table

    if not unanswered:
        return
    output.print_lines(out, "", "To refine this: ftwizard advise --answer ID=OPTION")
    for question in unanswered:
        table = Table.grid(padding=(0, 2, 0, 0))
        for choice in question.options:
            table.add_row(f"  {question.id}={choice.id}", choice.label)
        output.print_lines(out, "", question.text)
        out.print(table)
