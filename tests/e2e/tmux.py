"""Program in its own tmux server."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self


class Tmux:
    """One window; ``kill`` simulates a closed terminal."""

    def __init__(
        self, command: str, *, columns: int = 80, rows: int = 24, environment: Mapping[str, str]
    ) -> None:
        self._socket = f"ftw{uuid.uuid4().hex[:8]}"
        pairs = {"TERM": "tmux-256color", "LC_ALL": "C.UTF-8", **environment}
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in pairs.items())
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
            f"env {words} {command}; echo exit=$?; sleep 600",
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", self._socket, *arguments],
            capture_output=True, text=True, check=True, timeout=90,
        ).stdout  # fmt: skip

    def screen(self) -> str:
        """Return the text on the screen."""
        return self._tmux("capture-pane", "-p", "-J")

    def history(self) -> str:
        """Return the text on the screen and the lines that scrolled out of it."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")

    def keys(self, *names: str) -> None:
        self._tmux("send-keys", *names)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def set_hook(self, name: str, command: str) -> None:
        """Make tmux run ``command`` on the hook ``name``."""
        self._tmux("set-option", "-g", "bell-action", "any")
        self._tmux("set-hook", "-g", name, command)

    def until(
        self, condition: Callable[[], object], description: str, timeout: float = 120
    ) -> None:
        """Wait until ``condition`` holds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not within {timeout} s: {description}\n{self.screen()}"
            time.sleep(0.1)

    def wait(self, pattern: str, timeout: float = 120) -> str:
        """Wait until ``pattern`` is on the screen and return the screen."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if re.search(pattern, text := self.screen()):
                return text
            time.sleep(0.1)
        raise AssertionError(f"{pattern!r} is not on the screen:\n{self.screen()}")

    def kill(self) -> None:
        """Kill the server, and with it the terminal."""
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False
        )


def is_installed() -> bool:
    """Return whether tmux is installed."""
    return any(
        (Path(folder) / "tmux").exists() for folder in ("/usr/bin", "/usr/local/bin", "/bin")
    )
