"""What keys of the monitor open: the diagnosis, answers over time, hardest rows, measures and axes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.app import App
from textual.pilot import Pilot

from ftwizard.jobs.events import EventReader
from ftwizard.jobs.folder import write_json
from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor import chart_data
from ftwizard.screens.monitor.chart_data import ChartSettings
from ftwizard.screens.monitor.samples import CHANGED
from ftwizard.timeseries import Series
from tests.helpers.checkpoints import save
from tests.screens.frames import frame, says, until
from tests.screens.monitor.story import (
    HEALTHY,
    OVERFIT,
    STEP_S,
    Story,
    assert_looks,
    every_size,
    watch,
)
from tests.screens.runs_helpers import living

pytestmark = pytest.mark.usefixtures("clock")


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
    assert "Highest-loss validation examples at step 240" in shown
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
        await says(pilot, "The top line shows the step")

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
        assert "enter open example" in frame(pilot.app)
        await pilot.press("down", "enter")
        await says(pilot, "Is 41 in stock?")
        await until(
            pilot, lambda: not any(worker.group == "changed" for worker in pilot.app.workers)
        )
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
        await says(pilot, "The data file no longer exists")
        await pilot.press("enter")
        await says(pilot, "▸      3.867       41")

    with living(story.folder):
        watch((100, 40), play)
    assert "file changed" not in shown[0]


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
        assert "open example" not in frame(pilot.app)
        for _ in range(30):
            if "▸" in frame(pilot.app):
                break
            await pilot.press("down")
            await pilot.pause()
        assert "▸      4.200       40" in frame(pilot.app)
        assert "open example" in frame(pilot.app)
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
    assert "✓ healthy  85% confidence" in shown and "Both losses fall" not in shown


def test_measure_axis_and_smoothing_are_chosen_by_keys_and_kept(story: Story) -> None:
    story.train(123)

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("m")
        await says(pilot, "── grad norm 0.7")
        await pilot.press("M", "x")
        await says(pilot, " epoch")
        await says(pilot, "◆╌ validation")
        await pilot.press("x")
        await says(pilot, " min")
        await pilot.press("w")
        await says(pilot, "Smoothing: 0.9")
        await pilot.press("l")
        await says(pilot, "log scale")
        kept = chart_data.load_settings()
        assert kept == ChartSettings(axis="minutes", smoothing=0.9, log_scale=True), (
            "while it is shown"
        )

    watch((100, 30), play)

    async def again(pilot: Pilot[Any]) -> None:
        await pilot.press("x")
        await says(pilot, " tokens")
        await pilot.press("x")
        await says(pilot, " step")

    assert " min" in watch((100, 30))
    watch((100, 30), again)


@pytest.mark.parametrize("axis", ["epoch", "minutes", "tokens"])
def test_along_each_axis_the_values_are_the_same(story: Story, axis: chart_data.Axis) -> None:
    story.train(123)
    events = EventReader(story.folder.events).read()
    progress, other = Progress(), chart_data.ChartData(ChartSettings(axis=axis))
    for part in (events[:90], events[90:]):  # what was placed is gone on with
        progress.feed(part)
        placed = other.lines(progress)
    for item, two in zip(
        chart_data.ChartData(ChartSettings()).lines(progress), placed, strict=True
    ):
        assert [y for _, y in points(item.series)] == [y for _, y in points(two.series)]
        xs = [x for x, _ in points(two.series)]
        assert xs == sorted(xs)
    raw = points(placed[0].series)
    of = {"epoch": 1 / 133, "minutes": STEP_S / 60, "tokens": 1500.0}[axis]
    assert len(raw) == 123
    assert raw[99][0] - raw[0][0] == pytest.approx(99 * of)


def points(series: Series) -> list[tuple[float, float]]:
    return [series[index] for index in range(len(series))]
