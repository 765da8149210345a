"""Public commands run as child processes: every action of a screen is also a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import credentials
from ftwizard.cli.output import ErrorDetails
from ftwizard.errors import FAILED, FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.events import PROGRESS_FILE, EventReader
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import hosted
from ftwizard.runs.progress import Progress
from ftwizard.text import make_visible

POLL_EVERY_S = 0.25

COMMANDS_WITH_KEYS = ("train", "branch", "resume", "doctor")
"""Commands that see every API key: to pass them to a run, or to report which ones are set."""
COMMANDS_THAT_ASK = ("eval", "chat", "stop")
"""Commands that ask a run's platform, or its model there; the run's folder is their first argument."""
END_WAIT_S = 15.0
"""Time for a canceled command to end by itself before it is killed."""
_session_keys: dict[str, str] = {}
"""Keys that were typed for this session, by variable; they are in no file."""


def use_for_session(keys: Mapping[str, str]) -> None:
    """Give keys to the commands that need them, until the app ends; they win over the environment."""
    _session_keys.update(keys)


def get_key_environment() -> dict[str, str]:
    """Return the environment with the keys that were typed for this session."""
    return {**os.environ, **_session_keys}


async def run_command(
    *argv: str, progress: str | None = None, keys: Mapping[str, str] | None = None
) -> Any:
    """Run ``ftwizard ARGV… --json`` and return its document; ``keys`` are in its environment only.

    Raises FtwizardError with the command's own message if it fails. Canceling ends the command, and
    waits for its end.
    """
    child = await asyncio.create_subprocess_exec(
        *launch.get_python_command(), "-m", "ftwizard", *argv, "--json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment(argv[0], progress, argv[1:]), **(keys or {})},
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = await child.communicate()
    except asyncio.CancelledError:
        await asyncio.shield(end(child))
        raise
    return decode_document(argv[0], child.returncode or 0, out, err)


async def end(child: asyncio.subprocess.Process) -> None:
    """End a child with its whole group, and wait for it."""
    for number, wait_s in ((signal.SIGTERM, END_WAIT_S), (signal.SIGKILL, None)):
        if child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), wait_s)


class CommandProcess:
    """A running public command: its progress, and its document at the end."""

    def __init__(self, *argv: str) -> None:
        self.progress = Progress()
        self.partial_report: dict[str, Any] | None = None
        """The newest partial report of a running check."""
        self._argv = argv
        self._started = time.monotonic()
        self._reader: EventReader | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    async def run(self) -> Any:
        """Run the command and return its document; raise FtwizardError if it fails.

        Canceling ends the command.
        """
        try:
            # A canceled command may still write to the folder while it is removed.
            with tempfile.TemporaryDirectory(
                prefix="ftwizard-", ignore_cleanup_errors=True
            ) as folder:
                events = Path(folder) / "events.jsonl"
                self._reader = EventReader(events)
                return await run_command(*self._argv, progress=str(events))
        except OSError as error:
            raise to_start_error(self._argv[0], error) from error

    def poll(self) -> bool:
        """Read its new events; return whether there were any."""
        events = self._reader.read() if self._reader else []
        self.progress.feed(events)
        for event in events:
            if event["kind"] == "report" and isinstance(event.get("report"), dict):
                self.partial_report = event["report"]
        return bool(events)


def to_start_error(name: str, error: OSError) -> FtwizardError:
    """Return the error to show if a command could not be started."""
    return FtwizardError(
        f"Could not start “ftwizard {name}”: {error.strerror or error}.",
        "Check free disk space and the folder for temporary files (TMPDIR).",
    )


def start_with_input(*argv: str) -> subprocess.Popen[bytes]:
    """Start ``ftwizard ARGV… --json``, which reads lines, and ends when its input is closed.

    It outlives this process. Raises OSError if it cannot be started.
    """
    return subprocess.Popen(
        [*launch.get_python_command(), "-m", "ftwizard", *argv, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment(argv[0], None, argv[1:]),
        start_new_session=True,
    )


def run_blocking(
    *argv: str,
    tell: Callable[[Progress], None],
    lasting: bool = False,
    keys: Mapping[str, str] | None = None,
) -> Any:
    """Do as ``command`` does for a caller without an event loop; ``tell`` hears how far it is.

    An exception, ctrl+c among them, ends the command, unless it is ``lasting``.
    """
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
        events = Path(folder) / "events.jsonl"
        reader, progress = EventReader(events), Progress()
        child = subprocess.Popen(
            [*launch.get_python_command(), "-m", "ftwizard", *argv, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(argv[0], str(events), argv[1:]), **(keys or {})},
            start_new_session=True,
        )
        try:
            while True:
                try:
                    out, err = child.communicate(timeout=POLL_EVERY_S)
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
    return decode_document(argv[0], child.returncode, out, err)


def environment(
    name: str, progress: str | None = None, arguments: Sequence[str] = ()
) -> dict[str, str]:
    """Return the environment of a command, with no API keys except the one for downloads.

    Commands in ``COMMANDS_WITH_KEYS`` get all keys, and those in ``COMMANDS_THAT_ASK`` the key of the
    platform that the run's model is at. ``progress`` is the file for progress events.
    """
    base: Mapping[str, str] = get_key_environment()
    if name not in COMMANDS_WITH_KEYS:
        keys = (
            hosted.list_keys(JobFolder(Path(arguments[0])))
            if name in COMMANDS_THAT_ASK and arguments
            else ()
        )
        base = credentials.without_secrets(base, (*credentials.HUGGING_FACE, *keys))
    variables = launch.with_import_path(base)
    if progress:
        variables[PROGRESS_FILE] = progress
    return variables


def decode_document(name: str, code: int, out: bytes, err: bytes) -> Any:
    """Return the document that a command printed; raise FtwizardError if it failed."""
    try:
        document = msgspec.json.decode(out) if out.strip() else None
    except msgspec.DecodeError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        details = msgspec.convert(document.pop("error"), ErrorDetails)
        error = FtwizardError(
            details.message,
            details.hint,
            code or FAILED,
            code=details.code,
            candidates=details.candidates,
        )
        error.document = document
        raise error
    if document is None:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no error message"]
        raise FtwizardError(
            f"“ftwizard {name}” failed (exit code {code}): {make_visible(last[0], 300)}"
        )
    return document
