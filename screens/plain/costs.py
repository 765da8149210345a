"""The cost table in plain mode."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from dataclasses import replace

from rich.text import Text

from ftwizard.catalog.prices import Prices
from ftwizard.errors import FtwizardError
from ftwizard.pricing import machine_rate
from ftwizard.pricing.offer import Offer, Volume
from ftwizard.screens.costs import inputs, table, text
from ftwizard.screens.costs.inputs import Basis
from ftwizard.screens.costs.table import Order
from ftwizard.screens.draft import texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain.prompts import CONTINUE, GoBack, Prompter

PRICE_HINT = "choose “set the hourly price” below"
_NUMBER_WIDTH = 4
"""Cells of the row number."""
_MAX_WIDTH = 120


def browse_costs(prompter: Prompter, draft: Draft, today: datetime.date) -> Draft:
    """Print the table and offer changes until done; return the draft, whose hourly price may have
    changed."""
    basis = inputs.build_basis(draft, today)
    prices, problem = inputs.load_prices(today)
    if problem is not None:
        prompter.print_problem(problem)
    order = Order()
    shown = _print_table(prompter, basis, prices, order, left_out=problem is not None)
    while True:
        query = basis.query
        other = "the article's prices (2026-04)" if query.edition == "current" else "current prices"
        options = [
            (CONTINUE, "done"),
            ("row", "show the details of a row"),
            ("sort", "sort"),
            ("volume", "set a monthly volume: serving cost and break-even"),
            ("edition", f"use {other}"),
            ("share", f"with{'out' if query.share_data else ''} OpenAI's data-sharing discount"),
            ("hour", "set the hourly price of this machine"),
        ]
        try:
            chosen = prompter.choose("What next?", options)
            if chosen == CONTINUE:
                return draft
            if chosen == "row":
                _print_row(prompter, basis, prices, shown)
                continue
            if chosen == "hour":
                draft = ask_hour(prompter, draft)
                basis = replace(basis, hour=draft.hour)
            else:
                basis, order = _change_table(prompter, basis, order, chosen)
        except GoBack:
            return draft
        shown = _print_table(prompter, basis, prices, order, left_out=problem is not None)


def _change_table(
    prompter: Prompter, basis: Basis, order: Order, chosen: str
) -> tuple[Basis, Order]:
    """Return the changed basis and order; going back changes nothing."""
    try:
        if chosen == "sort":
            return basis, _ask_order(prompter, basis, order)
        if chosen == "volume":
            return basis.with_query(volume=_ask_volume(prompter, basis)), order
    except GoBack:
        return basis, order
    if chosen == "edition":
        return basis.with_other_edition(), order
    if basis.private:
        prompter.note(f"Not available: {basis.private}. {text.SHARING_NOTE}")
        return basis, order
    on = not basis.query.share_data
    prompter.note(text.SHARING_NOTE if on else text.SHARING_OFF)
    return basis.with_query(share_data=on), order


def _print_table(
    prompter: Prompter, basis: Basis, prices: Prices, order: Order, *, left_out: bool
) -> list[Offer]:
    """Print the table with numbered rows; return the rows."""
    offers = inputs.compute_offers(basis, prices)
    rows = table.sort_offers(offers, order)
    monthly = basis.query.volume is not None
    width = min(prompter.width, _MAX_WIDTH)
    layout = table.build_layout(offers, order, width - _NUMBER_WIDTH, monthly=monthly)
    above = table.build_headings(rows, order)
    star = inputs.find_recommended(offers, basis)
    prompter.print()
    prompter.print(text.format_heading(basis, order, own_left_out=left_out))
    prompter.print()
    prompter.print_line(_truncate(Text.assemble(" " * _NUMBER_WIDTH, layout.head()), width))
    for number, offer in enumerate(rows, 1):
        if heading := above.get(table.get_key(offer)):
            prompter.print_line(Text.assemble(" " * _NUMBER_WIDTH, (heading, "dim")))
        line = layout.line(offer, star=offer is star)
        prompter.print_line(
            _truncate(Text.assemble((f"{number:>{_NUMBER_WIDTH - 1}} ", "dim"), line), width)
        )
    prompter.note(
        f"{table.STAR} recommended, {table.STALE} a price over 90 days old, "
        f"{table.ENDED} no longer offered; in/M and out/M are $ per million tokens."
    )
    return rows


def _truncate(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _print_row(prompter: Prompter, basis: Basis, prices: Prices, rows: Sequence[Offer]) -> None:
    """Ask for a row number and print the row's details."""
    numbers = {str(number): offer for number, offer in enumerate(rows, 1)}

    def parse(typed: str) -> Offer:
        if typed not in numbers:
            raise ValueError(f"Enter a number from 1 to {len(rows)}.")
        return numbers[typed]

    star = inputs.find_recommended(inputs.compute_offers(basis, prices), basis)
    first = next((number for number, offer in numbers.items() if offer == star), "1")
    try:
        chosen = prompter.ask_value("Row number", first, parse=parse)
    except GoBack:
        return
    prompter.print()
    words = text.format_detail(chosen, basis, star=chosen == star, width=prompter.width)
    prompter.print(words, hang=text.NAME_WIDTH)


def _ask_order(prompter: Prompter, basis: Basis, order: Order) -> Order:
    monthly = basis.query.volume is not None
    columns = {column.id: column for column in table.list_columns(monthly=monthly)}
    options = [(str(column.id), column.order_text) for column in columns.values()]
    chosen = prompter.choose("Sort by", options, order.by)
    by = next(id for id in columns if id == chosen)
    turns = [("", "lowest first"), ("reverse", "highest first")]
    return Order(by, prompter.choose("Order", turns) != "")


def _ask_volume(prompter: Prompter, basis: Basis) -> Volume:
    prompter.explain(inputs.MEASURED_NOTE if basis.measured else inputs.ASSUMED_NOTE)
    amounts = [
        prompter.ask_value(name, text, parse=functools.partial(inputs.parse_amount, name))
        for name, text in inputs.list_amounts(basis.query.volume or basis.usual)
    ]
    return Volume(requests=amounts[0], tokens_in=amounts[1], tokens_out=amounts[2])


def ask_hour(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the hourly price and whether to save it; going back changes nothing."""
    prompter.explain(texts.HOUR_PRICE_REASON)
    if guide := texts.describe_rental(draft.estimate):
        prompter.note(guide)
    default = f"{draft.hour.usd:f}" if draft.hour else ""
    question = f"{texts.HOUR_PRICE_QUESTION} {texts.HOUR_PRICE_NAME}"
    try:
        price = prompter.ask_value(question, default, parse=machine_rate.parse_typed_price)
        saved = machine_rate.read_saved_price()
        if saved and saved.usd == price.usd:
            return draft.with_hour_price(saved)
        prompter.explain(texts.describe_saved_price())
        options = [("once", "no, this time only"), ("remember", "yes, save it")]
        keeps = prompter.choose(texts.SAVE_PRICE, options) == "remember"
    except GoBack:
        return draft
    if keeps:
        try:
            machine_rate.save_price(price.usd)
            price = machine_rate.read_saved_price() or price
        except FtwizardError as error:
            prompter.print_problem(error)
    return draft.with_hour_price(price)
