"""``ftwizard --plain`` at real terminals: full runs, going back, invalid answers and exits."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from tests.e2e import tmux
from tests.e2e.cli import run
from tests.e2e.plain_terminal import Answer, Pty, Wizard, environment
from tests.helpers.jobs import until_ended
from tests.helpers.models import end_answers_soon, make_tiny
from tests.paths import FIXTURES, TICKETS

needs_tmux = pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
both = pytest.mark.parametrize("numbered", [False, True], ids=["cursor", "numbers"])
DATA = FIXTURES / "formats"
SAMPLE = TICKETS / "train.jsonl"
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[31m\x9b2J"

TO_THE_DATA_FILE = (
    Answer("What should the model learn?", ("Up", "Up", "Up"), "1"),
    Answer("Which provider?"),
)


def to_the_recipe(rows: Path) -> tuple[Answer, ...]:
    return (
        *TO_THE_DATA_FILE,
        Answer("Data file", (str(rows),), str(rows)),
        Answer("What next?"),
        Answer("Validation data"),
    )


def recipe(model: str) -> tuple[Answer, ...]:
    return (
        Answer("Model", ("Up", "Up"), "8"),
        Answer("Model id or folder", (model,), model),
        Answer("Objective"),
        Answer("Method"),
        Answer("Epochs", ("C-u", "1"), "1"),
        Answer("Learning rate"),
        *([Answer("Trains on")] if shutil.which("sbatch") else []),
        Answer("Batch size"),
        Answer("Gradient accumulation"),
        Answer("Max length", ("C-u", "256"), "256"),
        Answer("Change an advanced setting?"),
        Answer("After training"),
        Answer("Continue with this?"),
        Answer("Name of the run", ("C-u", "mine"), "mine"),
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return end_answers_soon(make_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:30]))
    return file


@pytest.mark.slow
@needs_tmux
@pytest.mark.timeout(900)
def test_plain_wizard_trains_and_merges_a_model(
    tmp_path: Path,
    rows: Path,
    tiny: Path,
    home: Path,
    model_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With numbered questions; the next test has a cursor."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(model_cache))
    with Wizard(tmp_path, numbered=True) as wizard:
        start_run(wizard, rows, tiny, home)
        wizard.wait(r"exit=\d", 600)
        end = wizard.history()
    assert "exit=0" in end
    assert "Run mine finished" in end and "On 3 test examples" in end
    folder = JobFolder(home / "runs" / "mine")
    assert (folder.merged / "model.safetensors").exists()


def start_run(wizard: Wizard, rows: Path, model: Path, home: Path) -> None:
    """Answer every question; nothing but the draft is written before it is confirmed."""
    wizard.answer(*to_the_recipe(rows), *recipe(str(model)))
    wizard.ask("Save the plan and start the run?")
    assert not (home / "runs").exists() and not (home / "plans").exists()
    shown = wizard.screen()
    assert "max_length: 256" in shown
    assert f"ftwizard train {home}/plans/mine.yaml --name mine" in shown
    wizard.keys("Enter")


@pytest.mark.slow
@needs_tmux
def test_run_continues_after_the_terminal_closes(
    tmp_path: Path, rows: Path, tiny: Path, home: Path
) -> None:
    with Wizard(tmp_path, numbered=False) as wizard:
        start_run(wizard, rows, tiny, home)
        wizard.wait("ctrl.c leaves this view|mine  running")
        wizard.kill()
    folder = JobFolder(home / "runs" / "mine")
    assert until_ended(folder, 120).end_reason == "finished"
    assert (folder.merged / "model.safetensors").exists()
    assert (home / "plans" / "mine.yaml").exists()


@needs_tmux
@both
def test_back_keeps_answers_and_invalid_answers_are_asked_again(
    numbered: bool, tmp_path: Path, rows: Path, home: Path
) -> None:
    with Wizard(tmp_path, numbered=numbered) as wizard:
        wizard.answer(*TO_THE_DATA_FILE)
        wizard.ask("Data file")
        wizard.keys("none.jsonl", "Enter")
        wizard.wait("none.jsonl does not exist")
        wizard.keys(*(() if numbered else ("C-u",)), rows.name, "Enter")
        wizard.ask("What next?")
        wizard.keys(*(("b", "Enter") if numbered else ("Escape",)))
        wizard.ask("Data file")
        wizard.wait(rf"Data file .*{rows.name}.*\s*$")
        wizard.answer(Answer("Data file"))
        wizard.ask("What next?")
        if numbered:
            wizard.keys("77", "Enter")
            wizard.wait(r"“77” is not a number from 1 to 7")
        wizard.keys("Enter")
        wizard.answer(Answer("Validation data", ("Down",) * 3, "4"))
        wizard.ask("To continue anyway, type")
        wizard.keys("yes", "Enter")
        wizard.wait("Type “no validation”, or go back")
        wizard.keys(*(() if numbered else ("C-u",)), "no validation", "Enter")
        wizard.answer(
            Answer("Model"),
            Answer("Objective"),
            Answer("Method"),
            Answer("Epochs", ("C-u", "many"), "many"),
        )
        wizard.wait("“many” is not a number")
        wizard.keys("C-c")
        wizard.wait("Nothing was started. ftwizard offers to continue with your answers.")
        wizard.wait("exit=3")
    assert not (home / "runs").exists() and not (home / "plans").exists()


@needs_tmux
def test_missing_model_returns_to_the_model_question(tmp_path: Path, rows: Path) -> None:
    with Wizard(tmp_path, numbered=True) as wizard:
        wizard.answer(*to_the_recipe(rows), *recipe("/nowhere/at/all")[:-2])
        wizard.wait("Model folder /nowhere/at/all does not exist")
        wizard.ask("Model\n")
        assert "1. /nowhere/at/all" in wizard.screen()


@needs_tmux
def test_dumb_terminal_falls_back_to_plain_mode(tmp_path: Path) -> None:
    with Wizard(tmp_path, numbered=True, arguments="") as wizard:
        wizard.ask("What should the model learn?")
        assert "This terminal cannot show screens" in wizard.screen()


# ------------------------------------------------------------- bare pseudo-terminals


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Pty]]:
    opened: list[Pty] = []
    yield opened
    for item in opened:
        item.close()


def begin(terminals: list[Pty], tmp_path: Path, *, numbered: bool, **more: str) -> Pty:
    """Open a terminal at the first question."""
    term = {"TERM": "dumb" if numbered else "xterm-256color"}
    pty = Pty("--plain", environment={**environment(tmp_path), **term, **more}, cwd=tmp_path)
    terminals.append(pty)
    pty.wait(b"not specified")
    if numbered:
        pty.wait(b": ") if not pty.sent.endswith(b": ") else None
    return pty


@both
@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["ctrl+c", "ctrl+d"])
def test_quitting_the_plain_wizard_writes_nothing(
    key: bytes, numbered: bool, tmp_path: Path, home: Path, terminals: list[Pty]
) -> None:
    item = begin(terminals, tmp_path, numbered=numbered)
    item.type(key)
    assert item.code() == 3
    assert b"Nothing was started or written." in item.sent
    assert b"Traceback" not in item.sent
    assert not home.exists()


@both
@pytest.mark.parametrize("how", ["hang up", "HUP", "TERM"])
def test_lost_terminal_ends_the_plain_wizard(
    how: str, numbered: bool, tmp_path: Path, home: Path, terminals: list[Pty]
) -> None:
    item = begin(terminals, tmp_path, numbered=numbered)
    began = time.monotonic()
    if how == "hang up":
        item.hang_up()
    else:
        os.kill(item.pid, signal.SIGHUP if how == "HUP" else signal.SIGTERM)
    assert item.code() != 0
    assert time.monotonic() - began < 10, "the wizard exits soon, even on a busy machine"
    assert b"Traceback" not in item.sent
    assert not home.exists()


@both
def test_pasted_control_characters_are_rejected(
    numbered: bool, tmp_path: Path, terminals: list[Pty]
) -> None:
    item = begin(terminals, tmp_path, numbered=numbered)
    for _ in range(2):
        item.type(b"\r")
        time.sleep(0.4)
    item.wait(b"Data file") if b"Data file" not in item.sent else None
    before = len(item.sent)
    garbage = b"\x1b]52;c;aGk=\x07\x1b[2J\xff\xfe evil"
    item.type(garbage if numbered else b"\x1b[200~" + garbage + b"\x1b[201~")
    item.type(b"\r")
    item.wait(b"control characters")
    text = item.sent[before:]
    if not numbered:  # a cooked terminal echoes its input; the wizard cannot prevent that
        assert b"\x1b]52" not in text
    item.type(b"\x03")
    assert item.code() == 3


@both
def test_control_characters_in_rows_never_reach_the_terminal(
    numbered: bool, tmp_path: Path, terminals: list[Pty]
) -> None:
    file = tmp_path / "rows.jsonl"
    good = [{"instruction": HOSTILE + str(n), "input": "", "output": HOSTILE} for n in range(6)]
    file.write_text("\n".join([*map(json.dumps, good), json.dumps({HOSTILE: 1}), HOSTILE]))
    item = begin(terminals, tmp_path, numbered=numbered)
    for _ in range(2):
        item.type(b"\r")
        time.sleep(0.4)
    item.type(b"rows.jsonl\r")
    item.wait(b"What next?")
    time.sleep(0.5)
    item.type(b"2\r" if numbered else b"\x1b[B\r")
    item.wait(b"assistant")
    time.sleep(0.5)
    item.type(b"7\r" if numbered else b"\x1b[B" * 6 + b"\r")  # the rows of a finding
    item.wait(b"Reading the rows")
    for control in (b"\x1b]", b"\x07", b"\xc2\x9b", b"\x1b[31m"):
        assert control not in item.sent, control
    item.type(b"\x03")
    assert item.code() == 3


def test_no_color_disables_colors(tmp_path: Path, terminals: list[Pty]) -> None:
    item = begin(terminals, tmp_path, numbered=False, NO_COLOR="1")
    item.type(b"\x03")
    item.code()
    assert not re.search(rb"\x1b\[[0-9;]*\b[34][0-9](;|m)", item.sent)


def test_dumb_terminal_receives_no_escape_sequences(tmp_path: Path, terminals: list[Pty]) -> None:
    item = begin(terminals, tmp_path, numbered=True)
    item.type(b"1\n")
    item.wait(b"Which provider?")
    item.type(b"\x04")
    assert item.code() == 3
    assert b"\x1b" not in item.sent


def test_c_locale_output_is_ascii_only(tmp_path: Path, terminals: list[Pty]) -> None:
    item = begin(terminals, tmp_path, numbered=True, LC_ALL="C", LANG="C")
    for _ in range(1):
        item.type(b"\n")
        time.sleep(0.3)
    item.wait(b"Which provider?") if b"Which provider?" not in item.sent else None
    item.type(b"\x04")
    assert item.code() == 3
    assert item.sent.isascii() and b"\\u" not in item.sent


@pytest.mark.parametrize("arguments", [(), ("--plain",), ("--plain", "--ascii")])
def test_missing_terminal_error_suggests_commands(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert "needs a terminal" in done.stderr
    assert "ftwizard train PLAN" in done.stderr and "ftwizard demo --yes" in done.stderr


def test_piped_answers_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ftwizard", "--plain"],
        input="\n" * 50, capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert done.returncode == 2


def test_importing_entry_points_loads_no_prompt_libraries(home: Path) -> None:
    code = """
import sys
import ftwizard.__main__
import ftwizard.cli.advise, ftwizard.cli.check, ftwizard.cli.demo
import ftwizard.cli.home, ftwizard.cli.runs, ftwizard.cli.train, ftwizard.cli.watch
import ftwizard.screens.app, ftwizard.screens.navigation, ftwizard.screens.wizard.review
found = {"questionary", "prompt_toolkit"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    code = """
import sys
import ftwizard.screens.plain.wizard
found = {"questionary", "prompt_toolkit", "textual"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)
