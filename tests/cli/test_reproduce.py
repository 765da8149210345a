"""``reproduce``: the question before a start with other versions, and runs that it refuses."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import msgspec
import pytest

from ftwizard.cli import output, reproduce
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.runs import environment
from ftwizard.train import child_plan, launcher
from tests.helpers import training


def make_arguments(run: JobFolder, **values: object) -> argparse.Namespace:
    settings = {"dry_run": False, "yes": False, "json": False, "name": None, "watch": False}
    return argparse.Namespace(run=str(run.path), **{**settings, **values})


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """Return a run with a loss, an end and other versions, whose inputs are not checked."""
    folder = training.prepare(tmp_path, "run")
    folder.events.write_text('{"v":1,"t":0,"kind":"log","step":1,"loss":2.0}\n')
    other = msgspec.structs.replace(environment.observe_environment(), python="2.7.1")
    write_json(folder.path / environment.FILE, other)
    monkeypatch.setattr(launcher, "check_reproducible", lambda run, say: child_plan.read_used(run))
    return folder


def test_other_versions_are_asked_about_and_no_starts_nothing(
    trained: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:  # fmt: skip
    monkeypatch.setattr(output, "has_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert reproduce.reproduce(make_arguments(trained)) == DECLINED
    printed = capsys.readouterr()
    assert "Python 2.7.1 → " in printed.err
    assert "Start anyway? [Y/n]" in printed.err
    assert "Nothing was started." in printed.out
    assert not (home / "runs").exists()


def test_a_script_must_say_yes_to_other_versions(trained: JobFolder) -> None:
    with pytest.raises(FtwizardError, match="not the same") as caught:
        reproduce.reproduce(make_arguments(trained, json=True))
    assert caught.value.exit_code == USAGE


def test_a_dry_run_names_unrecorded_versions(
    trained: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained.path / environment.FILE).unlink()
    assert reproduce.reproduce(make_arguments(trained, dry_run=True)) == 0
    assert "It recorded no versions" in capsys.readouterr().err


def test_a_run_without_losses_is_refused(trained: JobFolder) -> None:
    trained.events.write_text("")
    with pytest.raises(FtwizardError, match="logged no losses"):
        reproduce.reproduce(make_arguments(trained))
