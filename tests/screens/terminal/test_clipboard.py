"""Copying inside tmux, with a real tmux server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.screens.terminal import clipboard


class RecordingApp:
    def __init__(self) -> None:
        self.copied: list[str] = []

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)


@pytest.fixture
def tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Start a tmux server, and set the environment of a program in it."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    socket = tmp_path / "socket"
    command = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    subprocess.run([*command, "new-session", "-d", "sleep", "60"], check=True)
    monkeypatch.setenv("TMUX", f"{socket},1,0")
    yield command
    subprocess.run([*command, "kill-server"], check=False)


def test_tmux_can_paste_the_text(tmux: list[str]) -> None:
    app: Any = RecordingApp()
    text = "serve '/a b/ü' && x"
    assert clipboard.copy(app, text)
    assert subprocess.check_output([*tmux, "show-buffer"], text=True) == text
    assert app.copied == [text]


def test_lost_tmux_server_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", f"{tmp_path / 'gone'},1,0")
    app: Any = RecordingApp()
    assert not clipboard.copy(app, "text")
    monkeypatch.delenv("TMUX")
    assert not clipboard.copy(app, "text") and app.copied == ["text", "text"]
