"""The line to the terminal: how much of what was sent is still on its way, and whether it is slow.

What has been written may wait in a socket or a modem for a minute. So behind each frame goes a
question that every terminal answers; until it does, little more is sent. A terminal that never
answers is taken to have received what the system took.
"""

from __future__ import annotations

import threading
from collections import deque

MARKS = 32
"""Columns that tell one question from another."""
ROOM = 2048
"""Bytes on their way from which on a frame is held back; the newest goes when there is room."""
SLOW_S = 1.0
"""A line whose answers take longer is slow."""
ENOUGH, MOST = 8, 64
"""So many answers in time end that; each relapse doubles it."""
LOST_S = 10.0
"""After so long an answer is no longer waited for."""
GIVE_UP = 3
"""So many lost one after the other: the terminal does not answer."""


def question(number: int) -> str:
    """Return what a terminal answers with the column that this question puts the cursor in.

    It asks for the cursor's place (DSR 6), and puts the cursor back: where it stands, a method of
    writing that composes its characters shows them.
    """
    return f"\x1b7\x1b[1;{number % MARKS + 1}H\x1b[6n\x1b8"


class Line:
    """Counts what is sent and answered, in any thread. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.is_slow = False
        self._lock = threading.RLock()  # a signal may come in the middle
        self._answers = False
        self._queued = 0
        """Bytes that the system has not taken yet."""
        self._sent = self._arrived = 0
        """Bytes so far; those of them that the terminal is known to have."""
        self._asked = self._lost = 0
        self._open: deque[tuple[int, float, int]] = deque()
        """Of each question without an answer: its number, when, and what had been sent by then."""
        self._in_time, self._enough = 0, ENOUGH

    @property
    def is_awaited(self) -> bool:
        """Say whether an answer will come."""
        return self._answers and bool(self._open)

    def begin(self) -> None:
        """The terminal was another's meanwhile: no answer is waited for."""
        with self._lock:
            self._arrived = self._sent
            self._open.clear()

    def sent(self, size: int) -> None:
        """So many bytes wait to be written."""
        with self._lock:
            self._sent += size
            self._queued += size

    def ask(self, now: float) -> str:
        """Return a question to be sent behind them."""
        with self._lock:
            self._asked += 1
            text = question(self._asked)
            self.sent(len(text))
            self._open.append((self._asked, now, self._sent))
            return text

    def written(self, size: int, now: float) -> None:
        """The system took so many bytes."""
        with self._lock:
            self._queued -= size
            if not self._answers and not self._queued:
                self._close(self._asked, now)

    def answered(self, now: float, column: int | None = None) -> None:
        """The terminal has answered the question of this column, counted from 0.

        None is the oldest question: in a window of fewer columns they cannot be told apart.
        """
        with self._lock:
            self._answers, self._lost = True, 0
            for number, *_ in self._open:
                if column is None or number % MARKS == column:
                    self._close(number, now)
                    return

    def has_room(self, now: float) -> bool:
        """Say whether a frame that is sent now arrives soon."""
        with self._lock:
            waited = now - self._open[0][1] if self._open else 0.0
            if waited > SLOW_S:
                self._judge(waited)
            if self._answers and not self._queued and waited > LOST_S:
                self._lost += 1
                self._answers = self._lost < GIVE_UP
                self.begin()
            if self._answers:
                return not self._open or self._sent - self._arrived <= ROOM
            return not self._queued

    def _close(self, number: int, now: float) -> None:
        """Take what was sent before a question, and before those that are older, as arrived."""
        while self._open and self._open[0][0] <= number:
            last, asked, self._arrived = self._open.popleft()
            if last == number:  # the answers to those before it were lost: they say nothing
                self._judge(now - asked)

    def _judge(self, seconds: float) -> None:
        if seconds > SLOW_S:
            if self._in_time == self._enough:  # it has been slow before
                self._enough = min(2 * self._enough, MOST)
            self.is_slow, self._in_time = True, 0
        elif self.is_slow:
            self._in_time += 1
            self.is_slow = self._in_time < self._enough
