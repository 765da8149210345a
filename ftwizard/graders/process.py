"""Child process of a grader, with limits on time and memory: scores for answers.

The code of a user runs there and not here: it may hang, crash or leave its mark on the modules that
it imports. It gets no key, because its environment has only what Python needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.graders import child
from ftwizard.graders.grader_file import GraderFile, make_sample
from ftwizard.text import format_bytes, format_duration, make_visible

TIME_LIMIT_S = 20.0
"""For one answer. OpenAI allows two minutes, for which no training could wait."""
START_LIMIT_S = 60.0
"""For the imports of the file."""
END_LIMIT_S = 2.0
MEMORY_BYTES = 2 * 10**9
"""As at OpenAI and Foundry."""
MAX_PRINTED = 2_000
_MAX_LINE_BYTES = 100_000
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Each thread of these libraries reserves memory, which counts toward the limit."""

Problem = Literal["exception", "not_a_number", "nan", "timeout", "crashed"]


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """What a grader made of one answer: a score, or a problem."""

    score: float | None = None
    problem: Problem | None = None
    message: str = ""
    """What went wrong: ``KeyError: 'answer'``."""
    line: int | None = None
    """Line of the grader's file where it went wrong."""
    seconds: float = 0.0


class GraderProcess:
    """A grader that can be called; its process starts with the first answer.

    Use it as a context manager. After an answer that took too long, or a crash, the next answer gets
    a new process.
    """

    def __init__(
        self,
        grader: GraderFile,
        *,
        time_limit_s: float = TIME_LIMIT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.grader = grader
        self._time_limit_s, self._memory_bytes = time_limit_s, memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the exit)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._printed.close()

    @property
    def printed(self) -> str:
        """Return the beginning of what the grader printed."""
        return os.pread(self._printed.fileno(), MAX_PRINTED, 0).decode(errors="replace")

    def grade(self, text: str, item: Mapping[str, Any]) -> Grade:
        """Return the score of an answer to a row.

        Raises FtwizardError if the file cannot be loaded.
        """
        request = json.dumps([make_sample(text), item]).encode() + b"\n"
        process = self._process or self._start()
        started = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it ended: the answer says how
            assert process.stdin
            process.stdin.write(request)
            process.stdin.flush()
        answer = self._read(process, self._time_limit_s)
        seconds = round(time.monotonic() - started, 4)
        return msgspec.structs.replace(answer, seconds=seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process and load the file; raise FtwizardError if that fails."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", child.__file__, self.grader.path, str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            cwd=tempfile.gettempdir(),
            env={**environment, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )
        ready = self._read(self._process, max(START_LIMIT_S, self._time_limit_s))
        if ready.problem is not None:
            self._end()
            raise _make_load_error(self.grader, ready)
        return self._process

    def _read(self, process: subprocess.Popen[bytes], limit_s: float) -> Grade:
        """Return the next answer of the process; end it if none comes in time."""
        deadline = time.monotonic() + limit_s
        assert process.stdout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([process.stdout], [], [], left)[0]
            if not ready:
                self._end()
                message = f"no score after {format_duration(limit_s)}"
                return Grade(problem="timeout", message=message)
            data = os.read(process.stdout.fileno(), 65_536)
            if not data or len(self._buffer) > _MAX_LINE_BYTES:
                code = None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(END_LIMIT_S)
                self._end()
                return Grade(problem="crashed", message=_describe_end(code))
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return _convert(line)

    def _end(self) -> None:
        """End the process, and what it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
    return "its process ended" if code is None else f"its process ended with exit code {code}"


def _convert(line: bytes) -> Grade:
    """Return an answer of the child process, whose output the grader could have written into."""
    try:
        answer = msgspec.json.decode(line, type=Grade)
    except (msgspec.DecodeError, UnicodeError):
        return Grade(problem="crashed", message="its process wrote something else than a score")
    return msgspec.structs.replace(answer, message=make_visible(answer.message, child.MAX_MESSAGE))


def _make_load_error(grader: GraderFile, answer: Grade) -> FtwizardError:
    """Return the error for a file whose code fails before any answer is graded."""
    at = f" (line {answer.line})" if answer.line else ""
    name = make_visible(Path(grader.path).name, 100)
    hint = "Correct that line."
    if answer.message.startswith("ModuleNotFoundError"):
        hint = "Install the package here, or do without it: the grader runs alone, without your other files."
    elif answer.message.startswith("MemoryError"):
        hint = f"It may use {format_bytes(MEMORY_BYTES)}."
    elif answer.problem == "timeout":
        hint = "Do less outside of the function grade."
    return FtwizardError(f"{name} could not be loaded: {answer.message}{at}.", hint, code="grader")
