"""Child process for a user's Python code, with a time limit for each answer.

The code may hang, crash or leave its mark on the modules that it imports, so it runs there and not
here. It gets no key, because its environment has only what Python needs. It is not a sandbox: the
code reads and writes the files that the user can.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Literal, Self

from ftwizard.text import format_duration

END_LIMIT_S = 2.0
MAX_PRINTED = 2_000
MAX_LINE_BYTES = 1_000_000
MAX_LOG_BYTES = 1_000_000
"""What the code printed is cut to this length after each answer."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Each thread of these libraries reserves memory, which counts toward the limit."""


class ProcessFailure(Exception):
    """An answer that did not come: too late, or because the process ended."""

    def __init__(self, problem: Literal["timeout", "crashed"], message: str) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message


class LimitedProcess:
    """A program that answers each line with a line; it is started with the first one.

    Use it as a context manager. After a failure, the next line gets a new process.
    """

    def __init__(self, program: str, arguments: Sequence[str], *, start_limit_s: float) -> None:
        self._command = [sys.executable, "-I", "-B", program, *arguments]
        self._start_limit_s = start_limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._printed: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (see end)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self._printed.close()

    @property
    def is_running(self) -> bool:
        """Return whether the process was started, and has not failed since."""
        return self._process is not None

    @property
    def printed(self) -> str:
        """Return the beginning of what the code printed."""
        return os.pread(self._printed.fileno(), MAX_PRINTED, 0).decode(errors="replace")

    def start(self) -> bytes:
        """Start the process; return its first line, on how its code was loaded. Raises ProcessFailure."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._buffer = b""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            cwd=tempfile.gettempdir(),
            env={**environment, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )
        assert self._process.stdin
        os.set_blocking(self._process.stdin.fileno(), False)
        return self._read(
            self._process, time.monotonic() + self._start_limit_s, self._start_limit_s
        )

    def ask(self, line: bytes, limit_s: float) -> bytes:
        """Return the answer to a line; raise ProcessFailure. The process must have been started."""
        assert self._process is not None
        process, deadline = self._process, time.monotonic() + limit_s
        self._write(process, line, deadline)
        answer = self._read(process, deadline, limit_s)
        with contextlib.suppress(OSError):
            if os.fstat(self._printed.fileno()).st_size > MAX_LOG_BYTES:
                os.ftruncate(self._printed.fileno(), MAX_PRINTED)
        return answer

    def _write(self, process: subprocess.Popen[bytes], line: bytes, deadline: float) -> None:
        """Write a line as far as the process takes it; the answer, or its absence, says the rest."""
        assert process.stdin
        rest = memoryview(line)
        while rest and (left := deadline - time.monotonic()) > 0:
            if not select.select([], [process.stdin], [], left)[1]:
                return
            try:
                rest = rest[os.write(process.stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return

    def _read(self, process: subprocess.Popen[bytes], deadline: float, limit_s: float) -> bytes:
        assert process.stdout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                self.end()
                raise ProcessFailure("timeout", f"no answer after {format_duration(limit_s)}")
            data = os.read(process.stdout.fileno(), 65_536)
            if not data or len(self._buffer) > MAX_LINE_BYTES:
                code = None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(END_LIMIT_S)
                self.end()
                raise ProcessFailure("crashed", _describe_end(code))
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def end(self) -> None:
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
