"""The loss curves of a run as an SVG picture, with a text that says the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

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
_TRAINING, _VALIDATION, _QUIET = "#0072B2", "#C76A00", "#666666"
_FONT = "system-ui, -apple-system, Segoe UI, sans-serif"
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
    axes = _Axes.fit(curves)
    root = Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}",
        "width": str(_WIDTH), "height": str(_HEIGHT), "role": "img", "font-family": _FONT,
        "font-size": "12",
    })  # fmt: skip
    SubElement(root, "title").text = describe(curves)
    size = {"width": str(_WIDTH), "height": str(_HEIGHT)}
    SubElement(root, "rect", {**size, "fill": "#ffffff", "rx": "6"})
    _draw_axes(root, axes)
    if curves.kept_step is not None and axes.first <= curves.kept_step <= axes.last:
        _draw_kept(root, axes, curves.kept_step)
    _draw_curve(root, axes, curves.training, "training", _TRAINING)
    _draw_curve(root, axes, curves.validation, "validation", _VALIDATION)
    _draw_legend(root, curves)
    return tostring(root, encoding="unicode") + "\n"


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


def _add_text(root: Element, text: str, x: float, y: float, **more: str) -> None:
    attributes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "fill": _QUIET}
    attributes |= {name.replace("_", "-"): value for name, value in more.items()}
    SubElement(root, "text", attributes).text = text


def _add_line(root: Element, ends: tuple[float, float, float, float], **more: str) -> None:
    names = ("x1", "y1", "x2", "y2")
    attributes = {name: f"{end:.1f}" for name, end in zip(names, ends, strict=True)}
    SubElement(
        root, "line", attributes | {name.replace("_", "-"): value for name, value in more.items()}
    )


def _draw_axes(root: Element, axes: _Axes) -> None:
    for loss in axes.list_losses():
        y = axes.to_y(loss)
        _add_line(root, (_LEFT, y, _WIDTH - _RIGHT, y), stroke="#e5e5e5")
        _add_text(root, f"{loss:.4g}", _LEFT - 8, y + 4, text_anchor="end")
    for step in axes.list_steps():
        _add_text(root, f"{int(step):,}", axes.to_x(step), _HEIGHT - 20, text_anchor="middle")
    bottom = _HEIGHT - _BOTTOM
    _add_line(root, (_LEFT, bottom, _WIDTH - _RIGHT, bottom), stroke="#999999")
    _add_text(root, "step", _WIDTH - _RIGHT, _HEIGHT - 6, text_anchor="end")
    _add_text(root, "loss, log scale" if axes.is_log else "loss", 12, 20)


def _draw_kept(root: Element, axes: _Axes, step: int) -> None:
    x = axes.to_x(step)
    _add_line(root, (x, _TOP, x, _HEIGHT - _BOTTOM), stroke=_QUIET, stroke_dasharray="2 4")
    is_right = x > _WIDTH / 2
    anchor = "end" if is_right else "start"
    _add_text(root, f"kept: step {step:,}", x + (-5 if is_right else 5), _TOP + 10,
              text_anchor=anchor)  # fmt: skip


def _draw_curve(
    root: Element, axes: _Axes, points: Sequence[_Point], name: str, color: str
) -> None:
    is_dashed = name == "validation"
    group = SubElement(root, "g", {"class": name, "fill": color, "stroke": color})
    for part in _split_at_gaps(points):
        short = _thin(part)
        spots = [(axes.to_x(x), axes.to_y(y)) for x, y in short]
        if len(spots) > 1:
            dashes = {"stroke-dasharray": "7 4"} if is_dashed else {}
            SubElement(group, "polyline", {
                "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in spots), "fill": "none",
                "stroke-width": "2", "stroke-linejoin": "round", **dashes,
            })  # fmt: skip
        if is_dashed or len(spots) == 1:
            for x, y in spots:
                SubElement(group, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3"})


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


def _draw_legend(root: Element, curves: Curves) -> None:
    x = float(_WIDTH - _RIGHT)
    for name, points, color, dashes in (
        ("validation", curves.validation, _VALIDATION, "7 4"),
        ("training", curves.training, _TRAINING, ""),
    ):
        if not any(_is_drawn(y) for _, y in points):
            continue
        _add_text(root, name, x, 20, text_anchor="end")
        start = x - 7 * len(name) - 30
        line = {"stroke_dasharray": dashes} if dashes else {}
        _add_line(root, (start, 16, start + 24, 16), stroke=color, stroke_width="2", **line)
        x = start - 16
