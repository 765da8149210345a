"""Terminal notifications about a run while a view shows it: the bell and a message.

Only news counts: what was known when the view opened is not reported again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftwizard.jobs.ending import describe_end_reason
from ftwizard.jobs.status import Status
from ftwizard.runs.progress import Progress
from ftwizard.text import make_visible

BELL = "\a"
SEVERE = ("warning", "error")
_TITLE = "ftwizard: "
"""A prefix, because some terminals interpret a leading number."""
MAX_CHARS = 160
"""Length of a notification."""


@dataclass(frozen=True)
class Notification:
    run: str
    message: str


class NotificationTracker:
    """Detects news of a run since the last call."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._last: tuple[int, int] | None = None
        """Attempt and number of findings at the last call."""
        self._ended: int | None = None

    def get_news(self, status: Status, progress: Progress) -> list[Notification]:
        """Return the news since the last call; nothing at the first call."""
        is_first = self._last is None
        attempt, count = self._last or (0, 0)
        start = count if attempt == progress.attempt else 0
        self._last = (progress.attempt, len(progress.findings))
        notices = [
            Notification(self._run, make_visible(str(event.get("message")), MAX_CHARS))
            for event in progress.findings[start:]
            if event.get("severity") in SEVERE
        ]
        if status.state == "ended" and self._ended != status.attempt:
            self._ended = status.attempt
            message = f"Run {self._run} {describe_end_reason(status.end_reason or 'lost')}."
            notices.append(Notification(self._run, make_visible(message, MAX_CHARS)))
        return [] if is_first else notices


def format_sequences(notices: list[Notification], environment: Mapping[str, str]) -> str:
    """Return the escape sequences for a terminal: one bell, and the notifications it supports.

    OSC 9 (iTerm2, kitty, WezTerm, Ghostty, Windows Terminal; xterm-likes ignore it) or OSC 777
    (urxvt, foot, VTE), never both: some terminals know both and would show the message twice.
    Inside tmux the sequence is wrapped to reach the outer terminal (tmux 3.3 and newer need
    ``allow-passthrough on``). In screen, or if tmux blocks it, only the bell works.
    """
    if not notices:
        return ""
    return BELL + "".join(_format_notification(notice, environment) for notice in notices)


def _format_notification(notice: Notification, environment: Mapping[str, str]) -> str:
    term = environment.get("TERM", "")
    if environment.get("TMUX"):
        inner = f"\x1b]9;{_TITLE}{notice.message}\a"
        return "\x1bPtmux;" + inner.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if "STY" in environment or not term or term.startswith(("screen", "tmux", "dumb", "linux")):
        return ""
    if term.startswith(("rxvt", "foot")) or "VTE_VERSION" in environment:
        title = f"ftwizard {make_visible(notice.run)}".replace(";", ",")
        return f"\x1b]777;notify;{title};{notice.message}\a"
    return f"\x1b]9;{_TITLE}{notice.message}\a"
