"""Plot of monthly cost over requests: one offer against a GPU rented all month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftwizard.pricing.monthly import HOURS
from ftwizard.pricing.offer import Offer, PricingQuery, Volume
from ftwizard.screens import palette
from ftwizard.screens.chart.widget import ChartLine, Mark
from ftwizard.timeseries import Series

_AXIS_MARGIN = 1.25
"""Length of the axis relative to the last mark."""
_POINTS = 6
"""Points of each line, each with a marker."""


@dataclass(frozen=True)
class Plot:
    """Lines and marks; ``empty`` explains why there are none."""

    lines: tuple[ChartLine, ...] = ()
    marks: tuple[Mark, ...] = ()
    end: float = 0.0
    empty: str = ""


def build_plot(offer: Offer, offers: Sequence[Offer], query: PricingQuery) -> Plot:
    """Plot the monthly cost of ``offer`` over requests, against the GPU of ``query``."""
    volume = query.volume
    if volume is None or volume.requests is None:
        return Plot(empty="press v to set monthly requests")
    if offer.provider == "local":
        return Plot(empty="a GPU costs the same at any volume")
    slope = _cost_per_request(offer, volume)
    if slope is None:
        return Plot(empty="inference price unknown")
    fixed = offer.hosting.value * float(HOURS) if offer.hosting else 0.0
    gpu = _find_gpu(offers, query)
    rent = gpu.monthly.value if gpu and gpu.monthly else None
    marks = [Mark(float(volume.requests), "yours")]
    if rent is not None and offer.break_even:
        even = offer.break_even.value
        marks.append(Mark(even, "break-even", f"{even:,.0f}"))
    end = max(mark.x for mark in marks) * _AXIS_MARGIN
    lines = [ChartLine("this offer", _sample_line(fixed, slope, end), palette.TRAIN, "solid")]
    if gpu and rent is not None:
        name = gpu.name.removesuffix(" on demand")
        rented = _sample_line(rent, 0.0, end)
        lines.append(ChartLine(name, rented, palette.VALIDATION, "dashed", "○"))
    return Plot(tuple(lines), tuple(marks), end)


def _find_gpu(offers: Sequence[Offer], query: PricingQuery) -> Offer | None:
    """Return the GPU that the break-even refers to."""
    return next(
        (offer for offer in offers if offer.card == query.serve_on and offer.market == "on demand"),
        None,
    )


def _cost_per_request(offer: Offer, volume: Volume) -> float | None:
    if offer.input is None or offer.output is None:
        return None
    tokens = float(volume.tokens_in), float(volume.tokens_out)
    return (offer.input.value * tokens[0] + offer.output.value * tokens[1]) / 1e6


def _sample_line(fixed: float, slope: float, end: float) -> Series:
    series = Series()
    for index in range(_POINTS + 1):
        x = end * index / _POINTS
        series.append(x, fixed + slope * x)
    return series
