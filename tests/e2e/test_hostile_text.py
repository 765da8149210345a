"""Untrusted text at real terminals: on screens, in plain output and in questions."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plain_terminal import Pty, environment
from tests.e2e.routes import HELPER
from tests.e2e.terminal import Terminal
from tests.screens.hostile import NAME, SEEN, SHOWN_NAME, TEXTS, obeyed_bytes
from tests.screens.runs_helpers import living, make_hostile, make_result, make_run

both_texts = pytest.mark.parametrize("name", ["all", "long"])
LIVE = "from ftwizard.runs import store; from ftwizard.cli import watch; watch.follow(store.find('one'))"
"""Follows a run with redrawn lines, as the plain wizard does at its end."""


@both_texts
@pytest.mark.parametrize("screen_name", ["problem", "estimate", "review", "account", "finish"])
def test_screens_escape_hostile_text(screen_name: str, name: str, home: Path) -> None:
    text = TEXTS[name].encode(errors="replace").decode()
    output = {"expected": text, "base": text, "tuned": text, "line": 1}
    make_result(make_run(home, "one"), [{"prompt": [{"role": "user", "content": text}], **output}])
    with Terminal(screen_name, "one", name, command=HELPER) as terminal:
        terminal.wait(SEEN)
        terminal.settle()
        assert not terminal.screen.foreign
        assert not terminal.screen.beyond


@both_texts
@pytest.mark.parametrize("lives", [True, False], ids=["lives", "ended"])
def test_run_views_escape_hostile_text(name: str, lives: bool, home: Path) -> None:
    folder = make_hostile(home, TEXTS[name], reason="" if lives else "text")

    def look() -> None:
        with Terminal() as terminal:
            terminal.wait(f"● {SEEN}" if lives else "✗ seen|✓ finished")
            terminal.send("\x1b[F\r")  # end, enter: the run
            terminal.wait(r"loss 1\.5")
            terminal.settle()
            terminal.send("o")
            terminal.wait("Output")
            terminal.settle()
            assert not terminal.screen.foreign
            assert not terminal.screen.beyond

    if lives:
        with living(folder):
            look()
    else:
        look()


def write_rows(folder: Path) -> Path:
    """Write a file with a hostile name and hostile rows, next to a folder with a hostile name."""
    (folder / NAME).mkdir()
    file = folder / f"{NAME}.jsonl"
    rows = [
        json.dumps({"messages": [
            {"role": "user", "content": text}, {"role": "assistant", "content": text},
        ]})
        for text in TEXTS.values()
    ]  # fmt: skip
    file.write_text("\n".join([*rows, TEXTS["all"]]), errors="replace")
    return file


def test_data_page_escapes_file_names_and_rows(tmp_path: Path) -> None:
    write_rows(tmp_path)
    with Terminal(cwd=tmp_path, columns=100) as terminal:
        terminal.wait("New fine-tune")
        terminal.send("n")
        terminal.wait("What should (it|the model) learn")
        terminal.send("\r")
        terminal.wait(r"\]\[bold\]seen␛")
        terminal.send("\r")
        terminal.wait("rows unusable")
        for _ in range(len(TEXTS) + 2):
            terminal.send("\x1b[B")
            terminal.settle(0.1)
        assert not terminal.screen.foreign
        assert not terminal.screen.beyond


@pytest.mark.parametrize("lives", [True, False], ids=["lives", "ended"])
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_plain_commands_escape_hostile_text(
    term: str, lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / NAME
    monkeypatch.setenv("FTWIZARD_HOME", str(home))
    folder = make_hostile(home, TEXTS["all"], reason="" if lives else "text")
    rows = write_rows(tmp_path / NAME)

    def look(*argv: object, **more: object) -> None:
        with Terminal(*argv, environment={"TERM": term}, **more) as terminal:  # type: ignore[arg-type]
            terminal.until(lambda: SEEN.encode() in terminal.output, SEEN)
            if lives and "status" not in argv and "runs" not in argv and "check" not in argv:
                time.sleep(1.0)
                terminal.send("\x03")
            terminal.exit_code()
            assert not obeyed_bytes(bytes(terminal.output))
            assert b"Traceback" not in terminal.output

    def look_everywhere() -> None:
        look("watch", "--plain", "one")
        look("status", "one")
        look("runs")
        look("check", rows)
        look("-c", LIVE, command=[sys.executable])

    if lives:
        with living(folder):
            look_everywhere()
    else:
        look_everywhere()


@pytest.fixture
def terminals() -> Iterator[list[Pty]]:
    opened: list[Pty] = []
    yield opened
    for item in opened:
        item.close()


@pytest.mark.parametrize("numbered", [False, True], ids=["cursor", "numbers"])
def test_plain_questions_escape_file_names(
    numbered: bool, tmp_path: Path, terminals: list[Pty]
) -> None:
    write_rows(tmp_path)
    term = {"TERM": "dumb" if numbered else "xterm-256color"}
    pty = Pty("--plain", environment={**environment(tmp_path), **term}, cwd=tmp_path)
    terminals.append(pty)
    pty.wait(b"not specified")
    for _ in range(2):
        pty.type(b"\r")
        time.sleep(0.4)
    if b"Data file" not in pty.sent:
        pty.wait(b"Data file")
    pty.type(b"\r")
    pty.wait(b"Enter a file name.")
    if numbered:
        assert SHOWN_NAME.encode() in pty.sent, "suggestions show the escaped name"
    else:
        pty.type(b"\t")
        time.sleep(0.5)
    pty.type(b"\x03")
    assert pty.code() == 3
    assert not obeyed_bytes(pty.sent)
