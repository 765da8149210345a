"""The base of every job command: lock, events, stop handling, watchdog and ``done`` event."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from ftwizard.alarm import Alarm
from ftwizard.errors import FtwizardError
from ftwizard.jobs import clock, leftovers, lock, requests, rescue
from ftwizard.jobs.ending import (
    DISK_ERROR_STATUS,
    DISK_FULL_STATUS,
    GOOD_END_REASONS,
    classify_error,
    describe_error,
)
from ftwizard.jobs.events import EventWriter, NoEvents
from ftwizard.jobs.folder import (
    NO_SPACE,
    HeldFolder,
    JobFolder,
    JobRecord,
    JobResult,
    StopCause,
    write_json,
)
from ftwizard.jobs.pace import SILENT_S, TIMES_LONGEST, NoPace, PaceWriter
from ftwizard.text import format_duration

FRAMES = 5
MIN_SUSPEND_S = 5.0
"""A shorter suspend of the machine is not reported."""
OBEY_S = 0.5
"""Time for work to look for a requested stop itself, before it is interrupted."""
INTERRUPTIBLE = frozenset(
    (
        "fetching",
        "reading",
        "tokenising",
        "rehearsing",
        "loading",
        "evaluating",
        "comparing",
        "merging",
        "exporting",
    )
)
"""Phases that a stop interrupts wherever they are: there is nothing to save, and they are done again."""


class Stopped(BaseException):
    """Raised when the command should stop and has nothing to save."""


class EarlyEnd(Exception):
    def __init__(self, end_reason: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.end_reason = end_reason
        self.message = message
        self.hint = hint


class WorkResult(NamedTuple):
    """The outcome of a command that succeeded."""

    result: JobResult
    message: str = ""


class Worker:
    """A running command of a job, from the point of view of its work."""

    def __init__(self, folder: JobFolder, *, writes: bool = True) -> None:
        """Set up the command; ``writes``: False in a process that leaves the records to another."""
        self.folder = HeldFolder(folder.path)
        self.record: JobRecord = folder.read_job()
        self.attempt = folder.newest_attempt()
        self.checkpoint = folder.read_attempt(self.attempt).checkpoint
        self.events = (EventWriter if writes else NoEvents)(folder.events, self.attempt)
        self.silent_s = float(self.record.inputs.get("silent_s", SILENT_S))
        self.pace = (PaceWriter if writes else NoPace)(self.folder, self.attempt, self.silent_s)
        self._writes = writes
        self.saves_itself = False
        """True while TERM only requests a stop, because there is something to save."""
        self.delegates = False
        """True while other processes do the work and write the events."""
        self._terminated = False
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def phase(self, name: str, **fields: Any) -> None:
        """Report the current phase; raise Stopped if a stop was requested."""
        self.check_stop()
        self.events.write("phase", phase=name, **fields)

    def stop_asked(self) -> bool:
        """Return whether a viewer or a signal requested a stop.

        Of several processes, only the one that writes is asked; it tells the others.
        """
        if not self._writes:
            return False
        return self._terminated or bool(requests.read_pending(self.folder, "stop", self.attempt))

    def read_stop_cause(self) -> StopCause:
        """Return what requested the stop."""
        request = requests.read_pending(self.folder, "stop", self.attempt)
        return request.cause if request else "signal"

    def check_stop(self) -> None:
        """Raise Stopped if a stop was requested; call it only where nothing has to be saved."""
        if self.stop_asked():
            raise Stopped

    def _on_term(self, *_: object) -> None:
        is_repeated, self._terminated = self._terminated, True
        if not self.saves_itself and not is_repeated:
            raise Stopped

    @property
    def is_terminated(self) -> bool:
        """Return whether TERM was received."""
        return self._terminated


class Watchdog:
    """Watches a command's events and its folder in a separate thread, and interrupts long work for a stop.

    A call into C that never releases the interpreter lock stops this thread too. Views then report
    by themselves that nothing new arrives.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._events = worker.events
        self._folder = worker.folder
        self._path = worker.folder.locate()
        self._pace = worker.pace
        self._silent_s = worker.silent_s
        self._longest = 0.0
        self._asked_at: float | None = None
        self._closed = Alarm()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        previous = since = self._events.written_at
        stalled = False
        asleep = clock.read().asleep
        while not self._closed.wait(min(OBEY_S, self._silent_s / 4)):
            if self._worker.delegates:  # the process that does the work has a watchdog of its own
                previous = since = self._events.written_at = time.monotonic()
                stalled, asleep = False, clock.read().asleep
                continue
            self._obey_stop()
            self._report_move()
            last = self._events.written_at
            if last != previous:
                self._longest = max(self._longest, last - since)
                self._pace.allow_silence(self._limit_s)
                if stalled:
                    silence = format_duration(last - since)
                    message = f"Running again, after {silence} without progress."
                    self._events.write_finding("goes_on", message)
                previous = since = self._events.written_at
                stalled = False
            silent = time.monotonic() - previous
            if not stalled and silent > self._limit_s:
                self._report_stall(silent)
                previous, stalled = self._events.written_at, True
            suspended_s = clock.read().asleep - asleep
            if suspended_s >= MIN_SUSPEND_S:
                self._report_suspend(suspended_s)
                previous, asleep = self._events.written_at, asleep + suspended_s

    def _obey_stop(self) -> None:
        """Interrupt work that has nothing to save and does not look for a requested stop itself."""
        worker = self._worker
        if worker.saves_itself or worker.is_terminated or not worker.stop_asked():
            return
        self._asked_at = self._asked_at or time.monotonic()
        is_late = time.monotonic() - self._asked_at >= OBEY_S
        if is_late and self._events.newest.get("phase") in INTERRUPTIBLE:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _report_suspend(self, suspended_s: float) -> None:
        self._events.write_finding(
            "suspended",
            f"The machine was suspended for {format_duration(suspended_s)}. That counts toward the cost "
            "only.",
            suspended_s=round(suspended_s, 1),
        )

    def _report_move(self) -> None:
        old, self._path = self._path, self._folder.locate()
        if self._path != old:
            self._events.write_finding(
                "moved",
                f"The folder of this run was moved to {self._path}; the run continues there.",
                evidence={"from": str(old), "to": str(self._path)},
            )

    @property
    def _limit_s(self) -> float:
        return max(self._silent_s, TIMES_LONGEST * self._longest)

    def _report_stall(self, silent: float) -> None:
        stack = self._get_stack()
        where = f", in {stack[0]}" if stack else ""
        self._events.write_finding(
            "stalled",
            f"Stalled: no progress for {format_duration(silent)}{self._describe_work()}{where}.",
            "warning",
            action="See the end of its log. If it hangs for good, stop it.",
            actions=["stop"],
            evidence={"silent_s": round(silent, 1)},
            stack=stack,
        )

    def _describe_work(self) -> str:
        """Describe the phase, and its part, that does not end."""
        newest = self._events.newest
        phase, part = newest.get("phase") or "training", newest.get("what")
        return f" while {phase}{f' ({part})' if isinstance(part, str) else ''}"

    def _get_stack(self) -> list[str]:
        """Return the stack of the main thread, the innermost call first."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        calls = traceback.extract_stack(frame)[-FRAMES:] if frame else []
        return [f"{call.name} ({call.filename}:{call.lineno})" for call in reversed(calls)]


def run(folder: JobFolder, work: Callable[[Worker], WorkResult]) -> int:
    """Run ``work`` as the command of a job; return its exit status.

    An exception becomes a message in the ``done`` event; its traceback goes only to the log.
    """
    sys.stdout, sys.stderr = open_log(1), open_log(2)
    lock_fd = lock.take_shared(folder.lock)
    worker = Worker(folder)
    leftovers.end_with_this_process(worker.folder, worker.attempt)
    watchdog = Watchdog(worker)
    try:
        outcome = _run_work(worker, work)
        if outcome["end_reason"] == "stopped":
            outcome["stop_cause"] = worker.read_stop_cause()
        watchdog.close()
        worker.events.write("done", **outcome)
    finally:
        watchdog.close()
        unwritten = worker.events.close()
    requests.remove(worker.folder, "stop")
    os.close(lock_fd)
    gc.freeze()  # else the interpreter looks at millions of objects before it ends
    if unwritten and not rescue.hand_over(unwritten):
        error = worker.events.error
        return DISK_FULL_STATUS if error and error.errno in NO_SPACE else DISK_ERROR_STATUS
    if outcome["end_reason"] in (*GOOD_END_REASONS, "stopped"):
        return 0
    return int(outcome.get("exit_code", 1))


class _LogFile(io.FileIO):
    """The job's log, which loses output where the disk takes none: no message ends a training."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data) or 0
        return len(data)


def open_log(descriptor: int) -> io.TextIOWrapper:
    """Return a stream to a descriptor of a job's log."""
    raw = io.BufferedWriter(_LogFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


def _run_work(worker: Worker, work: Callable[[Worker], WorkResult]) -> dict[str, Any]:
    folder = worker.folder
    try:
        try:
            end = work(worker)
        finally:
            worker.saves_itself = True  # from here on TERM has no effect
        write_json(folder.result, end.result)
        return {"end_reason": end.result.end_reason, "message": end.message}
    except Stopped:
        return {"end_reason": "stopped"}
    except EarlyEnd as early:
        return {"end_reason": early.end_reason, "message": early.message, "hint": early.hint}
    except FtwizardError as error:
        return {
            "end_reason": "refused",
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
    except BaseException as error:  # noqa: BLE001 (reported in the done event)
        traceback.print_exc(file=sys.stderr)
        return {
            "end_reason": classify_error(error, folder),
            "message": describe_error(error, folder.path)[:2000],
        }
