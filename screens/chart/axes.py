"""Chart axes: ranges, ticks and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ftwizard.timeseries import Interval

# Space per label.
_ROWS_PER_LABEL = 3
_COLUMNS_PER_LABEL = 10

# A linear axis may cut off outliers at the top or bottom: at most 1/20 of the columns, only if the
# rest then gets more than twice as tall, and none of the newest tenth, which is always visible.
_CUT_DIVISOR = 20
_MIN_CUT_GAIN = 2.0
_NEWEST_DIVISOR = 10

# Limit of every axis, and its inverse on a log scale: beyond it the arithmetic would overflow.
_MAX_VALUE = 1e100

# Smallest value, factor and suffix of each unit.
_UNITS = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))


class Tick(NamedTuple):
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
        """Return the height of a value: 0 at the bottom, 1 at the top."""
        if self.is_log:
            above = math.log(max(value, 1 / _MAX_VALUE)) - math.log(self.low)
            return above / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def round_step(rough: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is at least ``rough`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in (1, 2, 5) if m * power >= rough * (1 - 1e-9)), 10 * power)


def format_number(value: float) -> str:
    """Format a measured value with four significant digits: ``0.4312``, ``12.35``, ``3.2e-05``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.{max(0, min(4, 3 - math.floor(math.log10(abs(value)))))}f}"


def find_y_range(lines: Sequence[Sequence[Interval | None]]) -> Interval | None:
    """Return the range of a linear axis, None without values.

    ``lines`` holds the columns of each line, oldest first. A spike or the steep initial drop is left
    out if it would flatten everything else.
    """
    filled = [
        [column for column in columns if column is not None] for columns in lines if any(columns)
    ]
    if not filled:
        return None
    low = min(column[0] for columns in filled for column in columns)
    high = max(column[1] for columns in filled for column in columns)
    cores = [_find_core(columns) for columns in filled]
    core_low, core_high = min(core[0] for core in cores), max(core[1] for core in cores)
    core = core_high - core_low
    if core > 0 and high - core_low > _MIN_CUT_GAIN * core:
        high = core_high
    if core > 0 and core_high - low > _MIN_CUT_GAIN * core:
        low = core_low
    return low, high


def _find_core(columns: list[Interval]) -> Interval:
    """Return the range without outlying columns; the newest columns are always inside."""
    cut = len(columns) // _CUT_DIVISOR
    newest = columns[-max(1, len(columns) // _NEWEST_DIVISOR) :]
    lows = sorted(column[0] for column in columns)
    highs = sorted(column[1] for column in columns)
    return (
        min(lows[cut], min(column[0] for column in newest)),
        max(highs[-1 - cut], max(column[1] for column in newest)),
    )


def build_y_scale(low: float, high: float, rows: int, *, log: bool) -> Scale:
    """Return an axis for values from ``low`` to ``high`` over ``rows`` rows.

    Its ends are round numbers slightly outside, so that it rarely moves as values arrive. ``log``
    needs low > 0.
    """
    low, high = _widen_range(low, high, log)
    count = max(1, rows // _ROWS_PER_LABEL)
    if log and high / low >= 10:
        return _build_log_scale(low, high, count)
    fine = round_step((high - low) / 20)
    low_end, high_end = math.floor(low / fine + 1e-9) * fine, math.ceil(high / fine - 1e-9) * fine
    if log and low_end <= 0:
        low_end = low
    step = round_step((high_end - low_end) / count)
    values = _list_multiples(low_end, high_end, step)
    if len(values) < 2:
        values, step = [low_end, high_end], fine
    return Scale(low_end, high_end, log, _build_ticks(values, step))


def _widen_range(low: float, high: float, log: bool) -> Interval:
    """Clip the range to computable values, and widen it if it is empty."""
    lowest = 1 / _MAX_VALUE if log else -_MAX_VALUE
    low, high = min(max(low, lowest), _MAX_VALUE), min(max(high, lowest), _MAX_VALUE)
    if high - low > max(1e-9 * max(abs(low), abs(high)), 1 / _MAX_VALUE):
        return low, high
    margin = 0.1 * abs(low) if log or abs(low) > 1 / _MAX_VALUE else 1.0
    return low - margin, high + margin


def _build_log_scale(low: float, high: float, count: int) -> Scale:
    """Return a logarithmic axis of at least one decade, with about ``count`` ticks."""
    low_power, high_power = _find_power(low), _find_power(high)
    low = math.floor(low / low_power + 1e-9) * low_power
    high = math.ceil(high / high_power - 1e-9) * high_power
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    by_density = [
        [m * 10.0**k for k in range(first, last + 1) for m in mantissas]
        for mantissas in ((1, 2, 5), (1, 3), (1,))
    ]
    every = max(1, math.ceil((last - first) / count))
    by_density.append([10.0**k for k in range(first, last + 1, every)])
    min_gap = math.log(high / low) / (count + 1)
    for values in by_density:
        inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if all(math.log(b / a) >= min_gap for a, b in pairwise(inside)):
            break
    if len(inside) < 2:
        inside = [low, high]
    return Scale(low, high, True, tuple(Tick(v, _format_short(v)) for v in inside))


def build_x_ticks(x0: float, x1: float, columns: int, *, whole: bool) -> tuple[Tick, ...]:
    """Return the ticks of [x0, x1] over ``columns`` columns; with ``whole``, only whole numbers."""
    step = round_step((x1 - x0) * _COLUMNS_PER_LABEL / columns)
    if whole:
        step = max(step, 1.0)
    while True:
        ticks = _build_ticks(_list_multiples(x0, x1, step), step)
        widest = max((len(tick.label) for tick in ticks), default=0)
        if len(ticks) < 2 or widest + 2 <= columns * step / (x1 - x0):
            return ticks
        step = round_step(step * 1.5)


def _list_multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _build_ticks(values: Sequence[float], step: float) -> tuple[Tick, ...]:
    """Label values on a grid of ``step``, all with the same unit and decimals."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e12 or (largest < 1e-2 and step < 1e-3):
        return tuple(Tick(value, _format_short(value)) for value in values)
    unit, suffix = next((unit[1:] for unit in _UNITS if largest >= unit[0]), (1.0, ""))
    decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    return tuple(
        Tick(value, f"{value / unit:.{decimals}f}{suffix}" if value else "0") for value in values
    )


def _format_short(value: float) -> str:
    """Format a round number briefly: ``0.05``, ``20``, ``5e-5``, ``2e6``."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _find_power(value: float) -> float:
    return 10.0 ** math.floor(math.log10(value) + 1e-9)
