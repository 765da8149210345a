"""The monitor in every run state, as text, with a frozen clock."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs import identity, requests
from ftwizard.jobs.folder import Attempt, JobFolder, State, write_json
from ftwizard.screens.app import FtwizardApp
from ftwizard.slurm import client
from ftwizard.slurm.job_states import SlurmJob
from tests.helpers.checkpoints import save
from tests.helpers.jobs import command_pid, keeper_pid, make, start, until_step
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.monitor.timed_runs import (
    NOW,
    SIZES,
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
def test_queued_run_is_shown_as_queued(timed_run: TimedRun, size: tuple[int, int]) -> None:
    with living(timed_run.folder, state="queued", started=None):
        assert_monitor_frame("queued", size, watch(size))


@every_size
def test_run_that_waits_for_a_slurm_job_says_why_and_until_when(
    timed_run: TimedRun, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = SlurmJob(id=17, state="PENDING", reason="Priority", expected_start=NOW + 1500)
    monkeypatch.setattr(client, "find_job", lambda job_id: job)
    waiting = State(state="queued", attempt=2, slurm_job=17, started=NOW - 60)
    write_json(timed_run.folder.state, waiting)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "Priority")

    assert_monitor_frame("queued-slurm", size, watch(size, play))


def test_keys_act_while_slurm_does_not_answer(
    timed_run: TimedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), threading.Event()

    def find_job(job_id: int) -> SlurmJob:
        asked.set()
        answers.wait(60)
        return SlurmJob(id=17, state="PENDING", reason="Resources")

    monkeypatch.setattr(client, "find_job", find_job)
    write_json(timed_run.folder.state, State(state="queued", attempt=2, slurm_job=17, started=NOW))

    async def play(pilot: Pilot[Any]) -> None:
        await until(pilot, asked.is_set)
        assert "queued  Slurm job 17" in frame(pilot.app)
        await pilot.press("s")
        await wait_for_text(pilot, "Stop this run?")
        await pilot.press("escape")
        assert "waiting for free nodes" not in frame(pilot.app)
        answers.set()
        await wait_for_text(pilot, "Resources: waiting for free nodes")

    watch((80, 24), play)


@every_size
def test_starting_run_shows_download_progress_and_output(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.write_event(
        "phase", phase="fetching", what="owner/model", done=83e6, total=270e6, unit="bytes"
    )
    timed_run.write_reading()
    timed_run.folder.log.write_text(
        "Fetching 5 files:   0%|   | 0/5\rFetching 5 files:  20%|#  | 1/5\r"
    )
    with living(timed_run.folder):
        assert_monitor_frame("starting", size, watch(size))


@every_size
def test_training_run_without_a_gpu_is_shown(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(250)
    timed_run.write_reading()
    with living(timed_run.folder):
        assert_monitor_frame("training", size, watch(size))


@every_size
def test_cost_and_hours_are_shown_against_the_budget(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.set_price("2", "budget: {usd: 2, hours: 4}\n")
    timed_run.train(250)
    timed_run.write_reading()
    with living(timed_run.folder):
        assert_monitor_frame("budget", size, watch(size))


def test_ended_run_without_a_budget_shows_its_cost(
    timed_run: TimedRun,
) -> None:
    timed_run.set_price("36")
    timed_run.train(TOTAL)
    timed_run.end("finished")
    assert "cost $12.00" in watch((80, 24))


@pytest.mark.parametrize("size", [*SIZES, (80, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_efficiency_finding_is_shown_at_each_size(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(
        250, padding_share=0.31, wait_share=0.024, flops_share=0.227, tokens_per_s=600.0
    )
    timed_run.write_event(
        "finding", code="efficiency", severity="info", step=20, setting="recipe.packing: true",
        saves=0.31, evidence={}, message="31% of the computed tokens are padding: recipe.packing "
        "would save about that, where the model can keep packed rows apart.",
    )  # fmt: skip
    timed_run.write_reading(gpus=[card(0)])
    with living(timed_run.folder):
        assert_monitor_frame("efficiency", size, watch(size))


def test_ascii_mode_shows_training_in_ascii(timed_run: TimedRun) -> None:
    timed_run.train(250)
    timed_run.write_reading()
    with living(timed_run.folder):
        shown = watch((80, 24), ascii=True)
    assert shown.isascii()
    assert_monitor_frame("training-ascii", (80, 24), shown)


@every_size
def test_evaluating_run_shows_its_progress(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(259)
    timed_run.write_event("phase", phase="evaluating", done=3, total=9, unit="batches")
    timed_run.write_reading()
    with living(timed_run.folder):
        assert_monitor_frame("evaluating", size, watch(size))


@every_size
def test_saving_after_a_stop_request_is_shown_as_stopping(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(250)
    timed_run.write_event("phase", phase="saving")
    timed_run.write_reading()
    requests.send(timed_run.folder, "stop", 1)
    with living(timed_run.folder):
        assert_monitor_frame("stopping", size, watch(size))


@every_size
def test_merging_run_shows_its_progress(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(TOTAL)
    timed_run.write_event("phase", phase="merging", done=90, total=210, unit="matrices")
    timed_run.write_reading()
    with living(timed_run.folder):
        assert_monitor_frame("merging", size, watch(size))


@every_size
def test_comparing_run_shows_its_progress(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(TOTAL)
    timed_run.write_event(
        "phase", phase="comparing", what="base model", done=8, total=40, unit="answers"
    )
    timed_run.write_reading()
    with living(timed_run.folder):
        assert_monitor_frame("comparing", size, watch(size))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"phase": "loading", "what": "model"}, "● loading: model  40 s"),
        ({"phase": "training", "step": 0, "total": 9}, "step 0 of 9  first step: 40 s"),
        ({"phase": "comparing", "what": "base model"}, "● comparing: base model  40 s"),
    ],
)
def test_wait_without_progress_shows_how_long(
    timed_run: TimedRun, fields: dict[str, Any], text: str
) -> None:
    timed_run.write_event("phase", 40, **fields)
    with living(timed_run.folder):
        assert text in watch((80, 24))


def test_saving_after_the_last_step_does_not_look_like_the_end(timed_run: TimedRun) -> None:
    timed_run.train(TOTAL)
    timed_run.write_event("phase", 40, phase="saving")
    with living(timed_run.folder):
        shown = watch((80, 24))
    assert f"● saving  step {TOTAL} of {TOTAL}" in shown and "40 s" in shown
    assert "━━" not in shown


def test_run_that_closes_its_process_is_not_shown_as_saving(timed_run: TimedRun) -> None:
    timed_run.train(TOTAL)
    timed_run.write_event("done", end_reason="finished", exit_code=0)
    with living(timed_run.folder):
        shown = watch((80, 24))
    assert "● finished, closing its process" in shown and "stopping" not in shown


@every_size
def test_finished_run_shows_its_final_state(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(TOTAL)
    timed_run.end("finished")
    assert_monitor_frame("finished", size, watch(size))


@every_size
def test_stopped_run_offers_to_resume(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(123)
    timed_run.folder.log.write_text("libraries loaded\nsaved at step 123\n")
    save(timed_run.folder.checkpoints, 123)
    timed_run.end("stopped")
    assert_monitor_frame("stopped", size, watch(size))


@every_size
def test_resumed_run_replaces_the_replayed_steps(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(150)
    write_json(
        timed_run.folder.attempt(2),
        Attempt(number=2, started=NOW - 90, host=os.uname().nodename, argv=["none"]),
    )
    timed_run.attempt = 2
    timed_run.train(130, first=120)
    timed_run.write_reading()
    with living(timed_run.folder, attempt=2):
        assert_monitor_frame("resumed", size, watch(size))


@every_size
def test_failed_run_shows_cause_and_advice(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(31)
    timed_run.folder.log.write_text(
        "Traceback (most recent call last):\nRuntimeError: CUDA error\n"
    )
    message = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 24 GiB."
    )
    timed_run.end("out_of_gpu_memory", message=message)
    assert_monitor_frame("failed", size, watch(size))


@every_size
def test_refused_run_shows_the_reason(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.write_event(
        "phase", phase="tokenising", what="train", done=10, total=160, unit="rows"
    )
    timed_run.end("refused", message="No row has an answer to learn from.", hint="Give it answers.")
    assert_monitor_frame("refused", size, watch(size))


@every_size
def test_nan_loss_ends_the_run_with_advice(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(60)
    for step in range(61, 66):
        timed_run.write_event("log", step=step, loss="nan", epoch=0.5, tokens=1, grad_norm="nan")
    timed_run.end("nan")
    assert_monitor_frame("nan", size, watch(size))


@every_size
def test_run_without_processes_is_shown_as_lost(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(77)
    write_json(timed_run.folder.state, State(state="running", attempt=1, started=NOW - 600))
    assert_monitor_frame("lost", size, watch(size))


@every_size
def test_live_run_without_its_keeper_shows_a_warning(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(77)
    with subprocess.Popen(["sleep", "60"]) as process:
        keeper = identity.from_pid(process.pid)
        process.kill()
    with living(timed_run.folder, keeper=keeper):
        assert_monitor_frame("no-keeper", size, watch(size))


@every_size
def test_torn_event_lines_are_skipped_and_counted(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    timed_run.train(40)
    with timed_run.folder.events.open("ab") as file:
        file.write(b'{"v":1,"t":17\n\xff\xfe\n' + b"\0" * 512 + b"\n[]\n")
    timed_run.train(80, first=40)
    whole = timed_run.folder.events.read_bytes()
    timed_run.folder.events.write_bytes(whole + b'{"v":1,"t":1790000000.0,"kind":"log","st')
    with living(timed_run.folder):
        assert_monitor_frame("torn", size, watch(size))


def test_partial_event_line_is_read_once_complete(timed_run: TimedRun) -> None:
    timed_run.train(40)
    whole = timed_run.folder.events.read_bytes()
    timed_run.folder.events.write_bytes(whole[:-40])

    async def write_on(pilot: Pilot[Any]) -> None:
        with timed_run.folder.events.open("ab") as file:
            file.write(whole[-40:])
        timed_run.write_event("log", step=41, loss=0.3333, epoch=0.4, tokens=99)
        await wait_for_text(pilot, "loss 0.3333")

    with living(timed_run.folder):
        shown = watch((80, 24), write_on)
    assert "incomplete" not in shown
    assert "step 41 of 400" in shown


@every_size
def test_deleted_run_folder_is_reported(timed_run: TimedRun, size: tuple[int, int]) -> None:
    timed_run.train(250)
    timed_run.write_reading()

    async def remove(pilot: Pilot[Any]) -> None:
        shutil.rmtree(timed_run.folder.path)
        await wait_for_text(pilot, "was moved or deleted")
        await pilot.press("o")
        await wait_for_text(pilot, "No output yet.")
        await pilot.press("escape", "s")
        await pilot.pause(0.1)
        if "Stop this run?" in frame(pilot.app):
            await pilot.press("escape")
        await pilot.pause(0.1)

    with living(timed_run.folder):
        assert_monitor_frame("gone", size, watch(size, remove))


def test_frame_is_restored_after_a_too_small_window(timed_run: TimedRun) -> None:
    timed_run.train(250)
    timed_run.write_reading()

    async def there_and_back(pilot: Pilot[Any]) -> None:
        before = frame(pilot.app)
        await pilot.resize_terminal(40, 10)
        await wait_for_text(pilot, "Window too small")
        assert "loss" not in frame(pilot.app)
        await pilot.resize_terminal(160, 50)
        await wait_for_text(pilot, "method")
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert frame(pilot.app) == before

    with living(timed_run.folder):
        watch((80, 24), there_and_back)


@pytest.mark.slow
def test_frame_is_restored_after_many_random_sizes(timed_run: TimedRun) -> None:
    timed_run.train(250)
    timed_run.write_reading()
    sizes = random.Random(1)

    async def storm(pilot: Pilot[Any]) -> None:
        app, before = pilot.app, frame(pilot.app)
        for _ in range(60):
            await pilot.resize_terminal(sizes.randint(10, 220), sizes.randint(3, 70))
            await until(pilot, lambda: len(frame(app).split("\n")) == app.size.height)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert frame(app) == before

    with living(timed_run.folder):
        watch((80, 24), storm)


def test_killed_keeper_and_worker_end_as_lost(home: Path) -> None:
    folder: JobFolder = start(make(home / "runs" / "tickets-0921", steps=5000, step_s=0.05))
    until_step(folder, 2)
    pids = keeper_pid(folder), command_pid(folder)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        os.kill(pids[0], signal.SIGKILL)
        await wait_for_text(pilot, "! Its keeper has died. Training continues")
        os.kill(pids[1], signal.SIGKILL)
        await wait_for_text(pilot, "✗ lost")
        assert "ftwizard resume tickets-0921" in frame(pilot.app)

    drive(FtwizardApp(("run", "tickets-0921")), (80, 24), play)
