"""A job that keeps itself: a process of the user's own that records what it does as a run.

It has no keeper. The process holds the job's lock, and a thread of it does what a keeper does: the
heartbeat, samples of the machine, and requests. Nothing here ever signals the process. If it is
killed, the kernel releases the lock, and views report the run as lost.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

import msgspec

from ftwizard.alarm import Alarm
from ftwizard.hardware import machine
from ftwizard.jobs import identity, liveness, lock, requests
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import Attempt, HeldFolder, JobFolder, State, append, write_json
from ftwizard.jobs.launch import AlreadyRunning
from ftwizard.jobs.pace import PaceWriter

TICK_S = 0.5
HEARTBEAT_S = 1.0
SAMPLE_S = 2.0
OBEYED: tuple[requests.Name, ...] = ("stop", "save", "evaluate")
"""Requests that such a process obeys; it is never killed from here."""


class SelfKeptJob:
    """A started attempt of a job, as the process that does its work sees it."""

    def __init__(self, folder: JobFolder, look: Callable[[], None] = lambda: None) -> None:
        """Start the next attempt of a job of which no process is alive.

        ``look`` is called each second, in a thread. Raises AlreadyRunning, FtwizardError and OSError.
        """
        self.folder = HeldFolder(folder.path)
        lock_fd = lock.take_exclusive(folder.lock)
        if lock_fd is None:
            raise AlreadyRunning(folder.id)
        self._lock_fd = lock_fd
        try:
            self._start(folder)
        except BaseException:
            os.close(lock_fd)
            raise
        self._look = look
        self._began = time.monotonic()
        self._pid = os.getpid()
        self._is_ended = False
        self._guard = threading.RLock()
        self._pending: frozenset[requests.Name] = frozenset()
        self._sampler = machine.Sampler(SAMPLE_S)
        self._closing = Alarm()
        self._thread = threading.Thread(target=self._look_after, daemon=True, name="ftwizard")
        self._thread.start()

    def _start(self, folder: JobFolder) -> None:
        requests.clear(folder)
        self.attempt = folder.newest_attempt() + 1
        started, own = time.time(), identity.from_pid(os.getpid())
        attempt = Attempt(
            number=self.attempt,
            started=started,
            host=os.uname().nodename,
            argv=folder.read_job().argv,
        )
        write_json(folder.attempt(self.attempt), attempt)
        self._state = State(
            state="running", attempt=self.attempt, started=started, keeper=own, command=own
        )
        write_json(folder.state, self._state)
        folder.heartbeat.touch(mode=0o600)
        self.events = EventWriter(folder.events, self.attempt)
        self.pace = PaceWriter(self.folder, self.attempt)
        lock.downgrade(self._lock_fd)

    @property
    def is_ended(self) -> bool:
        return self._is_ended

    def is_asked(self, name: requests.Name) -> bool:
        """Return whether a viewer asked for it, as of the last half second."""
        return name in self._pending

    def take_request(self, name: requests.Name) -> bool:
        """Return whether a viewer asked for it, and remove the request."""
        if name not in self._pending:
            return False
        self._pending -= {name}
        requests.remove(self.folder, name)
        return True

    def end(self, reason: str, message: str = "", hint: str = "") -> None:
        """Record the end, release the lock and stop the thread; only the first call counts.

        Files that the disk does not take are given up: the user's process has other work.
        """
        with self._guard:
            if self._is_ended or os.getpid() != self._pid:  # a fork that exits like its parent
                return
            self._is_ended = True
        self._closing.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)
        self._sampler.close()
        with contextlib.suppress(OSError):
            self.events.write("done", end_reason=reason, message=message, hint=hint)
            self.events.close()
        self._state = msgspec.structs.replace(
            self._state,
            state="ended",
            end_reason=reason,
            ended=time.time(),
            seconds=round(time.monotonic() - self._began, 1),
        )
        with contextlib.suppress(OSError):
            write_json(self.folder.state, self._state)
        requests.clear(self.folder)
        lock.release(self._lock_fd)

    def _look_after(self) -> None:
        beaten = sampled = 0.0
        while not self._closing.wait(TICK_S):
            if os.getpid() != self._pid:
                return
            try:
                now = time.monotonic()
                self._read_requests()
                if now - beaten >= HEARTBEAT_S:
                    beaten = now
                    self._look()
                    self._beat()
                if now - sampled >= SAMPLE_S:
                    sampled = now
                    self._sample()
            except OSError:  # a disk that is away for a while
                continue
            except Exception:  # noqa: BLE001 (a thread of the user's process must not make noise twice)
                traceback.print_exc(file=sys.stderr)
                return

    def _read_requests(self) -> None:
        self._pending = frozenset(
            name for name in OBEYED if requests.read_pending(self.folder, name, self.attempt)
        )

    def _beat(self) -> None:
        self.folder.heartbeat.touch(mode=0o600)
        liveness.write_heartbeat(self.folder)

    def _sample(self) -> None:
        reading = self._sampler.sample()
        line = msgspec.json.encode({"v": 1, **reading}) + b"\n"
        append(self.folder.machine(os.uname().nodename), line)
