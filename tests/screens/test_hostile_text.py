"""Hostile text on every screen: it is shown, never obeyed, and never a reason to fail."""

from __future__ import annotations

import contextlib
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

from ftwizard.jobs.folder import JobFolder
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
from tests.screens.hostile import (
    KINDS,
    NAME,
    PAGES,
    SEEN,
    SHOWN_NAME,
    TEXTS,
    choose_texts,
    obeyed,
    too_wide,
)  # fmt: skip
from tests.screens.runs_helpers import living, make_hostile, make_result, make_run

SIZE = (100, 30)


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


def test_every_text_is_shown_on_several_pages() -> None:
    assert sorted(name for kind in KINDS.values() for name in kind) == sorted(TEXTS)
    chosen = [choose_texts(page) for page in PAGES]
    assert all(sum(name in texts for texts in chosen) >= 3 for name in TEXTS)
    assert all(texts.keys() & set(kind) for texts in chosen for kind in KINDS.values())


def test_wizard_screens_show_hostile_text_safely(home: Path) -> None:
    make_run(home, "one")

    async def play(pilot: Pilot[Any]) -> None:
        for page in ("problem", "estimate", "review", "account"):
            for text in choose_texts(page).values():
                await visit(pilot, open_screen.screen(page, "one", text))

    drive(FtwizardApp(), SIZE, play)


def test_results_page_shows_hostile_answers_safely(home: Path) -> None:
    texts = choose_texts("results")
    for name in texts:
        text = texts[name].encode(errors="replace").decode()
        output = {"expected": text, "base": text, "tuned": text, "line": 1}
        answer = {"prompt": [{"role": "user", "content": text}], **output}
        make_result(make_run(home, name), [answer])

    async def play(pilot: Pilot[Any]) -> None:
        for name in texts:
            await visit(pilot, open_screen.screen("finish", name, ""))

    drive(FtwizardApp(), SIZE, play)


def test_comparison_and_search_show_hostile_text_safely(home: Path) -> None:
    texts = choose_texts("comparison")
    hostile = make_hostile_runs(home, texts, reason="text")
    other = make_run(home, "other")

    async def play(pilot: Pilot[Any]) -> None:
        for folder in hostile.values():
            await visit(pilot, ComparePage([folder, other]), "best validation loss")
        await pilot.press("slash")
        field = pilot.app.screen.query_one("#search", Input)
        for name, text in texts.items():
            typed = "".join(c for c in text if c.isprintable())[:40]
            field.value = f"no-such-run-{name} {typed}"
            await wait_for_text(pilot, f"no-such-run-{name}")
            await pilot.pause(0.3)
            assert_harmless(frame(pilot.app))

    drive(FtwizardApp(), SIZE, play)


def make_hostile_runs(
    home: Path, texts: dict[str, str], *, reason: str = ""
) -> dict[str, JobFolder]:
    """Write one run for each text; return the runs by the name of their text."""
    return {
        name: make_hostile(home, text, reason=reason, name=name) for name, text in texts.items()
    }


def test_ended_run_shows_hostile_text_safely(home: Path) -> None:
    folders = make_hostile_runs(home, choose_texts("ended run"), reason="text")

    async def play(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: frame(pilot.app).count(f"✗ {SEEN}") == len(folders) - 1)
        assert "✓ finished" in frame(pilot.app), "a line too long to read"
        assert_harmless(frame(pilot.app))
        for name, folder in folders.items():
            await visit(pilot, LogPage(Follower(folder)), SEEN if name != "long" else "xxx")
            shown = await visit(pilot, MonitorPage(folder))
            assert f"· {SEEN}" in shown or name in ("all", "long"), "the finding"

    drive(FtwizardApp(), SIZE, play)


def test_live_run_shows_hostile_text_safely(home: Path) -> None:
    folders = make_hostile_runs(home, choose_texts("live run"))

    async def play(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: frame(pilot.app).count(f"● {SEEN}") == len(folders))
        assert_harmless(frame(pilot.app))
        for name, folder in folders.items():
            shown = await visit(pilot, MonitorPage(folder), f"● {SEEN}")
            assert f"· {SEEN}" in shown or name in ("all", "long"), "the finding"

    with contextlib.ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(living(folder))
        drive(FtwizardApp(), SIZE, play)


def test_doctor_shows_hostile_text_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [
        {"name": f"G{n:02}", "status": "missing", "found": text[:10_000], "fix": text[:10_000]}
        for n, text in enumerate(choose_texts("doctor").values())
    ]

    async def command(*_: str, **__: object) -> Any:
        return {"checks": [checks[0]]}

    monkeypatch.setattr(subprocesses, "run_command", command)

    async def play(pilot: Pilot[Any]) -> None:
        while checks:
            await wait_for_text(pilot, f"✗ {checks[0]['name']}     {SEEN}")
            assert_harmless(frame(pilot.app))
            del checks[0]
            if checks:
                await pilot.press("r")

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
