"""The monitor in every state that a run can be in, as text, with the clock standing still."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.app import App
from textual.pilot import Pilot

from ftwizard import hour_price
from ftwizard.catalog.prices import Rate
from ftwizard.jobs import identity, requests
from ftwizard.jobs.events import EventReader
from ftwizard.jobs.folder import Attempt, JobFolder, State, write_json
from ftwizard.jobs.identity import Identity
from ftwizard.runs import Progress
from ftwizard.screens import charted
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.charted import Look
from ftwizard.screens.hardest import CHANGED
from ftwizard.screens.monitor import Monitor
from ftwizard.series import Series
from tests.checkpoints_helpers import save
from tests.jobs_helpers import command_pid, keeper_pid, make, start, until_step
from tests.screens.frames import Scenario, assert_frame, drive, frame, says, until
from tests.screens.runs_helpers import PLAN, living, make_run

SIZES = [(80, 24), (160, 50)]
NOW = 1_790_000_000.0
"""2026-09-21, 13:33:20 UTC."""
TOTAL, EVERY, STEP_S = 400, 20, 3.0
HEALTHY: dict[str, Any] = {
    "code": "healthy", "severity": "info", "step": 120, "verdict": True, "confidence": 0.85,
    "message": "Both losses fall.", "action": "Go on.", "actions": ["go_on"], "evidence": {},
}  # fmt: skip
SILENT = {"utilisation": None, "temperature": None, "power": None, "memory_used": None}
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the clock stand still, in UTC."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


class Story:
    """A run whose events happen at moments of our choosing, the last of them now."""

    def __init__(self, home: Path) -> None:
        self.folder = make_run(home, "tickets-0921")
        self.folder.events.unlink()
        self.folder.state.unlink()
        self.attempt = 1

    def tell(self, kind: str, t: float = 0.0, **fields: Any) -> None:
        """Add an event of ``t`` seconds ago."""
        event = {"v": 1, "t": NOW - t, "kind": kind, "attempt": self.attempt, **fields}
        with self.folder.events.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def train(
        self, last: int, first: int = 0, *, overfits: bool = False, **measures: float
    ) -> None:
        """Train from step ``first`` to step ``last`` with an evaluation each ``EVERY`` steps."""
        self.tell("phase", (last - first) * STEP_S, phase="training", step=first, total=TOTAL)
        for step in range(first + 1, last + 1):
            ago = (last - step) * STEP_S
            noise = 0.08 * math.sin(step * 1.7) * math.cos(step * 0.37)
            self.tell(
                "log", ago, step=step, loss=0.4 + 2 * math.exp(-step / 60) + noise,
                epoch=step / 133, tokens=1500 * step, learning_rate=2e-4 * (1 - step / TOTAL),
                grad_norm=0.8 + noise, **measures,
            )  # fmt: skip
            if step % EVERY == 0:
                rise = max(0, step - 160) / 300 if overfits else 0.0
                loss = 0.7 + 1.6 * math.exp(-step / 60) + rise
                self.tell("phase", ago, phase="evaluating", done=9, total=9, unit="batches")
                self.tell("eval", ago, step=step, eval_loss=loss)
                path = f"checkpoints/checkpoint-{step}"
                self.tell("checkpoint", ago, step=step, path=path, eval_loss=loss)

    def costing(self, usd: str, budget: str = "") -> None:
        """Give an hour of its machine a price, and the run a budget."""
        hour = Rate(usd=Decimal(usd), unit="hour", source="own", as_of="2026-09", confidence="high")
        record = self.folder.read_job()
        inputs = hour_price.record(hour)
        write_json(self.folder.job, msgspec.structs.replace(record, inputs=inputs))
        self.folder.plan.write_text(f"{PLAN}{budget}")

    def machine(self, **reading: Any) -> None:
        """Write a reading of the machine of a second ago."""
        no_gpu = "no NVIDIA driver here"
        sample = {
            "v": 1, "t": NOW - 1, "cpu": 87.5, "memory_used": 11.2e9, "memory_total": 33.4e9,
            "gpus": [], **reading,
        }  # fmt: skip
        sample |= {} if sample["gpus"] else {"no_gpu": no_gpu}
        with self.folder.machine("here").open("a") as file:
            file.write(json.dumps(sample) + "\n")

    def end(self, reason: str, **said: Any) -> None:
        """End it now."""
        self.tell("done", end_reason=reason, **said)
        state = State(state="ended", attempt=self.attempt, started=NOW - 1800, ended=NOW)
        write_json(self.folder.state, state)


@pytest.fixture
def story(home: Path) -> Story:
    return Story(home)


def watch(size: tuple[int, int], scenario: Scenario | None = None, *, ascii: bool = False) -> str:
    """Return what the monitor shows of the run once it has read everything."""

    async def play(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        if scenario is not None:
            await scenario(pilot)

    return drive(FtwizardApp(("run", "tickets-0921"), ascii=ascii), size, play)


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until the monitor has read the plan and all events, and has drawn them."""

    def is_settled() -> bool:
        screen = pilot.app.screen
        return isinstance(screen, Monitor) and screen._face.plan is not None and not screen._reading

    await until(pilot, is_settled)
    pilot.app.screen._face.draw()  # type: ignore[attr-defined]
    await pilot.pause(0.1)


def assert_looks(name: str, size: tuple[int, int], shown: str) -> None:
    assert_frame(f"monitor-{name}-{size[0]}x{size[1]}", shown)


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
    story.machine(gpus=[_card(0)])
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
def test_two_gpus_of_which_one_tells_little(story: Story, size: tuple[int, int]) -> None:
    story.train(30)
    one = {
        "index": 0, "name": "NVIDIA H100 80GB HBM3", "utilisation": 97, "temperature": 71,
        "power": 612.5, "memory_used": 61.3e9, "memory_total": 85.5e9,
    }  # fmt: skip
    other = {"index": 1, "name": None, "memory_total": 85.5e9, **SILENT}
    story.machine(gpus=[one, other])
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


def _card(index: int, **more: Any) -> dict[str, Any]:
    return {
        "index": index, "name": "NVIDIA GeForce RTX 4090", "utilisation": 97 - 9 * index,
        "temperature": 61 + index, "power": 287.4 + index, "power_limit": 450.0,
        "memory_used": 20.6e9, "memory_total": 25.8e9, "memory_reserved": 0.4e9,
        "ours": 17.9e9 if index == 0 else 0, "throttled": [], "mig": None, **more,
    }  # fmt: skip


@every_size
def test_eight_gpus_with_ten_minutes_of_each(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    for ago in range(600, 0, -2):
        gpus = [_card(n) for n in range(8)]
        for n, one in enumerate(gpus):
            wave = 50 + 50 * math.sin(ago / (20 + 15 * n))
            one["utilisation"] = round(wave) if n else 97 - ago % 7
        gpus[3] = _card(3, utilisation=None, memory_used=None, temperature=None)
        gpus[5] = _card(5, throttled=["thermal", "power cap"], temperature=89)
        gpus[6] = _card(6, throttled=["power cap"], power=449.9)
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
        story.machine(t=NOW - ago, gpus=[_card(n, utilisation=uses[n]) for n in range(8)])
    seen: list[str] = []

    async def twice(pilot: Pilot[Any]) -> None:
        await pilot.press("z")
        await says(pilot, "z GPUs")
        seen.append(frame(pilot.app))
        await pilot.press("m", "m")
        await says(pilot, "learning rate")
        assert charted.remembered().pane == "chart"
        await pilot.press("M", "M", "z")
        await says(pilot, "z all")

    async def back(pilot: Pilot[Any]) -> None:
        await pilot.press("z")
        await says(pilot, "── train")
        await pilot.press("m")
        await says(pilot, "── gradient norm")  # the chart has the keys again

    with living(story.folder):
        alone = watch(size, twice)
        assert watch(size) == alone
        whole = watch(size, back)
    (chart,) = seen
    assert "── train" in chart and "GPU 0" not in chart and "cpu" not in chart
    assert all(words in whole for words in ("GPU 7 ", "cpu", "step 250 of 400"))
    assert "train" not in alone and "cpu" not in alone
    assert alone.count("10 min") == 8
    assert_looks("gpus-alone", size, alone)


@pytest.mark.parametrize("size", [(80, 24), (120, 24)])
def test_gpus_leave_a_warning_its_lines(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.machine(gpus=[_card(n) for n in range(8)])
    story.tell("finding", **OVERFIT)
    with living(story.folder):
        shown = watch(size)
    assert "! overfitting" in shown and "The validation loss rises" in shown
    assert "GPU 0" in shown and "z: GPUs alone" in shown


def test_where_there_are_no_gpus_all_is_shown_instead_of_them(story: Story) -> None:
    charted.remember(Look(pane="gpus"))
    story.train(250)
    story.machine()
    with living(story.folder):
        assert_looks("training", (80, 24), watch((80, 24)))


@every_size
def test_a_gpu_that_is_too_hot(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    story.machine(gpus=[_card(0, throttled=["thermal"], temperature=91)])
    with living(story.folder):
        assert_looks("throttled", size, watch(size))


def test_a_gpu_in_ascii(story: Story) -> None:
    story.train(30)
    story.machine(gpus=[_card(0, throttled=["thermal"])])
    with living(story.folder):
        shown = watch((160, 50), ascii=True)
    assert shown.isascii()
    (line,) = (one for one in shown.split("\n") if "GPU 0" in one)
    assert " ===========~~--- yours 17.9 " in line


@every_size
def test_a_gpu_that_is_cut_into_instances(story: Story, size: tuple[int, int]) -> None:
    story.train(250)
    part = {"memory_used": 7.9e9, "memory_total": 10.5e9}
    parts = [{"index": 0, **part}, {"index": 1, "memory_used": 0.1e9, "memory_total": 10.5e9}]
    cut = _card(0, utilisation=None, name="NVIDIA A100-SXM4-80GB", mig=parts, ours=None)
    story.machine(gpus=[{**cut, "memory_total": 85.9e9, "memory_used": 8.4e9}])
    with living(story.folder):
        assert_looks("mig", size, watch(size))


def test_a_driver_that_hangs_is_shown_as_such(story: Story) -> None:
    story.train(30)
    story.machine(hung=True, no_gpu="the driver has not answered since the last reading")
    with living(story.folder):
        shown = watch((80, 24))
    assert "! GPU: the driver hangs, it does not answer" in shown


def test_a_run_on_another_machine_is_shown_as_such(story: Story) -> None:
    story.train(30)
    keeper = Identity(host="node\x1b7", boot_id="", pid_namespace=1, pid=1, start_ticks=1)
    with living(story.folder, keeper=keeper):
        shown = watch((80, 24))
    assert "· It runs on node␛7." in shown and "keeper is gone" not in shown


def test_a_run_that_says_nothing_any_more_is_shown_as_such(story: Story) -> None:
    """A call into C that never returns leaves no thread to say so from within."""
    story.train(30)

    async def wait_long(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, Monitor)
        assert "Nothing new" not in frame(pilot.app)
        screen.follower.heard -= 700
        await says(pilot, "; o shows its output.")
        story.tell("log", step=31, loss=0.5, epoch=0.4, tokens=99)
        await until(pilot, lambda: "Nothing new" not in frame(pilot.app))

    with living(story.folder):
        watch((80, 24), wait_long)


def test_an_old_reading_of_the_machine_is_not_shown_as_one_of_now(story: Story) -> None:
    story.train(30)
    story.machine(t=NOW - 60)
    with living(story.folder):
        assert "cpu" not in watch((80, 24))


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
    requests.ask(story.folder, "stop", 1)
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
def test_overfitting(story: Story, size: tuple[int, int]) -> None:
    story.train(260, overfits=True)
    story.tell(
        "finding", code="overfit", severity="warning", step=260,
        message="The validation loss has not improved for 3 evaluations (now 1.054, best 0.8112 at "
        "step 160); stopping, the best weights are kept.",
    )  # fmt: skip
    story.end("early_stopped")
    assert_looks("overfitting", size, watch(size))


OVERFIT: dict[str, Any] = {
    "code": "overfit", "severity": "warning", "step": 260, "since": 160, "verdict": True,
    "message": "The validation loss rises: 1.054, 29.9 % above its best 5 evaluations ago, while "
    "training goes on to fall. Best: 0.8112 at step 160, on disk.",
    "action": "Stop now and keep the best; then fewer epochs, or more diverse rows.",
    "actions": ["stop_keep_best", "again_half_rate"], "confidence": 0.97,
    "evidence": {"best_loss": 0.8112, "now": 1.054, "severity_share": 0.299, "trend_z": 2.63,
                 "evaluations_since": 5, "cusum": 31.5, "noise": 0.01},
    "best_step": 160, "best_on_disk": 160,
}  # fmt: skip


@every_size
def test_overfitting_while_it_trains(story: Story, size: tuple[int, int]) -> None:
    story.train(260, overfits=True)
    story.tell("finding", **{**OVERFIT, "code": "healthy", "severity": "info", "step": 80})
    story.tell("finding", **OVERFIT)
    with living(story.folder):
        assert_looks("overfit-live", size, watch(size))


@every_size
def test_the_diagnosis_says_it_in_numbers_and_offers_what_to_do(
    story: Story, size: tuple[int, int]
) -> None:
    story.train(260, overfits=True)
    story.tell("finding", **OVERFIT)
    story.tell(
        "finding", code="spiky", severity="warning", step=200, since=2, verdict=False,
        message="The training loss jumps by 21 % of itself throughout.", confidence=0.81,
        action="Halve the rate and double the gradient accumulation.",
        actions=["again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"],
        evidence={"noise_share": 0.21},
    )  # fmt: skip
    save(story.folder.checkpoints, 160, 0.8112)

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("d")
        await says(pilot, "trend z 2.63")

    with living(story.folder):
        assert_looks("diagnosis", size, watch(size, play))


def tell_answers(story: Story, file: str = "train") -> None:
    """Have two prompts answered at the start and at each evaluation, and rows of a file measured."""
    answers = ("the the the the", "Refund: yes", "Refund within 14 days.")
    for step in (0, 160, 240):
        for index, prompt in enumerate(("May I send it back?", "Where is my parcel? " * 9)):
            text = answers[min(step // 120, 2)] + (" on its way" * 6 if index else "")
            story.tell(
                "sample", step=step, index=index, prompt=prompt, answer=text,
                expected=None if index else "Refund within 14 days.", seconds=0.4,
                truncated=bool(index),
            )  # fmt: skip
    rows = [
        {"row": 40 + k, "file": file, "loss": 4.2 - k / 3, "tokens": 12,
         "start": "user: Is the blue one in stock? assistant: ", "answer": "Yes, three are left."}
        for k in range(5)
    ]  # fmt: skip
    story.tell("rows", step=240, rows=rows)


@every_size
def test_answers_over_time_and_the_hardest_rows(story: Story, size: tuple[int, int]) -> None:
    story.train(260, overfits=True)
    tell_answers(story)

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "a answers")
        await pilot.press("a")
        await says(pilot, "May I send it back?")

    with living(story.folder):
        shown = watch(size, play)
    assert "Hardest of the validation rows, at step 240" in shown
    assert_looks("answers", size, shown)


@pytest.mark.parametrize("size", [(80, 24), (130, 30)])
def test_the_answers_in_the_middle_go_through_the_evaluations(
    story: Story, size: tuple[int, int]
) -> None:
    """Between the first and the newest; they are those at the best until another is chosen."""
    story.train(260, overfits=True)
    for step in (0, 120, 140, 160, 240):
        story.tell("sample", step=step, index=0, prompt="May I?", answer=f"Answer {step}.")

    def stand(app: App[Any], *steps: int) -> bool:
        shown = frame(app)
        return [step for step in (0, 120, 140, 160, 240) if f"Answer {step}." in shown] == [*steps]

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("a")
        await says(pilot, "step 160: validation loss 0.8112, best")
        assert stand(pilot.app, 0, 160, 240) and "‹ step 160 ›" in frame(pilot.app)
        assert "←→ evaluation" in frame(pilot.app)
        await pilot.press("left")
        await says(pilot, "step 140: validation loss ")
        assert stand(pilot.app, 0, 140, 240) and ", best" not in frame(pilot.app)
        await pilot.press("left", "left")
        await says(pilot, "step 120: validation loss ")
        assert stand(pilot.app, 0, 120, 240)
        await pilot.press("right", "right", "right")
        await says(pilot, "step 160: validation loss 0.8112, best")
        await pilot.press("question_mark")
        await says(pilot, "the top line says which,")

    with living(story.folder):
        watch(size, play)


def test_answers_at_a_better_evaluation_take_the_middle_unless_another_was_chosen(
    story: Story,
) -> None:
    story.train(100)
    for step in (0, 60, 80, 100):
        story.tell("sample", step=step, index=0, prompt="May I?", answer=f"Answer {step}.")

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("a")
        await says(pilot, "step 100: validation loss ")
        story.tell("eval", step=120, eval_loss=0.01)
        story.tell("sample", step=120, index=0, prompt="May I?", answer="Answer 120.")
        await says(pilot, "step 120: validation loss 0.0100, best")
        await pilot.press("left", "left")
        await says(pilot, "step 80: validation loss ")
        story.tell("eval", step=140, eval_loss=0.001)
        story.tell("sample", step=140, index=0, prompt="May I?", answer="Answer 140.")
        await says(pilot, "Answer 140.")
        assert "step 80: validation loss " in frame(pilot.app) and "Answer 80." in frame(pilot.app)

    with living(story.folder):
        watch((80, 24), play)


def test_the_hardest_rows_are_opened_where_they_stand_in_their_file(
    story: Story, tmp_path: Path
) -> None:
    file = tmp_path / "val.jsonl"
    pair = '{"messages": [{"role": "user", "content": "Is %d in stock?"}, {"role": "assistant", "content": "%s"}]}\n'
    file.write_text("".join(pair % (line, "Yes.") for line in range(1, 60)))
    story.folder.plan.write_text(
        f"data: {{files: {{train: /data/rows.jsonl, validation: {file}}}}}\nmodel: {{name: owner/model}}\n"
    )
    hashes = {"validation": hashlib.sha256(file.read_bytes()).hexdigest()}
    record = msgspec.structs.replace(story.folder.read_job(), hashes=hashes)
    write_json(story.folder.job, record)
    story.train(260)
    tell_answers(story, "validation")
    shown: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("a")
        await says(pilot, "▸      4.200       40")
        assert "enter open the row" in frame(pilot.app)
        await pilot.press("down", "enter")
        await says(pilot, "Is 41 in stock?")
        await until(pilot, lambda: not any(one.group == "changed" for one in pilot.app.workers))
        shown.append(frame(pilot.app))
        await pilot.press("up")
        await says(pilot, "Is 40 in stock?")
        await pilot.press("escape")
        await says(pilot, "▸      3.867       41")
        with file.open("a") as more:
            more.write(pair % (60, "No."))
        await pilot.press("enter")
        await says(pilot, CHANGED[:60])
        await says(pilot, "Is 41 in stock?")
        await pilot.press("escape")
        file.unlink()
        await pilot.press("enter")
        await says(pilot, "The file that this row is in is gone")
        await pilot.press("enter")
        await says(pilot, "▸      3.867       41")

    with living(story.folder):
        watch((100, 40), play)
    assert "has changed" not in shown[0]


def test_of_answers_longer_than_the_window_all_is_read_before_a_row_is_chosen(
    story: Story,
) -> None:
    story.train(260)
    tell_answers(story)
    for index in range(2, 6):
        story.tell("sample", step=0, index=index, prompt="And this?", answer="the the the the")

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("a")
        await says(pilot, "May I send it back?")
        assert "open the row" not in frame(pilot.app)
        for _ in range(30):
            if "▸" in frame(pilot.app):
                break
            await pilot.press("down")
            await pilot.pause()
        assert "▸      4.200       40" in frame(pilot.app)
        assert "open the row" in frame(pilot.app)
        await pilot.press("down")
        await says(pilot, "▸      3.867       41")
        await pilot.press("pageup", "pageup", "pageup")
        await says(pilot, "May I send it back?")

    with living(story.folder):
        watch((70, 16), play)


def test_answers_are_not_offered_where_there_are_none(story: Story) -> None:
    story.train(123)
    assert "answers" not in watch((80, 24))


def test_a_healthy_run_says_so_in_a_line(story: Story) -> None:
    story.train(123)
    story.tell("finding", **HEALTHY)
    shown = watch((80, 24))
    assert "✓ healthy  85 % sure" in shown and "Both losses fall" not in shown


def test_measure_axis_and_smoothing_are_chosen_by_keys_and_kept(story: Story) -> None:
    story.train(123)

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("m")
        await says(pilot, "── gradient norm 0.7")
        await pilot.press("M", "x")
        await says(pilot, " epoch")
        await says(pilot, "◆╌ validation")
        await pilot.press("x")
        await says(pilot, " min")
        await pilot.press("w")
        await says(pilot, "smoothed by 0.9")
        await pilot.press("l")
        await says(pilot, "log scale")
        kept = charted.remembered()
        assert kept == Look(axis="minutes", smoothing=0.9, log_scale=True), "while it is shown"

    watch((100, 30), play)

    async def again(pilot: Pilot[Any]) -> None:
        await pilot.press("x")
        await says(pilot, " tokens")
        await pilot.press("x")
        await says(pilot, " step")

    assert " min" in watch((100, 30))
    watch((100, 30), again)


@pytest.mark.parametrize("axis", ["epoch", "minutes", "tokens"])
def test_along_each_axis_the_values_are_the_same(story: Story, axis: charted.Axis) -> None:
    story.train(123)
    events = EventReader(story.folder.events).read()
    progress, other = Progress(), charted.Charted(Look(axis=axis))
    for part in (events[:90], events[90:]):  # what was placed is gone on with
        progress.feed(part)
        placed = other.lines(progress)
    for one, two in zip(charted.Charted(Look()).lines(progress), placed, strict=True):
        assert [y for _, y in points(one.series)] == [y for _, y in points(two.series)]
        xs = [x for x, _ in points(two.series)]
        assert xs == sorted(xs)
    raw = points(placed[0].series)
    of = {"epoch": 1 / 133, "minutes": STEP_S / 60, "tokens": 1500.0}[axis]
    assert len(raw) == 123
    assert raw[99][0] - raw[0][0] == pytest.approx(99 * of)


def points(series: Series) -> list[tuple[float, float]]:
    return [series[index] for index in range(len(series))]


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
        keeper = identity.of(process.pid)
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
        await says(pilot, "is gone")
        await pilot.press("o")
        await says(pilot, "had no more to say")
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
        await says(pilot, "Please enlarge the window")
        assert "loss" not in frame(pilot.app)
        await pilot.resize_terminal(160, 50)
        await says(pilot, "method")
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert frame(pilot.app) == before

    with living(story.folder):
        watch((80, 24), there_and_back)


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
        await says(pilot, "! Its keeper is gone; the run goes on.")
        os.kill(pids[1], signal.SIGKILL)
        await says(pilot, "✗ lost")
        assert "ftwizard resume tickets-0921" in frame(pilot.app)

    drive(FtwizardApp(("run", "tickets-0921")), (80, 24), play)
