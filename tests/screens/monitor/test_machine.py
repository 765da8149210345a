"""Machine readings on the monitor: no GPU, one or several GPUs, and missing readings."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs.folder import write_json
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.pace import Pace
from ftwizard.screens.monitor import chart_data
from ftwizard.screens.monitor.chart_data import ChartSettings
from tests.screens.frames import frame, until, wait_for_text
from tests.screens.monitor.timed_runs import (
    HEALTHY,
    NOW,
    OVERFIT,
    SILENT,
    TOTAL,
    TimedRun,
    assert_monitor_frame,
    card,
    every_size,
    watch,
)
from tests.screens.runs_helpers import living

pytestmark = pytest.mark.usefixtures("clock")


@every_size
def test_gpu_without_readings_is_shown_as_unavailable(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(30)
    item = {
        "index": 0, "name": "NVIDIA H100 80GB HBM3", "utilisation": 97, "temperature": 71,
        "power": 612.5, "memory_used": 61.3e9, "memory_total": 85.5e9,
    }  # fmt: skip
    other = {"index": 1, "name": None, "memory_total": 85.5e9, **SILENT}
    timed_run.write_reading(gpus=[item, other])
    with living(timed_run.folder):
        assert_monitor_frame("two-gpus", size, watch(size))


@every_size
def test_first_screen_says_whether_all_gpus_are_used(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(250)
    timed_run.write_event(
        "phase", phase="training", step=250, total=TOTAL, ranks=2, parallel="ddp", on_gpu=True,
        speed=1.84,
    )  # fmt: skip
    timed_run.write_reading(gpus=[card(0), card(1, ours=17.9e9)])
    with living(timed_run.folder):
        shown = watch(size)
        assert "2 GPUs, DDP · 1.8× one GPU" in shown
        assert_monitor_frame("ranks", size, shown)
    timed_run.write_event("phase", phase="evaluating", total=60)
    timed_run.end("finished")
    shown = watch(size)
    assert "✓ finished  after 30 min" in shown and "2 GPUs, DDP · 1.8× one GPU" in shown


@every_size
def test_ten_gpus_with_a_lost_gpu_are_shown(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(30)
    gpus: list[dict[str, Any]] = [
        {
            "index": n, "name": "NVIDIA A100", "utilisation": 100 - n, "temperature": 60 + n,
            "power": 300.0 + n, "memory_used": 7e10, "memory_total": 8e10,
        }
        for n in range(10)
    ]  # fmt: skip
    gpus[1] = {"index": 1, "lost": True}
    timed_run.write_reading(gpus=gpus)
    with living(timed_run.folder):
        assert_monitor_frame("ten-gpus", size, watch(size))


@every_size
def test_eight_gpus_show_their_readings_and_problems(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(250)
    for ago in range(600, 0, -2):
        gpus = [card(n) for n in range(8)]
        for n, item in enumerate(gpus):
            wave = 50 + 50 * math.sin(ago / (20 + 15 * n))
            item["utilisation"] = round(wave) if n else 97 - ago % 7
        gpus[3] = card(3, utilisation=None, memory_used=None, temperature=None)
        gpus[5] = card(5, throttled=["thermal", "power cap"], temperature=89)
        gpus[6] = card(6, throttled=["power cap"], power=449.9)
        gpus[7] = {"index": 7, "lost": True} if ago < 300 else gpus[7]
        timed_run.write_reading(t=NOW - ago, gpus=gpus)
    timed_run.write_event("finding", **HEALTHY)
    with living(timed_run.folder):
        shown = watch(size)
    assert all(f"GPU {n} " in shown for n in range(8)) and "more GPU" not in shown
    assert_monitor_frame("eight-gpus", size, shown)


@every_size
def test_z_cycles_through_the_views_and_saves_the_choice(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(250)
    for ago in range(600, 0, -2):
        uses = [round(50 + 49 * math.sin(ago / (40 + 15 * n))) for n in range(8)]
        timed_run.write_reading(t=NOW - ago, gpus=[card(n, utilisation=uses[n]) for n in range(8)])
    recorded: list[str] = []

    async def twice(pilot: Pilot[Any]) -> None:
        await pilot.press("z")
        await wait_for_text(pilot, "z GPUs")
        recorded.append(frame(pilot.app))
        await pilot.press("m", "m")
        await wait_for_text(pilot, "learning rate")
        assert chart_data.load_settings().pane == "chart"
        await pilot.press("M", "M", "z")
        await wait_for_text(pilot, "z all")

    async def back(pilot: Pilot[Any]) -> None:
        await pilot.press("z")
        await wait_for_text(pilot, "── train")
        await pilot.press("m")
        await wait_for_text(pilot, "── grad norm")  # the chart has the focus again

    with living(timed_run.folder):
        alone = watch(size, twice)
        assert watch(size) == alone
        whole = watch(size, back)
    (chart,) = recorded
    assert "── train" in chart and "GPU 0" not in chart and "cpu" not in chart
    assert all(words in whole for words in ("GPU 7 ", "cpu", "step 250 of 400"))
    assert "train" not in alone and "cpu" not in alone
    assert alone.count("10 min") == 8
    assert_monitor_frame("gpus-alone", size, alone)


@pytest.mark.parametrize("size", [(80, 24), (120, 24)])
def test_gpu_lines_leave_room_for_a_warning(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(250)
    timed_run.write_reading(gpus=[card(n) for n in range(8)])
    timed_run.write_event("finding", **OVERFIT)
    with living(timed_run.folder):
        shown = watch(size)
    assert "! overfitting" in shown and "Validation loss has risen" in shown
    assert "GPU 0" in shown and "z: GPUs only" in shown


def test_gpus_only_view_shows_everything_without_gpus(timed_run: TimedRun) -> None:
    chart_data.save_settings(ChartSettings(pane="gpus"))
    timed_run.train(250)
    timed_run.write_reading()
    with living(timed_run.folder):
        assert_monitor_frame("training", (80, 24), watch((80, 24)))


@every_size
def test_thermal_throttling_is_shown(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(250)
    timed_run.write_reading(gpus=[card(0, throttled=["thermal"], temperature=91)])
    with living(timed_run.folder):
        assert_monitor_frame("throttled", size, watch(size))


def test_ascii_mode_draws_gpu_memory_in_ascii(timed_run: TimedRun) -> None:
    timed_run.train(30)
    timed_run.write_reading(gpus=[card(0, throttled=["thermal"])])
    with living(timed_run.folder):
        shown = watch((160, 50), ascii=True)
    assert shown.isascii()
    (line,) = (line for line in shown.split("\n") if "GPU 0" in line)
    assert " ===========~~--- run 17.9 " in line


@every_size
def test_mig_instances_are_shown(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(250)
    part = {"memory_used": 7.9e9, "memory_total": 10.5e9}
    parts = [{"index": 0, **part}, {"index": 1, "memory_used": 0.1e9, "memory_total": 10.5e9}]
    cut = card(0, utilisation=None, name="NVIDIA A100-SXM4-80GB", mig=parts, ours=None)
    timed_run.write_reading(gpus=[{**cut, "memory_total": 85.9e9, "memory_used": 8.4e9}])
    with living(timed_run.folder):
        assert_monitor_frame("mig", size, watch(size))


def test_hung_driver_shows_a_warning(timed_run: TimedRun) -> None:
    timed_run.train(30)
    timed_run.write_reading(hung=True, no_gpu="the driver stopped responding")
    with living(timed_run.folder):
        shown = watch((80, 24))
    assert "! GPU driver is not responding" in shown


def test_run_on_another_machine_names_the_host(timed_run: TimedRun) -> None:
    timed_run.train(30)
    keeper = Identity(host="node\x1b7", boot_id="", pid_namespace=1, pid=1, start_ticks=1)
    with living(timed_run.folder, keeper=keeper):
        shown = watch((80, 24))
    assert "· Running on node␛7." in shown and "keeper" not in shown


@every_size
def test_run_that_stalled_before_the_monitor_opened_says_so(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    """A C call that never returns leaves no thread in the worker that could report it."""
    timed_run.write_event("log", 735, step=30, loss=0.6, epoch=0.4, tokens=98)
    timed_run.folder.heartbeat.touch()
    os.utime(timed_run.folder.heartbeat, (NOW - 1, NOW - 1))

    async def go_on(pilot: Pilot[Any]) -> None:
        assert_monitor_frame("stalled", size, frame(pilot.app))
        timed_run.write_event("log", step=31, loss=0.5, epoch=0.4, tokens=99)
        await until(pilot, lambda: "No progress" not in frame(pilot.app))

    with living(timed_run.folder, started=NOW - 1800):
        watch(size, go_on)


def test_silence_within_the_pace_of_the_run_is_not_reported(timed_run: TimedRun) -> None:
    timed_run.write_event("log", 735, step=30, loss=0.6, epoch=0.4, tokens=98)
    write_json(timed_run.folder.pace, Pace(attempt=1, silent_s=900))
    with living(timed_run.folder, started=NOW - 1800):
        assert "No progress" not in watch((80, 24))


def test_stale_machine_reading_is_not_shown(timed_run: TimedRun) -> None:
    timed_run.train(30)
    timed_run.write_reading(t=NOW - 60)
    with living(timed_run.folder):
        assert "cpu" not in watch((80, 24))
