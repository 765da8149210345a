"""The monitor in every state that a run can be in, as text, with the clock standing still."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs import identity, requests
from ftwizard.jobs.folder import Attempt, JobFolder, State, write_json
from ftwizard.screens.app import FtwizardApp
from tests.helpers.jobs import command_pid, keeper_pid, make, start, until_step
from tests.screens.frames import drive, frame, says, until
from tests.screens.monitor.story import (
    NOW,
    SIZES,
    TOTAL,
    Story,
    assert_looks,
    card,
    every_size,
    watch,
)
from tests.screens.runs_helpers import living

pytestmark = pytest.mark.usefixtures("clock")


@every_size
def test_queued(story: Story, size: tuple[int, int]) -> None:
    with living(story.folder, state="queued", started=None):
        assert_looks("queued", size, watch(size))


@every_size
def test_starting(story: Story, size: tuple[int, int]) -> None:
    story.tell("phase", phase="fetching", what="owner/model", done=83e6, total=270e6, unit="bytes")
    story.machine()
    story.folder.log.write_text(
        "Fetching 5 files:   0%|   | 0/5\rFetching 5 files:  20%|#  | 1/5\r"
    )
    with living(story.folder):
        assert_looks("starting", size, watch(size))


@every_size
def test_training_without_a_gpu(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.machine()
    with living(story.folder):
        assert_looks("training", size, watch(size))


@every_size
def test_what_it_has_cost_so_far_of_its_budget(story: Story, size: tuple[int, int]) -> None:
    story.costing("2", "budget: {usd: 2, hours: 4}\n")
    story.train(250)
    story.machine()
    with living(story.folder):
        assert_looks("budget", size, watch(size))


def test_without_a_budget_the_cost_alone_is_told_also_of_a_run_that_has_ended(
    story: Story,
) -> None:
    story.costing("36")
    story.train(TOTAL)
    story.end("finished")
    assert "cost $12.00" in watch((80, 24))


@pytest.mark.parametrize("size", [*SIZES, (80, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_where_the_time_goes_has_a_line_where_there_is_room(
    story: Story, size: tuple[int, int]
) -> None:
    story.train(250, padding_share=0.31, wait_share=0.024, flops_share=0.227, tokens_per_s=600.0)
    story.tell(
        "finding", code="efficiency", severity="info", step=20, setting="recipe.packing: true",
        saves=0.31, evidence={}, message="31% of the computed tokens are padding: recipe.packing "
        "would save about that, where the model can keep packed rows apart.",
    )  # fmt: skip
    story.machine(gpus=[card(0)])
    with living(story.folder):
        assert_looks("efficiency", size, watch(size))


def test_training_in_ascii(story: Story) -> None:
    story.train(250)
    story.machine()
    with living(story.folder):
        shown = watch((80, 24), ascii=True)
    assert shown.isascii()
    assert_looks("training-ascii", (80, 24), shown)


@every_size
def test_evaluating(story: Story, size: tuple[int, int]) -> None:
    story.train(259)
    story.tell("phase", phase="evaluating", done=3, total=9, unit="batches")
    story.machine()
    with living(story.folder):
        assert_looks("evaluating", size, watch(size))


@every_size
def test_saving_because_it_was_asked_to_stop(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.tell("phase", phase="saving")
    story.machine()
    requests.send(story.folder, "stop", 1)
    with living(story.folder):
        assert_looks("stopping", size, watch(size))


@every_size
def test_merging(story: Story, size: tuple[int, int]) -> None:
    story.train(TOTAL)
    story.tell("phase", phase="merging", done=90, total=210, unit="matrices")
    story.machine()
    with living(story.folder):
        assert_looks("merging", size, watch(size))


@every_size
def test_comparing(story: Story, size: tuple[int, int]) -> None:
    story.train(TOTAL)
    story.tell("phase", phase="comparing", what="base model", done=8, total=40, unit="answers")
    story.machine()
    with living(story.folder):
        assert_looks("comparing", size, watch(size))


@every_size
def test_finished(story: Story, size: tuple[int, int]) -> None:
    story.train(TOTAL)
    story.end("finished")
    assert_looks("finished", size, watch(size))


@every_size
def test_stopped_and_resumable(story: Story, size: tuple[int, int]) -> None:
    story.train(123)
    story.folder.log.write_text("libraries loaded\nsaved at step 123\n")
    story.end("stopped")
    assert_looks("stopped", size, watch(size))


@every_size
def test_resumed_it_takes_back_what_it_replays(story: Story, size: tuple[int, int]) -> None:
    story.train(150)
    write_json(
        story.folder.attempt(2),
        Attempt(number=2, started=NOW - 90, host=os.uname().nodename, argv=["none"]),
    )
    story.attempt = 2
    story.train(130, first=120)
    story.machine()
    with living(story.folder, attempt=2):
        assert_looks("resumed", size, watch(size))


@every_size
def test_failed_with_cause_and_what_to_do(story: Story, size: tuple[int, int]) -> None:
    story.train(31)
    story.folder.log.write_text("Traceback (most recent call last):\nRuntimeError: CUDA error\n")
    message = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 24 GiB."
    )
    story.end("out_of_gpu_memory", message=message)
    assert_looks("failed", size, watch(size))


@every_size
def test_refused_before_the_first_step(story: Story, size: tuple[int, int]) -> None:
    story.tell("phase", phase="tokenising", what="train", done=10, total=160, unit="rows")
    story.end("refused", message="No row has an answer to learn from.", hint="Give it answers.")
    assert_looks("refused", size, watch(size))


@every_size
def test_a_loss_that_is_no_number(story: Story, size: tuple[int, int]) -> None:
    story.train(60)
    for step in range(61, 66):
        story.tell("log", step=step, loss="nan", epoch=0.5, tokens=1, grad_norm="nan")
    story.end("nan")
    assert_looks("nan", size, watch(size))


@every_size
def test_lost_with_its_keeper(story: Story, size: tuple[int, int]) -> None:
    story.train(77)
    write_json(story.folder.state, State(state="running", attempt=1, started=NOW - 600))
    assert_looks("lost", size, watch(size))


@every_size
def test_without_its_keeper_it_goes_on(story: Story, size: tuple[int, int]) -> None:
    story.train(77)
    with subprocess.Popen(["sleep", "60"]) as process:
        keeper = identity.from_pid(process.pid)
        process.kill()
    with living(story.folder, keeper=keeper):
        assert_looks("no-keeper", size, watch(size))


@every_size
def test_torn_events(story: Story, size: tuple[int, int]) -> None:
    story.train(40)
    with story.folder.events.open("ab") as file:
        file.write(b'{"v":1,"t":17\n\xff\xfe\n' + b"\0" * 512 + b"\n[]\n")
    story.train(80, first=40)
    whole = story.folder.events.read_bytes()
    story.folder.events.write_bytes(whole + b'{"v":1,"t":1790000000.0,"kind":"log","st')
    with living(story.folder):
        assert_looks("torn", size, watch(size))


def test_a_line_in_the_middle_of_being_written_is_read_when_it_is_whole(story: Story) -> None:
    story.train(40)
    whole = story.folder.events.read_bytes()
    story.folder.events.write_bytes(whole[:-40])

    async def write_on(pilot: Pilot[Any]) -> None:
        with story.folder.events.open("ab") as file:
            file.write(whole[-40:])
        story.tell("log", step=41, loss=0.3333, epoch=0.4, tokens=99)
        await says(pilot, "loss 0.3333")

    with living(story.folder):
        shown = watch((80, 24), write_on)
    assert "torn" not in shown
    assert "step 41 of 400" in shown


@every_size
def test_its_folder_is_removed_beneath_it(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.machine()

    async def remove(pilot: Pilot[Any]) -> None:
        shutil.rmtree(story.folder.path)
        await says(pilot, "was deleted")
        await pilot.press("o")
        await says(pilot, "No output yet.")
        await pilot.press("escape", "s")
        await pilot.pause(0.1)
        if "Stop this run?" in frame(pilot.app):
            await pilot.press("escape")
        await pilot.pause(0.1)

    with living(story.folder):
        assert_looks("gone", size, watch(size, remove))


def test_a_small_window_and_back(story: Story) -> None:
    story.train(250)
    story.machine()

    async def there_and_back(pilot: Pilot[Any]) -> None:
        before = frame(pilot.app)
        await pilot.resize_terminal(40, 10)
        await says(pilot, "Window too small")
        assert "loss" not in frame(pilot.app)
        await pilot.resize_terminal(160, 50)
        await says(pilot, "method")
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert frame(pilot.app) == before

    with living(story.folder):
        watch((80, 24), there_and_back)


@pytest.mark.slow
def test_a_storm_of_sizes(story: Story) -> None:
    story.train(250)
    story.machine()
    sizes = random.Random(1)

    async def storm(pilot: Pilot[Any]) -> None:
        app, before = pilot.app, frame(pilot.app)
        for _ in range(60):
            await pilot.resize_terminal(sizes.randint(10, 220), sizes.randint(3, 70))
            await until(pilot, lambda: len(frame(app).split("\n")) == app.size.height)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert frame(app) == before

    with living(story.folder):
        watch((80, 24), storm)


def test_a_keeper_that_is_killed_and_then_its_command(home: Path) -> None:
    folder: JobFolder = start(make(home / "runs" / "tickets-0921", steps=5000, step_s=0.05))
    until_step(folder, 2)
    pids = keeper_pid(folder), command_pid(folder)

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "loss")
        os.kill(pids[0], signal.SIGKILL)
        await says(pilot, "! The supervisor process died; the run keeps running.")
        os.kill(pids[1], signal.SIGKILL)
        await says(pilot, "✗ lost")
        assert "ftwizard resume tickets-0921" in frame(pilot.app)

    drive(FtwizardApp(("run", "tickets-0921")), (80, 24), play)
