"""Cost table for a terminal of 80 columns."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ftwizard.catalog import hosted_models
from ftwizard.catalog.hosted_models import PLATFORM_NAMES
from ftwizard.catalog.prices import stale_mark
from ftwizard.cli import output
from ftwizard.pricing.cost_report import CostReport
from ftwizard.pricing.money import format_price
from ftwizard.pricing.offer import CHECK_PRICE, NoteCode, Offer
from ftwizard.pricing.offer_list import find_first
from ftwizard.quantity import Figure
from ftwizard.text import format_amount, format_count, format_dollars, make_visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN_IN_TABLE: frozenset[NoteCode] = frozenset(("hours-unknown", "too-small", "price-unknown"))
"""Notes that repeat the table."""
MAX_NOTES = 10
"""Notes under the table without ``--notes``."""
MAX_UNPRICED = 2
"""Models without a price shown per platform; more go into one line."""
BESIDE = {
    "input": "input", "output": "output", "hosting": "hosting per hour", "setup": "setup",
}  # fmt: skip
"""Figures whose value in the other edition goes into a note."""
GROUPS: dict[str, str] = {
    **{str(host): name for host, name in PLATFORM_NAMES.items()},
    "local": "Self-hosted, a GPU",
}
LEGEND = {
    "in / out": "in / out: $ per million tokens", "base": "base: vs. the base model's price",
    "keep": "keep: you own the weights", "": "→ try this first; * the usual choice there",
    "as of": "! price over 90 days old",
}  # fmt: skip
OTHER_EDITION = "below a cost: by the other edition's price, of the month named there"
COLUMNS = ("training", "in / out", "base", "host/h", "keep", "as of")
FULL_WIDTH = 78
"""Terminal width that all columns need."""
OPTIONAL_COLUMNS = ("base", "host/h", "keep")
"""Dropped first on narrower terminals; the JSON has them all."""
NARROW = 62
"""Below this width, the inference prices are dropped too."""


def show(
    out: Console, costs: CostReport, model: str | None = None, *, all_notes: bool = False
) -> None:
    """Print the costs and their notes.

    ``model``: the model asked for, which is always shown; ``all_notes``: more than ``MAX_NOTES``.
    """
    hosted = hosted_models.find_model(model) if model else None
    shown, gone, unknown = _sort_out(costs, hosted.id if hosted else None)
    tokens = _format_tokens(costs.counted["total"])
    edition = "current prices" if costs.edition == "current" else "edition 2026-04 (the article)"
    output.print_lines(out, f"Costs for {tokens} tokens, {edition}")
    columns = _fitting_columns(out.width)
    out.print(_build_table(shown, costs.sort == "provider", columns, costs.date))
    if left := [name for name in COLUMNS if name not in columns]:
        output.print_lines(
            out, f"Hidden columns: {', '.join(left)}. Widen the terminal or use --json."
        )
    for title, offers in (("No longer available", gone), ("Price unknown", unknown)):
        if offers:
            names = ", ".join(offer.name for offer in offers)
            check = f" ({CHECK_PRICE})" if offers is unknown else ""
            output.print_lines(out, f"{title}{check}: {names}")
    if costs.monthly:
        out.print("", _build_monthly_table(costs, shown), sep="\n")
    notes = [*costs.notes, *_offer_notes(shown)]
    kept = notes if all_notes or len(notes) <= MAX_NOTES else notes[: MAX_NOTES - 1]
    # Differences between the editions are always shown.
    output.print_lines(out, "", *(f"· {note}" for note in [*kept, *_edition_notes(costs, shown)]))
    if more := len(notes) - len(kept):
        output.print_lines(out, f"· {format_count(more, 'more note')}: use --notes or --json")


def show_usual(out: Console, costs: CostReport) -> None:
    """Print the usual choice at each platform and the cheapest rented GPU, one line each."""
    shown, _, _ = _sort_out(costs, None)
    usual = _choose_usual(shown)
    output.print_lines(out, f"Elsewhere, for {_format_tokens(costs.counted['total'])} tokens")
    table = _new_table()
    table.show_header = False
    table.padding = (0, 2, 0, 0)
    for name in ("offer", "training", "as of"):
        table.add_column(name, overflow="fold")
    for offer in usual:
        assert offer.training
        setup = f", setup {_format_money(offer.setup)}" if offer.setup else ""
        table.add_row(
            make_visible(offer.name),
            f"{_format_range(offer.training, ' ')}{setup}",
            _format_cells(offer, costs.date)["as of"],
        )
    out.print(table)
    if any(offer.stale for offer in usual):
        output.print_lines(out, LEGEND["as of"])
    more = format_count(len(costs.costs) - len(usual), "more offer")
    output.print_lines(out, f"{more}, what serving costs, and notes: --notes")


def _choose_usual(shown: list[Offer]) -> list[Offer]:
    """Return the usual choice at each platform and the cheapest rented GPU, if their price is known."""
    priced = [offer for offer in shown if offer.training]
    rented = [offer for offer in priced if offer.provider == "local" and offer.card]
    cheapest = min(
        rented, key=lambda offer: offer.training.value if offer.training else 0, default=None
    )
    return [offer for offer in priced if offer.recommended or offer is cheapest]


def _sort_out(
    costs: CostReport, wanted: str | None
) -> tuple[list[Offer], list[Offer], list[Offer]]:
    """Return the offers to show, those no longer available, and those without a price."""
    offers = [offer for offer in costs.costs if offer.model != wanted]
    priceless = [
        offer
        for offer in offers
        if offer.provider != "local" and not (offer.training or offer.rate or offer.input)
    ]
    many = {
        name
        for name in PLATFORM_NAMES
        if sum(offer.platform == name for offer in priceless) > MAX_UNPRICED
    }
    current = costs.edition == "current"
    gone = [offer for offer in offers if current and not offer.tunable]
    unknown = [offer for offer in priceless if offer.platform in many and offer not in gone]
    hidden = [*gone, *unknown]
    return [offer for offer in costs.costs if offer not in hidden], gone, unknown


def _new_table() -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
    table.caption_justify = "left"
    return table


def _fitting_columns(width: int) -> tuple[str, ...]:
    """Return the columns that fit next to unbroken names."""
    if width >= FULL_WIDTH:
        return COLUMNS
    dropped = OPTIONAL_COLUMNS if width >= NARROW - 12 else (*OPTIONAL_COLUMNS, "in / out")
    return tuple(name for name in COLUMNS if name not in dropped)


def _build_table(
    shown: list[Offer], grouped: bool, columns: tuple[str, ...], today: datetime.date
) -> Table:
    table = _new_table()
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    group, first = "", find_first(shown)
    for offer in shown:
        if grouped and offer.platform != group:
            group = offer.platform
            table.add_row(GROUPS[group], style="bold")
        name = offer.name.removeprefix(f"{GROUPS[offer.platform]} ") if grouped else offer.name
        cells = _format_cells(offer, today)
        table.add_row(
            make_visible(f"{'→' if offer is first else '*' if offer.recommended else ' '} {name}"),
            *(cells[column] for column in columns),
        )
        if offer.setup and offer.training:
            table.add_row("    setup", _format_range(offer.setup))
    legend = [text for name, text in LEGEND.items() if not name or name in columns]
    if any(offer.training and offer.other_training for offer in shown):
        legend.append(OTHER_EDITION)
    table.caption = "; ".join(legend)
    return table


def _format_cells(offer: Offer, today: datetime.date) -> dict[str, str]:
    return {
        "training": _format_training(offer, today),
        "in / out": _format_inference(offer),
        "base": f"{offer.relative.value:+.0f}%" if offer.relative else "",
        "host/h": _format_money(offer.hosting) if offer.hosting else "",
        "keep": {"unknown": "?"}.get(offer.weights, offer.weights),
        "as of": f"{offer.as_of[:7]}{'!' if offer.stale else ''}" if offer.as_of else "",
    }


def _format_inference(offer: Offer) -> str:
    if offer.input and offer.output:
        return f"{format_amount(offer.input.value)}/{format_amount(offer.output.value)}"
    return "the GPU" if offer.provider == "local" else "?"


def _format_training(offer: Offer, today: datetime.date) -> str:
    if offer.training and offer.other_training:
        other, rate = offer.other_training, offer.rate
        ranged = rate is not None and rate.high is not None and offer.provider != "local"
        now = _format_range(offer.training) if ranged else _format_money(offer.training)
        return f"{now}\n{_format_month(other, today)}: {_format_money(other)}"
    if offer.training:
        return _format_range(offer.training)
    is_local = offer.provider == "local"
    if is_local and offer.too_small:
        return "does not fit"
    if offer.rate and is_local and offer.card:
        return "hours unknown"
    if offer.rate and (is_local or offer.rate.unit == "USD per hour"):
        return f"{_format_money(offer.rate)}/h"
    return "unknown"


def _format_month(figure: Figure, today: datetime.date) -> str:
    """Format the month of a figure, with a mark if it is old."""
    return f"{(figure.as_of or '')[:7]}{stale_mark(figure.as_of, today)}"


def _build_monthly_table(costs: CostReport, shown: list[Offer]) -> Table:
    volume = costs.monthly
    assert volume is not None
    table = _new_table()
    into, out = (f"{figure.value:,.10g}" for figure in (volume.tokens_in, volume.tokens_out))
    table.add_column(f"{into} tokens in, {out} out", overflow="fold")
    has_requests = bool(volume.requests)
    if has_requests:
        table.add_column("per month", justify="right")
    table.add_column("GPU cheaper above", justify="right")
    for offer in shown:
        if offer.break_even or (has_requests and offer.monthly):
            month = [_format_monthly(offer, "monthly", costs.date)] if has_requests else []
            table.add_row(
                make_visible(offer.name), *month, _format_monthly(offer, "break_even", costs.date)
            )
    if gpu := volume.gpu_month:
        table.caption = (
            f"GPU: {volume.gpu} on demand, {_format_money(gpu)} per month, if one is enough"
        )
        if other := volume.other_gpu_month:
            table.caption += f"\n({_format_month(other, costs.date)}: {_format_money(other)})"
    return table


def _format_monthly(
    offer: Offer, name: Literal["monthly", "break_even"], today: datetime.date
) -> str:
    """Format a monthly figure, with the other edition's below it where they differ."""
    figure: Figure | None = getattr(offer, name)
    if figure is None:
        return ""
    is_count = name == "break_even"
    first = f"{_format_requests(figure)} requests/month" if is_count else _format_range(figure, " ")
    other_edition = offer.other_edition.get(name)
    if other_edition is None:
        return first
    words = _format_requests(other_edition) if is_count else _format_money(other_edition)
    return f"{first}\n{_format_month(other_edition, today)}: {words}"


def _format_requests(figure: Figure) -> str:
    """Format a number of requests to the digits that matter: ``6.4 million``."""
    if figure.value >= 1e6:
        return f"{figure.value / 1e6:,.1f} million"
    return f"{figure.value:,.0f}"


def _edition_notes(costs: CostReport, shown: list[Offer]) -> Iterator[str]:
    """Yield notes on prices that differ in the other edition."""
    prices = "April 2026 prices" if costs.edition == "current" else "current prices"
    for offer in shown:
        parts = [
            f"{BESIDE[name]} {_format_money(figure)} instead of {_format_money(now)} "
            f"({_format_month(figure, costs.date)})"
            for name, figure in offer.other_edition.items()
            if name in BESIDE and (now := getattr(offer, name))
        ]
        if parts:
            yield f"{offer.name}, {prices}: {'; '.join(parts)}."


def _offer_notes(shown: list[Offer]) -> Iterator[str]:
    """Yield the notes of the shown offers, once each, with the offers they apply to.

    Notes with an end date or another method come first, then those of most rows.
    """
    by_note: dict[tuple[NoteCode, str], list[Offer]] = {}
    for offer in shown:
        for code, note in offer.coded_notes:
            if code not in SHOWN_IN_TABLE:
                by_note.setdefault((code, note), []).append(offer)
    ordered = sorted(
        by_note.items(),
        key=lambda item: (item[0][0] not in ("end", "caution", "method"), -len(item[1])),
    )
    for (_, note), offers in ordered:
        if len(offers) == 1:
            yield f"{offers[0].name}: {note}"
            continue
        owners = (
            "Rented GPU" if offer.provider == "local" else GROUPS[offer.platform]
            for offer in offers
        )
        yield f"{', '.join(dict.fromkeys(owners))} ({len(offers)} rows): {note}"


def _format_money(figure: Figure) -> str:
    return format_dollars(figure.value)


def _format_range(figure: Figure, between: str = "\n") -> str:
    """Format an amount with its range, if any."""
    if figure.low is None or figure.high is None:
        return _format_money(figure)
    return f"{_format_money(figure)}{between}({format_price(figure)})"


def _format_tokens(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:,.0f}"
    return f"about {figure.value:,.0f} ({figure.low:,.0f}–{figure.high:,.0f})"
