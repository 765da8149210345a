"""The user's notification command, which the keeper runs for findings and at the end of a job.

A failure of the command only adds a line to the job's log.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time

from ftwizard import config, credentials
from ftwizard.config import Notify, Occasion
from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD_END_REASONS, describe_end_reason, read_done_event
from ftwizard.jobs.events import Event, EventReader
from ftwizard.jobs.folder import APPEND, JobFolder, append
from ftwizard.text import make_visible

ASKED_FOR = ("stopped", "killed", "cancelled")
"""End reasons that a person asked for, so not failures."""
SEVERE = ("warning", "error")
MAX_WAITING = 16
"""Notifications that wait for the command; more are dropped."""
SLICE_BYTES = 1 << 18
MAX_MESSAGE_CHARS = 500
"""Length of ``FTWIZARD_MESSAGE``."""
_MAX_STDERR_BYTES = 2_000


class Hook:
    """Runs the user's command for the findings and the end of one job."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._notify = Notify()
        try:
            self._notify = config.load().notify
        except FtwizardError as error:  # valid when the job started, but not now
            self._log(error.message)
        self._events = EventReader(folder.events)
        with contextlib.suppress(OSError):
            self._events.skip()  # findings of earlier attempts were sent already
        self._waiting: queue.Queue[tuple[Occasion, str] | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._session: int | None = None
        self._start_lock = threading.Lock()

    def look(self) -> None:
        """Send the findings since the last call."""
        if not self._notify.command or "finding" not in self._notify.on:
            return
        with contextlib.suppress(OSError):
            self._events.path = self._folder.events  # it may have moved
            for event in self._events.read(SLICE_BYTES):
                if event["kind"] == "finding" and event.get("severity") in SEVERE:
                    self._send("finding", str(event.get("message") or event.get("code") or ""))

    def end(self, reason: str, done: Event | None = None) -> None:
        """Send how the job ended, and wait for the command until its timeout.

        ``done``: the command's last event, if its disk did not take it.
        """
        self.look()
        on = self._notify.on
        failed = reason not in (*GOOD_END_REASONS, *ASKED_FOR)
        if self._notify.command and ((failed and "failure" in on) or "end" in on):
            event: Occasion = "failure" if failed and "failure" in on else "end"
            self._send(event, self._describe_end(reason, done), wait=True)
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=self._notify.timeout_s)
            self._thread.join(2 * self._notify.timeout_s)

    def is_own(self, pid: int) -> bool:
        """Return whether a process belongs to the command that is running."""
        with self._start_lock, contextlib.suppress(ProcessLookupError):
            return self._session is not None and os.getsid(pid) == self._session
        return False

    def _describe_end(self, reason: str, done: Event | None) -> str:
        description = f"Run {self._folder.id} {describe_end_reason(reason)}."
        with contextlib.suppress(OSError):
            event = done or read_done_event(self._folder, self._folder.newest_attempt()) or {}
            if message := event.get("message"):
                description += f" {message}"
        return description

    def _send(self, event: Occasion, message: str, *, wait: bool = False) -> None:
        notification = (event, make_visible(message, MAX_MESSAGE_CHARS))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Full):
            self._waiting.put(
                notification, block=wait, timeout=self._notify.timeout_s if wait else None
            )

    def _work(self) -> None:
        while (notification := self._waiting.get()) is not None:
            try:
                problem = self._run(*notification)
            except Exception as error:  # noqa: BLE001 (the job continues whatever happens here)
                problem = f"could not run: {getattr(error, 'strerror', None) or error}"
            if problem:
                self._log(f"notify.command ({notification[0]}): {problem}.")

    def _run(self, event: Occasion, message: str) -> str:
        """Run the command once; return the problem, empty if there is none."""
        path = config.find_program(self._notify)
        if path is None:
            return "no such program"
        with self._start_lock:
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
        stderr = bytearray()
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        end = time.monotonic() + self._notify.timeout_s
        while child.poll() is None:
            _drain(child.stderr.fileno(), stderr)
            if time.monotonic() >= end:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                child.stderr.close()
                return f"took longer than {self._notify.timeout_s:g} s and was killed"
            time.sleep(0.05)
        _drain(child.stderr.fileno(), stderr)
        child.stderr.close()
        if child.returncode == 0:
            return ""
        lines = stderr.decode(errors="replace").strip().splitlines()
        last = f": {make_visible(lines[-1].strip(), 200)}" if lines else ""
        return f"exit status {child.returncode}{last}"

    def _log(self, line: str) -> None:
        with contextlib.suppress(OSError):
            append(self._folder.log, f"ftwizard: {line}\n".encode(), APPEND & ~os.O_CREAT)


def _drain(descriptor: int, tail: bytearray) -> None:
    """Read what was written, so that the command never blocks; keep the end of it."""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 16):
            tail += data
            del tail[:-_MAX_STDERR_BYTES]
