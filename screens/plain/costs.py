"""What every path costs, line by line: the table, and what is asked of it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

from rich.text import Text

from ftwizard.catalog.prices import Prices
from ftwizard.estimate.offer import Offer, Volume
from ftwizard.screens import amounts, cost_basis, cost_table, cost_texts
from ftwizard.screens.cost_basis import Basis
from ftwizard.screens.cost_table import Order
from ftwizard.screens.draft import Draft
from ftwizard.screens.plain import hours
from ftwizard.screens.plain.asking import GO_ON, Asker, Back, Check

_NUMBER = 4
"""Cells of the number before a row."""
_MOST_WIDTH = 120


def show(ask: Asker, draft: Draft, today: datetime.date) -> Draft:
    """Print the table, and answer what is asked of it until it was enough; return the draft, with
    the price of an hour where that was said."""
    basis = cost_basis.basis(draft, today)
    prices, problem = cost_basis.prices(today)
    if problem is not None:
        ask.problem(problem)
    order = Order()
    shown = _table(ask, basis, prices, order, left_out=problem is not None)
    while True:
        options = [
            (GO_ON, "enough"),
            ("row", "all on one row, by its number"),
            ("sort", "sort it"),
            ("volume", "a monthly volume: what serving costs, and the break-even"),
            ("edition", _edition(basis)),
            ("share", _share(basis)),
            ("hour", "say what an hour of this machine costs"),
        ]
        try:
            chosen = ask.choose("And now?", options)
            if chosen == GO_ON:
                return draft
            if chosen == "row":
                _row(ask, basis, prices, shown)
                continue
            if chosen == "hour":
                draft = hours.ask_hour(ask, draft)
                basis = replace(basis, hour=draft.hour)
            else:
                basis, order = _changed(ask, basis, order, chosen)
        except Back:
            return draft
        shown = _table(ask, basis, prices, order, left_out=problem is not None)


def _changed(ask: Asker, basis: Basis, order: Order, chosen: str) -> tuple[Basis, Order]:
    """Return what the table is made of and how, after one choice; Back leaves it as it is."""
    try:
        if chosen == "sort":
            return basis, _sorted(ask, basis, order)
        if chosen == "volume":
            return basis.asking(volume=_volume(ask, basis)), order
    except Back:
        return basis, order
    if chosen == "edition":
        return basis.other_edition(), order
    if basis.private:
        ask.note(f"Off, for {basis.private}. {cost_texts.SHARING}")
        return basis, order
    ask.note(cost_texts.SHARING)
    return basis.asking(share_data=not basis.asked.share_data), order


def _table(
    ask: Asker, basis: Basis, prices: Prices, order: Order, *, left_out: bool
) -> list[Offer]:
    """Print the table with a number before each row; return its rows."""
    found = cost_basis.offers(basis, prices)
    rows = cost_table.arranged(found, order)
    monthly = basis.asked.volume is not None
    width = min(ask.width, _MOST_WIDTH)
    layout = cost_table.layout(found, order, width - _NUMBER, monthly=monthly)
    above = cost_table.headings(rows, order)
    star = cost_basis.recommended(found, basis)
    ask.say()
    ask.say(cost_texts.head(basis, order, own_left_out=left_out))
    ask.say()
    ask.keep(_cut(Text.assemble(" " * _NUMBER, layout.head()), width))
    for number, one in enumerate(rows, 1):
        if heading := above.get(cost_table.key(one)):
            ask.keep(Text.assemble(" " * _NUMBER, (heading, "dim")))
        line = layout.line(one, star=one is star)
        ask.keep(_cut(Text.assemble((f"{number:>{_NUMBER - 1}} ", "dim"), line), width))
    ask.note(
        f"{cost_table.STAR} recommended, {cost_table.STALE} a price over 90 days old, "
        f"{cost_table.ENDED} no longer offered; in/M and out/M are $ per million tokens."
    )
    return rows


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _row(ask: Asker, basis: Basis, prices: Prices, rows: Sequence[Offer]) -> None:
    """Print everything on the row of a number."""
    numbers = [str(number) for number in range(1, len(rows) + 1)]

    def check(typed: str) -> str:
        return "" if typed in numbers else f"Say a number from 1 to {len(rows)}."

    star = cost_basis.recommended(cost_basis.offers(basis, prices), basis)
    first = next((n for n, one in enumerate(rows, 1) if one == star), 1)
    try:
        chosen = rows[int(ask.line("Number of the row", str(first), check=check)) - 1]
    except Back:
        return
    ask.say()
    words = cost_texts.detail(chosen, basis, star=chosen == star, width=ask.width)
    ask.say(words, hang=cost_texts.NAMES)


def _sorted(ask: Asker, basis: Basis, order: Order) -> Order:
    monthly = basis.asked.volume is not None
    known = {one.id: one for one in cost_table.columns(monthly=monthly)}
    options = [(str(one.id), one.words) for one in known.values()]
    chosen = ask.choose("Sort it", options, order.by)
    by = next(id for id in known if id == chosen)
    turns = [("", "the least first"), ("reverse", "the most first")]
    return Order(by, ask.choose("Which way?", turns) != "")


def _volume(ask: Asker, basis: Basis) -> Volume:
    ask.explain(amounts.SEEN if basis.measured else amounts.USUAL)
    given = basis.asked.volume or basis.usual
    found = [
        amounts.read(
            name, ask.line(name, "" if value is None else f"{value:f}", check=_check(name))
        )
        for name, value in zip(
            amounts.NAMES, (given.requests, given.tokens_in, given.tokens_out), strict=True
        )
    ]
    return Volume(requests=found[0], tokens_in=found[1], tokens_out=found[2])


def _check(name: str) -> Check:
    def check(typed: str) -> str:
        try:
            amounts.read(name, typed)
        except ValueError as error:
            return str(error)
        return ""

    return check


def _edition(basis: Basis) -> str:
    current = basis.asked.edition == "current"
    return "the article's prices, 2026-04" if current else "the newest prices"


def _share(basis: Basis) -> str:
    if basis.asked.share_data:
        return "without OpenAI's discount for shared data"
    return "with OpenAI's discount for shared data"
