"""Opening the monitor on a run of 1,000,000 events: longest stall of its loop, and load times.

Limits: stalls of 50 ms, and 1 s from the first frame to the first chart. A task in the loop
records how late it is called, from the first frame on. The app runs in a pseudo-terminal of 120x36
and opens the run, or home, which lists it. Other load only lengthens a stall, so the best of a few
runs counts.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.app import FtwizardApp, open_app
from ftwizard.screens.chart.widget import Chart
from ftwizard.screens.home.page import HomePage
from ftwizard.screens.monitor.page import MonitorPage
from tests.e2e.terminal import Terminal
from tests.screens.runs_helpers import living, make_run

EVENTS = 1_000_000
CHART_LIMIT_S = 1.0
RUNS = 3
LIMIT_S = 0.05
TICK_S = 0.001
AFTER_S = 3.0
"""How long to continue after the whole run is shown, because redraws can stall too."""


def make_long(home: Path, events: int) -> JobFolder:
    """Write a run with a number of events, 1 % of them evaluations."""
    folder = make_run(home, "long", steps=0)
    began, noise = time.time() - 3600, random.Random(1)
    lines = [{"kind": "phase", "phase": "training", "step": 0, "total": events}]
    for step in range(1, events):
        if step % 100:
            loss = 0.5 + 2 * math.exp(-6 * step / events) + noise.gauss(0, 0.05)
            lines.append({
                "kind": "log", "step": step, "loss": loss, "epoch": step / 1000,
                "tokens": 900 * step, "learning_rate": 1e-4, "grad_norm": 1.0,
            })  # fmt: skip
        else:
            lines.append({"kind": "eval", "step": step, "eval_loss": 0.6 + noise.random() / 10})
    encode = msgspec.json.encode
    with folder.events.open("wb") as file:
        for index, line in enumerate(lines):
            t = began + 3600 * index / events
            file.write(encode({"v": 1, "t": t, "attempt": 1, **line}) + b"\n")
    return folder


class _Ticking(FtwizardApp):
    """App that records the stalls of its event loop from the first frame on."""

    async def _tick(self, path: Path) -> None:
        stalls: list[float] = []
        began, shown, charted = time.perf_counter(), math.inf, math.inf
        while time.perf_counter() < shown + AFTER_S:
            before = time.perf_counter()
            await asyncio.sleep(TICK_S)
            stalls.append(time.perf_counter() - before - TICK_S)
            if charted == math.inf and self._has_chart():
                charted = time.perf_counter()
            if shown == math.inf and self._has_read():
                shown = time.perf_counter()
        stalls.sort()
        result = {"longest": stalls[-1], "p99": stalls[-len(stalls) // 100], "all": shown - began,
                 "chart": charted - began}  # fmt: skip
        path.write_text(json.dumps(result))
        self.exit(0)

    def _has_chart(self) -> bool:
        """Return whether a chart of the whole run is drawn."""
        chart = next(iter(self.screen.query(Chart)), None)
        if chart is None:
            return True
        lasts = [line.series.last_x or 0 for line in chart._lines]
        return bool(lasts) and max(lasts) > 0.99 * EVENTS and chart._drawn is not None

    def _has_read(self) -> bool:
        screen = self.screen
        if isinstance(screen, MonitorPage):
            return screen.follower.progress.step == EVENTS - 1
        followers = screen._followers if isinstance(screen, HomePage) else {}
        return any(follower.progress.step == EVENTS - 1 for follower in followers.values())

    def on_mount(self) -> None:
        super().on_mount()
        self._watcher = asyncio.create_task(self._begin(Path(sys.argv[2])))

    async def _begin(self, path: Path) -> None:
        while not isinstance(self.screen, MonitorPage | HomePage):
            await asyncio.sleep(TICK_S)
        painted = asyncio.Event()
        self.screen.call_after_refresh(painted.set)
        await painted.wait()
        await self._tick(path)


def measure(where: str, result: Path) -> dict[str, Any]:
    """Open the app in its own terminal, and return its measurements."""
    command = [sys.executable, "-m", "tests.benchmarks.attach", where, result]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with Terminal(command=command, columns=120, rows=36, environment=environment) as terminal:
        assert terminal.exit_code(120) == 0, terminal.screen.text()
    document: dict[str, Any] = json.loads(result.read_text())
    return document


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FTWIZARD_HOME"] = folder
        run = make_long(Path(folder), EVENTS)
        with living(run):
            for where in ("monitor", "home"):
                result = [measure(where, Path(folder) / "result.json") for _ in range(RUNS)]
                best = min(result, key=lambda item: float(item["longest"]))
                every = ", ".join(f"{item['longest'] * 1e3:.0f}" for item in result)
                print(
                    f"{where:<8} {EVENTS:,} events in {best['all']:.2f} s; longest stalls {every} ms, "
                    f"first chart {best['chart'] / CHART_LIMIT_S:.0%} of its limit; "
                    f"p99 {best['p99'] * 1e3:.0f} ms: "
                    f"{best['longest'] / LIMIT_S:.0%} of the limit"
                )


def inside() -> int:
    import ftwizard.screens.app as module

    module.FtwizardApp = _Ticking  # type: ignore[misc]
    return open_app(("run", "long") if sys.argv[1] == "monitor" else None)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(inside())
    main()
