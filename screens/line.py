"""The line to the terminal: how much of what was sent is still on its way, and whether it is slow.

What has been written may wait in a socket or a modem for a minute. So behind each frame goes a
question that every terminal answers; until it does, little more is sent. A terminal that never
answers is taken to have received what the system took.
"""

from __future__ import annotations

import threading
from collections import deque

QUESTION = "\x1b[6n"
"""Where is the cursor? Asked for the sake of the answer alone."""
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


class Line:
    """Counts what is sent and answered, in any thread. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.is_slow = False
        self._lock = threading.Lock()
        self._answers = False
        self._queued = 0
        """Bytes that the system has not taken yet."""
        self._sent = self._arrived = 0
        """Bytes so far; those of them that the terminal is known to have."""
        self._asked = self._answered = self._lost = 0
        self._open: deque[tuple[int, float, int]] = deque()
        """Of each question without an answer: its number, when, and what had been sent by then."""
        self._in_time, self._enough = 0, ENOUGH

    @property
    def is_awaited(self) -> bool:
        """Say whether an answer will come."""
        return self._answers and bool(self._open)

    def sent(self, size: int) -> None:
        """So many bytes wait to be written."""
        with self._lock:
            self._sent += size
            self._queued += size

    def asked(self, now: float) -> None:
        """The last of them were a question."""
        with self._lock:
            self._asked += 1
            self._open.append((self._asked, now, self._sent))

    def written(self, size: int, now: float) -> None:
        """The system took so many bytes."""
        with self._lock:
            self._queued -= size
            if not self._answers and not self._queued:
                self._close(self._asked, now)

    def answered(self, now: float) -> None:
        """The terminal has answered its oldest question."""
        with self._lock:
            self._answers, self._lost = True, 0
            self._answered = min(self._answered + 1, self._asked)
            self._close(self._answered, now)

    def has_room(self, now: float) -> bool:
        """Say whether a frame that is sent now arrives soon."""
        with self._lock:
            waited = now - self._open[0][1] if self._open else 0.0
            if waited > SLOW_S:
                self._judge(waited)
            if self._answers and not self._queued and waited > LOST_S:
                self._lost += 1
                self._answers = self._lost < GIVE_UP
                self._answered, self._arrived = self._asked, self._sent
                self._open.clear()
            if self._answers:
                return not self._open or self._sent - self._arrived <= ROOM
            return not self._queued

    def _close(self, number: int, now: float) -> None:
        """Take what was sent before a question, and before those that are older, as arrived."""
        while self._open and self._open[0][0] <= number:
            _, asked, self._arrived = self._open.popleft()
            self._judge(now - asked)

    def _judge(self, seconds: float) -> None:
        if seconds > SLOW_S:
            if self._in_time == self._enough:  # it has been slow before
                self._enough = min(2 * self._enough, MOST)
            self.is_slow, self._in_time = True, 0
        elif self.is_slow:
            self._in_time += 1
            self.is_slow = self._in_time < self._enough
