"""Starts the trial in a child process and hears how it goes, also where the child cannot say."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec

from ftwizard import credentials, machine
from ftwizard.jobs import launch
from ftwizard.text import visible

QUIET_S = 120.0
"""A child that says nothing for so long hangs. The first import of torch from a slow disk is the
longest of its silences."""
WHOLE_S = 420.0
"""All trials together."""
GRACE_S = 5.0
"""After KILL; a process that lives on hangs in the kernel, in the driver for one."""
RESTARTS = 6
FOUNDATIONS = ("torch", "devices", "bitsandbytes")
"""What later trials stand on, and a new child does anew."""
_POLL_S = 0.2


class Doing(msgspec.Struct, frozen=True):
    """What the child is about to do."""

    trial: str
    what: str


class Done(msgspec.Struct, frozen=True):
    """A trial that went well."""

    trial: str
    facts: dict[str, Any]
    seconds: float = 0.0


class Failed(msgspec.Struct, frozen=True):
    """A trial that raised an error."""

    trial: str
    error: str
    doing: str


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """A child that crashed, was killed, or hung and was ended."""

    trial: str
    doing: str
    """What it last said it was about to do."""
    how: str
    """In words: ``it was ended by SIGSEGV``."""
    log: str = ""
    """The last line of what it printed."""
    signal: str = ""
    """The name of the signal that ended it, but for our own."""
    out_of_memory: bool = False
    hung: bool = False
    stuck: bool = False
    """It did not end when it was killed."""


Word = Doing | Done | Failed | Died


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long the child may take, in seconds."""

    quiet: float = QUIET_S
    whole: float = WHOLE_S


def command() -> list[str]:
    """Return the command of the child."""
    return [*launch.python(), "-m", "ftwizard.doctor.smoke_child"]


def words(argv: Sequence[str] | None = None, limits: Limits | None = None) -> Iterator[Word]:
    """Yield what the child says, as it says it; after a death go on with the trials left.

    ``argv`` is the child's command, to which names of trials to leave out are added.
    """
    limits = limits or Limits()
    end = time.monotonic() + limits.whole
    tried: list[str] = []
    told: set[str] = set()
    for _ in range(RESTARTS):
        died: Died | None = None
        again = set(told)
        try:
            child = _Child([*(argv or command()), *tried], limits.quiet, end)
        except OSError as error:
            how = f"it could not be started ({error.strerror or error})"
            yield Died(trial="", doing="starting Python", how=how)
            return
        try:
            for word in child.words():
                if isinstance(word, Died):
                    died = word
                if word.trial in again and not isinstance(word, Died):
                    continue  # torch is loaded anew; that is no news
                if not isinstance(word, Doing):
                    told.add(word.trial)
                    if word.trial not in FOUNDATIONS or not isinstance(word, Done):
                        tried.append(word.trial)
                yield word
        finally:
            child.end()
        # Without torch or its devices there is nothing left to try.
        if died is None or died.trial in ("", "torch", "devices", *again):
            return
        if died.stuck or time.monotonic() > end:
            return


class _Child:
    """One child process, from its start to its end."""

    def __init__(self, argv: list[str], quiet_s: float, end: float) -> None:
        self._quiet, self._end = quiet_s, end
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (end closes it)
        self._kills = machine.oom_kills()
        self._last = Doing("", "starting Python")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd="/",
            env=environment(),
            start_new_session=True,
        )

    def words(self) -> Iterator[Word]:
        """Yield what it says until it ends; last, how it died, unless it ended by itself."""
        hung = False
        for line in self._lines():
            if line is None:
                hung = True
                break
            if word := self._word(line):
                yield word
        stuck = not self._wait(kill=hung)
        code = self._process.returncode
        if hung or code:
            yield self._died(code, hung, stuck)

    def end(self) -> None:
        """End it and what it started, and let go of its files."""
        self._wait(kill=True)
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def _wait(self, *, kill: bool) -> bool:
        """Wait for its end, killing it where it does not come; say whether it has ended."""
        if kill:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return not kill and self._wait(kill=True)
        return True

    def _lines(self) -> Iterator[bytes | None]:
        """Yield lines as they come; None when it has been silent for too long."""
        pipe = self._process.stdout
        assert pipe is not None
        rest, heard = b"", time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                ended = self._process.poll() is not None
                if not selector.select(0 if ended else _POLL_S):
                    if ended:  # something that it started may hold the pipe for ever
                        return
                    now = time.monotonic()
                    if now - heard > self._quiet or now > self._end:
                        yield None
                        return
                    continue
                got = os.read(pipe.fileno(), 65536)
                if not got:
                    return
                heard = time.monotonic()
                *lines, rest = (rest + got).split(b"\n")
                yield from lines

    def _word(self, line: bytes) -> Word | None:
        try:
            said = json.loads(line)
            trial = str(said["trial"])
        except (ValueError, KeyError, TypeError):
            return None
        if "doing" in said:
            self._last = Doing(trial, str(said["doing"]))
            return self._last
        doing, self._last = self._last.what, Doing("", "between two trials")
        if "error" in said:
            return Failed(trial, str(said["error"]), doing)
        return Done(trial, dict(said.get("facts") or {}), float(said.get("seconds") or 0))

    def _died(self, code: int | None, hung: bool, stuck: bool) -> Died:
        name = _signal(-code) if code is not None and code < 0 and not hung else ""
        kills = machine.oom_kills()
        starved = name == "SIGKILL" and self._kills is not None and kills != self._kills
        if hung and time.monotonic() > self._end:
            how = "it took too long and was ended"
        elif hung:
            how = f"it gave no sign of life for {self._quiet:.0f} s and was ended"
        elif starved:
            how = "the kernel killed it for lack of memory"
        else:
            how = f"it was ended by {name}" if name else f"it ended with exit code {code}"
        return Died(
            trial=self._last.trial, doing=self._last.what, how=how, log=self._last_line(),
            signal=name, out_of_memory=starved, hung=hung, stuck=stuck,
        )  # fmt: skip

    def _last_line(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 4000))
        lines = [one for one in self._log.read().decode(errors="replace").splitlines() if one]
        return visible(lines[-1].strip(), 300) if lines else ""


def environment() -> dict[str, str]:
    """Return the child's environment: no secret, no network, and the folder of this ftwizard."""
    changed = launch.import_path(credentials.without_secrets(os.environ))
    changed["HF_HUB_OFFLINE"] = "1"
    changed["PYTHONUNBUFFERED"] = "1"
    changed.setdefault("GOMP_SPINCOUNT", "1000")
    return changed


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
