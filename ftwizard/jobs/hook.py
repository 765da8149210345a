"""The user's own command, run by the keeper when something of note happens to a job.

It acts with nobody watching. Whatever it does ends nothing: a failure is a line in the log.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time

from ftwizard import config_file, credentials
from ftwizard.config_file import Notify, Occasion
from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD, done_event, sentence
from ftwizard.jobs.events import EventReader
from ftwizard.jobs.folder import JobFolder
from ftwizard.text import visible

ASKED_FOR = ("stopped", "killed", "cancelled")
"""Ends that somebody asked for: no failure."""
SEVERE = ("warning", "error")
MOST_WAITING = 16
"""Findings that wait for the command; of more, the later are not told one by one."""
SLICE_BYTES = 1 << 18
MESSAGE = 500
"""Characters of ``FTWIZARD_MESSAGE`` at most."""
_SAID_BYTES = 2_000

_Told = tuple[Occasion, str]


class Hook:
    """Tells the user's command of findings and of the end of one job."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._notify = Notify()
        try:
            self._notify = config_file.load().notify
        except FtwizardError as error:  # it was right when the job was started, and is not now
            self._log(error.message)
        self._events = EventReader(folder.events)
        self._events.skip()  # what earlier attempts found has been told
        self._waiting: queue.Queue[_Told | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._session: int | None = None
        self._begins = threading.Lock()

    def look(self) -> None:
        """Tell of what was found since the last look."""
        if not self._notify.command or "finding" not in self._notify.on:
            return
        with contextlib.suppress(OSError):
            for event in self._events.read(SLICE_BYTES):
                if event["kind"] == "finding" and event.get("severity") in SEVERE:
                    self._tell("finding", str(event.get("message") or event.get("code") or ""))

    def end(self, reason: str) -> None:
        """Tell how the job ended, and wait until that is told, no longer than its timeout."""
        self.look()
        on = self._notify.on
        failed = reason not in (*GOOD, *ASKED_FOR)
        if self._notify.command and ((failed and "failure" in on) or "end" in on):
            event: Occasion = "failure" if failed and "failure" in on else "end"
            self._tell(event, self._ending(reason), wait=True)
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=self._notify.timeout_s)
            self._thread.join(2 * self._notify.timeout_s)

    def is_own(self, pid: int) -> bool:
        """Say whether a process belongs to the command that runs now."""
        with self._begins, contextlib.suppress(ProcessLookupError):
            return self._session is not None and os.getsid(pid) == self._session
        return False

    def _ending(self, reason: str) -> str:
        said = f"Run {self._folder.id} {sentence(reason)}."
        with contextlib.suppress(OSError):
            word = done_event(self._folder, self._folder.newest_attempt()) or {}
            if message := word.get("message"):
                said += f" {message}"
        return said

    def _tell(self, event: Occasion, message: str, *, wait: bool = False) -> None:
        told = (event, visible(message, MESSAGE))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Full):
            self._waiting.put(told, block=wait, timeout=self._notify.timeout_s if wait else None)

    def _work(self) -> None:
        while (told := self._waiting.get()) is not None:
            try:
                problem = self._run(*told)
            except Exception as error:  # noqa: BLE001 (whatever it was, the job goes on)
                problem = f"it cannot be run: {getattr(error, 'strerror', None) or error}"
            if problem:
                self._log(f"notify.command ({told[0]}): {problem}.")

    def _run(self, event: Occasion, message: str) -> str:
        """Run the command once; return what went wrong."""
        path = config_file.program(self._notify)
        if path is None:
            return "there is no such program"
        with self._begins:
            child = subprocess.Popen(
                [path, *self._notify.command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env={
                    **credentials.without_secrets(os.environ),
                    "FTWIZARD_RUN": self._folder.id,
                    "FTWIZARD_EVENT": event,
                    "FTWIZARD_MESSAGE": message,
                    "FTWIZARD_FOLDER": str(self._folder.path),
                },
                start_new_session=True,
            )
            self._session = child.pid
        try:
            return self._wait(child)
        finally:
            self._session = None

    def _wait(self, child: subprocess.Popen[bytes]) -> str:
        said = bytearray()
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        end = time.monotonic() + self._notify.timeout_s
        while child.poll() is None:
            _drain(child.stderr.fileno(), said)
            if time.monotonic() >= end:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                child.stderr.close()
                return f"it took longer than {self._notify.timeout_s:g} s and was ended"
            time.sleep(0.05)
        _drain(child.stderr.fileno(), said)
        child.stderr.close()
        if child.returncode == 0:
            return ""
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        words = f": {visible(lines[-1].strip(), 200)}" if lines else ""
        return f"exit status {child.returncode}{words}"

    def _log(self, line: str) -> None:
        """Add a line to the job's log, where there still is one."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._folder.log, flags)
            try:
                os.write(descriptor, f"ftwizard: {line}\n".encode())
            finally:
                os.close(descriptor)


def _drain(descriptor: int, said: bytearray) -> None:
    """Take what was written, so that the command never waits; keep the last of it."""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 16):
            said += data
            del said[:-_SAID_BYTES]
