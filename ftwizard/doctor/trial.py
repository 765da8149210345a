"""The trial's parent: it runs the trial in a child process and reports its events, also crashes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

import msgspec

from ftwizard import credentials
from ftwizard.hardware import machine
from ftwizard.jobs import launch
from ftwizard.text import make_visible

QUIET_S = 120.0
"""Silence after which a child hangs; the first import of torch from a slow disk takes longest."""
GRACE_S = 5.0
"""Wait after KILL; a process that survives it hangs in the kernel, for example in the driver."""


class TorchCard(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU that torch sees."""

    name: str
    capability: tuple[int, int]


class TorchDevices(msgspec.Struct, frozen=True, kw_only=True):
    """The version of torch, and the GPUs that it sees."""

    version: str
    cuda: str | None = None
    """The CUDA version of this build; None for a CPU build."""
    available: bool = False
    why: str = ""
    """torch's warnings, if it sees no GPU."""
    archs: list[str] = []
    """Architectures of this build's kernels."""
    cards: list[TorchCard] = []


class Started(msgspec.Struct, frozen=True, tag=True):
    """The child is about to do something."""

    trial: str
    action: str


class Succeeded(msgspec.Struct, frozen=True, tag=True):
    """A trial succeeded."""

    trial: str
    seconds: float
    dtype: str = ""
    devices: TorchDevices | None = None


class Failed(msgspec.Struct, frozen=True, tag=True):
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


ChildEvent = Started | Succeeded | Failed
"""What the child writes to its stdout, as JSON lines."""
_DECODER = msgspec.json.Decoder(ChildEvent)


def run_trials(
    argv: Sequence[str] | None = None, quiet_s: float = QUIET_S
) -> Iterator[ChildEvent | Crashed]:
    """Run the trials in a child; yield its events, and last its death unless it ended normally.

    ``argv`` is the child's command; a silence of ``quiet_s`` means that it hangs.
    """
    kills = machine.count_oom_kills()
    last = Started("", "starting Python")
    grace_s, hung = 0.0, False
    with tempfile.TemporaryFile() as log:
        try:
            child = _start(argv, log)
        except OSError as error:
            how = f"it could not be started ({error.strerror or error})"
            yield Crashed(trial="", doing=last.action, how=how)
            return
        try:
            for event in _read_events(child, quiet_s):
                last = event if isinstance(event, Started) else Started("", "between two trials")
                yield event
            grace_s = GRACE_S
        except TimeoutError:
            hung = child.poll() is None
        finally:
            stuck = not _end(child, grace_s)
        if not hung and not child.returncode:
            return
        name = "" if hung else _get_signal_name(child.returncode)
        out_of_memory = name == "SIGKILL" and machine.count_oom_kills() != kills
        if hung:
            how = f"it hung for {quiet_s:.0f} s and was killed"
        elif out_of_memory:
            how = "the kernel killed it because memory ran out"
        else:
            how = f"it was killed by {name}" if name else f"it exited with code {child.returncode}"
        yield Crashed(
            trial=last.trial, doing=last.action, how=how, log=_read_last_line(log), signal=name,
            out_of_memory=out_of_memory, hung=hung, stuck=stuck,
        )  # fmt: skip


def _start(argv: Sequence[str] | None, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv or [*launch.get_python_command(), "-m", "ftwizard.doctor.trial_child"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd="/",
        env=make_environment(),
        start_new_session=True,
    )


def _read_events(child: subprocess.Popen[bytes], quiet_s: float) -> Iterator[ChildEvent]:
    """Yield its events as they come; raise TimeoutError after a silence that is too long."""
    assert child.stdout is not None
    rest = b""
    while select.select([child.stdout], [], [], quiet_s)[0]:
        data = os.read(child.stdout.fileno(), 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                yield _DECODER.decode(line)
    raise TimeoutError


def _end(child: subprocess.Popen[bytes], grace_s: float) -> bool:
    """Kill the child and its descendants after ``grace_s``; return whether it ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    if child.stdout:
        child.stdout.close()
    return child.poll() is not None


def _read_last_line(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - 4000))
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line]
    return make_visible(lines[-1].strip(), 300) if lines else ""


def make_environment() -> dict[str, str]:
    """Return the child's environment: no secrets, no network, and the import path of this ftwizard."""
    variables = launch.with_import_path(credentials.without_secrets(os.environ))
    variables["HF_HUB_OFFLINE"] = "1"
    variables["PYTHONUNBUFFERED"] = "1"
    variables.setdefault("GOMP_SPINCOUNT", "1000")
    return variables


def _get_signal_name(code: int | None) -> str:
    """Return the name of the signal that ended a process; empty if none did."""
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return ""
