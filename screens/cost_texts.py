"""What stands around the table of costs: what it is of, and everything on one offer."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator

from rich.text import Text

from ftwizard.catalog.prices import STALE_DAYS, mark
from ftwizard.dollars import UNKNOWN, amount, span
from ftwizard.estimate import gpu_cost
from ftwizard.estimate.monthly import HOURS, cannot_serve, pace
from ftwizard.estimate.offer import Asked, Offer, Volume
from ftwizard.figure import Figure
from ftwizard.screens import palette, texts
from ftwizard.screens.cost_basis import Basis
from ftwizard.screens.cost_table import ENDED, STALE, STAR, TOO_SMALL, Order
from ftwizard.text import size, visible

Said = tuple[str, str, str]
"""A figure's name, the figure in words, and where it comes from."""
NAMES = 12
"""Cells of the names of an offer's figures."""
_WEIGHTS = {
    "yes": "can be taken away", "no": "cannot be taken away", "unknown": "unknown whether they can be taken away",
}  # fmt: skip
HOW = "h says what an hour of this machine costs"
SHARING = (
    "OpenAI takes half off input and output for organisations that share their data with it. It is "
    "a setting of the organisation, to be on before the job is created; on standard and on batch."
)


def head(basis: Basis, order: Order, *, own_left_out: bool) -> Text:
    """Return what the table is of, and how it is made, in two lines."""
    asked = basis.asked
    parts = ["newest prices" if asked.edition == "current" else "prices of 2026-04", order.words]
    if (volume := asked.volume) and volume.requests:
        parts.insert(1, f"{volume.requests:,f} requests a month")
    if asked.share_data:
        parts.append("data shared: −50 % at OpenAI")
    text = Text.assemble(basis.tokens, "\n", no_wrap=True, overflow="ellipsis")
    if own_left_out:
        text.append("! ", f"bold {palette.WARNING}").append("your prices are left out · ")
    return text.append(" · ".join(parts), "dim")


def detail(offer: Offer, basis: Basis, *, star: bool, width: int) -> Text:
    """Return every figure of an offer with its source and date, and what else is to be known."""
    text = Text.assemble((visible(offer.name), "bold"))
    if star:
        text.append(f"  {STAR} recommended", palette.ACCENT)
    if not offer.tunable:
        text.append(f"  {ENDED} no longer offered", f"bold {palette.BAD}")
    elif offer.stale:
        text.append(f"  ! prices as of {offer.as_of}, over 90 days ago", palette.WARNING)
    text.append("\n")
    notes = list(offer.notes)
    if notes and (not offer.tunable or offer.until or offer.ends):  # the first is of its end
        name = "until" if offer.tunable else "why"
        text.append(f"{name:<{NAMES}}", "dim").append(f"{visible(notes.pop(0), 600)}\n")
    for name, said, source in _figures(offer, basis):
        text.append(f"{name:<{NAMES}}", "dim").append(said)
        text.append(f"  {source}\n" if source else "\n", "dim")
    for note in (one for one in notes if one != gpu_cost.NOT_SAID):  # it is said above
        text.append(f"{'':<{NAMES}}· ", "dim").append(f"{visible(note, 600)}\n")
    return texts.hanging(text, NAMES, width)


def _figures(offer: Offer, basis: Basis) -> Iterator[Said]:
    """Yield name, words and source of what is known of an offer, and of what is not."""
    today = basis.asked.today
    yield from _training(offer, today)
    if basis.asked.volume:
        yield from _month(offer, basis.asked, basis.asked.volume)
    if offer.path != "local":
        yield from _serving(offer, today)
        since = offer.since
        yield "since", since.date if since else UNKNOWN, since.source if since else ""
    elif offer.hosting:
        words = f"{_per(offer.hosting)}, for as long as it is up"
        yield "serving", words, _of(offer.hosting, today)
        yield from _beside(offer, "hosting", _per, today)
    yield "weights", f"{_WEIGHTS[offer.weights]}: {visible(offer.owner, 200)}", ""


def _beside(
    offer: Offer, name: str, words: Callable[[Figure], str], today: datetime.date
) -> Iterator[Said]:
    """Yield the other edition's figure of this name, where it is apart."""
    if figure := offer.beside.get(name):
        yield "", words(figure), f"by the other edition: {_of(figure, today)}"


def _training(offer: Offer, today: datetime.date) -> Iterator[Said]:
    figure, other, rate = offer.training, offer.other, offer.rate
    if figure and other:
        older = f"; as of {other.as_of}: {visible(other.source, 500)}"
        newer = _of(figure, today).replace(older, "")
        yield "training", amount(figure.value), newer
        yield "", span(other), f"by the other edition: {_of(other, today)}"
    elif figure:
        yield "training", _likely(figure), _of(figure, today)
    elif offer.too_small:
        yield "training", TOO_SMALL, ""
    elif offer.path == "local" and offer.card is None:
        said = "not known: the time is not" if rate else f"not known; {HOW}"
        yield "training", said, ""
    else:
        yield "training", UNKNOWN, ""
    if rate and not figure:
        yield "rate", _per(rate), _of(rate, today)
    if offer.setup:
        yield "set-up", _likely(offer.setup), _of(offer.setup, today)
        yield from _beside(offer, "setup", _likely, today)


def _month(offer: Offer, asked: Asked, volume: Volume) -> Iterator[Said]:
    today = asked.today
    if offer.monthly:
        yield "a month", _likely(offer.monthly), _of(offer.monthly, today)
        yield from _beside(offer, "monthly", _likely, today)
    elif offer.path != "local":
        yield "a month", UNKNOWN, "a price of input or output is missing"
    elif not offer.serves and asked.served:
        yield "a month", TOO_SMALL, f"the weights take {size(asked.served)} in 16 bit"
    if even := offer.break_even:
        words = f"from {even.value:,.0f} requests a month a GPU is cheaper"
        if even.low is not None and even.high is not None:
            words += f" (range {even.low:,.0f}–{even.high:,.0f})"
        if rate := pace(volume):
            words += f", if one keeps up with {rate.value:,.1f} answer tokens a second on average"
        yield "break-even", words, _of(even, today)
        yield from _beside(offer, "break_even", lambda one: f"from {one.value:,.0f}", today)
    elif offer.path != "local" and (why := cannot_serve(asked)):
        yield "break-even", UNKNOWN, why


def _serving(offer: Offer, today: datetime.date) -> Iterator[Said]:
    prices = (("in", offer.input), ("out", offer.output), ("cached", offer.cached))
    by_source: dict[str, list[str]] = {}
    for name, figure in prices:
        if figure:
            by_source.setdefault(_of(figure, today), []).append(f"{span(figure)} {name}")
    for source, parts in by_source.items():
        yield "answers", f"{', '.join(parts)}, per million tokens", source
    for name, kind in (("in", "input"), ("out", "output"), ("cached", "cached")):
        if figure := offer.beside.get(kind):
            yield "", f"{span(figure)} {name}", f"by the other edition: {_of(figure, today)}"
    missing = [name for name, figure in prices[:2] if figure is None]
    if missing:
        yield "answers", f"{' and '.join(missing)} {UNKNOWN}", ""
    if figure := offer.relative:
        apart = figure.low is not None and figure.low != figure.high
        words = f"{figure.low:+.0f} to {figure.high:+.0f} %" if apart else f"{figure.value:+.0f} %"
        yield "vs base", words, _of(figure, today)
    if figure := offer.hosting:
        month = figure.value * float(HOURS)
        yield (
            "hosting",
            f"{_per(figure)}, {amount(month)} if it is up all month",
            _of(figure, today),
        )
        yield from _beside(offer, "hosting", _per, today)
    elif offer.input is None:
        yield "hosting", UNKNOWN, ""
    if offer.storage:
        yield "storage", _per(offer.storage), _of(offer.storage, today)
        yield from _beside(offer, "storage", _per, today)


def _likely(figure: Figure) -> str:
    """Write the likely amount, and its range where it has one."""
    return (
        amount(figure.value) if figure.low is None else f"{amount(figure.value)} ({span(figure)})"
    )


def _per(figure: Figure) -> str:
    return f"{span(figure)} {figure.unit.removeprefix('USD ')}"


def _of(figure: Figure, today: datetime.date) -> str:
    """Return where a figure comes from, of when it is, and whether that is long ago."""
    date = f", as of {figure.as_of}" if figure.as_of else ""
    old = f" ({STALE} over {STALE_DAYS} days ago)" if mark(figure.as_of, today) else ""
    return f"{visible(figure.source, 500)}{date}{old}"
