"""Copying the bundled sample: a complete copy, or an error that says why."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file


def test_copy_plan_copies_sample_once_and_plan_loads(home: Path) -> None:
    file = bundled_samples.copy_plan()
    assert plan_file.load(file).data.files.train.startswith(str(home / "samples"))
    written = file.stat().st_mtime_ns
    assert bundled_samples.copy_plan() == file and file.stat().st_mtime_ns == written
    assert [path.name for path in (home / "samples").iterdir()] == [file.parent.name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("step", ["mkdir", "copy", "rename"])
def test_failed_copy_raises_error_and_leaves_no_files(
    home: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    (home / "samples").mkdir(parents=True)
    owner, name = {
        "mkdir": (os, "makedirs"), "copy": (shutil, "copyfile"), "rename": (Path, "rename"),
    }[step]  # fmt: skip
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(FtwizardError, match=os.strerror(number)) as error:
        bundled_samples.copy_plan()
    assert "FTWIZARD_HOME" in error.value.hint
    assert not list((home / "samples").iterdir())


def test_copy_succeeds_when_another_process_finishes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def copy_then_rename(part: Path, target: Path) -> Path:
        shutil.copytree(part, target)
        return rename(part, target)

    monkeypatch.setattr(Path, "rename", copy_then_rename)
    assert bundled_samples.copy_plan().is_file()
