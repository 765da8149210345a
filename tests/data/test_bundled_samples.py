"""The sample is copied whole, or it is said why not."""

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


def test_the_sample_is_copied_once_and_its_plan_can_be_loaded(home: Path) -> None:
    file = bundled_samples.copy_plan()
    assert plan_file.load(file).data.files.train.startswith(str(home / "samples"))
    written = file.stat().st_mtime_ns
    assert bundled_samples.copy_plan() == file and file.stat().st_mtime_ns == written
    assert [path.name for path in (home / "samples").iterdir()] == [file.parent.name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("where", ["mkdir", "copy", "rename"])
def test_a_copy_that_fails_is_a_sentence_and_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    (home / "samples").mkdir(parents=True)
    owner, name = {
        "mkdir": (os, "makedirs"), "copy": (shutil, "copyfile"), "rename": (Path, "rename"),
    }[where]  # fmt: skip
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(FtwizardError, match=os.strerror(number)) as error:
        bundled_samples.copy_plan()
    assert "FTWIZARD_HOME" in error.value.hint
    assert not list((home / "samples").iterdir())


def test_a_faster_demo_is_no_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(part: Path, target: Path) -> Path:
        shutil.copytree(part, target)
        return rename(part, target)

    monkeypatch.setattr(Path, "rename", late)
    assert bundled_samples.copy_plan().is_file()
