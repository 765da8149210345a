"""Usage errors: a message and the nearest valid choice, in JSON too."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli.parser import dispatch
from ftwizard.errors import DECLINED, FAILED, USAGE

USAGE_ERRORS = {
    "estimat": ("estimat is not a command.", "Did you mean estimate?"),
    "kill": ("kill is not a command.", "Did you mean stop?"),
    "nosuch": ("nosuch is not a command.", "Choose from: demo, advise,"),
    "estimate --exmples 5": ("ftwizard estimate has no option --exmples.", "mean --examples?"),
    "advise --pice=3": ("ftwizard advise has no option --pice.", "Options: --answer, --columns"),
    "estimate --examples -5": ("--examples: -5 is not a whole number", "ftwizard estimate --help"),
    "probe p.yaml --steps x": ("--steps: “x” is not a whole number.", "ftwizard probe --help"),
    "estimate --sort trainin": ("--sort cannot be “trainin”.", "Did you mean training?"),
    "estimate --edition 2025": ("--edition cannot be “2025”.", "Choose from: 2026-04, current."),
    "estimate --share-data --confidential": ("--confidential and --share-data", "Remove one."),
    "estimate --epoch 5": ("ftwizard estimate has no option --epoch.", "Did you mean --epochs?"),
    "--versio": ("ftwizard has no option --versio.", "Did you mean --version?"),
    "estimate --model": ("--model needs a value.", "ftwizard estimate --help"),
    "probe": ("PLAN is missing.", "ftwizard probe [-h] [--json]"),
    "doctor foo": (
        "Unexpected argument “foo”.",
        "ftwizard doctor --help",
    ),
    "\x1b[2J": ("\\x1b[2J is not a command.", "Choose from:"),
}


def _open_screens(*_: Any, **__: Any) -> int:
    raise AssertionError("no screens are opened")


@pytest.mark.parametrize("typed", USAGE_ERRORS)
def test_usage_error_gives_a_message_and_a_hint(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message, hint = USAGE_ERRORS[typed]
    assert dispatch(typed.split(" "), _open_screens) == USAGE
    text = capsys.readouterr()
    first, second = text.err.rstrip("\n").split("\n")
    assert message in first and hint in second
    assert text.out == ""


def test_json_option_turns_a_usage_error_into_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["doctor", "--json", "--quik"], _open_screens) == USAGE
    assert json.loads(capsys.readouterr().out) == {
        "error": {
            "message": "ftwizard doctor has no option --quik.",
            "hint": "Did you mean --quick?",
        }
    }


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_full_disk_on_stdout_gives_a_readable_error(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys.stdout, "write", full)
    assert dispatch(["runs", *more], _open_screens) == FAILED
    text = capsys.readouterr().err
    assert text == (
        "ftwizard: No space left on device.\n  Free some disk space there, then try again.\n"
    )


def test_interrupt_inside_exec_exits_with_code_3(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from ftwizard.cli import parser\n"
        "parser._load_function = lambda _: lambda _: exec('raise KeyboardInterrupt')\n"
        "sys.exit(parser.dispatch(['runs'], None))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        capture_output=True, text=True, check=False, env=environment, timeout=180,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (DECLINED, "\nInterrupted.\n")
