"""Axes: which range to show, where the ticks go and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ftwizard.series import Interval

# A label needs so many rows, or columns beside its text, to itself.
_ROWS_A_LABEL = 3
_COLUMNS_A_LABEL = 10

# What may be cut off at the top or bottom of a linear axis, so that the rest can be seen: at most
# one column in twenty, if without them the rest gets more than twice as tall, and nothing of the
# newest tenth: what happens now is never hidden.
_CUT_ONE_IN = 20
_CUT_GAIN = 2.0
_NEWEST_ONE_IN = 10

# No axis goes beyond this, or on a log scale below its inverse: the arithmetic would overflow.
_HUGE = 1e100

# From which value on an axis counts in which unit.
_UNITS = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))


class Tick(NamedTuple):
    """A place on an axis, and its label."""

    value: float
    label: str


@dataclass(frozen=True)
class Scale:
    """An axis of values from ``low`` to ``high``."""

    low: float
    high: float
    is_log: bool
    ticks: tuple[Tick, ...]

    def fraction(self, value: float) -> float:
        """Return how high a value stands: 0 at the bottom, 1 at the top."""
        if self.is_log:
            above = math.log(max(value, 1 / _HUGE)) - math.log(self.low)
            return above / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def nice_step(rough: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten that is at least ``rough`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in (1, 2, 5) if m * power >= rough * (1 - 1e-9)), 10 * power)


def number(value: float) -> str:
    """Write a measured value with four significant digits: ``0.4312``, ``12.35``, ``3.2e-05``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.{max(0, min(4, 3 - math.floor(math.log10(abs(value)))))}f}"


def y_range(lines: Sequence[Sequence[Interval | None]]) -> Interval | None:
    """Return the values that a linear axis should span, None if there are none.

    ``lines`` holds the columns of each line, oldest first. A spike, or the first steep fall, is
    left out where it would flatten everything else.
    """
    kept = [[column for column in columns if column is not None] for columns in lines]
    kept = [columns for columns in kept if columns]
    if not kept:
        return None
    low = min(column[0] for columns in kept for column in columns)
    high = max(column[1] for columns in kept for column in columns)
    cores = [_core(columns) for columns in kept]
    core_low, core_high = min(core[0] for core in cores), max(core[1] for core in cores)
    core = core_high - core_low
    if core > 0 and high - core_low > _CUT_GAIN * core:
        high = core_high
    if core > 0 and core_high - low > _CUT_GAIN * core:
        low = core_low
    return low, high


def _core(columns: list[Interval]) -> Interval:
    """Return the range of all but the most outlying columns; the newest always belong to it."""
    cut = len(columns) // _CUT_ONE_IN
    newest = columns[-max(1, len(columns) // _NEWEST_ONE_IN) :]
    lows = sorted(column[0] for column in columns)
    highs = sorted(column[1] for column in columns)
    return (
        min(lows[cut], min(column[0] for column in newest)),
        max(highs[-1 - cut], max(column[1] for column in newest)),
    )


def y_scale(low: float, high: float, rows: int, *, log: bool) -> Scale:
    """Return an axis for values from ``low`` to ``high`` over so many rows.

    Its ends are round numbers a little outside, so that it seldom moves while values come in.
    ``log`` needs low > 0.
    """
    low, high = _ends(low, high, log)
    count = max(1, rows // _ROWS_A_LABEL)
    if log and high / low >= 10:
        return _log_scale(low, high, count)
    fine = nice_step((high - low) / 20)
    low_end, high_end = math.floor(low / fine + 1e-9) * fine, math.ceil(high / fine - 1e-9) * fine
    if log and low_end <= 0:
        low_end = low
    step = nice_step((high_end - low_end) / count)
    values = _multiples(low_end, high_end, step)
    if len(values) < 2:
        values, step = [low_end, high_end], fine
    return Scale(low_end, high_end, log, _ticks(values, step))


def _ends(low: float, high: float, log: bool) -> Interval:
    """Return the ends where arithmetic can handle them, and apart: one value gets room around it."""
    least = 1 / _HUGE if log else -_HUGE
    low, high = min(max(low, least), _HUGE), min(max(high, least), _HUGE)
    if high - low > max(1e-9 * max(abs(low), abs(high)), 1 / _HUGE):
        return low, high
    room = 0.1 * abs(low) if log or abs(low) > 1 / _HUGE else 1.0
    return low - room, high + room


def _log_scale(low: float, high: float, count: int) -> Scale:
    """Return a logarithmic axis of at least one decade with about ``count`` ticks."""
    low, high = _round_down(low), _round_up(high)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    by_density = [
        [m * 10.0**k for k in range(first, last + 1) for m in mantissas]
        for mantissas in ((1, 2, 5), (1, 3), (1,))
    ]
    every = max(1, math.ceil((last - first) / count))
    by_density.append([10.0**k for k in range(first, last + 1, every)])
    least_gap = math.log(high / low) / (count + 1)
    for values in by_density:
        inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if all(math.log(b / a) >= least_gap for a, b in pairwise(inside)):
            break
    if len(inside) < 2:
        inside = [low, high]
    return Scale(low, high, True, tuple(Tick(v, _short(v)) for v in inside))


def x_ticks(x0: float, x1: float, columns: int, *, whole: bool) -> tuple[Tick, ...]:
    """Return the ticks of [x0, x1] over so many columns; ``whole``: at whole numbers only."""
    step = nice_step((x1 - x0) * _COLUMNS_A_LABEL / columns)
    if whole:
        step = max(step, 1.0)
    while True:
        ticks = _ticks(_multiples(x0, x1, step), step)
        widest = max((len(tick.label) for tick in ticks), default=0)
        if len(ticks) < 2 or widest + 2 <= columns * step / (x1 - x0):
            return ticks
        step = nice_step(step * 1.5)


def _multiples(low: float, high: float, step: float) -> list[float]:
    """Return the multiples of ``step`` in [low, high]."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _ticks(values: Sequence[float], step: float) -> tuple[Tick, ...]:
    """Label values that lie a multiple of ``step`` apart, all with the same unit and decimals."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e12 or (largest < 1e-2 and step < 1e-3):
        return tuple(Tick(value, _short(value)) for value in values)
    unit, suffix = next(
        ((unit, suffix) for least, unit, suffix in _UNITS if largest >= least), (1.0, "")
    )
    decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    return tuple(
        Tick(value, f"{value / unit:.{decimals}f}{suffix}" if value else "0") for value in values
    )


def _short(value: float) -> str:
    """Write a round number shortly: ``0.05``, ``20``, ``5e-5``, ``2e6``."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return math.floor(value / power + 1e-9) * power


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return math.ceil(value / power - 1e-9) * power
