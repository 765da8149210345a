"""The loss curves of a run as an SVG picture, with a text that says the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ftwizard.export import templates
from ftwizard.timeseries import Series

NAME = "loss-curve.svg"
MAX_POINTS = 600
"""Points of a line; a longer series keeps the lowest and the highest of each part."""
MIN_LOG_RATIO = 20.0
"""Largest loss over the smallest from which the axis is logarithmic."""
MAX_LOSS = 1e100
"""A larger loss is a gap, as NaN is: its axis would overflow."""
_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 34, 40
_Point = tuple[float, float]


class Curves(NamedTuple):
    """The losses of a run over steps; NaN, infinite and absurd ones are gaps."""

    training: Sequence[_Point]
    validation: Sequence[_Point]
    kept_step: int | None = None
    """Step of the weights that were kept."""

    @property
    def is_empty(self) -> bool:
        """Return whether there is no finite loss to draw."""
        return not any(_is_drawn(y) for _, y in (*self.training, *self.validation))


def from_series(training: Series, validation: Series, kept_step: int | None) -> Curves:
    return Curves(_to_points(training), _to_points(validation), kept_step)


def _to_points(series: Series) -> list[_Point]:
    return list(zip(series.xs, series.ys, strict=True))


def describe(curves: Curves) -> str:
    """Describe the curves for people who do not see the picture."""
    parts = []
    for name, points in (("training", curves.training), ("validation", curves.validation)):
        if finite := [point for point in points if _is_drawn(point[1])]:
            ends = f"{finite[0][1]:.4g} → {finite[-1][1]:.4g}"
            parts.append(f"{name} {ends if len(finite) > 1 else f'{finite[0][1]:.4g}'}")
    last = max(int(x) for x, _ in (*curves.training, *curves.validation))
    text = f"Loss over {last:,} steps: {', '.join(parts)}"
    return f"{text}. Weights of step {curves.kept_step:,}." if curves.kept_step else f"{text}."


def draw(curves: Curves) -> str:
    """Draw the curves, of which at least one point is finite, as a document of its own."""
    axes, kept = _Axes.fit(curves), curves.kept_step
    if kept is not None and not axes.first <= kept <= axes.last:
        kept = None
    template = templates.load("card/loss-curve.svg.jinja", {"px": "{:.1f}".format})
    return template.render(
        title=describe(curves),
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        is_log=axes.is_log,
        losses=[(axes.to_y(loss), f"{loss:.4g}") for loss in axes.list_losses()],
        steps=[(axes.to_x(step), f"{int(step):,}") for step in axes.list_steps()],
        kept_step=kept,
        kept_x=None if kept is None else axes.to_x(kept),
        lines={
            "training": axes.place(curves.training),
            "validation": axes.place(curves.validation),
        },
    )


def _is_drawn(loss: float) -> bool:
    return abs(loss) < MAX_LOSS  # False for NaN


class _Axes(NamedTuple):
    first: float
    last: float
    low: float
    high: float
    is_log: bool

    @classmethod
    def fit(cls, curves: Curves) -> _Axes:
        points = [*curves.training, *curves.validation]
        ys = [y for _, y in points if _is_drawn(y)]
        xs = [x for x, _ in points]
        low, high = min(ys), max(ys)
        is_log = low > 0 and high / low >= MIN_LOG_RATIO
        if not is_log:
            margin = (high - low) * 0.06 or max(abs(high) * 0.1, 0.01)
            low, high = low - margin, high + margin
        first, last = min(xs), max(xs)
        return cls(first, last if last > first else first + 1, low, high, is_log)

    def to_x(self, step: float) -> float:
        share = (step - self.first) / (self.last - self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def to_y(self, loss: float) -> float:
        low, high, value = self.low, self.high, loss
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(loss)
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def place(self, points: Sequence[_Point]) -> list[list[_Point]]:
        """Return the spots of a curve's points in the picture, apart at gaps."""
        return [
            [(self.to_x(x), self.to_y(y)) for x, y in _thin(part)]
            for part in _split_at_gaps(points)
        ]

    def list_losses(self) -> list[float]:
        if not self.is_log:
            return list(_list_ticks(self.low, self.high, 5))
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks = [m * 10.0**decade for decade in decades for m in (1, 2, 5)]
        return [tick for tick in ticks if self.low <= tick <= self.high]

    def list_steps(self) -> list[float]:
        steps = _list_ticks(self.first, self.last, 6)
        return [step for step in steps if step == int(step)]


def _list_ticks(low: float, high: float, count: int) -> Iterator[float]:
    """Yield round values from ``low`` to ``high``, about ``count``."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    unit = next((m * power for m in (1, 2, 5) if m * power >= raw), 10 * power)
    for index in range(math.ceil(low / unit), math.floor(high / unit) + 1):
        yield round(index * unit, 12)


def _split_at_gaps(points: Sequence[_Point]) -> Iterator[list[_Point]]:
    part: list[_Point] = []
    for point in points:
        if _is_drawn(point[1]):
            part.append(point)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _thin(points: list[_Point]) -> list[_Point]:
    """Return at most ``MAX_POINTS`` of the points: both ends, and the extremes of each part."""
    if len(points) <= MAX_POINTS:
        return points
    parts = (MAX_POINTS - 2) // 2
    inner = points[1:-1]
    kept = {points[0], points[-1]}
    for index in range(parts):
        part = inner[index * len(inner) // parts : (index + 1) * len(inner) // parts]
        kept |= {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
    return sorted(kept)
