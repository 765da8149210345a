"""The monitor of a busy run over a connection with 2,000 bytes per second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.routes import RUN, running
from tests.e2e.terminal import Terminal
from tests.helpers.jobs import end_all

SLOW = 2000.0
QUICK = 1e6
MAX_BYTES = 6000
"""Maximum bytes from a key to its effect: the current frame and the next."""
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
    """Press a key, wait until ``shows`` appears (``-shows``: disappears); return the bytes sent."""
    before = len(terminal.output)
    terminal.send(key)
    text, there = shows.removeprefix("-"), not shows.startswith("-")
    terminal.until(lambda: (text in terminal.screen.text()) is there, shows)
    return len(terminal.output) - before


def test_keys_respond_and_slow_mark_clears_on_a_fast_connection() -> None:
    with Terminal("watch", RUN, bytes_per_s=SLOW) as terminal:
        terminal.wait(MARK)
        for key, shows in (("s", QUESTION), ("\x1b", f"-{QUESTION}"), ("o", "Output")):
            assert press(terminal, key, shows) <= MAX_BYTES, key
        assert press(terminal, "\x1b", "── train") <= MAX_BYTES
        terminal.bytes_per_s = QUICK

        def is_quick() -> bool:
            terminal.send("l")  # change the scale to get a new frame
            terminal.pump(0.1)
            return MARK not in terminal.screen.text()

        terminal.until(is_quick, "the mark to disappear")
        assert terminal.output.isascii() is False, "non-ASCII glyphs are used"
        terminal.send("\x11")
        assert terminal.exit_code() == 0
        assert not terminal.screen.foreign
        assert len(terminal.screen.questions) == terminal.output.count(b"\x1b[6n")


def test_slow_option_reduces_output() -> None:
    with Terminal("watch", RUN, "--slow") as terminal:
        terminal.wait(rf"{MARK}[\s\S]*── train")
        terminal.settle()
        sent = press(terminal, "s", QUESTION)
        assert sent < 3000, "the page below the dialog is not dimmed"
