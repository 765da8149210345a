"""Flow control to the terminal: bytes in flight and connection speed.

Written bytes may wait in a socket or a modem for a minute. So each frame ends with a query that
every terminal answers; until the answer comes, little more is sent. A terminal that never answers
is assumed to have received whatever the system accepted.
"""

from __future__ import annotations

import threading
from collections import deque

QUERY_COLUMNS = 32
"""Number of columns that tell queries apart."""
MAX_IN_FLIGHT_BYTES = 2048
"""Bytes in flight above which frames are held back; only the newest is sent later."""
SLOW_S = 1.0
"""A connection is slow if answers take longer."""
MIN_FAST_ANSWERS, MAX_FAST_ANSWERS = 8, 64
"""Fast answers in a row that end the slow state; the number doubles with each relapse."""
LOST_S = 10.0
"""An answer that takes longer is lost."""
MAX_LOST = 3
"""Lost answers in a row after which the terminal counts as silent."""


def build_query(number: int) -> str:
    """Return a cursor position query (DSR 6) that the terminal answers with a column.

    The column identifies the query. The cursor returns to its old position, where input methods
    show the characters being composed.
    """
    return f"\x1b7\x1b[1;{number % QUERY_COLUMNS + 1}H\x1b[6n\x1b8"


class TerminalLink:
    """Counts bytes sent and received by the terminal; thread-safe. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.is_slow = False
        self._lock = threading.RLock()  # a signal handler may interrupt
        self._answers = False
        self._queued_bytes = 0
        """Bytes that the system has not accepted yet."""
        self._sent_bytes = self._received_bytes = 0
        """Total bytes; those that the terminal is known to have received."""
        self._query_count = self._lost_count = 0
        self._open: deque[tuple[int, float, int]] = deque()
        """Unanswered queries: number, time, and bytes sent by then."""
        self._fast_answers, self._fast_answers_needed = 0, MIN_FAST_ANSWERS

    @property
    def is_awaited(self) -> bool:
        return self._answers and bool(self._open)

    def begin(self) -> None:
        """Forget open queries: another program had the terminal meanwhile."""
        with self._lock:
            self._received_bytes = self._sent_bytes
            self._open.clear()

    def sent(self, size: int) -> None:
        """Record bytes that are queued for writing."""
        with self._lock:
            self._sent_bytes += size
            self._queued_bytes += size

    def ask(self, now: float) -> str:
        with self._lock:
            self._query_count += 1
            text = build_query(self._query_count)
            self.sent(len(text))
            self._open.append((self._query_count, now, self._sent_bytes))
            return text

    def written(self, size: int, now: float) -> None:
        """Record bytes that the system has accepted."""
        with self._lock:
            self._queued_bytes -= size
            if not self._answers and not self._queued_bytes:
                self._close(self._query_count, now)

    def answered(self, now: float, column: int | None = None) -> None:
        """Record the answer to the query with this column, counted from 0.

        None means the oldest query: a narrow window cannot tell them apart.
        """
        with self._lock:
            self._answers, self._lost_count = True, 0
            for number, *_ in self._open:
                if column is None or number % QUERY_COLUMNS == column:
                    self._close(number, now)
                    return

    def has_room(self, now: float) -> bool:
        """Return whether a frame sent now would arrive soon."""
        with self._lock:
            waited_s = now - self._open[0][1] if self._open else 0.0
            if waited_s > SLOW_S:
                self._update_speed(waited_s)
            if self._answers and not self._queued_bytes and waited_s > LOST_S:
                self._lost_count += 1
                self._answers = self._lost_count < MAX_LOST
                self.begin()
            if self._answers:
                return (
                    not self._open or self._sent_bytes - self._received_bytes <= MAX_IN_FLIGHT_BYTES
                )
            return not self._queued_bytes

    def _close(self, number: int, now: float) -> None:
        """Mark everything sent before this query, and before older ones, as received."""
        while self._open and self._open[0][0] <= number:
            oldest, asked_at, self._received_bytes = self._open.popleft()
            if oldest == number:  # answers to older queries were lost: they say nothing about speed
                self._update_speed(now - asked_at)

    def _update_speed(self, seconds: float) -> None:
        if seconds > SLOW_S:
            if self._fast_answers == self._fast_answers_needed:  # it was slow before
                self._fast_answers_needed = min(2 * self._fast_answers_needed, MAX_FAST_ANSWERS)
            self.is_slow, self._fast_answers = True, 0
        elif self.is_slow:
            self._fast_answers += 1
            self.is_slow = self._fast_answers < self._fast_answers_needed
