"""Plan arguments that are not plans, for every command that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli.parser import dispatch
from ftwizard.errors import FAILED, USAGE
from ftwizard.plan import plan_file
from ftwizard.strict_yaml import SettingsError


def _open_screens(*_: Any, **__: Any) -> int:
    raise AssertionError("no screens are opened")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("probe", "{files: {train: rows.jsonl}}"), ("train", "those that fit: ftwizard models rows.jsonl"),
        ("estimate", "ftwizard estimate rows.jsonl --model gpt-4.1-mini"),
    ],
)  # fmt: skip
def test_data_file_is_refused_as_a_plan(
    command: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([command, "rows.jsonl"], _open_screens) == USAGE
    text = capsys.readouterr().err
    assert "rows.jsonl is a data file, not a plan." in text and hint in text


def test_folder_and_binary_file_are_refused_as_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\xff\x00")
    for subject, words in ((tmp_path, "is a folder."), (program, "is not UTF-8")):
        with pytest.raises(SettingsError, match=words) as error:
            plan_file.load(subject)
        assert error.value.hint
    assert dispatch(["probe", str(tmp_path)], _open_screens) == FAILED
    assert "is a folder." in capsys.readouterr().err


def test_probe_refuses_too_many_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["probe", "p.yaml", "--steps", "1000000"], _open_screens) == USAGE
    assert "--steps is 1,000,000; it must be 1 to 1,000." in capsys.readouterr().err


def test_estimate_refuses_epochs_together_with_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("data: {files: {train: rows.jsonl}}\nmodel: {name: a/b}\nrecipe: {epochs: 2}\n")
    assert dispatch(["estimate", str(plan), "--epochs", "9"], _open_screens) == USAGE
    text = capsys.readouterr().err
    assert "--epochs cannot be combined with a plan." in text and "recipe.epochs: 2." in text
