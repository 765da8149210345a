"""Events of a job: one JSON object per line, written by the command, read by every view."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ftwizard.alarm import Alarm
from ftwizard.jobs import clock
from ftwizard.jobs.clock import Instant
from ftwizard.text import format_duration

VERSION = 1
PROGRESS_FILE = "FTWIZARD_PROGRESS"
"""Environment variable with a file for ``phase`` events of a command that a screen waits for."""
SYNC_SECONDS = 1.0
MAX_PENDING = 10_000
"""Events that wait in memory for the disk."""
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MAX_COUNT = 2**53
"""Integers below are exact as floats, which curves consist of."""
_MAX_TIME = 253_402_300_800.0
"""Unix seconds of the year 10,000, which has no date."""
ENVELOPE = frozenset(("v", "t", "m", "asleep", "kind", "attempt"))
"""Fields of every event."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])

Event = dict[str, Any]
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Exceptions of decoding bytes that are not valid JSON."""


class Outage(msgspec.Struct):
    """Time in which the disk does not take a job's events."""

    error: OSError
    since: float = msgspec.field(default_factory=time.monotonic)
    dropped: int = 0
    """Events that found no place in memory."""
    is_unsynced: bool = False
    """Whether a sync failed: the kernel reports that once, and forgets which bytes it concerned."""

    def describe(self) -> str:
        """Describe what it meant for the events, once it is over."""
        seconds = format_duration(time.monotonic() - self.since)
        text = f"The disk did not take writes for {seconds} ({self.error.strerror})"
        if self.dropped:
            return f"{text}; {self.dropped:,} events were lost."
        if self.is_unsynced:
            return f"{text}; a power loss may still lose the events of that time."
        return f"{text}; nothing was lost."


class EventWriter:
    """Appends events; the only writer of its file.

    Each event is one ``write(2)`` on an O_APPEND descriptor, so a kill leaves at most one torn
    line, which the next writer ends first. A thread syncs the file once a second, so that a slow
    disk does not slow the command. Where the disk is full or fails, events wait in memory and are
    tried again each second: the events alone never stop a job.
    """

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = path
        self._attempt = attempt
        self._descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o600)
        self._opened = os.fstat(self._descriptor)
        end = self._opened.st_size
        self._line_open = end > 0 and os.pread(self._descriptor, 1, end - 1) != b"\n"
        self._pending: deque[tuple[str, bytes]] = deque()
        """Kinds and lines of the events that the disk did not take yet."""
        self._outage: Outage | None = None
        self._dirty = False
        self.written_at = time.monotonic()
        """Monotonic time of the newest event."""
        self.newest: Event = {"kind": ""}
        """The newest event that is not a finding: what the command does."""
        self._guard = threading.RLock()
        self._closing = Alarm()
        self._syncer = threading.Thread(target=self._sync_each_second, daemon=True)
        self._syncer.start()

    def write(self, kind: str, **fields: Any) -> Event:
        """Append an event and return it; ``fields`` are JSON values (NaN and infinities become
        strings)."""
        now = clock.read()
        event = {"v": VERSION, "t": now.t, "m": now.m, "kind": kind, "attempt": self._attempt}
        if now.asleep:
            event["asleep"] = now.asleep
        event |= {name: _encode_non_finite(value) for name, value in fields.items()}
        line = _encoder.encode(event) + b"\n"
        self.written_at = time.monotonic()
        if kind != "finding":
            self.newest = event
        with self._guard:
            self._pending.append((kind, line))
            self._flush()
            if self._outage and len(self._pending) > MAX_PENDING:
                self._drop(self._outage)
        return event

    def write_finding(self, code: str, message: str, severity: str = "info", **fields: Any) -> None:
        """Append a finding for the user; ``severity`` is ``info`` or ``warning``."""
        self.write("finding", code=code, severity=severity, message=message, **fields)

    def sync(self) -> None:
        """Block until everything written so far is on disk, or the disk is full or fails."""
        with self._guard:
            if self._outage:
                self._reopen()
            self._flush()
            self._dirty = False
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file that has nothing to sync
                self._begin_outage(error)
                return
        with self._guard:
            if self._outage and not self._pending:
                self._end_outage(self._outage)

    def continue_after(self, lines: bytes = b"") -> None:
        """Continue the file after another process wrote to it; ``lines`` are what it could not."""
        with self._guard:
            end = os.fstat(self._descriptor).st_size
            self._line_open = end > 0 and os.pread(self._descriptor, 1, end - 1) != b"\n"
            self._pending.extend(("", line + b"\n") for line in lines.splitlines() if line)
            self._flush()
        self.written_at = time.monotonic()

    @property
    def error(self) -> OSError | None:
        """Return why events wait in memory; None while the disk takes them."""
        return self._outage.error if self._outage else None

    def close(self) -> bytes:
        """Sync and close; return the lines that the disk did not take."""
        self._closing.set()
        self._syncer.join(timeout=5)
        self.sync()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        return b"".join(line for _, line in self._pending)

    def _flush(self) -> None:
        while self._pending:
            _, line = self._pending[0]
            data = b"\n" + line if self._line_open else line
            try:
                written = os.write(self._descriptor, data)
            except OSError as error:
                self._outage = self._outage or Outage(error)
                return
            self._dirty = True
            self._line_open = data[written - 1 : written] != b"\n"
            if written < len(data):
                return
            self._pending.popleft()

    def _drop(self, outage: Outage) -> None:
        """Drop the oldest step, so that findings, evaluations and checkpoints are kept."""
        kinds = [kind for kind, _ in self._pending]
        del self._pending[kinds.index("log") if "log" in kinds else 0]
        outage.dropped += 1

    def _begin_outage(self, error: OSError) -> None:
        with self._guard:
            self._outage = self._outage or Outage(error)
            self._outage.is_unsynced = self._dirty = True

    def _end_outage(self, outage: Outage) -> None:
        self._outage = None
        self.write_finding(
            "disk_error",
            outage.describe(),
            "warning" if outage.dropped or outage.is_unsynced else "info",
            evidence={"lost": outage.dropped, "errno": outage.error.errno},
        )

    def _reopen(self) -> None:
        """Open the file again: a network disk that was away leaves the old descriptor stale."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, _FLAGS)
            try:
                if os.path.samestat(os.fstat(descriptor), self._opened):
                    os.dup2(descriptor, self._descriptor, inheritable=False)
            finally:
                os.close(descriptor)

    def _sync_each_second(self) -> None:
        while not self._closing.wait(SYNC_SECONDS):
            if self._dirty or self._pending or self._outage:
                self.sync()


class NoEvents(EventWriter):
    """Takes events and writes none: one process of several records what they do together."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._attempt = attempt
        self._outage = None
        self.written_at = time.monotonic()
        self.newest = {"kind": ""}

    def write(self, kind: str, **fields: Any) -> Event:
        """Return the event."""
        self.written_at = time.monotonic()
        return {"v": VERSION, "kind": kind, "attempt": self._attempt, **fields}

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> bytes:
        """Return nothing."""
        return b""


class LineReader:
    """Reads the lines added to a file since the last call, from a byte offset.

    A file that shrank or was replaced is read again from its start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0

    @property
    def behind(self) -> int:
        """Return how many bytes are unread; 0 without a file."""
        try:
            return max(0, self.path.stat().st_size - self._offset)
        except OSError:
            return 0

    @property
    def offset(self) -> int:
        """Return the byte after the last line read."""
        return self._offset

    def start_at(self, offset: int) -> None:
        """Begin with the line at ``offset``; OSError without a file."""
        self._inode, self._offset = self.path.stat().st_ino, offset

    def skip(self, rest: int = 0) -> None:
        """Skip to the first whole line in the last ``rest`` bytes, by default to the end."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            self._find_start(file)
            self._offset = file.seek(max(0, os.fstat(file.fileno()).st_size - rest))
            if rest and self._offset:
                self._offset += len(file.readline())

    def read_lines(self, limit: int | None = None) -> bytes:
        """Return new complete lines, about ``limit`` bytes of them; nothing without a file."""
        data = b""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            self._find_start(file)
            file.seek(self._offset)
            data = file.read(limit)
            if len(data) == limit:
                data += file.readline()
        end = data.rfind(b"\n") + 1
        self._offset += end
        return data[:end]

    def _find_start(self, file: BinaryIO) -> None:
        stat = os.fstat(file.fileno())
        if stat.st_ino != self._inode or stat.st_size < self._offset:
            self._inode = stat.st_ino
            self.restart()

    def restart(self) -> None:
        """Begin with the start of the file."""
        self._offset = 0


class EventReader(LineReader):
    """Reads the events added since the last call; ``torn`` counts unreadable lines."""

    torn = 0

    def read(self, limit: int | None = None) -> list[Event]:
        """Return new complete events, at most about ``limit`` bytes of them."""
        events, torn = decode(self.read_lines(limit))
        self.torn += torn
        return events

    def read_slices(self, limit: int = 1 << 20) -> Iterator[list[Event]]:
        """Yield all new events, in slices of about ``limit`` bytes."""
        while data := self.read_lines(limit):
            events, torn = decode(data)
            self.torn += torn
            yield events


def read_tail(path: Path, limit: int) -> list[Event]:
    """Return the events of the whole lines in the last ``limit`` bytes of a file."""
    data = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file.seek(max(0, os.fstat(file.fileno()).st_size - limit)):
            file.readline()
        data = file.read()
    return decode(data)[0]


def decode(data: bytes) -> tuple[list[Event], int]:
    """Decode whole lines; return their events, and the number of torn lines."""
    events: list[Event] = []
    torn = 0
    for line in data.split(b"\n"):
        if not line:
            continue
        try:
            event = _decoder.decode(line)
        except UNREADABLE:
            torn += 1
            continue
        if isinstance(event.get("kind"), str) and to_number(event.get("t")) is not None:
            events.append(event)
        else:
            torn += 1
    return events, torn


def to_number(value: Any) -> float | None:
    """Return a field as a float, with the strings for NaN and infinities decoded; else None."""
    if isinstance(value, str):
        return _NON_FINITE.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def to_measure(value: Any) -> float | None:
    """Return a field as a float if it is finite and not negative, else None."""
    size = to_number(value)
    return size if size is not None and 0 <= size < math.inf else None


def to_count(value: Any) -> int | None:
    """Return a field as an int if it is a valid count (steps, attempts), else None."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT
    return value if is_count else None


def get_time(event: Event) -> float | None:
    """Return when an event was written (Unix seconds); None if its ``t`` is not a valid time."""
    seconds = to_measure(event.get("t"))
    return seconds if seconds is not None and seconds < _MAX_TIME else None


def get_instant(event: Event) -> Instant | None:
    """Return when an event was written; None if its ``t`` is not a valid time."""
    t = get_time(event)
    if t is None:
        return None
    m, asleep = to_measure(event.get("m")), to_number(event.get("asleep", 0.0))
    # A container may have boot and monotonic clocks of its own, so this difference can be negative.
    if m is None or m > _MAX_TIME or asleep is None or not abs(asleep) < _MAX_TIME:
        return Instant(t)
    return Instant(t, m, asleep)


def _encode_non_finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: _encode_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode_non_finite(item) for item in value]
    return value
