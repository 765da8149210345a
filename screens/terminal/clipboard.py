"""The clipboard of the user's terminal."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Any

from textual.app import App

TIMEOUT_S = 2.0


def copy(app: App[Any], text: str) -> bool:
    """Copy with OSC 52, which also works over SSH; return whether tmux has the text, too.

    By default, tmux ignores OSC 52 of the programs in it (``set-clipboard external``). Its own command
    fills its buffer and, with ``-w``, the clipboard of the outer terminal.
    """
    app.copy_to_clipboard(text)
    if "TMUX" not in os.environ:
        return False
    for options in (["-w"], []):  # tmux before 3.2 has no -w
        command = ["tmux", "load-buffer", *options, "-"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=True
            )
            return True
    return False
