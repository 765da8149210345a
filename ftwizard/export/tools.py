"""Tools of an export, each in a process of its own that ends with this one."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import credentials
from ftwizard.errors import FtwizardError
from ftwizard.jobs import ending, launch
from ftwizard.jobs.folder import NO_SPACE
from ftwizard.text import make_visible

POLL_S = 0.2
MAX_LOG_BYTES = 64_000
"""Of what a tool printed: the end is kept."""


class ToolError(FtwizardError):
    """Raised for a tool that failed; ``cause`` is its own message, ``log`` the end of its output."""

    @property
    def disk_full(self) -> bool:
        """Return whether the tool could not write for lack of space, in the words of the C library."""
        return any(os.strerror(number) in f"{self.cause}\n{self.log}" for number in NO_SPACE)

    def __init__(
        self, tool: str, cause: str, log: str, hint: str = "", *, killed: bool = False
    ) -> None:
        """``killed``: by SIGKILL, as the system does where memory runs out."""
        is_short = killed or ending.find_shortage(RuntimeError(f"{cause}\n{log}"))
        code = "out_of_memory" if is_short else ""
        super().__init__(f"{tool} failed: {make_visible(cause, 400)}", hint, code=code)
        self.cause = cause
        self.log = log


class ToolOutcome(NamedTuple):
    result: Any
    log: str


def run(
    tool: str, call: str, *arguments: str | Path, report: Callable[[], None] = lambda: None
) -> ToolOutcome:
    """Carry out a call of ``tool_child`` in a new process; return its outcome.

    ``report`` is called several times a second meanwhile; what it raises ends the process. ``tool``
    names it in errors. Raises ToolError.
    """
    argv = [
        *launch.get_python_command(), "-m", "ftwizard.export.tool_child", call,
        *map(str, arguments),
    ]  # fmt: skip
    environment = launch.with_import_path(credentials.without_secrets(os.environ))
    environment |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=environment
        )
        try:
            while process.poll() is None:
                report()
                try:
                    process.wait(POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        log.seek(max(0, log.seek(0, os.SEEK_END) - MAX_LOG_BYTES))
        return _read_outcome(tool, process.returncode, output.read(), log.read())


def _read_outcome(tool: str, status: int, output: bytes, log: bytes) -> ToolOutcome:
    text = log.decode("utf-8", "replace")
    try:
        document: dict[str, Any] = msgspec.json.decode(output) if output else {}
    except msgspec.MsgspecError:  # another program's output
        document = {}
    if status == 0:
        return ToolOutcome(document.get("result"), text)
    lines = [line for line in text.splitlines() if line.strip()]
    ended = f"it was killed by signal {-status}" if status < 0 else f"exit status {status}"
    last = f"{ended}; its last line is: {lines[-1].strip()}" if lines else ended
    cause = str(document.get("error") or last)
    raise ToolError(tool, cause, text, killed=status == -signal.SIGKILL)
