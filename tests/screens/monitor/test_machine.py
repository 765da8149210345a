"""What the monitor shows of the machine: no GPU, one, two, eight, and what each cannot tell."""

from __future__ import annotations

import math
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs.identity import Identity
from ftwizard.screens.monitor import chart_data
from ftwizard.screens.monitor.chart_data import ChartSettings
from ftwizard.screens.monitor.page import MonitorPage
from tests.screens.frames import frame, says, until
from tests.screens.monitor.story import (
    HEALTHY,
    NOW,
    OVERFIT,
    SILENT,
    Story,
    assert_looks,
    card,
    every_size,
    watch,
)
from tests.screens.runs_helpers import living

pytestmark = pytest.mark.usefixtures("clock")


@every_size
def test_two_gpus_of_which_one_tells_little(story: Story, size: tuple[int, int]) -> None:
    story.train(30)
    item = {
        "index": 0, "name": "NVIDIA H100 80GB HBM3", "utilisation": 97, "temperature": 71,
        "power": 612.5, "memory_used": 61.3e9, "memory_total": 85.5e9,
    }  # fmt: skip
    other = {"index": 1, "name": None, "memory_total": 85.5e9, **SILENT}
    story.machine(gpus=[item, other])
    with living(story.folder):
        assert_looks("two-gpus", size, watch(size))


@every_size
def test_more_gpus_than_there_is_room_for_and_one_of_them_lost(
    story: Story, size: tuple[int, int]
) -> None:
    story.train(30)
    gpus: list[dict[str, Any]] = [
        {
            "index": n, "name": "NVIDIA A100", "utilisation": 100 - n, "temperature": 60 + n,
            "power": 300.0 + n, "memory_used": 7e10, "memory_total": 8e10,
        }
        for n in range(10)
    ]  # fmt: skip
    gpus[1] = {"index": 1, "lost": True}
    story.machine(gpus=gpus)
    with living(story.folder):
        assert_looks("ten-gpus", size, watch(size))


@every_size
def test_eight_gpus_with_ten_minutes_of_each(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    for ago in range(600, 0, -2):
        gpus = [card(n) for n in range(8)]
        for n, item in enumerate(gpus):
            wave = 50 + 50 * math.sin(ago / (20 + 15 * n))
            item["utilisation"] = round(wave) if n else 97 - ago % 7
        gpus[3] = card(3, utilisation=None, memory_used=None, temperature=None)
        gpus[5] = card(5, throttled=["thermal", "power cap"], temperature=89)
        gpus[6] = card(6, throttled=["power cap"], power=449.9)
        gpus[7] = {"index": 7, "lost": True} if ago < 300 else gpus[7]
        story.machine(t=NOW - ago, gpus=gpus)
    story.tell("finding", **HEALTHY)
    with living(story.folder):
        shown = watch(size)
    assert all(f"GPU {n} " in shown for n in range(8)) and "more GPU" not in shown
    assert_looks("eight-gpus", size, shown)


@every_size
def test_the_chart_alone_then_the_gpus_then_everything_and_it_is_kept(
    story: Story, size: tuple[int, int]
) -> None:
    story.train(250)
    for ago in range(600, 0, -2):
        uses = [round(50 + 49 * math.sin(ago / (40 + 15 * n))) for n in range(8)]
        story.machine(t=NOW - ago, gpus=[card(n, utilisation=uses[n]) for n in range(8)])
    recorded: list[str] = []

    async def twice(pilot: Pilot[Any]) -> None:
        await pilot.press("z")
        await says(pilot, "z GPUs")
        recorded.append(frame(pilot.app))
        await pilot.press("m", "m")
        await says(pilot, "learning rate")
        assert chart_data.load_settings().pane == "chart"
        await pilot.press("M", "M", "z")
        await says(pilot, "z all")

    async def back(pilot: Pilot[Any]) -> None:
        await pilot.press("z")
        await says(pilot, "── train")
        await pilot.press("m")
        await says(pilot, "── grad norm")  # the chart has the keys again

    with living(story.folder):
        alone = watch(size, twice)
        assert watch(size) == alone
        whole = watch(size, back)
    (chart,) = recorded
    assert "── train" in chart and "GPU 0" not in chart and "cpu" not in chart
    assert all(words in whole for words in ("GPU 7 ", "cpu", "step 250 of 400"))
    assert "train" not in alone and "cpu" not in alone
    assert alone.count("10 min") == 8
    assert_looks("gpus-alone", size, alone)


@pytest.mark.parametrize("size", [(80, 24), (120, 24)])
def test_gpus_leave_a_warning_its_lines(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.machine(gpus=[card(n) for n in range(8)])
    story.tell("finding", **OVERFIT)
    with living(story.folder):
        shown = watch(size)
    assert "! overfitting" in shown and "The validation loss rises" in shown
    assert "GPU 0" in shown and "z: GPUs only" in shown


def test_where_there_are_no_gpus_all_is_shown_instead_of_them(story: Story) -> None:
    chart_data.save_settings(ChartSettings(pane="gpus"))
    story.train(250)
    story.machine()
    with living(story.folder):
        assert_looks("training", (80, 24), watch((80, 24)))


@every_size
def test_a_gpu_that_is_too_hot(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.machine(gpus=[card(0, throttled=["thermal"], temperature=91)])
    with living(story.folder):
        assert_looks("throttled", size, watch(size))


def test_a_gpu_in_ascii(story: Story) -> None:
    story.train(30)
    story.machine(gpus=[card(0, throttled=["thermal"])])
    with living(story.folder):
        shown = watch((160, 50), ascii=True)
    assert shown.isascii()
    (line,) = (line for line in shown.split("\n") if "GPU 0" in line)
    assert " ===========~~--- run 17.9 " in line


@every_size
def test_a_gpu_that_is_cut_into_instances(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    part = {"memory_used": 7.9e9, "memory_total": 10.5e9}
    parts = [{"index": 0, **part}, {"index": 1, "memory_used": 0.1e9, "memory_total": 10.5e9}]
    cut = card(0, utilisation=None, name="NVIDIA A100-SXM4-80GB", mig=parts, ours=None)
    story.machine(gpus=[{**cut, "memory_total": 85.9e9, "memory_used": 8.4e9}])
    with living(story.folder):
        assert_looks("mig", size, watch(size))


def test_a_driver_that_hangs_is_shown_as_such(story: Story) -> None:
    story.train(30)
    story.machine(hung=True, no_gpu="the driver stopped responding")
    with living(story.folder):
        shown = watch((80, 24))
    assert "! GPU driver is not responding" in shown


def test_a_run_on_another_machine_is_shown_as_such(story: Story) -> None:
    story.train(30)
    keeper = Identity(host="node\x1b7", boot_id="", pid_namespace=1, pid=1, start_ticks=1)
    with living(story.folder, keeper=keeper):
        shown = watch((80, 24))
    assert "· Running on node␛7." in shown and "supervisor process" not in shown


def test_a_run_that_says_nothing_any_more_is_shown_as_such(story: Story) -> None:
    """A call into C that never returns leaves no thread to say so from within."""
    story.train(30)

    async def wait_long(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, MonitorPage)
        assert "Nothing new" not in frame(pilot.app)
        screen.follower.last_read -= 700
        await says(pilot, ". Press o for the output.")
        story.tell("log", step=31, loss=0.5, epoch=0.4, tokens=99)
        await until(pilot, lambda: "Nothing new" not in frame(pilot.app))

    with living(story.folder):
        watch((80, 24), wait_long)


def test_an_old_reading_of_the_machine_is_not_shown_as_one_of_now(story: Story) -> None:
    story.train(30)
    story.machine(t=NOW - 60)
    with living(story.folder):
        assert "cpu" not in watch((80, 24))
