"""Public commands, run as child processes: all that a screen does has a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
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

WANT_KEYS = ("train", "resume", "doctor")
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
