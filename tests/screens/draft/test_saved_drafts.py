"""Drafts of interrupted wizards: stored answers, which are offered, and damaged files."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.plan import schema
from ftwizard.pricing import machine_rate
from ftwizard.screens.draft import STEPS, draft_document, saved_drafts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.saved_drafts import DraftFile
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import report

FACTS = make_machine(extras=("local",))
RECIPE = STEPS.index("Recipe")
DATA = "/data/tickets.jsonl"


def _answered() -> Draft:
    hour: PriceRate = machine_rate.parse_typed_price("1.25")
    draft = Draft(FACTS, answers={"fit": "behavior"}, hour=hour).with_provider("openai")
    draft = draft.with_plan(model=schema.Model(name="org/model")).with_touched("epochs")
    draft = draft.with_check(schema.Files(train=DATA), report(DATA)).allowing("skip-bad-rows")
    return draft.with_recipe(epochs=2.0).named("mine")


def _save(draft: Draft, *, left: bool = True) -> DraftFile:
    file = DraftFile()
    draft_document.save(file, RECIPE, draft)
    if left:
        file.release()
    return file


def test_every_answer_returns_but_nothing_read_from_the_rows() -> None:
    _save(_answered())
    [(path, saved)] = saved_drafts.list_drafts().drafts
    draft, step = draft_document.read(path, FACTS)
    assert draft == replace(_answered(), checked=None, checked_for=None)
    assert draft.hour is not None and draft.hour.usd == Decimal("1.25")
    assert step == RECIPE
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert saved.describe() == "tickets.jsonl, recipe page, 0 s ago"


def test_draft_of_a_living_wizard_is_not_offered_until_it_is_left() -> None:
    file = _save(_answered(), left=False)
    assert not saved_drafts.list_drafts().drafts
    file.release()
    assert len(saved_drafts.list_drafts().drafts) == 1
    file.forget()
    file.release()
    assert not saved_drafts.list_drafts().drafts


def test_draft_of_a_killed_wizard_is_offered() -> None:
    code = """
import os, signal
from ftwizard.screens.draft.saved_drafts import DraftFile
DraftFile().save("rows.jsonl", 1, b"{}")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [draft.saved.data for draft in saved_drafts.list_drafts().drafts] == ["rows.jsonl"]


def test_only_the_newest_drafts_are_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time()
    for number in range(6):
        monkeypatch.setattr(time, "time", lambda at=number: start + at)
        file = DraftFile()
        file.save(f"{number}.jsonl", RECIPE, b"{}")
        file.release()
    offered = [draft.saved.data for draft in saved_drafts.list_drafts().drafts]
    assert offered == ["5.jsonl", "4.jsonl", "3.jsonl"]
    assert len(list((home / "drafts").iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"data": 1}', b"x" * 3000])
def test_damaged_draft_is_reported_once_and_set_aside(content: bytes, home: Path) -> None:
    _save(_answered())
    (home / "drafts" / "1-2.json").write_bytes(content)
    saved = saved_drafts.list_drafts()
    assert len(saved.drafts) == 1 and [path.name for path in saved.damaged] == ["1-2.damaged"]
    assert "1-2.damaged" in saved_drafts.describe_damage(saved.damaged[0])
    assert not saved_drafts.list_drafts().damaged


def test_draft_of_another_version_is_refused(home: Path) -> None:
    file = DraftFile()
    file.save(DATA, RECIPE, b'{"plan": {"unknown": 1}}')
    file.release()
    [(path, _)] = saved_drafts.list_drafts().drafts
    with pytest.raises(FtwizardError, match="another version"):
        draft_document.read(path, FACTS)


def test_hostile_file_name_is_made_visible() -> None:
    file = DraftFile()
    file.save("/data/\x1b[2Jrows\u202e.jsonl", 1, b"{}")
    file.release()
    described = saved_drafts.list_drafts().drafts[0].saved.describe()
    assert "\x1b" not in described and "\u202e" not in described


def test_home_folder_that_cannot_be_written_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "file"))
    _save(_answered())
    assert saved_drafts.list_drafts() == ([], [])


def test_typed_names_are_saved_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, saved in (("rows.jsonl", str(tmp_path / "rows.jsonl")), ("owner/name", "owner/name")):
        file = _save(Draft(FACTS).with_data(files=schema.Files(train=name)))
        assert saved_drafts.list_drafts().drafts[0].saved.data == saved
        file.forget()


def test_file_name_that_is_not_text_is_not_saved() -> None:
    _save(Draft(FACTS).with_data(files=schema.Files(train="/data/\udcff.jsonl")))
    assert not saved_drafts.list_drafts().drafts
