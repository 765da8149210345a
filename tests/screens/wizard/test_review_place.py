"""The review page of a Slurm job, and of several GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import plan_file, schema
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.wizard import review
from ftwizard.screens.wizard.review import MIN_READ_S, ReviewPage
from ftwizard.slurm.client import JobPreview, Placement
from tests.helpers.machines import make_machine
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.data.reports import report

pytestmark = pytest.mark.usefixtures("home")
H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory=85 * 10**9)
PREVIEW = JobPreview(
    script="#!/bin/bash\n#SBATCH --nodes=2\n",
    placement=Placement(expected_start=0.0, processors=8, nodes="node[1-2]", partition="gpu"),
)
ON_CLUSTER = schema.Where(scheduler="slurm", processes=4)
JOB = schema.Slurm(partition="gpu", nodes=2, gpus=4)


class Slurm:
    """What ``ftwizard slurm`` answers in a test, once ``answered`` is set."""

    def __init__(self) -> None:
        self.answer: JobPreview | FtwizardError = PREVIEW
        self.answered = asyncio.Event()
        self.asked: list[tuple[str, str]] = []
        """Name and partition of each question."""

    async def run(self, *argv: str, **options: Any) -> Any:
        assert argv[0] == "slurm" and argv[2] == "--name"
        plan = plan_file.parse(Path(argv[1]).read_text())
        self.asked.append((argv[3], plan.slurm.partition or ""))
        await self.answered.wait()
        if isinstance(self.answer, FtwizardError):
            raise self.answer
        return msgspec.to_builtins(self.answer)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    answers = Slurm()
    monkeypatch.setattr(subprocesses, "run_command", answers.run)
    monkeypatch.setattr(review, "REST_S", 0.05)
    return answers


def on_page(
    play: Callable[[Pilot[Any], ReviewPage], Any],
    where: schema.Where,
    job: schema.Slurm | None = None,
    left: Callable[[PageOutcome | None], None] | None = None,
) -> str:
    draft = Draft(make_machine(H100, H100)).with_plan(
        model=schema.Model(name="Qwen/Qwen3-0.6B"), where=where, slurm=job or schema.Slurm()
    )
    draft = draft.with_check(schema.Files(train="/data/rows.jsonl"), report("x")).named("one")

    async def whole(pilot: Pilot[Any]) -> None:
        page = ReviewPage(draft)
        pilot.app.push_screen(page, left)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await play(pilot, page)

    return drive(FtwizardApp(), (80, 24), whole)


def read_plan(page: ReviewPage) -> str:
    """Return the texts of the scrolled part, also those out of view."""
    texts = page.query("#plan Static").results(Static)
    return " ".join(" ".join(str(each.content) for each in texts).split())


def words(pilot: Pilot[Any]) -> str:
    return " ".join(frame(pilot.app).split())


def test_job_is_shown_with_its_script_and_start_without_blocking(slurm: Slurm) -> None:
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await wait_for_text(pilot, "· Asking Slurm when and where it would start…")
        assert "→ a Slurm job in partition gpu: 2 nodes with 4 GPUs." in frame(pilot.app)
        await until(pilot, lambda: slurm.asked == [("one", "gpu")])
        await pilot.press("x")  # keys act while it is asked
        assert page.query_one(Input).value == "onex"
        slurm.answered.set()
        await wait_for_text(pilot, "→ Slurm would start it at once, on node[1-2] (8 processors,")
        await until(pilot, lambda: slurm.asked[-1] == ("onex", "gpu"))
        await wait_for_text(pilot, "→ Slurm would start it at once")
        await pilot.press("pagedown")
        await wait_for_text(pilot, "#SBATCH --nodes=2")
        assert "#SBATCH --nodes=2 The plan, as ftwizard saves it: provider: local" in read_plan(
            page
        )
        await pilot.pause(MIN_READ_S)
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, ON_CLUSTER, JOB, steps.append)
    assert steps[0] is not None and (steps[0].direction, steps[0].draft.name) == (1, "onex")


def test_silent_slurm_does_not_keep_anybody(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy controller leaves its commands without an answer for a minute."""
    monkeypatch.setattr(review, "SILENT_S", 0.05)
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await wait_for_text(pilot, "· Slurm has not answered yet;")
        assert "the Recipe page has this machine under “Trains on”." in words(pilot)
        slurm.answered.set()
        await wait_for_text(pilot, "→ Slurm would start it at once")
        slurm.answered.clear()
        await pilot.press("x")
        await wait_for_text(pilot, "· Slurm has not answered yet;")
        await pilot.press("escape")
        await until(pilot, lambda: bool(steps))

    on_page(play, ON_CLUSTER, JOB, steps.append)
    assert steps[0] is not None and (steps[0].direction, steps[0].draft.name) == (-1, "onex")


def test_refusal_names_the_field_and_enter_still_tries(slurm: Slurm) -> None:
    steps: list[PageOutcome | None] = []
    slurm.answer = FtwizardError(
        "Slurm refused the job: time limit \x1b[2J.", "Lower slurm.time.", code="slurm.time"
    )
    slurm.answer.document = {"script": PREVIEW.script}
    slurm.answered.set()

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await wait_for_text(pilot, "✗ Slurm refused the job: time limit")
        assert "Lower slurm.time. It is “Time limit” on the Recipe page." in words(pilot)
        await pilot.press("pagedown")
        await wait_for_text(pilot, "#SBATCH --nodes=2")
        await pilot.pause(MIN_READ_S)
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, ON_CLUSTER, JOB, steps.append)


def test_long_notes_wrap_next_to_their_marks(slurm: Slurm) -> None:
    slurm.answer = FtwizardError("Slurm refused the job: " + "no such thing, " * 12)
    slurm.answered.set()
    lines: list[str] = []

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await wait_for_text(pilot, "✗ Slurm refused the job:")
        lines[:] = frame(pilot.app).split("\n")

    on_page(play, ON_CLUSTER, JOB)
    for mark in ("  → a Slurm job in", "  ✗ Slurm refused"):
        first = next(index for index, line in enumerate(lines) if line.startswith(mark))
        below = lines[first + 1]
        assert below.startswith("    ") and below[4] != " ", below


def test_several_gpus_are_shown_with_mode_and_memory_of_each(slurm: Slurm) -> None:
    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await wait_for_text(pilot, "→ 2 GPUs of this machine. auto uses DDP. It fits")
        assert "on each GPU. 2 processes × 4 rows × 1 pass = 8 rows in each step." in words(pilot)
        assert not slurm.asked and "Slurm" not in frame(pilot.app)

    on_page(play, schema.Where(processes=2))


def test_one_process_here_adds_nothing(slurm: Slurm) -> None:
    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        assert not page.query_one("#place").display and not page.query_one("#slurm").display

    on_page(play, schema.Where())
    assert not slurm.asked
