"""The estimate and review pages: figures, the plan to confirm, and errors before the start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.estimate.speed_options import (
    OptionResult,
    OptionState,
    SettingValue,
    SpeedComparison,
)
from ftwizard.hardware.machine import read_machine_info
from ftwizard.jobs.status import observe
from ftwizard.plan import plan_file, schema
from ftwizard.runs.store import find
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.questions import TypedConfirm
from ftwizard.screens.draft import texts
from ftwizard.screens.draft.drafts import Draft, PageOutcome, get_fingerprint
from ftwizard.screens.monitor.page import MonitorPage
from ftwizard.screens.wizard import review
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.estimate.page import EstimatePage
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.review import ReviewPage
from tests.helpers.estimates import make_report
from tests.helpers.models import make_tiny
from tests.screens.draft.test_time_limit import make_draft
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.data.reports import clean
from tests.screens.wizard.steps import paste, read_data_file, wait_for_page

BOTH_SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 50)])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model with random weights."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of twenty valid Alpaca rows."""
    file = tmp_path / "rows.jsonl"
    lines = (
        json.dumps({"instruction": f"Q {n}", "input": "", "output": f"A {n}"}) for n in range(20)
    )
    file.write_text("\n".join(lines))
    return file


def draft_of(rows: Path, tiny: Path) -> Draft:
    """Return a draft that is complete up to the estimate."""
    checked = clean(rows, rows=20, usable=20, preview=[], format="alpaca", tokens=None)
    draft = Draft(read_machine_info()).with_check(
        schema.Files(train=str(rows)), checked, get_fingerprint(str(rows))
    )
    return draft.with_plan(model=schema.Model(name=str(tiny)))


def show(pilot: Pilot[Any], page: EstimatePage | ReviewPage) -> list[PageOutcome]:
    """Show a page and return a list that receives its result."""
    left: list[PageOutcome] = []
    pilot.app.push_screen(page, lambda step: left.append(step) if step else None)
    return left


@pytest.mark.parametrize("size", [(80, 24), pytest.param((160, 50), marks=pytest.mark.slow)])
def test_estimate_page_shows_every_figure(size: tuple[int, int], rows: Path, tiny: Path) -> None:
    left: list[PageOutcome] = []

    async def play(pilot: Pilot[Any]) -> None:
        steps = show(pilot, EstimatePage(draft_of(rows, tiny)))
        await pilot.press("enter")
        assert not steps, "Enter does nothing before the estimate is there"
        await wait_for_text(pilot, "per epoch")
        shown.append(frame(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))
        left.extend(steps)

    shown: list[str] = []
    drive(FtwizardApp(), size, play)
    for words in ("training", "validation", "test", "steps", "time", "disk", "memory", "cost"):
        assert words in shown[0]
    assert left[0].direction == 1
    assert left[0].draft.estimate
    assert left[0].draft.parameters == left[0].draft.estimate.parameters


def test_file_changed_after_its_check_returns_to_the_data_page(rows: Path, tiny: Path) -> None:
    left: list[PageOutcome] = []
    draft = draft_of(rows, tiny)
    rows.write_text("{}")

    async def play(pilot: Pilot[Any]) -> None:
        steps = show(pilot, EstimatePage(draft))
        await wait_for_text(pilot, "has changed since it was checked")
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))
        left.extend(steps)

    drive(FtwizardApp(), (80, 24), play)
    assert left[0].direction == -3, "back to the data page"


@BOTH_SIZES
def test_review_shows_plan_warnings_and_command(
    size: tuple[int, int], rows: Path, tiny: Path, home: Path
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        draft = draft_of(rows, tiny).with_recipe(learning_rate=0.2).with_validation("none")
        show(pilot, ReviewPage(draft.named("first")))
        await wait_for_text(pilot, "data:")

    shown = drive(FtwizardApp(), size, play)
    assert "! Recipe    learning rate 0.2, advised 2e-4: training may diverge" in shown
    assert "! Data      no validation data: overfitting goes unnoticed" in shown
    assert "ftwizard train" in shown
    assert not (home / "plans").exists(), "nothing is written before the confirmation"


def test_review_summarizes_the_estimate_and_scrolls_the_plan(
    rows: Path, tiny: Path, home: Path
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        estimate = {
            "steps": 30, "parameters": 10**6, "disk": {"needed": {"value": 484e6}, "free": {"value": 1e12}},
            "time": {"value": 90.0, "low": 60.0, "high": 120.0},
        }  # fmt: skip
        show(pilot, ReviewPage(draft_of(rows, tiny).with_estimate(make_report(**estimate))))
        await wait_for_text(pilot, "→ 30 steps · 1–2 min, ends about")
        await wait_for_text(pilot, "about 484 MB of disk space ·")
        await wait_for_text(pilot, "pgdn more")
        assert "next field" not in frame(pilot.app)
        await pilot.press("pagedown")
        await until(pilot, lambda: pilot.app.screen.query_one("#plan").scroll_offset.y > 0)

    drive(FtwizardApp(), (80, 24), play)


def test_review_ignores_enter_right_after_it_opens(
    rows: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MIN_READ_S", 4.0)  # a busy machine can be slow to press a key
    counts: list[int] = []

    async def play(pilot: Pilot[Any]) -> None:
        steps = show(pilot, ReviewPage(draft_of(rows, tiny)))
        await pilot.press("enter")
        counts.append(len(steps))
        await pilot.pause(review.MIN_READ_S)
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))
        counts.append(len(steps))

    drive(FtwizardApp(), (80, 24), play)
    assert counts == [0, 1]


def test_taken_run_name_shows_an_error_and_blocks_the_start(
    rows: Path, tiny: Path, home: Path
) -> None:
    (home / "runs/old").mkdir(parents=True)

    async def play(pilot: Pilot[Any]) -> None:
        steps = show(pilot, ReviewPage(draft_of(rows, tiny).named("old")))
        await wait_for_text(pilot, "✗ Run old already exists")
        await pilot.pause(review.MIN_READ_S)
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert not steps
        await pilot.press("2")
        await until(pilot, lambda: "already exists" not in frame(pilot.app))

    drive(FtwizardApp(), (80, 24), play)


async def open_review(pilot: Pilot[Any], rows: Path, tiny: Path, epochs: str = "") -> None:
    """Answer every page up to the review."""
    await read_data_file(pilot, rows)
    await pilot.press("enter")
    await wait_for_page(pilot, RecipePage)
    await paste(pilot, tiny)
    if epochs:
        pilot.app.screen.query_one("#setting-epochs Input", Input).value = epochs
    await pilot.press("enter")
    if epochs:
        await wait_for_page(pilot, TypedConfirm)
        await pilot.press(*"many epochs", "enter")
    await wait_for_page(pilot, AfterTrainingPage)
    await pilot.press("enter")
    await wait_for_text(pilot, "per epoch")
    await pilot.press("enter")
    await wait_for_page(pilot, ReviewPage)
    await pilot.pause(review.MIN_READ_S)


@pytest.mark.slow
def test_failed_start_returns_to_the_review_with_every_answer(
    rows: Path, tiny: Path, home: Path
) -> None:
    names: list[str] = []
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_review(pilot, rows, tiny)
        names.append(pilot.app.screen.query_one(Input).value)
        kept = rows.read_text()
        rows.unlink()
        await pilot.press("enter")
        await wait_for_page(pilot, ErrorDialog)
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_page(pilot, ReviewPage)
        names.append(pilot.app.screen.query_one(Input).value)
        rows.write_text(kept)
        await pilot.pause(review.MIN_READ_S)
        await pilot.press("enter")
        await wait_for_page(pilot, MonitorPage)

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "does not exist" in recorded[0]
    assert names[0] == names[1]
    assert observe(find(names[0])).attempt == 1
    assert (home / f"plans/{names[0]}.yaml").is_file()


@pytest.mark.slow
def test_confirmed_many_epochs_are_allowed_in_the_plan(rows: Path, tiny: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_review(pilot, rows, tiny, "5")

    shown = drive(FtwizardApp(("new", "")), (100, 50), play)
    assert "Recipe    epochs 5, advised 3: usually leads to memorization" in shown
    assert "epochs: 5" in shown


@pytest.mark.slow
def test_enter_rereads_a_corrected_file(rows: Path) -> None:
    good = rows.read_text()
    rows.write_text(good + '\n{"instruction": 1}')

    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        assert "unusable" in frame(pilot.app)
        await pilot.pause(0.01)  # file systems store coarse timestamps
        rows.write_text(good)
        await pilot.press("enter")
        await wait_for_text(pilot, "✓ 20 rows")
        assert isinstance(pilot.app.screen, DataPage)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        assert not pilot.app.screen._draft.plan.allow

    drive(FtwizardApp(("new", "")), (100, 30), play)


def test_unexpected_error_is_shown_and_keeps_every_answer(
    rows: Path, tiny: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[PageOutcome] = []
    draft = draft_of(rows, tiny)

    async def broken(*_: Any) -> None:
        raise KeyError("parts")

    async def play(pilot: Pilot[Any]) -> None:
        steps = show(pilot, EstimatePage(draft))
        await wait_for_text(pilot, "Internal error.")
        await pilot.press("escape")
        await until(pilot, lambda: bool(steps))
        left.extend(steps)

    monkeypatch.setattr("ftwizard.screens.dialogs.command_progress.run_command", broken)
    drive(FtwizardApp(), (80, 24), play)
    assert left == [PageOutcome(draft, -2)], "back to the recipe"
    assert "KeyError" in next((home / "crashes").iterdir()).read_text()


def test_a_second_count_says_why_it_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []

    async def count(app: Any, title: str, name: str, file: str) -> Any:
        titles.append(title)
        report = make_report(parameters=14_000_000_000, parts={"train": {"kept": 5000}})
        return msgspec.to_builtins(report)

    async def play(pilot: Pilot[Any]) -> None:
        show(pilot, EstimatePage(replace(make_draft(), stamp=None)))
        await wait_for_text(pilot, "Learning rate: ")

    monkeypatch.setattr(command_progress, "run_command", count)
    drive(FtwizardApp(), (80, 24), play)
    assert titles == [texts.COUNTING, texts.COUNTING_AGAIN]


def test_quick_look_counts_again_and_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts themselves come from the command, which other tests run."""
    counted: list[tuple[float | None, int | None]] = []

    async def count(app: Any, title: str, name: str, file: str) -> Any:
        plan = plan_file.parse(Path(file).read_text())
        counted.append((plan.budget.minutes, plan.data.max_rows))
        return msgspec.to_builtins(make_report(steps=10, steps_per_epoch=10))

    async def play(pilot: Pilot[Any]) -> None:
        draft = replace(make_draft(), stamp=None)
        page = EstimatePage(draft)
        show(pilot, page)
        await wait_for_text(pilot, "per epoch")
        assert "^t quick look" in frame(pilot.app)
        await pilot.press("ctrl+t")
        await wait_for_text(pilot, "64 of 1,436 rows, drawn by kind and length")
        await pilot.press("enter")
        await wait_for_text(pilot, "! Within 10 min: 64 rows, 1 of 3 epochs")
        assert "^t undoes it" in frame(pilot.app)
        limited = page.get_draft()
        assert limited.plan.budget.minutes == 10 and limited.estimate
        await pilot.press("t")
        await until(pilot, lambda: "Within 10 min" not in frame(pilot.app))
        undone = page.get_draft()
        assert undone.limit is None and undone.estimate
        assert undone.plan == draft.plan

    monkeypatch.setattr(command_progress, "run_command", count)
    drive(FtwizardApp(), (80, 24), play)
    assert counted[0] == (None, None) and counted[-1] == (None, None)
    assert (10, 64) in counted


@pytest.mark.parametrize("answer", ["enter", "escape"])
def test_faster_settings_are_offered_and_never_changed_unasked(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison itself comes from the command, which other tests run."""
    commands: list[list[str]] = []

    async def run(app: Any, title: str, *argv: str) -> Any:
        commands.append([argv[0], *argv[2:]])
        if argv[0] == "probe":
            return msgspec.to_builtins(COMPARISON)
        counted.append(plan_file.parse(Path(argv[1]).read_text()).recipe.padding_free)
        return msgspec.to_builtins(make_report(steps=10, steps_per_epoch=10))

    async def play(pilot: Pilot[Any]) -> None:
        page = EstimatePage(replace(make_draft(), stamp=None))
        show(pilot, page)
        await wait_for_text(pilot, "per epoch")
        assert "f faster" in frame(pilot.app)
        await pilot.press("f")
        await wait_for_text(pilot, "Train 50% faster with padding_free: true?")
        shown.append(frame(pilot.app))
        await pilot.press(answer)
        await until(pilot, lambda: pilot.app.screen is page)
        if answer == "enter":
            await until(pilot, lambda: counted[-1])
        drafts.append(page.get_draft())

    counted: list[bool] = []
    shown: list[str] = []
    drafts: list[Draft] = []
    monkeypatch.setattr(command_progress, "run_command", run)
    drive(FtwizardApp(), (80, 24), play)
    text = " ".join(shown[0].split())
    assert "attention: eager: -12%" in text and "packing: true: +300%, in 3 steps" in text
    assert "Not possible here: kernels: true" in text
    assert ["probe", "--compare"] in commands
    assert drafts[0].plan.recipe.padding_free == (answer == "enter")
    assert ("padding_free" in drafts[0].touched) == (answer == "enter")


def make_option(
    gain: float | None, steps: int | None = 40, **settings: SettingValue
) -> OptionResult:
    state: OptionState = "impossible" if gain is None else "measured"
    return OptionResult(settings=settings, state=state, gain=gain, steps_per_epoch=steps)


COMPARISON = SpeedComparison(
    device="CPU", precision="bf16", attention="sdpa", noise=0.02, fastest={"padding_free": True},
    gain=0.5, options=[
        make_option(0.0), make_option(-0.12, attention="eager"), make_option(0.5, padding_free=True),
        make_option(3.0, 3, packing=True), make_option(None, None, kernels=True),
    ],
)  # fmt: skip
