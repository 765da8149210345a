"""Lists of runs among other files, unreadable runs and runs removed meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.runs import store


def make(home: Path, name: str, *, age: float = 0.0) -> Path:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    os.utime(folder / "job.json", (1e9 - age, 1e9 - age))
    return folder


def list_ids() -> list[str]:
    return [folder.id for folder in store.list_runs()]


def test_list_runs_sorts_by_age_and_skips_other_files(home: Path) -> None:
    for name, age in (("b", 0.0), ("a", 0.0), ("old", 9.0)):
        make(home, name, age=age)
    root = home / "runs"
    (root / "file").write_text("{}")
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "loop").symlink_to(root / "loop")
    (root / "empty").mkdir()
    (root / "odd" / "job.json").mkdir(parents=True)
    assert list_ids() == ["old", "a", "b"]


def test_run_without_permission_is_skipped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the error, because root may read everything."""
    for name in ("closed", "open"):
        make(home, name)
    real_stat = Path.stat

    def refuse(path: Path, **more: Any) -> os.stat_result:
        if "closed" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return real_stat(path, **more)

    monkeypatch.setattr(Path, "stat", refuse)
    assert list_ids() == ["open"]
    assert store.find("open").id == "open"


def test_run_removed_during_listing_is_skipped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gone", "here"):
        make(home, name)
    real_stat = Path.stat

    def remove(path: Path, **more: Any) -> os.stat_result:
        result = real_stat(path, **more)
        if "gone" in path.parts:
            shutil.rmtree(home / "runs" / "gone", ignore_errors=True)
        return result

    monkeypatch.setattr(Path, "stat", remove)
    store.list_runs()
    assert list_ids() == ["here"]
    assert [status.id for status in store.iterate_records()] == ["here"]


def test_unreadable_run_does_not_hide_the_others(home: Path) -> None:
    make(home, "broken")
    (home / "runs" / "broken" / "events.jsonl").mkdir()
    make(home, "well")
    assert list_ids() == ["broken", "well"]
    assert [status.id for status in store.iterate_records()] == ["well"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tickest-1124-143205", "tickets-1124-143205"),
        ("tikets", "tickets-1126-090000"),
        ("TICKETS-1124", "tickets-1124-143205"),
        ("143205", "tickets-1124-143205"),
        ("1126", "orders-1126-100000 or tickets-1126-090000"),
    ],
)
def test_mistyped_run_suggests_what_was_meant(home: Path, typed: str, meant: str) -> None:
    names = ("tickets-1124-143205", "tickets-1126-090000", "orders-1126-100000")
    for age, name in enumerate(reversed(names)):
        make(home, name, age=age)
    with pytest.raises(FtwizardError, match="was not found") as error:
        store.find(typed)
    assert error.value.hint == f"Did you mean {meant}?"


def test_run_like_no_other_suggests_the_list(home: Path) -> None:
    make(home, "tickets-1124-143205")
    with pytest.raises(FtwizardError) as error:
        store.find("zzz")
    assert error.value.hint == "List them with: ftwizard runs"


def test_run_ids_contain_only_safe_characters() -> None:
    assert store.make_id("Mein Plän!").startswith("Mein-Pl-n-")
    assert store.make_id("...").startswith("run-")
