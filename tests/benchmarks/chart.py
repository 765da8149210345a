"""Time to add a point and redraw two lines: 1,000,000 points compared with 1,000.

Limit: 2 times as long.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import time

from textual.app import App, ComposeResult

from ftwizard.screens import palette
from ftwizard.screens.chart.widget import Chart, ChartLine
from ftwizard.timeseries import Series

FEW, MANY = 1_000, 1_000_000
SIZES = ((80, 24), (200, 60))
RUNS = 101
LIMIT = 2.0


class _App(App[None]):
    def compose(self) -> ComposeResult:
        yield Chart()


def curve(points: int, seed: int) -> Series:
    """Return a noisy loss curve."""
    noise = random.Random(seed)
    series = Series()
    for step in range(points):
        series.append(step, 0.5 + 2 * math.exp(-6 * step / points) + noise.gauss(0, 0.05))
    return series


def redraw(chart: Chart, lines: list[ChartLine]) -> float:
    """Add a point to each line and draw every row; return the seconds of CPU."""
    began = time.process_time()
    for line in lines:
        line.series.append((line.series.last_x or 0) + 1, 0.5)
    chart.show(lines)
    for y in range(chart.size.height):
        chart.render_line(y)
    return time.process_time() - began


async def measure(
    size: tuple[int, int], few: list[ChartLine], many: list[ChartLine]
) -> tuple[float, float]:
    """Return the median seconds of both, measured in turn so that load affects both alike."""
    app = _App()
    async with app.run_test(size=size):
        chart = app.query_one(Chart)
        times = [(redraw(chart, few), redraw(chart, many)) for _ in range(RUNS)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def main() -> None:
    few, many = (
        [
            ChartLine("train", curve(points, 1), palette.TRAIN, "solid"),
            ChartLine("validation", curve(points, 2), palette.VALIDATION, "dashed", "◆"),
        ]
        for points in (FEW, MANY)
    )
    for size in SIZES:
        short, long = asyncio.run(measure(size, few, many))
        print(
            f"{size[0]}x{size[1]}  {FEW:,} points {short * 1e3:.1f} ms  "
            f"{MANY:,} points {long * 1e3:.1f} ms  ratio {long / short:.2f}, limit {LIMIT:g}"
        )


if __name__ == "__main__":
    main()
