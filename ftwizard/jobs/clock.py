"""The clock of a job: durations that neither a change of the date nor suspend falsifies."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec

_TIGHT_S = 0.001
"""Two clocks read within this time belong to one moment."""
_READS = 5
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Instant(NamedTuple):
    """A moment of a job."""

    t: float
    """Unix seconds. The date of a machine can change by years."""
    m: float | None = None
    """Seconds on the monotonic clock, which stands still while the machine is suspended. It is
    comparable within one boot of one machine; None in events of earlier versions."""
    asleep: float = 0.0
    """Seconds for which the machine has been suspended so far, on the same terms."""

    def measure_age(self, now: Instant) -> float:
        """Return the seconds from this moment to ``now``, with suspend; 0 if the date was set back."""
        return sum(_measure(self, now))


def read() -> Instant:
    """Return this moment on the clocks of this machine."""
    asleep, now = 0.0, 0.0
    for _ in range(_READS):  # the process may be paused between two of these calls
        before = time.monotonic()
        asleep = read_with_suspend() - before
        now = time.monotonic()
        if now - before < _TIGHT_S:
            break
    return Instant(time.time(), round(now, 6), round(asleep, 2) + 0.0)


def read_with_suspend() -> float:
    """Return seconds on a clock that no change of the date affects, and that runs during suspend."""
    return time.clock_gettime(_BOOTTIME)


class TimeAlive(msgspec.Struct):
    """Working time of a job over all attempts, each from its first event to its last.

    Time between attempts does not count, nor the unknown time after the last event of an attempt
    that was killed. Within an attempt the monotonic clock counts; where an event has none, the
    time that the date moved forward.
    """

    attempt: int | None = None
    """The newest attempt."""
    last: Instant | None = None
    """Its newest event."""
    awake_s: float = 0.0
    """Seconds from its first event to ``last``, without suspend."""
    asleep_s: float = 0.0
    """Seconds suspended in that time."""
    earlier_s: float = 0.0
    """Seconds of all earlier attempts, without suspend."""
    earlier_asleep_s: float = 0.0

    def record(self, attempt: int, now: Instant) -> None:
        """Record an event of an attempt (called for every event, so kept fast)."""
        last = self.last
        if last is None or attempt != self.attempt:
            self.earlier_s += self.awake_s
            self.earlier_asleep_s += self.asleep_s
            self.awake_s = self.asleep_s = 0.0
            self.attempt, self.last = attempt, now
            return
        if now.m is not None and last.m is not None and now.m < last.m:
            return  # written by another thread a moment before
        awake_s, asleep_s = _measure(last, now)
        self.awake_s += awake_s
        self.asleep_s += asleep_s
        self.last = now

    def seconds(self, now: Instant | None = None) -> float:
        """Return the total without suspend; the newest attempt is counted up to ``now``."""
        return self.earlier_s + self.awake_s + self._since(now)[0]

    def billed_seconds(self, now: Instant | None = None) -> float:
        """Return the total with suspend: a rented machine costs money while it sleeps."""
        asleep_s = self.earlier_asleep_s + self.asleep_s + self._since(now)[1]
        return self.seconds(now) + asleep_s

    def seconds_of(self, attempt: int, now: Instant | None = None) -> float:
        """Return the seconds of the newest attempt without suspend, up to ``now`` if given.

        Return 0 if ``attempt`` is not the newest with an event.
        """
        return self.awake_s + self._since(now)[0] if attempt == self.attempt else 0.0

    def _since(self, now: Instant | None) -> tuple[float, float]:
        return (0.0, 0.0) if now is None or self.last is None else _measure(self.last, now)


def _measure(before: Instant, now: Instant) -> tuple[float, float]:
    """Return the seconds between two moments of an attempt: awake and suspended."""
    if before.m is None or now.m is None:
        return max(0.0, now.t - before.t), 0.0
    return max(0.0, now.m - before.m), max(0.0, now.asleep - before.asleep)
