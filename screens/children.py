"""Public commands, run as child processes: all that a screen does has a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import credentials
from ftwizard.errors import FAILED, FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.events import PROGRESS_FILE, EventReader
from ftwizard.runs import Progress
from ftwizard.text import visible

LOOK_EVERY_S = 0.25

WANT_KEYS = ("train", "branch", "resume", "doctor")
"""Commands that see every key: to give a run those that its plan needs, or to say which are there."""


async def command(*argv: str, progress: str | None = None) -> Any:
    """Run ``ftwizard ARGV… --json`` and return its document.

    Raises FtwizardError with the command's own words when it fails. Cancelling ends the command.
    """
    child = await asyncio.create_subprocess_exec(
        *launch.python(), "-m", "ftwizard", *argv, "--json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(argv[0], progress),
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = await child.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        raise
    return _document(argv[0], child.returncode or 0, out, err)


class Child:
    """A public command that runs, what it says of itself meanwhile, and its document."""

    def __init__(self, *argv: str) -> None:
        self.progress = Progress()
        self.first_look: dict[str, Any] | None = None
        """The newest report on parts of the file, of a check that is under way."""
        self._argv = argv
        self._began = time.monotonic()
        self._reader: EventReader | None = None

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._began

    async def document(self) -> Any:
        """Run the command and return what it prints; raise FtwizardError when it fails.

        Cancelling ends it.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
                events = Path(folder) / "events.jsonl"
                self._reader = EventReader(events)
                return await command(*self._argv, progress=str(events))
        except OSError as error:
            raise cannot_run(self._argv[0], error) from error

    def look(self) -> bool:
        """Take in what it has said since the last look; say whether there was anything."""
        events = self._reader.read() if self._reader else []
        self.progress.feed(events)
        for event in events:
            if event["kind"] == "report" and isinstance(event.get("report"), dict):
                self.first_look = event["report"]
        return bool(events)


def cannot_run(name: str, error: OSError) -> FtwizardError:
    """Return what is to be said when a command cannot even be begun."""
    return FtwizardError(
        f"“ftwizard {name}” cannot be run: {error.strerror or error}.",
        "Is there room on the disk, and a folder for temporary files (TMPDIR)?",
    )


def run(*argv: str, tell: Callable[[Progress], None], lasting: bool = False) -> Any:
    """Do as ``command`` does for a caller without an event loop; ``tell`` hears how far it is.

    An exception, ctrl+c among them, ends the command, unless it is ``lasting``.
    """
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
        events = Path(folder) / "events.jsonl"
        reader, progress = EventReader(events), Progress()
        child = subprocess.Popen(
            [*launch.python(), "-m", "ftwizard", *argv, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(argv[0], str(events)),
            start_new_session=True,
        )
        try:
            while True:
                try:
                    out, err = child.communicate(timeout=LOOK_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    progress.feed(reader.read())
                    tell(progress)
        except BaseException:
            if not lasting:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)
                child.wait()
            raise
    return _document(argv[0], child.returncode, out, err)


def environment(name: str, progress: str | None = None) -> dict[str, str]:
    """Return the environment of a command: of the keys only what a download needs, unless it is
    one of ``WANT_KEYS``; ``progress`` is the file for what it says meanwhile."""
    base: Mapping[str, str] = os.environ
    if name not in WANT_KEYS:
        base = credentials.without_secrets(base, credentials.HUGGING_FACE)
    changed = launch.import_path(base)
    if progress:
        changed[PROGRESS_FILE] = progress
    return changed


def _document(name: str, code: int, out: bytes, err: bytes) -> Any:
    try:
        found = msgspec.json.decode(out) if out.strip() else None
    except msgspec.DecodeError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        error = found["error"]
        raise FtwizardError(str(error.get("message")), str(error.get("hint") or ""), code or FAILED)
    if found is None:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise FtwizardError(
            f"The command “{name}” failed (exit code {code}): {visible(last[0], 300)}"
        )
    return found
