"""``ftwizard FILE`` in a terminal: on screens, and as lines of text."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.e2e.cli import FTWIZARD
from tests.e2e.plain_terminal import environment
from tests.e2e.tmux import Tmux


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    rows = [{"prompt": f"Say {n}", "completion": f"It is {n}."} for n in range(20)]
    (tmp_path / "my rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def open_terminal(folder: Path, *argv: str, term: str = "tmux-256color") -> Tmux:
    command = f"env -C {shlex.quote(str(folder))} {FTWIZARD} {shlex.join(argv)}"
    return Tmux(command, environment={**environment(folder), "TERM": term})


def test_file_opens_on_screens_and_is_checked_at_once(folder: Path) -> None:
    with open_terminal(folder, "my rows.jsonl") as terminal:
        screen = terminal.wait("Continue with all 20 rows")
        assert "my rows.jsonl" in screen and "● Data" in screen
        terminal.keys("C-q")
        assert "exit=3" in terminal.wait("exit=")


@pytest.mark.parametrize("argv", [("--plain", "my rows.jsonl"), ("my rows.jsonl",)])
def test_file_opens_line_by_line(folder: Path, argv: tuple[str, ...]) -> None:
    with open_terminal(folder, *argv, term="dumb") as terminal:
        screen = terminal.wait("What next")
        assert "20 rows" in screen and "Data file" not in screen
        terminal.keys("C-c")
        assert "exit=3" in terminal.wait("exit=")
