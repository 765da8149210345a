"""The cost of a month over its requests: of one offer, and of a GPU that is rented all month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftwizard.estimate.monthly import HOURS
from ftwizard.estimate.offer import Asked, Offer, Volume
from ftwizard.screens import palette
from ftwizard.screens.widgets.chart import Line, Mark
from ftwizard.series import Series

_BEYOND = 1.25
"""How far the axis goes on after the last thing that is marked on it."""
_POINTS = 6
"""Of each line: a marker on each."""


@dataclass(frozen=True)
class Plot:
    """Lines and marks; ``empty`` says why there are none."""

    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    end: float = 0.0
    empty: str = ""


def plot(offer: Offer, offers: Sequence[Offer], asked: Asked) -> Plot:
    """Return what a month of ``offer`` costs by its requests, against the GPU of ``asked``."""
    volume = asked.volume
    if volume is None or volume.requests is None:
        return Plot(empty="v asks for the requests of a month")
    if offer.path == "local":
        return Plot(empty="a GPU costs the same at any volume")
    slope = _request(offer, volume)
    if slope is None:
        return Plot(empty="no price of answers is known")
    fixed = offer.hosting.value * float(HOURS) if offer.hosting else 0.0
    gpu = _gpu(offers, asked)
    rent = gpu.monthly.value if gpu and gpu.monthly else None
    marks = [Mark(float(volume.requests), "yours")]
    if rent is not None and offer.break_even:
        even = offer.break_even.value
        marks.append(Mark(even, "break-even", f"{even:,.0f}"))
    end = max(mark.x for mark in marks) * _BEYOND
    lines = [Line("this offer", _line(fixed, slope, end), palette.TRAIN, "solid")]
    if gpu and rent is not None:
        name = gpu.name.removesuffix(" on demand")
        rented = _line(rent, 0.0, end)
        lines.append(Line(name, rented, palette.VALIDATION, "dashed", "○"))
    return Plot(tuple(lines), tuple(marks), end)


def _gpu(offers: Sequence[Offer], asked: Asked) -> Offer | None:
    """Return the card that a break-even is against."""
    return next(
        (one for one in offers if one.card == asked.serve_on and one.market == "on demand"), None
    )


def _request(offer: Offer, volume: Volume) -> float | None:
    if offer.input is None or offer.output is None:
        return None
    tokens = float(volume.tokens_in), float(volume.tokens_out)
    return (offer.input.value * tokens[0] + offer.output.value * tokens[1]) / 1e6


def _line(fixed: float, slope: float, end: float) -> Series:
    series = Series()
    for place in range(_POINTS + 1):
        x = end * place / _POINTS
        series.append(x, fixed + slope * x)
    return series
