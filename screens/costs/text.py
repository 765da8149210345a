"""Texts around the cost table: its heading and the details of one offer."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator

from rich.text import Text

from ftwizard.catalog.prices import STALE_DAYS, stale_mark
from ftwizard.pricing.money import UNKNOWN, format_price, format_unit_price
from ftwizard.pricing.monthly import HOURS, explain_cannot_serve, required_tokens_per_s
from ftwizard.pricing.offer import Offer, PricingQuery, Volume
from ftwizard.quantity import Figure
from ftwizard.screens import layout, palette
from ftwizard.screens.costs.inputs import Basis
from ftwizard.screens.costs.table import ENDED, STALE, STAR, TOO_SMALL, Order
from ftwizard.text import format_bytes, format_dollars, make_visible

FigureLine = tuple[str, str, str]
"""Name, text and source of a figure."""
NAME_WIDTH = 12
"""Cells of the name column of an offer's figures."""
_DOWNLOAD = {
    "yes": "downloadable", "no": "not downloadable", "unknown": "download unknown",
}  # fmt: skip
PRICE_HINT = "h sets the hourly price"
SHARING_NOTE = (
    "OpenAI halves input and output prices for organizations that share their data. Enable it in "
    "the organization settings before you create the job. The discount applies to standard and batch training."
)

SHARING_ON = "OpenAI's discount is on. Enable data sharing before you create the job."
SHARING_OFF = "OpenAI's discount is off."


def format_heading(basis: Basis, order: Order, *, own_left_out: bool) -> Text:
    """Describe the table's data, prices and order in two lines."""
    query = basis.query
    parts = [
        "current prices" if query.edition == "current" else "prices of 2026-04",
        order.description,
    ]
    if (volume := query.volume) and volume.requests:
        parts.insert(1, f"{volume.requests:,f} requests per month")
    if query.share_data:
        parts.append("data sharing: −50% at OpenAI")
    text = Text.assemble(basis.tokens, "\n", no_wrap=True, overflow="ellipsis")
    if own_left_out:
        text.append("! ", f"bold {palette.WARNING}").append("your prices are ignored · ")
    return text.append(" · ".join(parts), "dim")


def format_detail(offer: Offer, basis: Basis, *, star: bool, width: int) -> Text:
    """Format every figure of an offer with source and date, and its notes."""
    text = Text.assemble((make_visible(offer.name), "bold"))
    if star:
        text.append(f"  {STAR} recommended", palette.ACCENT)
    if not offer.tunable:
        text.append(f"  {ENDED} no longer offered", f"bold {palette.BAD}")
    elif offer.stale:
        text.append(f"  ! prices from {offer.as_of}, over {STALE_DAYS} days old", palette.WARNING)
    text.append("\n")
    for code, note in offer.coded_notes:
        if code == "end":
            name = "closes" if offer.tunable else "why"
            text.append(f"{name:<{NAME_WIDTH}}", "dim").append(f"{make_visible(note, 600)}\n")
    for name, words, source in _list_figures(offer, basis):
        text.append(f"{name:<{NAME_WIDTH}}", "dim").append(words)
        text.append(f"  {source}\n" if source else "\n", "dim")
    for code, note in offer.coded_notes:
        if code not in ("end", "no-hour-price"):  # a line above says so
            text.append(f"{'':<{NAME_WIDTH}}· ", "dim").append(f"{make_visible(note, 600)}\n")
    return layout.wrap_hanging(text, NAME_WIDTH, width)


def _list_figures(offer: Offer, basis: Basis) -> Iterator[FigureLine]:
    """Yield the figures of an offer, known and unknown."""
    today = basis.query.today
    yield from _list_training(offer, today)
    if basis.query.volume:
        yield from _list_monthly(offer, basis.query, basis.query.volume)
    if offer.provider != "local":
        yield from _list_inference(offer, today)
        if since := offer.since:
            yield "since", since.date, since.source
    elif offer.hosting:
        words = f"{format_unit_price(offer.hosting)} while it runs"
        yield from _list_editions(offer, today, "serving", "hosting", format_unit_price, words)
    if offer.card and offer.model:
        yield "model", f"the figures are for {make_visible(offer.model, 100)}", ""
    owner = "" if offer.weights == "yes" else f": {make_visible(offer.owner, 200)}"
    yield "weights", f"{_DOWNLOAD[offer.weights]}{owner}", ""


def _list_editions(
    offer: Offer,
    today: datetime.date,
    name: str,
    id: str,
    write: Callable[[Figure], str],
    words: str = "",
) -> Iterator[FigureLine]:
    """Yield an offer's figure, and that of the other edition if it differs.

    ``words``: the text of the first, else ``write`` of it.
    """
    figure: Figure | None = getattr(offer, id)
    if figure is None:
        return
    yield name, words or write(figure), _format_source(figure, today)
    if other := offer.other_edition.get(id):
        yield _format_other_edition(write(other), other, today)


def _format_other_edition(words: str, figure: Figure, today: datetime.date) -> FigureLine:
    return "", words, f"other edition: {_format_source(figure, today)}"


def _list_training(offer: Offer, today: datetime.date) -> Iterator[FigureLine]:
    figure, other, rate = offer.training, offer.other_training, offer.rate
    if figure:
        ranged = rate is not None and rate.high is not None and offer.provider != "local"
        words = _format_likely(figure) if ranged or not other else format_dollars(figure.value)
        yield "training", words, _format_source(figure, today)
        if other:
            yield _format_other_edition(format_price(other), other, today)
    elif offer.too_small:
        yield "training", TOO_SMALL, ""
    elif offer.provider == "local" and offer.card is None:
        reason = "unknown: no time estimate" if rate else f"unknown; {PRICE_HINT}"
        yield "training", reason, ""
    else:
        yield "training", UNKNOWN, ""
    if rate and not figure:
        yield "unit price", format_unit_price(rate), _format_source(rate, today)
    yield from _list_editions(offer, today, "setup", "setup", _format_likely)


def _list_monthly(offer: Offer, query: PricingQuery, volume: Volume) -> Iterator[FigureLine]:
    today = query.today
    if offer.monthly:
        yield from _list_editions(offer, today, "monthly", "monthly", _format_likely)
    elif offer.provider != "local":
        yield "monthly", UNKNOWN, "input or output price missing"
    elif not offer.serves and query.served:
        yield "monthly", TOO_SMALL, f"the 16-bit weights take {format_bytes(query.served)}"
    if even := offer.break_even:
        words = f"a GPU is cheaper from {even.value:,.0f} requests per month"
        if even.low is not None and even.high is not None:
            words += f" (range {even.low:,.0f}–{even.high:,.0f})"
        if rate := required_tokens_per_s(volume):
            words += f" if it sustains {rate.value:,.1f} output tokens/s on average"
        yield from _list_editions(
            offer, today, "break-even", "break_even", "from {0.value:,.0f}".format, words
        )
    elif offer.provider != "local" and (why := explain_cannot_serve(query)):
        yield "break-even", UNKNOWN, why


def _list_inference(offer: Offer, today: datetime.date) -> Iterator[FigureLine]:
    names = {"input": "in", "output": "out", "cached": "cached"}
    by_source: dict[str, list[str]] = {}
    for id, name in names.items():
        if figure := getattr(offer, id):
            words = f"{format_price(figure)} {name}"
            by_source.setdefault(_format_source(figure, today), []).append(words)
    for source, parts in by_source.items():
        yield "inference", f"{', '.join(parts)}, per million tokens", source
    for id, name in names.items():
        if figure := offer.other_edition.get(id):
            yield _format_other_edition(f"{format_price(figure)} {name}", figure, today)
    if missing := [names[id] for id in ("input", "output") if getattr(offer, id) is None]:
        yield "inference", f"{' and '.join(missing)} {UNKNOWN}", ""
    if figure := offer.relative:
        apart = figure.low is not None and figure.low != figure.high
        words = f"{figure.low:+.0f} to {figure.high:+.0f}%" if apart else f"{figure.value:+.0f}%"
        yield "vs base", words, _format_source(figure, today)
    if figure := offer.hosting:
        month = format_dollars(figure.value * float(HOURS))
        words = f"{format_unit_price(figure)}, {month} for a full month"
        yield from _list_editions(offer, today, "hosting", "hosting", format_unit_price, words)
    elif offer.input is None:
        yield "hosting", UNKNOWN, ""
    yield from _list_editions(offer, today, "storage", "storage", format_unit_price)


def _format_likely(figure: Figure) -> str:
    """Format the likely amount, with its range if it has one."""
    likely = format_dollars(figure.value)
    return likely if figure.low is None else f"{likely} ({format_price(figure)})"


def _format_source(figure: Figure, today: datetime.date) -> str:
    """Format a figure's source, its date, and whether that is stale."""
    date = f", as of {figure.as_of}" if figure.as_of else ""
    old = f" ({STALE} over {STALE_DAYS} days old)" if stale_mark(figure.as_of, today) else ""
    return f"{make_visible(figure.brief_source, 500)}{date}{old}"
