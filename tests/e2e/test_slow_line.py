"""The monitor of a busy run over a line that takes 2,000 bytes a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.routes import RUN, running
from tests.e2e.terminal import Terminal
from tests.helpers.jobs import end_all

SLOW = 2000.0
QUICK = 1e6
MOST = 6000
"""Bytes from a key to what it shows: the frame that is under way, and the one after it."""
MARK = "slow connection"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    running(folder, step_s=0.01)
    yield folder
    end_all(folder)


@pytest.fixture(autouse=True)
def in_folder(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", str(folder))


QUESTION = "Stop this run"


def press(terminal: Terminal, key: str, shows: str) -> int:
    """Press a key until something is there, or with ``-`` before it no more; return the bytes."""
    before = len(terminal.output)
    terminal.send(key)
    text, there = shows.removeprefix("-"), not shows.startswith("-")
    terminal.until(lambda: (text in terminal.screen.text()) is there, shows)
    return len(terminal.output) - before


def test_keys_answer_and_it_is_said_until_the_line_is_quick_again() -> None:
    with Terminal("watch", RUN, bytes_per_s=SLOW) as terminal:
        terminal.wait(MARK)
        for key, shows in (("s", QUESTION), ("\x1b", f"-{QUESTION}"), ("o", "Output")):
            assert press(terminal, key, shows) <= MOST, key
        assert press(terminal, "\x1b", "── train") <= MOST
        terminal.bytes_per_s = QUICK

        def is_quick() -> bool:
            terminal.send("l")  # another scale: a frame, and an answer
            terminal.pump(0.1)
            return MARK not in terminal.screen.text()

        terminal.until(is_quick, "it is said no more")
        assert terminal.output.isascii() is False, "all glyphs are there"
        terminal.send("\x11")
        assert terminal.exit_code() == 0
        assert not terminal.screen.foreign
        assert len(terminal.screen.questions) == terminal.output.count(b"\x1b[6n")


def test_slow_may_be_asked_for() -> None:
    with Terminal("watch", RUN, "--slow") as terminal:
        terminal.wait(rf"{MARK}[\s\S]*── train")
        terminal.settle()
        sent = press(terminal, "s", QUESTION)
        assert sent < 3000, "what lies below the question is not dimmed"
