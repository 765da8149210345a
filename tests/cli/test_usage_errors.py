"""Usage errors: a message and the nearest valid choice, in JSON too."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli.commands import COMMANDS, COSTS, ESTIMATED_DATA, TRAINED_DATA
from ftwizard.cli.help_text import EXAMPLES
from ftwizard.cli.parser import dispatch
from ftwizard.cli.parser import parser as build_parser
from ftwizard.errors import DECLINED, FAILED, USAGE, FtwizardError

USAGE_ERRORS = {
    "estimat": ("estimat is not a command.", "Did you mean estimate?"),
    "kill": ("kill is not a command.", "Did you mean stop?"),
    "nosuch": ("nosuch is not a command.", "List them with: ftwizard --help"),
    "hlep": ("hlep is not a command.", "Did you mean help?"),
    "version": ("version is not a command.", "Did you mean --version?"),
    "results": ("results is not a command.", "Did you mean status?"),
    "merge --scale 0": ("--scale: 0 is not a number above 0", "ftwizard merge --help"),
    "estimate --exmples 5": ("ftwizard estimate has no option --exmples.", "mean --examples?"),
    "advise --pice=3": (
        "ftwizard advise has no option --pice.",
        "List them with: ftwizard advise --help",
    ),
    "estimate --examples -5": ("--examples: -5 is not a whole number", "ftwizard estimate --help"),
    "probe p.yaml --steps x": ("--steps: “x” is not a whole number.", "ftwizard probe --help"),
    "estimate --sort trainin": ("--sort cannot be “trainin”.", "Did you mean training?"),
    "estimate --edition 2025": ("--edition cannot be “2025”.", "Choose from: 2026-04, current."),
    "estimate --share-data --confidential": ("--confidential and --share-data", "Remove one."),
    "estimate --epoch 5": ("ftwizard estimate has no option --epoch.", "Did you mean --epochs?"),
    "--versio": ("ftwizard has no option --versio.", "Did you mean --version?"),
    "estimate --model": ("--model needs a value.", "ftwizard estimate --help"),
    "probe": ("PLAN is missing.", "For example: ftwizard probe plan.yaml"),
    "show": ("DATA, --line are missing.", "For example: ftwizard show rows.jsonl --line 3"),
    "show a.jsonl --lien 3": ("ftwizard show has no option --lien.", "Did you mean --line?"),
    "--limit=3 runs": (
        "--limit is not where ftwizard runs reads options.",
        "ftwizard runs --limit …",
    ),
    "check -- a.jsonl --no-near": ("--no-near is not where", "ftwizard check --no-near …"),
    "train a.jsonl --provider openai": ("has no option --provider.", "provider: openai"),
    "train a.jsonl --lr 3e-4": ("has no option --lr.", "recipe.learning_rate in a plan."),
    "train a.jsonl --method LoRa2": ("--method cannot be “lora2”.", "Did you mean lora?"),
    "train a.jsonl --epochs 101": (
        "--epochs: 101 is not a number above 0 and up to 100.",
        "--help",
    ),
    "./rows.jsonl check": ("The command check comes first.", "Run: ftwizard check ./rows.jsonl"),
    "doctor foo": (
        "Unexpected argument “foo”.",
        "ftwizard doctor --help",
    ),
    "--limit": ("ftwizard has no option --limit.", "List them with: ftwizard --help"),
    "\x1b[2J": ("\\x1b[2J is not a command.", "List them with:"),
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


def test_every_command_that_needs_an_argument_shows_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command, *_ in COMMANDS:
        try:
            build_parser().parse_args([command])
        except FtwizardError as error:
            assert error.hint == f"For example: {EXAMPLES[command]}"
    for example in EXAMPLES.values():
        build_parser().parse_args(shlex.split(example)[1:])


def test_help_of_help_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        dispatch(["help", "help"], _open_screens)
    assert capsys.readouterr().out.startswith("usage: ftwizard [FILE | COMMAND …]")


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("estimate --examples 1k", 1000),
        ("estimate --examples 1,500", 1500),
        ("estimate --examples 2.5K", 2500),
        ("estimate --minutes 10m", 10.0),
        ("estimate --minutes 1.5h", 90.0),
        ("train a.jsonl --minutes 10min", 10.0),
        ("estimate --epochs 5e-1", 0.5),
    ],
)
def test_numbers_may_have_a_unit(typed: str, value: float) -> None:
    argv = typed.split(" ")
    assert getattr(build_parser().parse_args(argv), argv[-2].lstrip("-")) == value


@pytest.mark.parametrize(
    "typed", ["--minutes m", "--minutes 1.2.3h", "--epochs 1k", "--examples %"]
)
def test_units_without_a_number_or_meaning_are_refused(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["estimate", *typed.split(" ")], _open_screens) == USAGE
    assert f"{typed.split(' ')[1]} is not a" in capsys.readouterr().err


def test_shares_may_be_percentages() -> None:
    argv = ["split", "a", "--out-train", "b", "--out-validation", "c", "--validation", "10%"]
    assert build_parser().parse_args(argv).validation == pytest.approx(0.1)


def test_choices_are_read_in_any_case() -> None:
    assert build_parser().parse_args(["train", "a.jsonl", "--method", "LoRA"]).method == "lora"


def list_values() -> list[tuple[str, list[str]]]:
    """Return every argument that takes a value, with an otherwise complete command line."""
    lines = []
    for command, *_, arguments in COMMANDS:
        extra = TRAINED_DATA if command == "train" else ESTIMATED_DATA + COSTS
        values = [
            item for item in arguments + (extra if command in ("train", "estimate") else ())
            if item[1].get("action") != "store_true" and item[0] != "words"
        ]  # fmt: skip
        needed = [name for name, words in values if words.get("required")]
        for name, _ in values:
            line = [command, *(word for n in needed for word in (n, "1") if n != name)]
            options = [name] if name.startswith("-") else []
            positional = [
                n for n, w in values if n[0] != "-" and w.get("nargs") != "?" and n != name
            ]
            lines.append((f"{command} {name}", [*line, *positional, *options]))
    return lines


@pytest.mark.parametrize("blank", ["", "  \t"])
def test_no_value_may_be_blank(blank: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = list_values()
    assert len(lines) > 60
    for name, line in [*lines, ("FILE", [])]:
        assert dispatch([*line, blank], _open_screens) == USAGE, name
        shown = capsys.readouterr().err
        assert "missing" not in shown and len(shown.splitlines()) <= 2, shown
    for command in ("runs", "models"):
        assert build_parser().parse_args([command, ""]).words == [""], "it finds everything"


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_closed_output_is_no_traceback(closed: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "FTWIZARD_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = f"{shlex.quote(sys.executable)} -m ftwizard runs {closed}"
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=180,
    )
    assert (done.returncode, done.stderr) == (0, "")


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


def test_second_data_file_gets_a_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, table = tmp_path / "a.jsonl", tmp_path / "b c.jsonl", tmp_path / "d.csv"
    for file in (first, second, table):
        file.write_text("{}")
    joined = f"To use the rows of all: cat {first} '{second}' > all.jsonl"
    for argv, hint in (
        (
            ["train", first, "--model", "m", second],
            f"For validation data: --val '{second}'. {joined}",
        ),
        (["columns", first, table], "To use the rows of all, join them into one file."),
    ):
        assert dispatch([str(word) for word in argv], _open_screens) == USAGE
        text = capsys.readouterr().err
        assert text == f"ftwizard: ftwizard {argv[0]} takes one data file.\n  {hint}\n"
    assert dispatch(["columns", str(first), "no.csv"], _open_screens) == USAGE
    assert "Unexpected argument “no.csv”" in capsys.readouterr().err
