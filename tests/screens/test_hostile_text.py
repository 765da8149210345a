"""Hostile text on every screen: it is shown, never obeyed, and never a reason to fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.segment import Segment
from textual.color import Color
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from ftwizard.runs.follower import Follower
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.home.compare import ComparePage
from ftwizard.screens.monitor.log import LogPage
from ftwizard.screens.monitor.page import MonitorPage
from ftwizard.screens.terminal.driver import OutputSanitizer
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.data.report_view import ReportView
from ftwizard.screens.wizard.data.rows import RowsPage
from ftwizard.screens.wizard.provider.page import ProviderPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from tests.e2e import open_screen
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.hostile import NAME, SEEN, SHOWN_NAME, TEXTS, obeyed, too_wide
from tests.screens.runs_helpers import living, make_hostile, make_result, make_run

SIZE = (100, 30)
every_text = pytest.mark.parametrize("name", TEXTS)


def assert_harmless(shown: str, size: tuple[int, int] = SIZE) -> None:
    """Check that a terminal would obey nothing and that the text fits the window."""
    assert not obeyed(shown)
    assert not too_wide(shown, size[0])
    assert len(shown.split("\n")) == size[1]


async def visit(pilot: Pilot[Any], screen: Screen[Any], words: str = SEEN) -> str:
    """Show a screen, wait for the hostile text on it, and go back."""
    pilot.app.push_screen(screen)
    await wait_for_text(pilot, words)
    shown = frame(pilot.app)
    assert_harmless(shown)
    pilot.app.pop_screen()
    await pilot.pause()
    return shown


@every_text
def test_wizard_screens_show_hostile_text_safely(name: str, home: Path) -> None:
    make_run(home, "one")

    async def play(pilot: Pilot[Any]) -> None:
        for index in ("problem", "estimate", "review", "elsewhere"):
            await visit(pilot, open_screen.screen(index, "one", TEXTS[name]))

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_results_page_shows_hostile_answers_safely(name: str, home: Path) -> None:
    text = TEXTS[name].encode(errors="replace").decode()
    output = {"expected": text, "base": text, "tuned": text, "line": 1}
    make_result(make_run(home, "one"), [{"prompt": [{"role": "user", "content": text}], **output}])

    async def play(pilot: Pilot[Any]) -> None:
        await visit(pilot, open_screen.screen("finish", "one", ""))

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_comparison_and_search_show_hostile_text_safely(name: str, home: Path) -> None:
    folders = [make_hostile(home, TEXTS[name], reason="text"), make_run(home, "two")]

    async def play(pilot: Pilot[Any]) -> None:
        await visit(pilot, ComparePage(folders), "best validation loss")
        typed = "".join(c for c in TEXTS[name] if c.isprintable())[:40]
        await pilot.press("slash")
        pilot.app.screen.query_one("#search", Input).value = f"no-such-run {typed}"
        await pilot.pause(0.3)
        assert_harmless(frame(pilot.app))

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_ended_run_shows_hostile_text_safely(name: str, home: Path) -> None:
    folder = make_hostile(home, TEXTS[name], reason="text")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, f"✗ {SEEN}" if name != "long" else "✓ finished")
        assert_harmless(frame(pilot.app))
        await visit(pilot, LogPage(Follower(folder)), SEEN if name != "long" else "xxx")
        shown = await visit(pilot, MonitorPage(folder))
        assert f"· {SEEN}" in shown or name in ("all", "long"), "the finding"

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_live_run_shows_hostile_text_safely(name: str, home: Path) -> None:
    folder = make_hostile(home, TEXTS[name])

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, f"● {SEEN}")
        assert_harmless(frame(pilot.app))
        shown = await visit(pilot, MonitorPage(folder), f"● {SEEN}")
        assert f"· {SEEN}" in shown or name in ("all", "long"), "the finding"

    with living(folder):
        drive(FtwizardApp(), SIZE, play)


@every_text
def test_doctor_shows_hostile_text_safely(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXTS[name][:10_000]

    async def command(*_: str, **__: object) -> Any:
        return {"checks": [{"name": "GPU", "status": "missing", "found": text, "fix": text}]}

    monkeypatch.setattr(subprocesses, "run_command", command)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, f"✗ GPU     {SEEN}")
        assert_harmless(frame(pilot.app))

    drive(FtwizardApp(("doctor", "")), SIZE, play)


async def open_data_page(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, DataPage))


async def check_every_row(pilot: Pilot[Any]) -> None:
    """Open the rows at the cursor, check each row in both views, and come back."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, RowsPage))
    await wait_for_text(pilot, SEEN)
    for _ in range(len(TEXTS) + 2):
        for view in ("r", "r"):
            await pilot.press(view)
            await until(pilot, lambda: "reading the row" not in frame(pilot.app))
            assert_harmless(frame(pilot.app))
        await pilot.press("down")
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(pilot.app.screen, DataPage))


@pytest.mark.slow
def test_wizard_shows_hostile_rows_and_file_names_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / NAME
    (folder / NAME).mkdir(parents=True)
    texts = list(TEXTS.values())
    rows = [
        json.dumps({"messages": [
            {"role": "user", "content": text}, {"role": "assistant", "content": text},
        ]})
        for text in texts
    ]  # fmt: skip
    lines = "\n".join(
        [*rows, json.dumps({TEXTS["all"]: 1}), json.dumps(TEXTS["all"], ensure_ascii=False)]
    )
    (folder / f"{NAME}.jsonl").write_text(lines, errors="replace")
    monkeypatch.chdir(folder)

    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        assert_harmless(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_text(pilot, f"{len(texts) + 2} rows, chat messages")
        subjects = len(pilot.app.screen.query_one(ReportView)._subjects)
        for _ in range(subjects):
            await pilot.press("down")
            await pilot.pause()
            assert_harmless(frame(pilot.app))
        await check_every_row(pilot)
        await pilot.press("home")
        await check_every_row(pilot)
        await pilot.press("up", "enter")
        await wait_for_text(pilot, "Continue without 4 rows?")  # two of them hold surrogates
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecipePage))
        await pilot.press(*"./")
        await wait_for_text(pilot, f"{SHOWN_NAME}/")
        assert_harmless(frame(pilot.app))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, AfterTrainingPage))
        await pilot.press("enter")
        await wait_for_text(
            pilot, "Use a folder written by save_pretrained"
        )  # the path can wrap anywhere
        assert_harmless(frame(pilot.app))

    drive(FtwizardApp(("new", "")), SIZE, play)


def test_non_utf8_file_name_shows_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / os.fsdecode(b"rows\xff.jsonl")).write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.chdir(tmp_path)

    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await wait_for_text(pilot, "rows\\udcff.jsonl")
        await pilot.press("down", "enter")
        await wait_for_text(pilot, "The name of a file or folder is not valid UTF-8.")
        assert_harmless(frame(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataPage))

    drive(FtwizardApp(("new", "")), SIZE, play)


def test_hostile_home_folder_name_is_shown_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / NAME
    monkeypatch.setenv("FTWIZARD_HOME", str(home))
    text = {"expected": "a", "base": "b", "tuned": "a", "line": 1}
    make_result(make_run(home, "one"), [{"prompt": [{"role": "user", "content": "q"}], **text}])
    make_run(home, NAME)  # not a valid run name: not listed

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "✓ finished")
        assert "bold" not in frame(pilot.app)
        await pilot.press("end", "enter")
        await wait_for_text(pilot, "enter shows the results")
        await pilot.press("enter")
        await wait_for_text(pilot, f"{SHOWN_NAME}/runs")
        assert_harmless(frame(pilot.app), (160, 30))

    drive(FtwizardApp(), (160, 30), play)


def test_output_sanitizer_keeps_the_cell_width() -> None:
    sanitizer = OutputSanitizer(ascii=False)
    for text in (*TEXTS.values(), "👩‍👩‍👧‍👦", "a\u200db"):
        short = Segment(text[:5000])
        (harmless,) = sanitizer.apply([short], Color(0, 0, 0))
        assert not obeyed(harmless.text.replace("\n", ""))
        assert harmless.cell_length == short.cell_length
