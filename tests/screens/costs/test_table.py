"""The cost table and its plot as text: order, width and amounts, for any offers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ftwizard import text
from ftwizard.catalog.prices import packaged
from ftwizard.pricing.offer import Offer
from ftwizard.quantity import EndDate
from ftwizard.screens.costs import inputs, table
from ftwizard.screens.costs.page import build_plot
from ftwizard.screens.costs.table import Order
from tests.screens.costs.helpers import COLUMN_IDS, MONTH, TODAY, counted, usd

AMOUNTS = st.floats(0.0001, 1e7)
FIGURES = st.none() | AMOUNTS.map(usd)
OFFERS = st.lists(
    st.builds(
        lambda number, tunable, local, training, input, output, hosting, weights, until: Offer(
            provider="local" if local else "cloud", platform="vertex", model=str(number),
            name="x" * (number % 60), tunable=tunable, training=training, input=input,
            output=output, hosting=hosting, weights=weights, owner="", until=until,
        ),
        st.integers(0, 10**6), st.booleans(), st.booleans(), FIGURES, FIGURES, FIGURES, FIGURES,
        st.sampled_from(["yes", "no", "unknown"]), st.none() | st.dates().map(lambda item: EndDate(date=item, source="x", as_of="2026-11")),
    ),
    max_size=12, unique_by=lambda item: item.model,
)  # fmt: skip
ORDERS = st.builds(Order, st.sampled_from(COLUMN_IDS), st.booleans())


@given(OFFERS, ORDERS)
def test_sorting_keeps_all_offers_with_unknown_and_ended_last(
    items: list[Offer], order: Order
) -> None:
    rows = table.sort_offers(items, order)
    assert sorted(map(table.get_key, rows)) == sorted(map(table.get_key, items))
    keyed = table.COLUMNS[order.by].key
    assert [row.tunable for row in rows] == sorted((row.tunable for row in rows), reverse=True)
    for tunable in (True, False):
        keys = [keyed(row) for row in rows if row.tunable is tunable]
        expected = [key for key in keys if key is not None]
        assert keys[: len(expected)] == expected
        assert expected == sorted(expected, reverse=order.reverse)


@given(OFFERS, ORDERS, st.integers(40, 200), st.booleans())
def test_every_row_is_as_wide_as_the_header_and_fits(
    items: list[Offer], order: Order, width: int, monthly: bool
) -> None:
    layout = table.build_layout(items, order, width, monthly=monthly)
    head = layout.head().cell_len
    assert all(layout.line(item, star=bool(n % 2)).cell_len == head for n, item in enumerate(items))
    if width >= 54:
        assert head <= width
    shown = [column.id for column, _ in layout.shown]
    if order.by != "provider" and (monthly or not table.COLUMNS[order.by].monthly):
        assert order.by in shown, "the sort column is visible"


@given(st.floats(0, 1e9))
def test_dollar_amounts_are_short_and_never_round_to_zero(value: float) -> None:
    dollars = text.format_dollars(value)
    assert cell_len(dollars) <= 14
    assert (value == 0) == (float(dollars[1:].replace(",", "")) == 0)


@given(st.decimals(1, 10**12, allow_nan=False, places=0))
def test_amount_parses_with_and_without_separators(number: Decimal) -> None:
    assert inputs.parse_amount("", f"{number:,f}") == number
    assert inputs.parse_amount("", f" {number:f} ") == number


@pytest.mark.parametrize("typed", ["", "0", "-1", "x", "nan", "inf", "1e99", "k", "\x1b[2J", "٣x"])
def test_invalid_amount_is_rejected(typed: str) -> None:
    with pytest.raises(ValueError, match=r"not a number|enter a number"):
        inputs.parse_amount("Tokens in", typed)


def test_plot_lines_cross_at_the_break_even() -> None:
    basis = inputs.build_basis(counted(), TODAY).with_query(volume=MONTH)
    offers = inputs.compute_offers(basis, packaged())
    drawn = [build_plot(item, offers, basis.query) for item in offers if item.break_even]
    assert drawn
    for item in drawn:
        even = next(mark.x for mark in item.marks if mark.kind == "break-even")
        offered, rented = (line.series for line in item.lines)
        (x0, y0), (x1, y1) = offered[0], offered[len(offered) - 1]
        at_even = y0 + (y1 - y0) * (even - x0) / (x1 - x0)
        assert at_even == pytest.approx(rented[0][1], rel=1e-3)
        assert max(mark.x for mark in item.marks) < x1
