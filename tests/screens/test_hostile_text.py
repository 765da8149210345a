"""Text of others on every screen: it is shown, and neither obeyed nor a reason to fail."""

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
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.data.report_view import ReportView
from ftwizard.screens.wizard.data.rows import RowsPage
from ftwizard.screens.wizard.provider.page import ProviderPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from tests.e2e import open_screen
from tests.screens.frames import drive, frame, says, until
from tests.screens.hostile import NAME, SEEN, SHOWN_NAME, TEXTS, obeyed, too_wide
from tests.screens.runs_helpers import living, make_hostile, make_result, make_run

SIZE = (100, 30)
every_text = pytest.mark.parametrize("name", TEXTS)


def assert_harmless(shown: str, size: tuple[int, int] = SIZE) -> None:
    """Nothing that a terminal obeys, each row as wide as the window, and no more rows."""
    assert not obeyed(shown)
    assert not too_wide(shown, size[0])
    assert len(shown.split("\n")) == size[1]


async def seen(pilot: Pilot[Any], screen: Screen[Any], words: str = SEEN) -> str:
    """Show a screen, wait for the foreign text on it, and go back."""
    pilot.app.push_screen(screen)
    await says(pilot, words)
    shown = frame(pilot.app)
    assert_harmless(shown)
    pilot.app.pop_screen()
    await pilot.pause()
    return shown


@every_text
def test_on_the_screens_of_the_wizard(name: str, home: Path) -> None:
    make_run(home, "one")

    async def play(pilot: Pilot[Any]) -> None:
        for index in ("problem", "estimate", "review", "elsewhere"):
            await seen(pilot, open_screen.screen(index, "one", TEXTS[name]))

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_in_what_a_run_made(name: str, home: Path) -> None:
    text = TEXTS[name].encode(errors="replace").decode()
    output = {"expected": text, "base": text, "tuned": text, "line": 1}
    make_result(make_run(home, "one"), [{"prompt": [{"role": "user", "content": text}], **output}])

    async def play(pilot: Pilot[Any]) -> None:
        await seen(pilot, open_screen.screen("finish", "one", ""))

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_of_runs_that_are_compared_and_searched(name: str, home: Path) -> None:
    folders = [make_hostile(home, TEXTS[name], reason="text"), make_run(home, "two")]

    async def play(pilot: Pilot[Any]) -> None:
        await seen(pilot, ComparePage(folders), "best validation loss")
        typed = "".join(c for c in TEXTS[name] if c.isprintable())[:40]
        await pilot.press("slash")
        pilot.app.screen.query_one("#search", Input).value = f"no-such-run {typed}"
        await pilot.pause(0.3)
        assert_harmless(frame(pilot.app))

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_of_a_run_that_has_ended(name: str, home: Path) -> None:
    folder = make_hostile(home, TEXTS[name], reason="text")

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, f"✗ {SEEN}" if name != "long" else "✓ finished")
        assert_harmless(frame(pilot.app))
        await seen(pilot, LogPage(Follower(folder)), SEEN if name != "long" else "xxx")
        shown = await seen(pilot, MonitorPage(folder))
        assert f"· {SEEN}" in shown or name in ("all", "long"), "the finding"

    drive(FtwizardApp(), SIZE, play)


@every_text
def test_of_a_run_that_lives(name: str, home: Path) -> None:
    folder = make_hostile(home, TEXTS[name])

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, f"● {SEEN}")
        assert_harmless(frame(pilot.app))
        shown = await seen(pilot, MonitorPage(folder), f"● {SEEN}")
        assert f"· {SEEN}" in shown or name in ("all", "long"), "the finding"

    with living(folder):
        drive(FtwizardApp(), SIZE, play)


@every_text
def test_of_this_machine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXTS[name][:10_000]

    async def command(*_: str, **__: object) -> Any:
        return {"checks": [{"name": "GPU", "status": "missing", "found": text, "fix": text}]}

    monkeypatch.setattr(subprocesses, "run_command", command)

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, f"✗ GPU     {SEEN}")
        assert_harmless(frame(pilot.app))

    drive(FtwizardApp(("doctor", "")), SIZE, play)


async def to_data(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))
    pilot.app.screen.query_one("#answer-size", Choice).value = "tiny"
    await pilot.pause()
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, DataPage))


async def go_through_rows(pilot: Pilot[Any]) -> None:
    """Open what the cursor is on, look at each row as it reads and as it is written, come back."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, RowsPage))
    await says(pilot, SEEN)
    for _ in range(len(TEXTS) + 2):
        for view in ("r", "r"):
            await pilot.press(view)
            await until(pilot, lambda: "reading the row" not in frame(pilot.app))
            assert_harmless(frame(pilot.app))
        await pilot.press("down")
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(pilot.app.screen, DataPage))


@pytest.mark.slow
def test_rows_in_a_file_of_such_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        await to_data(pilot)
        assert_harmless(frame(pilot.app))
        await pilot.press("enter")
        await says(pilot, f"{len(texts) + 2} rows")
        subjects = len(pilot.app.screen.query_one(ReportView)._subjects)
        for _ in range(subjects):
            await pilot.press("down")
            await pilot.pause()
            assert_harmless(frame(pilot.app))
        await go_through_rows(pilot)
        await pilot.press("home")
        await go_through_rows(pilot)
        await pilot.press("up", "enter")
        await says(pilot, "Continue without 4 rows?")  # two of them hold surrogates
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecipePage))
        await pilot.press(*"./")
        await says(pilot, f"{SHOWN_NAME}/")
        assert_harmless(frame(pilot.app))
        await pilot.press("tab", "enter")
        await says(pilot, "Use a folder written by save_pretrained")  # the path wraps anywhere
        assert_harmless(frame(pilot.app))

    drive(FtwizardApp(("new", "")), SIZE, play)


def test_a_file_whose_name_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / os.fsdecode(b"rows\xff.jsonl")).write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.chdir(tmp_path)

    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await says(pilot, "rows\\udcff.jsonl")
        await pilot.press("down", "enter")
        await says(pilot, "The name of a file or folder is not valid UTF-8.")
        assert_harmless(frame(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataPage))

    drive(FtwizardApp(("new", "")), SIZE, play)


def test_runs_in_a_folder_of_such_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / NAME
    monkeypatch.setenv("FTWIZARD_HOME", str(home))
    text = {"expected": "a", "base": "b", "tuned": "a", "line": 1}
    make_result(make_run(home, "one"), [{"prompt": [{"role": "user", "content": "q"}], **text}])
    make_run(home, NAME)  # no run has such a name: it is not listed

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "✓ finished")
        assert "bold" not in frame(pilot.app)
        await pilot.press("end", "enter")
        await says(pilot, "enter shows the results")
        await pilot.press("enter")
        await says(pilot, f"{SHOWN_NAME}/runs")
        assert_harmless(frame(pilot.app), (160, 30))

    drive(FtwizardApp(), (160, 30), play)


def test_the_last_wall_keeps_the_width() -> None:
    wall = OutputSanitizer(ascii=False)
    for text in (*TEXTS.values(), "👩‍👩‍👧‍👦", "a\u200db"):
        short = Segment(text[:5000])
        (harmless,) = wall.apply([short], Color(0, 0, 0))
        assert not obeyed(harmless.text.replace("\n", ""))
        assert harmless.cell_length == short.cell_length
