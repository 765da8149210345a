"""The events of a job: one JSON object a line, written by the command, read by every view."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.jobs.folder import NO_SPACE

VERSION = 1
PROGRESS_FILE = "FTWIZARD_PROGRESS"
"""Variable that names a file for ``phase`` events of a command that a screen waits for."""
SYNC_SECONDS = 1.0
_PENDING_LIMIT = 10_000
_NO_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_COUNTS_END = 2**53
"""Whole numbers below are exact as floats, which is what curves are made of."""
_TIMES_END = 253_402_300_800.0
"""The year 10,000, for which no date can be written."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])

Event = dict[str, Any]
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON of ours."""


class EventWriter:
    """Appends events; the only writer of its file.

    One event is one ``write(2)`` on an O_APPEND descriptor, so a kill at any moment leaves at most
    one torn line, which the next writer ends first. The file is synced once a second by a thread
    of its own, so that a slow disk does not slow the command. On a full disk events wait in memory
    and are written when there is room again: a full disk alone never stops a job here.
    """

    def __init__(self, path: Path, attempt: int) -> None:
        self._attempt = attempt
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        end = os.fstat(self._descriptor).st_size
        self._line_open = end > 0 and os.pread(self._descriptor, 1, end - 1) != b"\n"
        self._pending: deque[bytes] = deque(maxlen=_PENDING_LIMIT)
        self._dirty = False
        self.written_at = time.monotonic()
        """When the newest event was written, by the monotonic clock."""
        self._guard = threading.RLock()
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync_each_second, daemon=True)
        self._syncer.start()

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event; ``fields`` are JSON values (NaN and infinities become strings)."""
        event = {"v": VERSION, "t": time.time(), "kind": kind, "attempt": self._attempt}
        event |= {name: _finite(value) for name, value in fields.items()}
        line = _encoder.encode(event) + b"\n"
        self.written_at = time.monotonic()
        with self._guard:
            self._pending.append(line)
            self._flush()

    def sync(self) -> None:
        """Return when everything written so far is on disk (or the disk is full)."""
        with self._guard:
            self._flush()
            self._dirty = False
        with contextlib.suppress(OSError):
            os.fdatasync(self._descriptor)

    @property
    def waiting(self) -> int:
        """Return how many events wait for room on the disk."""
        return len(self._pending)

    def close(self) -> None:
        """Sync and close; events that found no room are lost with the process."""
        self._closing.set()
        self._syncer.join(timeout=5)
        self.sync()
        os.close(self._descriptor)

    def _flush(self) -> None:
        while self._pending:
            line = self._pending[0]
            data = b"\n" + line if self._line_open else line
            try:
                written = os.write(self._descriptor, data)
            except OSError as error:
                if error.errno in NO_SPACE:
                    return
                raise
            self._dirty = True
            self._line_open = data[written - 1 : written] != b"\n"
            if written < len(data):
                return
            self._pending.popleft()

    def _sync_each_second(self) -> None:
        while not self._closing.wait(SYNC_SECONDS):
            if self._dirty or self._pending:
                self.sync()


class EventReader:
    """Reads the events that were added since the last call, from a byte offset.

    ``torn`` counts the lines that could not be read. A file that shrank or was replaced is read
    again from its start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = 0
        self.torn = 0

    @property
    def behind(self) -> int:
        """Return how many bytes are still to be read; 0 where there is no file."""
        try:
            return max(0, self._path.stat().st_size - self._offset)
        except OSError:
            return 0

    def skip(self) -> None:
        """Leave out what is there already."""
        with contextlib.suppress(FileNotFoundError):
            stat = self._path.stat()
            self._inode, self._offset = stat.st_ino, stat.st_size

    def read(self, limit: int | None = None) -> list[Event]:
        """Return the new complete events, at most about ``limit`` bytes of them."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            stat = os.fstat(file.fileno())
            if stat.st_ino != self._inode or stat.st_size < self._offset:
                self._inode, self._offset = stat.st_ino, 0
            file.seek(self._offset)
            data = file.read() if limit is None else file.read(limit)
            if limit is not None and len(data) == limit:
                data += file.readline()
        end = data.rfind(b"\n") + 1
        self._offset += end
        events, torn = decode(data[:end])
        self.torn += torn
        return events


def tail(path: Path, limit: int) -> list[Event]:
    """Return the events in the last ``limit`` bytes of a file, whole lines of them."""
    try:
        with path.open("rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - limit)
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return []
    events, _ = decode(data[data.find(b"\n") + 1 :] if start else data)
    return events


def sampled(path: Path, pieces: int, piece: int) -> list[Event]:
    """Return events of ``pieces`` places spread evenly over a file, about ``piece`` bytes of each.

    Of a file of a million events that is a picture of the whole in a few hundredths of a second.
    Only whole lines count; the beginning and the end are among the places.
    """
    data = b""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for place in range(pieces):
                start = max(0, size - piece) * place // max(1, pieces - 1)
                file.seek(start)
                part = file.read(piece)
                begin = part.find(b"\n") + 1 if start else 0
                data += part[begin : part.rfind(b"\n") + 1]
    except FileNotFoundError:
        return []
    events, _ = decode(data)
    return events


def decode(data: bytes) -> tuple[list[Event], int]:
    """Return the events of whole lines, and how many lines were torn."""
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
        if isinstance(event.get("kind"), str) and number(event.get("t")) is not None:
            events.append(event)
        else:
            torn += 1
    return events, torn


def number(value: Any) -> float | None:
    """Return a field's number, turning the strings for NaN and infinities back into floats."""
    if isinstance(value, str):
        return _NO_NUMBERS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def measure(value: Any) -> float | None:
    """Return a field's number if it is finite and not negative."""
    found = number(value)
    return found if found is not None and 0 <= found < math.inf else None


def count(value: Any) -> int | None:
    """Return a field's whole number if it can count something: steps, attempts."""
    counts = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNTS_END
    return value if counts else None


def moment(event: Event) -> float | None:
    """Return when an event was written in Unix seconds, if its ``t`` is a time that has a date."""
    found = measure(event.get("t"))
    return found if found is not None and found < _TIMES_END else None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class TimeAlive:
    """How long a job was at work over all attempts: each from its first event to its last.

    What lies between attempts does not count, nor what came after the last word of one that was
    killed, which is not known.
    """

    def __init__(self) -> None:
        self._spans: dict[Hashable, list[float]] = {}
        """Of each attempt, when it spoke first and last."""

    def see(self, attempt: Hashable, t: float) -> None:
        """Take in that an attempt said something at ``t``; a million events come here."""
        span = self._spans.get(attempt)
        if span is None:
            self._spans[attempt] = [t, t]
        elif t > span[1]:
            span[1] = t
        elif t < span[0]:
            span[0] = t

    def seconds(self, now: float | None = None) -> float:
        """Return all of it; ``now`` (Unix seconds) is as far as the newest attempt has come."""
        newest = max(self._spans, key=lambda one: self._spans[one][1], default=None)
        return sum(self.seconds_of(one, now if one == newest else None) for one in self._spans)

    def seconds_of(self, attempt: Hashable, now: float | None = None) -> float:
        """Return how long one attempt was at work; ``now`` is as far as it has come."""
        span = self._spans.get(attempt)
        if span is None:
            return 0.0
        first, last = span
        return (last if now is None else max(last, now)) - first


def seconds_alive(events: Iterable[Event], now: float | None = None) -> float:
    """Return how long a job was at work over all attempts, as ``TimeAlive`` has it."""
    alive = TimeAlive()
    for event in events:
        if (t := moment(event)) is not None:
            alive.see(str(event.get("attempt")), t)
    return alive.seconds(now)
