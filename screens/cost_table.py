"""The table of costs: its columns, what fits, how it is sorted, and its lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len
from rich.text import Text

from ftwizard.catalog.paths import catalog
from ftwizard.dollars import UNKNOWN, amount, span
from ftwizard.estimate.offer import Offer
from ftwizard.figure import Figure
from ftwizard.screens import palette
from ftwizard.text import visible

NOT_BILLED = "–"
TOO_SMALL = "does not fit"
STAR, ENDED, STALE = "●", "✗", "!"
GAP = 2
_RECOMMENDED = "  recommended"
_MARK = 2
_LEAST_NAME, _MOST_NAME = 8, 48
ColumnId = Literal[
    "path", "training", "input", "output", "relative", "hosting", "monthly", "break_even",
    "weights", "until",
]  # fmt: skip
_WEIGHTS = {"yes": "yours", "no": "theirs", "unknown": UNKNOWN}


@dataclass(frozen=True)
class Column:
    """One column; ``path`` is that of the names."""

    id: ColumnId
    name: str
    cell: Callable[[Offer], str]
    key: Callable[[Offer], Any]
    """What it is sorted by, the best first; None where it is not known."""
    words: str
    """What it is sorted by, in words."""
    monthly: bool = False
    """Only where a volume was said."""


@dataclass(frozen=True)
class Order:
    """How the table is sorted."""

    by: ColumnId = "path"
    reverse: bool = False

    @property
    def words(self) -> str:
        """Return it in words."""
        return f"{COLUMNS[self.by].words}{', reversed' if self.reverse else ''}"


def key(offer: Offer) -> str:
    """Return what tells an offer from all others."""
    return "/".join(
        part or "" for part in (offer.platform, offer.model, offer.card, offer.market, offer.method)
    )


def columns(*, monthly: bool) -> list[Column]:
    """Return the columns that can be sorted by, in order."""
    return [one for one in COLUMNS.values() if monthly or not one.monthly]


def after(order: Order, *, monthly: bool) -> Order:
    """Return the order by the next column."""
    ids = [one.id for one in columns(monthly=monthly)]
    place = ids.index(order.by) if order.by in ids else -1
    return Order(ids[(place + 1) % len(ids)], False)


def arranged(offers: Sequence[Offer], order: Order) -> list[Offer]:
    """Return the offers sorted: what is not known after what is, what has ended last of all."""
    column = COLUMNS[order.by]
    found: list[Offer] = []
    for tunable in (True, False):
        part = [one for one in offers if one.tunable is tunable]
        if order.by == "path":
            found += part[::-1] if order.reverse else part
            continue
        known = [one for one in part if column.key(one) is not None]
        found += sorted(known, key=column.key, reverse=order.reverse)
        found += [one for one in part if column.key(one) is None]
    return found


@dataclass(frozen=True)
class Layout:
    """Which columns are shown, and how wide."""

    shown: tuple[tuple[Column, int], ...]
    """Without the names."""
    name: int
    order: Order

    def head(self) -> Text:
        """Return the line above the table."""
        text = Text(" " * _MARK, no_wrap=True)
        text.append_text(self._title(COLUMNS["path"], self.name, left=True))
        for column, width in self.shown:
            text.append(" " * GAP).append_text(self._title(column, width))
        return text

    def line(self, offer: Offer, *, star: bool) -> Text:
        """Return one offer; ``star``: it is the recommended one."""
        quiet = "" if offer.tunable else "dim"
        text = Text(no_wrap=True)
        if star:
            text.append(f"{STAR} ", f"bold {palette.ACCENT}")
        elif not offer.tunable:
            text.append(f"{ENDED} ", quiet)
        else:
            text.append(f"{STALE} " if offer.stale else "  ", palette.WARNING)
        name = Text(visible(offer.name), quiet)
        if star and cell_len(name.plain) + len(_RECOMMENDED) <= self.name:
            name.append(_RECOMMENDED, palette.ACCENT)
        name.truncate(self.name, overflow="ellipsis", pad=True)
        text.append_text(name)
        for column, width in self.shown:
            said = column.cell(offer)
            pale = quiet or ("dim" if said in (UNKNOWN, NOT_BILLED, TOO_SMALL) else "")
            text.append(" " * GAP).append(said.rjust(width), pale)
        return text

    def _title(self, column: Column, width: int, *, left: bool = False) -> Text:
        here = column.id == self.order.by
        arrow = ("↓" if self.order.reverse else "↑") if here else ""
        said = f"{column.name}{arrow}" if left else f"{arrow}{column.name}"
        style = f"bold {palette.ACCENT}" if here else "dim"
        return Text(said.ljust(width) if left else said.rjust(width), style)


def layout(offers: Sequence[Offer], order: Order, width: int, *, monthly: bool) -> Layout:
    """Return what fits ``width`` cells: names whole, then columns by weight; the one that is
    sorted by is always there."""
    longest = max((cell_len(visible(one.name)) for one in offers), default=0)
    longest = max(_LEAST_NAME, min(longest, _MOST_NAME, width // 2))
    left = width - _MARK - longest
    wanted = [one for one in columns(monthly=monthly) if one.id != "path"]
    widths = {one.id: _width(one, offers, sorted_by=one.id == order.by) for one in wanted}
    by_weight: tuple[tuple[ColumnId, ...], ...] = (
        ("training",), ("monthly",), ("input", "output"), ("until",), ("hosting",),
        ("break_even",), ("weights",), ("relative",),
    )  # fmt: skip
    groups = [one for one in by_weight if one[0] in widths]
    groups.sort(key=lambda group: order.by not in group)
    kept: set[str] = set()
    for group in groups:
        need = sum(widths[id] + GAP for id in group)
        if need <= left or not kept:
            kept.update(group)
            left -= need
    shown = tuple((one, widths[one.id]) for one in wanted if one.id in kept)
    name = longest + min(left, len(_RECOMMENDED))
    return Layout(shown, max(_LEAST_NAME, name), order)


def headings(offers: Sequence[Offer], order: Order) -> dict[str, str]:
    """Return what stands above an offer, by its key: its path where these are sorted by, and what
    has ended."""
    found: dict[str, str] = {}
    before: object = None
    for one in offers:
        group: object = one.path if one.tunable else None
        if group is None and before is not None:
            found[key(one)] = "no longer offered"
        elif group != before and order.by == "path":
            found[key(one)] = catalog().path(one.path).name
        before = group
    return found


def _width(column: Column, offers: Sequence[Offer], *, sorted_by: bool) -> int:
    return max(len(column.name) + sorted_by, *(cell_len(column.cell(one)) for one in offers), 0)


def _training(offer: Offer) -> str:
    if offer.too_small:
        return TOO_SMALL
    if offer.path == "local" and offer.card is None:
        return UNKNOWN if offer.rate is None else _own(offer)
    if offer.training is None and offer.rate and offer.rate.unit == "USD per hour":
        return f"{span(offer.rate)}/h"
    return span(offer.training)


def _own(offer: Offer) -> str:
    return span(offer.training) if offer.training else f"{span(offer.rate)}/h"


def _tokens(id: Literal["input", "output"]) -> Callable[[Offer], str]:
    def cell(offer: Offer) -> str:
        figure: Figure | None = getattr(offer, id)
        return NOT_BILLED if offer.path == "local" else span(figure)

    return cell


def _hosting(offer: Offer) -> str:
    if offer.hosting is None and (offer.path == "local" or offer.input is not None):
        return NOT_BILLED
    return span(offer.hosting)


def _relative(offer: Offer) -> str:
    if offer.path == "local":
        return NOT_BILLED
    return UNKNOWN if offer.relative is None else f"{offer.relative.value:+.0f} %"


def _monthly(offer: Offer) -> str:
    if not offer.serves and offer.market != "spot":
        return TOO_SMALL
    if offer.path == "local" and offer.card is None:
        return UNKNOWN if offer.monthly is None else amount(offer.monthly.value)
    if offer.market == "spot":
        return NOT_BILLED
    return span(offer.monthly) if offer.monthly is None else amount(offer.monthly.value)


def _break_even(offer: Offer) -> str:
    if offer.path == "local":
        return NOT_BILLED
    return UNKNOWN if offer.break_even is None else f"{offer.break_even.value:,.0f}"


def _until(offer: Offer) -> str:
    if not offer.tunable:
        return "ended"
    return str(offer.until.date) if offer.until else NOT_BILLED


def _value(id: str) -> Callable[[Offer], float | None]:
    def value(offer: Offer) -> float | None:
        figure: Figure | None = getattr(offer, id)
        return None if figure is None else figure.value

    return value


def _weights_key(offer: Offer) -> int | None:
    return {"yes": 0, "no": 1}.get(offer.weights)


COLUMNS: dict[ColumnId, Column] = {
    one.id: one
    for one in (
        Column("path", "path", lambda one: one.name, lambda one: 0, "by path"),
        Column("training", "training", _training, _value("training"), "by training"),
        Column("input", "in/M", _tokens("input"), _value("input"), "by price of input"),
        Column("output", "out/M", _tokens("output"), _value("output"), "by price of output"),
        Column("relative", "vs base", _relative, _value("relative"), "by price against the base"),
        Column("hosting", "per hour", _hosting, _value("hosting"), "by hosting per hour"),
        Column("monthly", "a month", _monthly, _value("monthly"), "by the month", True),
        Column("break_even", "break-even", _break_even, _value("break_even"), "by break-even", True),
        Column("weights", "weights", lambda one: _WEIGHTS[one.weights], _weights_key,
               "by who owns the weights"),
        Column("until", "until", _until, lambda one: one.until, "by when it ends"),
    )
}  # fmt: skip
