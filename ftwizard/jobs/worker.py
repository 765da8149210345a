"""What every command of a job shares: its lock, its events, its stop, and its last word."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.jobs import lock, requests
from ftwizard.jobs.ending import DISK_FULL_STATUS, GOOD, reason_of
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder, JobRecord, write_json
from ftwizard.jobs.watchdog import SILENT_S, Watchdog


class Stopped(BaseException):
    """The command was asked to stop where nothing had to be saved."""


class Outcome(Exception):
    """Ends a command early with a reason of its own."""

    def __init__(self, end_reason: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.end_reason = end_reason
        self.message = message
        self.hint = hint


class Ended(NamedTuple):
    """How the work of a command ended, where nothing went wrong."""

    end_reason: str
    result: dict[str, Any]
    """Goes into ``result.json``."""
    message: str = ""


class Worker:
    """A running command of a job, as the code that does the work sees it."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.record: JobRecord = folder.read_job()
        self.attempt = folder.newest_attempt()
        self.checkpoint = folder.read_attempt(self.attempt).checkpoint
        self.events = EventWriter(folder.events, self.attempt)
        self.saves_itself = False
        """True while a TERM only sets ``stopping``, because there is something to save."""
        self._terminated = False
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def phase(self, name: str, **fields: Any) -> None:
        """Say what is being done now; a stop that was asked for is obeyed here."""
        self.check_stop()
        self.events.write("phase", phase=name, **fields)

    def stop_asked(self) -> bool:
        """Say whether a viewer or a signal wants the command to stop."""
        return self._terminated or bool(requests.pending(self.folder, "stop", self.attempt))

    def check_stop(self) -> None:
        """Raise Stopped if the command should stop; call it where nothing has to be saved."""
        if self.stop_asked():
            raise Stopped

    def _on_term(self, *_: object) -> None:
        already, self._terminated = self._terminated, True
        if not self.saves_itself and not already:
            raise Stopped


def run(folder: JobFolder, work: Callable[[Worker], Ended]) -> int:
    """Do ``work`` as the command of a job and return its exit status.

    Whatever it raises becomes the job's last word: a sentence in the events, a traceback only in the log.
    """
    held = lock.take_shared(folder.lock)
    worker = Worker(folder)
    watchdog = Watchdog(worker.events, worker.record.inputs.get("silent_s", SILENT_S))
    try:
        word = _word(worker, work)
        watchdog.close()
        worker.events.write("done", **word)
    finally:
        watchdog.close()
        unsaid = worker.events.waiting
        worker.events.close()
    requests.done(folder, "stop")
    os.close(held)
    if unsaid:
        return DISK_FULL_STATUS
    if word["end_reason"] in (*GOOD, "stopped"):
        return 0
    return int(word.get("exit_code", 1))


def _word(worker: Worker, work: Callable[[Worker], Ended]) -> dict[str, Any]:
    folder = worker.folder
    try:
        try:
            end = work(worker)
        finally:
            worker.saves_itself = True  # from here on a TERM changes nothing any more
        head = {"end_reason": end.end_reason, "attempt": worker.attempt}
        write_json(folder.result, head | end.result)
        return {"end_reason": end.end_reason, "message": end.message}
    except Stopped:
        return {"end_reason": "stopped"}
    except Outcome as other:
        return {
            "end_reason": other.end_reason,
            "message": other.message,
            "hint": other.hint,
        }
    except FtwizardError as error:
        return {
            "end_reason": "refused",
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
    except BaseException as error:  # noqa: BLE001 (whatever it was, the run says it)
        traceback.print_exc(file=sys.stderr)
        return {
            "end_reason": reason_of(error, folder),
            "message": f"{type(error).__name__}: {error}"[:2000],
        }
