"""``advise``: the paths side by side for this machine and these answers, with reasons."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING

import msgspec

from ftwizard import machine
from ftwizard.advice import path, path_costs, questions
from ftwizard.advice.path import Recommendation
from ftwizard.advice.path_costs import PathCost
from ftwizard.advice.weigh import Verdict
from ftwizard.catalog.paths import Claims, Factor, catalog
from ftwizard.catalog.prices import STALE_DAYS
from ftwizard.commands import of_rows, output
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table

WIDE = 76
"""Columns from which the longest words fit into a table's."""
PLATFORMS_BY: tuple[Factor, ...] = ("ownership", "cost", "data")
"""In which the services of the cloud-managed path differ."""
EDITION = "2026-04"
"""The edition of the figures that everything began with; its claims show no date."""


def advise(arguments: argparse.Namespace) -> int:
    """Compare the paths and recommend one."""
    answers = _answers(arguments.answer)
    found = of_rows.read(arguments.data) if arguments.data else None
    facts = machine.facts()
    today = datetime.date.today()
    given = questions.effective(facts, answers)
    recommended = path.recommend(facts, answers, today)
    if arguments.json:
        output.print_json(
            {
                "date": today,
                "machine": facts,
                "answers": given,
                "questions": questions.questions(facts, answers),
                "recommendation": recommended,
                "verdicts": [
                    _verdict(one, recommended) for one in path.verdicts(facts, answers, today)
                ],
                "data": of_rows.document(found, facts, given, today) if found else None,
                "catalog": msgspec.structs.replace(catalog(), sources={}),
            }
        )
        return 0
    out = output.console()
    _say(out, recommended, of_rows.path_costs(found, facts, given, today) if found else ())
    if found:
        of_rows.say(out, found, facts, given, today)
    output.say(out, "", "This machine")
    out.print(output.pairs(questions.seen(facts)))
    if out.width < WIDE:
        _by_factor(out, recommended)
    else:
        out.print("", _factors(recommended), "", _platforms(), sep="\n")
    legend = f"No date: edition {EDITION}; !: over {STALE_DAYS} days old."
    output.say(out, "", legend, "Sources: ftwizard advise --json")
    _ask(out, questions.questions(facts, answers))
    return 0


def _answers(given: Iterable[str]) -> dict[str, str]:
    answers: dict[str, str] = {}
    for one in given:
        name, equals, option = one.partition("=")
        if not equals:
            raise FtwizardError(
                f"“{visible(one, 60)}” is no answer.", "Write it as data=stay.", USAGE
            )
        answers[name] = option
    return answers


def _verdict(one: Verdict, recommended: Recommendation) -> dict[str, object]:
    blocked = recommended.blocked if one.path == recommended.path else ""
    why_not = one.why_not or blocked
    return {
        "path": one.path,
        "platform": one.platform,
        "possible": not why_not,
        "why_not": why_not or None,
        "score": one.score,
        "pros": one.pros,
        "cons": one.cons,
    }


def _table(*names: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=False)
    table.add_column(names[0], max_width=12)
    for name in names[1:]:
        table.add_column(name, ratio=1, overflow="fold")
    return table


def _factors(recommended: Recommendation) -> Table:
    """Return the six factors of the three paths; earlier figures below the newest."""
    paths = catalog().paths
    first = None if recommended.blocked else recommended.path
    marks = ["→ " if one.id == first else "" for one in paths]
    table = _table("", *(mark + one.name for mark, one in zip(marks, paths, strict=True)))
    for factor, label in catalog().factors.items():
        cells = [
            _cell(one.claims(factor, recommended.platform if one.id == "cloud" else None))
            for one in paths
        ]
        table.add_row(label, *cells, end_section=True)
    return table


def _cell(claims: Claims, between: str = "\n") -> str:
    """Return the claims newest first, each with its date; the article's own go without."""
    today = datetime.date.today()
    return between.join(
        one.words
        if one.date(today) == EDITION and len(claims) == 1
        else f"{one.words} [{one.date(today)}]"
        for one in claims
    )


def _platforms() -> Table:
    """Return what differs among the services of the cloud-managed path."""
    cloud = catalog().path("cloud")
    table = _table("Cloud", *(catalog().factors[factor] for factor in PLATFORMS_BY))
    for one in cloud.platforms:
        cells = [_cell(cloud.claims(factor, one.id)[:1]) for factor in PLATFORMS_BY]
        table.add_row(one.name, *cells, end_section=True)
    return table


def _by_factor(out: Console, recommended: Recommendation) -> None:
    """Print the factors as lists: beside each other, words would be broken in their middle."""
    for factor, label in catalog().factors.items():
        lines = []
        for one in catalog().paths:
            platform = recommended.platform if one.id == "cloud" else None
            lines.append((one.name, _cell(one.claims(factor, platform), "; ")))
        _named(out, label, lines)
    cloud = catalog().path("cloud")
    for service in cloud.platforms:
        _named(out, service.name, (
            (catalog().factors[factor], _cell(cloud.claims(factor, service.id)[:1]))
            for factor in PLATFORMS_BY
        ))  # fmt: skip


def _named(out: Console, title: str, lines: Iterable[tuple[str, str]]) -> None:
    output.say(out, "", title)
    out.print(output.pairs(lines))


def _say(out: Console, found: Recommendation, costs: tuple[PathCost, ...]) -> None:
    name = catalog().path(found.path).name
    if found.platform:
        name += f", {catalog().platform(found.platform).name}"
    if found.blocked:
        _list(out, "", [found.blocked], mark="✗")
        _list(out, "What would have to change, one of these", found.changes)
        output.say(out, "", f"Nearest: {name}")
    else:
        output.say(out, f"→ {name}")
    _list(out, "", found.reasons, mark="+")
    _list(out, "", found.cautions, mark="-")
    if found.fit:
        _list(out, "", [found.fit], mark="✗" if found.wrong_tool else "✓")
    if found.close_to:
        _list(out, "", [f"{catalog().path(found.close_to).name} is about as good here."], mark="~")
    assumed = (f"{one[0].upper()}{one[1:]}." for one in found.assumed)
    _list(out, "Taken for granted", assumed)
    _list(out, "What would change it", () if found.blocked else found.flips)
    by_path = {one.path: one for one in costs}
    others = []
    for id, words in found.costs_of.items():
        money = path_costs.instead(by_path[id], by_path[found.path]) if costs else ""
        others.append(f"{catalog().path(id).name}: {words} {money}".rstrip())
    _list(out, "Choosing another path", others)


def _list(out: Console, title: str, lines: Iterable[str], mark: str = "·") -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row(f"  {mark}", line)
    if table.row_count:
        output.say(out, *(["", title] if title else []))
        out.print(table)


def _ask(out: Console, left: tuple[questions.Question, ...]) -> None:
    from rich.table import Table

    if not left:
        return
    output.say(out, "", "Answer what you know: ftwizard advise --answer ID=OPTION")
    for one in left:
        table = Table.grid(padding=(0, 2, 0, 0))
        for choice in one.options:
            table.add_row(f"  {one.id}={choice.id}", choice.label)
        output.say(out, "", one.text)
        out.print(table)
