"""Terminals for ``ftwizard --plain``: in tmux, or a bare pseudo-terminal that can hang up."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.e2e.cli import FTWIZARD
from tests.e2e.tmux import Tmux

KEPT = ("FTWIZARD_HOME", "FTWIZARD_CACHE", "PYTHONPATH")


class Answer(NamedTuple):
    """Answer to a question: keys for a menu with a cursor, a line for a numbered menu."""

    question: str
    keys: tuple[str, ...] = ()
    line: str = ""


def environment(folder: Path) -> dict[str, str]:
    """Return the command's environment, with an empty model cache."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        **kept, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }  # fmt: skip


class Wizard(Tmux):
    """The wizard in its own tmux window, with ``folder`` as working directory."""

    def __init__(self, folder: Path, *, numbered: bool, arguments: str = "--plain") -> None:
        self.numbered = numbered
        term = {"TERM": "dumb"} if numbered else {}
        super().__init__(
            f"env -C {shlex.quote(str(folder))} {FTWIZARD} {arguments}",
            environment={**environment(folder), **term},
        )

    def ask(self, question: str, timeout: float = 240) -> None:
        """Wait until the wizard asks ``question``."""
        end = time.monotonic() + timeout
        while question not in self._last_question():
            assert time.monotonic() < end, f"not asked: {question}\n{self.screen()}"
            time.sleep(0.05)

    def answer(self, *answers: Answer) -> None:
        for answer in answers:
            self.ask(answer.question)
            if self.numbered:
                self.keys(*([answer.line] if answer.line else []), "Enter")
            else:
                self.keys(*answer.keys, "Enter")

    def _last_question(self) -> str:
        lines = self.screen().rstrip().splitlines()
        if not self.numbered:
            return next((line for line in reversed(lines) if line.startswith("? ")), "")
        if not lines or not lines[-1].rstrip().endswith(":"):
            return ""
        prompts = [
            index
            for index, line in enumerate(lines[:-1])
            if re.search(r"(b: back|enter: .*)\): ?\S*$", line)
        ]
        return "\n".join(lines[(prompts or [-1])[-1] + 1 :])


class Pty:
    """A bare pseudo-terminal that records every byte and can hang up."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], cwd: Path) -> None:
        self.sent = b""
        self._ended: int | None = None
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job would ignore ctrl+c
            os.chdir(cwd)
            whole = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PROMPT_TOOLKIT_NO_CPR": "1"}
            os.execve(FTWIZARD, [str(FTWIZARD), *arguments], {**whole, **environment})

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def wait(self, words: bytes, timeout: float = 240) -> None:
        """Wait until ``words`` are sent, ignoring output from before this call."""
        end = time.monotonic() + timeout
        start = len(self.sent)
        while words not in self.sent[start:]:
            assert time.monotonic() < end and self._read(), self.sent[-3000:].decode(
                errors="replace"
            )

    def code(self, timeout: float = 90) -> int:
        """Read until the program exits; return the exit code."""
        end = time.monotonic() + timeout
        while self._ended is None:
            assert time.monotonic() < end, self.sent[-3000:].decode(errors="replace")
            self._read()
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._ended = os.waitstatus_to_exitcode(status)
        while self._read():
            pass
        return self._ended

    def hang_up(self) -> None:
        os.close(self.terminal)
        self.terminal = -1

    def close(self) -> None:
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.terminal >= 0:
            os.close(self.terminal)

    def _read(self) -> bool:
        """Read available output; return whether more may follow."""
        if self.terminal < 0:
            time.sleep(0.05)
            return False
        if not select.select([self.terminal], [], [], 0.1)[0]:
            return self._ended is None
        try:
            new = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.sent += new
        return bool(new)
