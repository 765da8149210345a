"""The training as a script, from the Review page: questions, refusals and what was written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, Static

from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.runs.ejected_script import EjectReport
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import NoticeDialog
from ftwizard.screens.dialogs.script import ScriptDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.review import ReviewPage
from tests.helpers import training
from tests.helpers.machines import make_machine
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.wizard.data.reports import report

pytestmark = pytest.mark.usefixtures("home")
SIZES = [(80, 24), (160, 50)]
REPORT = EjectReport(
    origin="plan one.yaml", folder="/data/one-script",
    files={"train.py": 9_000, "data/train.jsonl": 64_000}, rows={"train.jsonl": 1_800},
    form="messages", versions={"trl": "1.0"}, are_recorded=False, differing={},
    left_out=("sample answers", "the evaluation and its gate"),
    task="sky launch -c ft-one-script task.yaml",
)  # fmt: skip


class Eject:
    """What ``ftwizard eject`` answers in a test: each answer once, the last one again."""

    def __init__(self, *answers: EjectReport | FtwizardError) -> None:
        self.answers = list(answers) or [REPORT]
        self.asked: list[tuple[str, ...]] = []
        """The arguments, without the plan."""
        self.plans: list[tuple[str, Plan]] = []
        """File name and content of each plan."""
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def run(self, *argv: str, **options: Any) -> Any:
        assert argv[0] == "eject"
        file = Path(argv[1])
        self.plans.append((file.name, plan_file.parse(file.read_text())))
        self.asked.append(argv[2:])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, FtwizardError):
            raise answer
        await self.goes_on.wait()
        return msgspec.to_builtins(answer)


@pytest.fixture
def eject(monkeypatch: pytest.MonkeyPatch) -> Eject:
    command = Eject()
    monkeypatch.setattr(subprocesses, "run_command", command.run)
    return command


@pytest.fixture
def fixed_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the same plan's path in each frame."""
    monkeypatch.setenv("FTWIZARD_HOME", "/home/user/ftwizard")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, where rows of no writable folder lead to."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def make_draft() -> Draft:
    draft = Draft(make_machine()).with_plan(model=schema.Model(name="Qwen/Qwen3-0.6B"))
    return draft.with_check(schema.Files(train="/data/rows.jsonl"), report("x")).named("one")


def on_page(
    play: Callable[[Pilot[Any], ReviewPage], Any],
    size: tuple[int, int] = (80, 24),
    draft: Draft | None = None,
) -> str:
    async def whole(pilot: Pilot[Any]) -> None:
        page = ReviewPage(draft or make_draft())
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await play(pilot, page)

    return drive(FtwizardApp(), size, whole)


async def open_dialog(pilot: Pilot[Any]) -> None:
    await pilot.press("ctrl+s")
    await wait_for_dialog(pilot)


async def wait_for_dialog(pilot: Pilot[Any]) -> None:
    await until(
        pilot,
        lambda: isinstance(pilot.app.screen, ScriptDialog) and isinstance(pilot.app.focused, Input),
    )


def read_fields(pilot: Pilot[Any]) -> list[str]:
    return [line.value for line in pilot.app.screen.query(Input)]


async def fill(pilot: Pilot[Any], folder: str | None, gpu: str) -> None:
    """Paste into the dialog's fields; None keeps the suggested folder."""
    for key, text in (("home", folder), ("down", gpu)):
        await pilot.press(key)
        if text is not None:
            await pilot.press("home", "ctrl+k")
            pilot.app.post_message(events.Paste(text))
    await until(pilot, lambda: folder is None or read_fields(pilot) == [folder, gpu])


def words(pilot: Pilot[Any]) -> str:
    """Return the texts of the dialog, without its line breaks."""
    texts = pilot.app.screen.query("#box Static").results(Static)
    return " ".join(" ".join(str(each.content) for each in texts).split())


@pytest.mark.usefixtures("fixed_home")
@pytest.mark.parametrize("size", SIZES)
def test_page_names_the_key(size: tuple[int, int], eject: Eject) -> None:
    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await wait_for_text(pilot, "^s script")

    assert_frame(f"review-{size[0]}x{size[1]}", on_page(play, size))


@pytest.mark.usefixtures("fixed_home")
@pytest.mark.parametrize("size", SIZES)
def test_dialog_suggests_a_folder(size: tuple[int, int], folder: Path, eject: Eject) -> None:
    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)

    assert_frame(f"review-script-{size[0]}x{size[1]}", on_page(play, size))
    assert not eject.asked


@pytest.mark.usefixtures("fixed_home")
@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_shown_with_how_it_starts(
    size: tuple[int, int], folder: Path, eject: Eject
) -> None:
    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)
        await fill(pilot, None, "H100")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, NoticeDialog))

    assert_frame(f"review-script-written-{size[0]}x{size[1]}", on_page(play, size))
    assert eject.asked == [("--out", str(folder / "one-script"), "--skypilot", "H100")]
    assert eject.plans == [("one.yaml", make_draft().final_plan)]


def test_the_page_stays_as_it_was_and_the_next_folder_is_free(folder: Path, eject: Eject) -> None:
    (folder / "one-script").mkdir()
    (folder / "one-script" / "train.py").touch()

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)
        assert read_fields(pilot) == ["one-script-2", ""]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, NoticeDialog))
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is page)
        assert page.query_one(Input).value == "one"
        await open_dialog(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)

    on_page(play)
    assert eject.asked == [("--out", str(folder / "one-script-2"))], "no GPU, no task"


def test_input_is_refused_before_anything_runs(folder: Path, eject: Eject) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "mine").touch()
    refused = {
        ("full", ""): "is not empty. Existing files are never overwritten. Name a new folder.",
        ("full/mine", ""): "is not a folder.",
        ("none/new", ""): "does not exist. Create it, or name another one.",
        ("", ""): "Name a new folder.",
        ("~nobody-of-this-name/x", ""): "nobody-of-this-name",
        ("new", "H100:0"): "“H100:0” does not name GPUs of SkyPilot.",
        ("new", "an H100"): "“an H100” does not name GPUs of SkyPilot.",
    }

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        for typed, sentence in refused.items():
            await open_dialog(pilot)
            await fill(pilot, *typed)
            await pilot.press("enter")
            await until(pilot, lambda: "✗" in frame(pilot.app))
            assert sentence in words(pilot)
            assert read_fields(pilot) == list(typed)
            await pilot.press("escape")
            await until(pilot, lambda: pilot.app.screen is page)

    on_page(play)
    assert not eject.asked and [path.name for path in folder.iterdir()] == ["full"]


def test_a_folder_that_is_not_writable_is_refused(
    folder: Path, eject: Eject, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)
        # Root may write everywhere.
        monkeypatch.setattr("ftwizard.runs.ejected_script.os.access", lambda path, mode: False)
        await pilot.press("enter")
        await wait_for_text(pilot, "is not writable for")

    on_page(play)
    assert not eject.asked


def test_a_refusal_of_the_command_keeps_the_answers(folder: Path, eject: Eject) -> None:
    refusal = FtwizardError(
        "The plan cannot be \x1b[2J ejected: a pair of calls.", "Train it here."
    )
    eject.answers = [refusal, REPORT]

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)
        await fill(pilot, "elsewhere", "L4")
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ The plan cannot be")
        await wait_for_dialog(pilot)
        assert "ejected: a pair of calls. Train it here." in words(pilot)
        assert read_fields(pilot) == ["elsewhere", "L4"]
        await pilot.press("x")
        await until(pilot, lambda: "✗" not in frame(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, NoticeDialog))

    on_page(play)
    assert [asked[1] for asked in eject.asked] == [
        str(folder / "elsewhere"), str(folder / "elsewherex"),
    ]  # fmt: skip


def test_a_canceled_command_keeps_the_answers(folder: Path, eject: Eject) -> None:
    eject.goes_on.clear()

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)
        await fill(pilot, "elsewhere", "L4")
        await pilot.press("enter")
        await until(pilot, lambda: bool(eject.asked))
        await pilot.press("escape")
        await wait_for_dialog(pilot)
        assert read_fields(pilot) == ["elsewhere", "L4"] and "✗" not in frame(pilot.app)

    on_page(play)


@pytest.mark.slow
def test_the_command_writes_the_script_of_the_plan(tmp_path: Path, folder: Path) -> None:
    prepared = training.prepare(tmp_path, "run")
    plan = plan_file.load(prepared.plan, begun=True)
    draft = Draft(make_machine(), plan=plan).named("mine")

    async def play(pilot: Pilot[Any], page: ReviewPage) -> None:
        await open_dialog(pilot)
        await fill(pilot, str(folder / "out"), "H100")
        await pilot.press("enter")
        await wait_for_text(pilot, "requirements.txt has the versions installed here.")

        assert "in that folder: sky launch -c ft-out task.yaml" in words(pilot)

    on_page(play, draft=draft)
    assert "from plan mine.yaml" in (folder / "out" / "train.py").read_text()
    assert "accelerators: H100:1" in (folder / "out" / "task.yaml").read_text()
    rows = (folder / "out" / "data" / "train.jsonl").read_text().splitlines()
    assert json.loads(rows[0]) == training.rows(1)[0]
    assert sorted(path.name for path in folder.iterdir()) == ["out"]
