"""The trial's parent: it runs the trial in a child process and reports its events, also crashes."""

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

from ftwizard import credentials
from ftwizard.hardware import machine
from ftwizard.jobs import launch
from ftwizard.text import make_visible

QUIET_S = 120.0
"""Silence after which a child hangs; the first import of torch from a slow disk takes longest."""
WHOLE_S = 420.0
"""Limit for all trials together."""
GRACE_S = 5.0
"""Wait after KILL; a process that survives it hangs in the kernel, for example in the driver."""
MAX_STARTS = 6
FOUNDATIONS = ("torch", "devices", "bitsandbytes")
"""Trials that later ones need, and that each new child repeats."""
_POLL_S = 0.2


class Started(msgspec.Struct, frozen=True):
    """The child is about to do something."""

    trial: str
    action: str


class Succeeded(msgspec.Struct, frozen=True):
    """A trial succeeded."""

    trial: str
    facts: dict[str, Any]
    seconds: float = 0.0


class Failed(msgspec.Struct, frozen=True):
    """A trial raised an error."""

    trial: str
    error: str
    doing: str


class Crashed(msgspec.Struct, frozen=True, kw_only=True):
    """The child crashed, was killed, or hung."""

    trial: str
    doing: str
    """Its last announced action."""
    how: str
    """How, for people: ``it was killed by SIGSEGV``."""
    log: str = ""
    """The last line of its output."""
    signal: str = ""
    """The signal that ended it, unless we sent it."""
    out_of_memory: bool = False
    hung: bool = False
    stuck: bool = False
    """Whether it survived KILL."""


TrialEvent = Started | Succeeded | Failed | Crashed


class TrialLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits of the child, in seconds."""

    quiet: float = QUIET_S
    whole: float = WHOLE_S


def get_command() -> list[str]:
    """Return the child's command."""
    return [*launch.get_python_command(), "-m", "ftwizard.doctor.trial_child"]


def run_trials(
    argv: Sequence[str] | None = None, limits: TrialLimits | None = None
) -> Iterator[TrialEvent]:
    """Run the trials; yield their events. After a crash, continue with the remaining trials.

    ``argv`` is the child's command; names of trials to skip are appended.
    """
    limits = limits or TrialLimits()
    end = time.monotonic() + limits.whole
    tried: list[str] = []
    reported: set[str] = set()
    for _ in range(MAX_STARTS):
        died: Crashed | None = None
        repeated = set(reported)
        try:
            child = _Child([*(argv or get_command()), *tried], limits.quiet, end)
        except OSError as error:
            how = f"it could not be started ({error.strerror or error})"
            yield Crashed(trial="", doing="starting Python", how=how)
            return
        try:
            for event in child.events():
                if isinstance(event, Crashed):
                    died = event
                if event.trial in repeated and not isinstance(event, Crashed):
                    continue  # torch is loaded again: no news
                if not isinstance(event, Started):
                    reported.add(event.trial)
                    if event.trial not in FOUNDATIONS or not isinstance(event, Succeeded):
                        tried.append(event.trial)
                yield event
        finally:
            child.end()
        # Without torch or its devices there is nothing left to try.
        if died is None or died.trial in ("", "torch", "devices", *repeated):
            return
        if died.stuck or time.monotonic() > end:
            return


class _Child:
    """One child process, from its start to its end."""

    def __init__(self, argv: list[str], quiet_s: float, end: float) -> None:
        self._quiet, self._end = quiet_s, end
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (end closes it)
        self._kills = machine.count_oom_kills()
        self._last = Started("", "starting Python")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd="/",
            env=make_environment(),
            start_new_session=True,
        )

    def events(self) -> Iterator[TrialEvent]:
        """Yield its events until it ends; last, its death unless it ended normally."""
        hung = False
        for line in self._lines():
            if line is None:
                hung = True
                break
            if event := self._parse(line):
                yield event
        stuck = not self._wait(kill=hung)
        code = self._process.returncode
        if hung or code:
            yield self._make_death(code, hung, stuck)

    def end(self) -> None:
        """Kill it and its descendants, and close its files."""
        self._wait(kill=True)
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def _wait(self, *, kill: bool) -> bool:
        """Wait until it ends, killing it if necessary; return whether it ended."""
        if kill:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return not kill and self._wait(kill=True)
        return True

    def _lines(self) -> Iterator[bytes | None]:
        """Yield its output lines as they come; None after a silence that is too long."""
        pipe = self._process.stdout
        assert pipe is not None
        rest, last_output = b"", time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                ended = self._process.poll() is not None
                if not selector.select(0 if ended else _POLL_S):
                    if ended:  # a descendant may hold the pipe open
                        return
                    now = time.monotonic()
                    if now - last_output > self._quiet or now > self._end:
                        yield None
                        return
                    continue
                data = os.read(pipe.fileno(), 65536)
                if not data:
                    return
                last_output = time.monotonic()
                *lines, rest = (rest + data).split(b"\n")
                yield from lines

    def _parse(self, line: bytes) -> TrialEvent | None:
        try:
            fields = json.loads(line)
            trial = str(fields["trial"])
        except (ValueError, KeyError, TypeError):
            return None
        if "doing" in fields:
            self._last = Started(trial, str(fields["doing"]))
            return self._last
        doing, self._last = self._last.action, Started("", "between two trials")
        if "error" in fields:
            return Failed(trial, str(fields["error"]), doing)
        return Succeeded(trial, dict(fields.get("facts") or {}), float(fields.get("seconds") or 0))

    def _make_death(self, code: int | None, hung: bool, stuck: bool) -> Crashed:
        name = _get_signal_name(-code) if code is not None and code < 0 and not hung else ""
        kills = machine.count_oom_kills()
        out_of_memory = name == "SIGKILL" and self._kills is not None and kills != self._kills
        if hung and time.monotonic() > self._end:
            how = "it took too long and was killed"
        elif hung:
            how = f"it hung for {self._quiet:.0f} s and was killed"
        elif out_of_memory:
            how = "the kernel killed it because memory ran out"
        else:
            how = f"it was killed by {name}" if name else f"it exited with code {code}"
        return Crashed(
            trial=self._last.trial, doing=self._last.action, how=how, log=self._read_last_line(),
            signal=name, out_of_memory=out_of_memory, hung=hung, stuck=stuck,
        )  # fmt: skip

    def _read_last_line(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 4000))
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line]
        return make_visible(lines[-1].strip(), 300) if lines else ""


def make_environment() -> dict[str, str]:
    """Return the child's environment: no secrets, no network, and the import path of this ftwizard."""
    variables = launch.with_import_path(credentials.without_secrets(os.environ))
    variables["HF_HUB_OFFLINE"] = "1"
    variables["PYTHONUNBUFFERED"] = "1"
    variables.setdefault("GOMP_SPINCOUNT", "1000")
    return variables


def _get_signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
