"""``advise``: the paths side by side for this machine and these answers, with reasons."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING

import msgspec

from ftwizard import machine
from ftwizard.advice import path, questions
from ftwizard.advice.path import Recommendation
from ftwizard.advice.weigh import Verdict
from ftwizard.catalog import Claims, Factor, catalog
from ftwizard.commands import output
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table

EDITION = "2026-04"
"""The edition of the figures that everything began with; its claims show no date."""


def advise(arguments: argparse.Namespace) -> int:
    """Compare the paths and recommend one."""
    answers = _answers(arguments.answer)
    facts = machine.facts()
    today = datetime.date.today()
    recommended = path.recommend(facts, answers, today)
    if arguments.json:
        output.print_json(
            {
                "date": today,
                "machine": facts,
                "answers": questions.effective(facts, answers),
                "questions": questions.questions(facts, answers),
                "recommendation": recommended,
                "verdicts": [_verdict(one) for one in path.verdicts(facts, answers, today)],
                "catalog": msgspec.structs.replace(catalog(), sources={}),
            }
        )
        return 0
    out = output.console()
    out.print(output.pairs(questions.seen(facts)))
    out.print("", _factors(recommended), "", _platforms(), sep="\n")
    output.say(out, "", f"No date: edition {EDITION}. Sources: ftwizard advise --json")
    _say(out, recommended)
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


def _verdict(one: Verdict) -> dict[str, object]:
    return {
        "path": one.path,
        "platform": one.platform,
        "possible": not one.why_not,
        "why_not": one.why_not or None,
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
    marks = ["→ " if one.id == recommended.path else "" for one in paths]
    table = _table("", *(mark + one.name for mark, one in zip(marks, paths, strict=True)))
    for factor, label in catalog().factors.items():
        cells = [
            _cell(one.claims(factor, recommended.platform if one.id == "cloud" else None))
            for one in paths
        ]
        table.add_row(label, *cells, end_section=True)
    return table


def _cell(claims: Claims) -> str:
    """Return the claims newest first, each with its date; the article's own go without."""
    return "\n".join(
        one.words if one.as_of == EDITION and len(claims) == 1 else f"{one.words} [{one.as_of}]"
        for one in claims
    )


def _platforms() -> Table:
    """Return what differs among the services of the cloud-managed path."""
    cloud = catalog().path("cloud")
    shown: tuple[Factor, ...] = ("ownership", "cost", "data")
    table = _table("Cloud", *(catalog().factors[factor] for factor in shown))
    for one in cloud.platforms:
        cells = [_cell(cloud.claims(factor, one.id)[:1]) for factor in shown]
        table.add_row(one.name, *cells, end_section=True)
    return table


def _say(out: Console, found: Recommendation) -> None:
    name = catalog().path(found.path).name
    if found.platform:
        name += f", {catalog().platform(found.platform).name}"
    if found.fit:
        output.say(out, "")
        _list(out, "", [found.fit], mark="✗" if found.wrong_tool else "✓")
    output.say(out, "", f"→ {name}")
    _list(out, "", found.reasons, mark="+")
    _list(out, "", found.cautions, mark="-")
    if found.close_to:
        _list(out, "", [f"{catalog().path(found.close_to).name} is about as good here."], mark="~")
    assumed = (f"{one[0].upper()}{one[1:]}." for one in found.assumed)
    _list(out, "Taken for granted", assumed)
    _list(out, "What would change it", found.flips)
    others = (f"{catalog().path(one).name}: {words}" for one, words in found.costs_of.items())
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
