"""Real commands behind the data page: repair, split, convert, and the loss mask of a row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.plan import schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import ChooseDialog, ResultDialog
from ftwizard.screens.draft.drafts import PageOutcome
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.data.report_view import NextStep
from tests.helpers.models import make_tiny
from tests.screens.frames import frame, until, wait_for_text
from tests.screens.wizard.data.page import draft_of, on_page, read_file


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data file with two unusable rows and one row that can be repaired."""
    file = tmp_path / "rows.jsonl"
    lines = [
        json.dumps({"messages": [
            {"role": "user", "content": f"What is {n} and {n * 7}?"},
            {"role": "assistant", "content": f"It is {n * 8}."},
        ]})
        for n in range(30)
    ]  # fmt: skip
    lines[3] = '{"messages": [{"role": "user", "con'
    lines[9] = json.dumps({"messages": [{"role": "user", "content": "Why?"}]})
    lines[12] = lines[12].replace("What", "\\u001b[31mWhat")
    file.write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return file


def test_repair_writes_a_new_file_and_continues_with_it(rows: Path) -> None:
    before = rows.read_bytes()

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        assert "rows.fixed.jsonl" in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultDialog))
        assert "28 of 30 rows written to rows.fixed.jsonl" in frame(pilot.app)
        assert "1 row skipped" in frame(pilot.app) and "! 1 row: removed control" in frame(
            pilot.app
        )
        await pilot.press("enter")
        await wait_for_text(pilot, "✓ 28 rows, chat messages")
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))
        made = left[0].draft.plan.data.files.train
        assert made == str(rows.with_name("rows.fixed.jsonl"))

    on_page(draft_of(str(rows)), (100, 30), play)
    assert rows.read_bytes() == before
    assert "\\u001b" not in rows.with_name("rows.fixed.jsonl").read_text()


def test_new_file_never_overwrites_an_existing_file(rows: Path) -> None:
    rows.with_name("rows.fixed.jsonl").write_text("mine")

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        assert "rows.fixed-2.jsonl" in frame(pilot.app)
        for name, wrong in (
            ("rows.fixed.jsonl", "rows.fixed.jsonl already exists"),
            ("none/x.jsonl", "does not exist."),
            ("", "Enter a file name."),
        ):
            pilot.app.screen.query_one(Input).value = name
            await pilot.pause()
            await pilot.press("enter")
            await wait_for_text(pilot, wrong)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)

    on_page(draft_of(str(rows)), (80, 24), play)
    assert rows.with_name("rows.fixed.jsonl").read_text() == "mine"


def test_split_writes_two_files_and_the_plan_names_both(rows: Path) -> None:
    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        assert "Unusable rows are skipped." in frame(pilot.app)
        await pilot.press("enter")
        await wait_for_text(pilot, "  validation  ")
        assert "(•) a file" in frame(pilot.app)
        await until(pilot, lambda: isinstance(pilot.app.focused, NextStep))
        assert "25 rows, chat messages" in frame(pilot.app)
        assert "unusable" not in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))
        files = left[0].draft.plan.data.files
        assert files.train == str(rows.with_name("rows.train.jsonl"))
        assert files.validation == str(rows.with_name("rows.validation.jsonl"))
        check_plan(left[0].draft.with_plan(model=schema.Model(name="owner/m")).plan)

    on_page(draft_of(str(rows)), (100, 30), play)


def test_another_data_file_drops_the_split_validation_file(rows: Path) -> None:
    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        await pilot.press("enter")
        await until(pilot, lambda: page._fields.share == "file")
        await until(pilot, lambda: isinstance(pilot.app.focused, NextStep))
        page._fields.rows.focus_input()
        await pilot.press("ctrl+u", *"rows.jsonl")
        await until(pilot, lambda: page._fields.share == "0.1")
        assert page._fields.rows.value == "rows.jsonl"
        assert page.get_draft().plan.data.files.validation is None

    on_page(draft_of(str(rows)), (100, 30), play)


def test_repair_without_changes_keeps_the_original_file(rows: Path) -> None:
    clean = [line for n, line in enumerate(rows.read_text().splitlines()) if n not in (3, 9, 12)]
    mail = "anna.berg@mail-nord.org"  # is often needed, so it is kept
    rows.write_text("\n".join([*clean[:-1], clean[-1].replace("What is", f"{mail} is")]) + "\n")

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        await pilot.press("enter")
        await wait_for_text(pilot, "Nothing to fix")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is page)
        assert page.get_draft().plan.data.files.train == str(rows)

    on_page(draft_of(str(rows)), (100, 30), play)


def test_secrets_are_asked_about_and_a_fix_replaces_them(rows: Path) -> None:
    clean = [line for n, line in enumerate(rows.read_text().splitlines()) if n not in (3, 9, 12)]
    token = "AKIA" + "Z7QKXW3PLMB2TRHC"
    rows.write_text("\n".join([*clean[:-1], clean[-1].replace("What is", f"{token} is")]) + "\n")

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "enter")
        await wait_for_text(pilot, "Train on possible secrets?")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)
        assert not left
        await pilot.press("f")
        await wait_for_text(pilot, "Secrets become placeholders.")
        await pilot.press("enter")
        await wait_for_text(pilot, "1 row: redacted secrets")
        await pilot.press("enter")
        await wait_for_text(pilot, "rows.fixed.jsonl")
        await until(pilot, lambda: isinstance(pilot.app.focused, NextStep))
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    on_page(draft_of(str(rows)), (80, 24), play)
    fixed = rows.with_name("rows.fixed.jsonl").read_text()
    assert token not in fixed and "[redacted: AWS access key]" in fixed
    assert token in rows.read_text()


@pytest.mark.parametrize(("key", "count"), [("enter", 29), ("escape", 30)])
def test_rows_that_are_too_long_are_left_out_if_the_user_says_so(
    rows: Path, key: str, count: int
) -> None:
    clean = [
        json.dumps({"messages": [
            {"role": "user", "content": f"What is {n} and {n * 7}?"},
            {"role": "assistant", "content": "It is that. " * (3000 if n == 4 else 1)},
        ]})
        for n in range(30)
    ]  # fmt: skip
    rows.write_text("\n".join(clean) + "\n")

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "f")
        await wait_for_text(pilot, "Leave out 1 row that is too long?")
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        await pilot.press("enter")
        if count == 30:
            await wait_for_text(pilot, "Nothing to fix")
            return
        await wait_for_text(pilot, "29 of 30 rows written to rows.fixed.jsonl")
        await pilot.press("enter")
        await wait_for_text(pilot, "29 rows, chat messages")

    on_page(draft_of(str(rows)), (100, 30), play)


def test_convert_writes_a_file_for_another_target(rows: Path) -> None:
    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChooseDialog))
        assert "OpenAI (DPO)" not in frame(pilot.app), "the rows are conversations"
        await pilot.press("end", "up", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, SaveAsDialog))
        assert "Convert for Google Vertex AI (Gemini)" in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultDialog))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)
        assert page.query_one("#train Input", Input).value == "rows.jsonl"

    on_page(draft_of(str(rows)), (100, 30), play)
    first = rows.with_name("rows.vertex-gemini.jsonl").read_text().splitlines()[0]
    assert "contents" in json.loads(first)


def write_questions(path: Path, count: int) -> Path:
    rows = ({"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(count))
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_rows_that_the_upload_converts_are_usable(rows: Path) -> None:
    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot)
        await wait_for_text(pilot, "all usable, converted at upload")
        assert "unusable" not in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))
        assert left[0].draft.plan.data.files.train == str(rows), "no other file is written"

    for service in ("openai", "foundry", "together"):
        draft = draft_of(str(write_questions(rows, 12)))
        draft = replace(draft, chosen_provider="cloud", chosen_platform=service)
        on_page(draft.with_destination(), (100, 30), play)


def test_what_the_upload_cannot_change_is_named(rows: Path) -> None:
    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot)
        await wait_for_text(pilot, "unusable as is: too few")
        await pilot.press("enter")
        await wait_for_text(pilot, "Continue despite these errors?")

    draft = draft_of(str(write_questions(rows, 4)))
    on_page(replace(draft, chosen_provider="openai"), (100, 30), play)


def test_validation_file_is_read_before_it_is_used(rows: Path) -> None:
    own = rows.with_name("own.jsonl")
    own.write_text("".join(rows.read_text().splitlines(keepends=True)[:2]))

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot)
        page.query_one("#share", Choice).value = "file"
        await pilot.press("enter")
        await wait_for_text(pilot, "Name the validation file")
        await until(pilot, lambda: page.query_one("#own-file Input").has_focus)
        await pilot.press(*"own.jsonl")
        await wait_for_text(pilot, "→ Read the data again with the changes")
        await pilot.press("enter")
        await wait_for_text(pilot, "validation  ✓ 2 rows")
        await until(pilot, lambda: isinstance(pilot.app.focused, NextStep))
        assert "leakage" in frame(pilot.app), "its rows are also in the training file"
        page.query_one("#share", Choice).value = "0.2"
        await until(pilot, lambda: page._enter == "read")
        await pilot.press("enter")
        await until(pilot, lambda: page._enter == "next" and "leakage" not in frame(pilot.app))

    on_page(draft_of(str(rows)), (100, 30), play)


@pytest.mark.slow
def test_mask_view_runs_the_real_command(rows: Path, tmp_path: Path) -> None:
    model = make_tiny(tmp_path)

    async def play(pilot: Pilot[Any], page: DataPage, left: list[PageOutcome]) -> None:
        await read_file(pilot, "down", "end", "m")
        await wait_for_text(pilot, "tokens count toward the loss")
        assert "▌ It is 232." in frame(pilot.app)

    on_page(draft_of(str(rows), str(model)), (100, 30), play)
