"""What a terminal is told of a run while a view shows it: the bell, and a notification.

Only what happens while one watches: what was known when the view came is not told again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftwizard import words
from ftwizard.jobs.status import Status
from ftwizard.runs import Progress
from ftwizard.text import visible

BELL = "\a"
SEVERE = ("warning", "error")
_TITLE = "ftwizard: "
"""Also for terminals that take a number there for something else."""
LIMIT = 160
"""Characters of a notification."""


@dataclass(frozen=True)
class Notice:
    """One thing to be told."""

    run: str
    message: str


class Noticer:
    """Compares a run with what was known of it at the last look."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._known: tuple[int, int] | None = None
        self._ended: int | None = None

    def news(self, status: Status, progress: Progress) -> list[Notice]:
        """Return what is new since the last look; at the first nothing is."""
        first = self._known is None
        attempt, count = self._known or (0, 0)
        seen = count if attempt == progress.attempt else 0
        self._known = (progress.attempt, len(progress.findings))
        found = [
            Notice(self._run, visible(str(event.get("message")), LIMIT))
            for event in progress.findings[seen:]
            if event.get("severity") in SEVERE
        ]
        if status.state == "ended" and self._ended != status.attempt:
            self._ended = status.attempt
            said = f"Run {self._run} {words.sentence(status.end_reason or 'lost')}."
            found.append(Notice(self._run, visible(said, LIMIT)))
        return [] if first else found


def sequences(notices: list[Notice], environment: Mapping[str, str]) -> str:
    """Return what to write to a terminal: one bell, and the notifications that it can show.

    OSC 9 (iTerm2, kitty, WezTerm, Ghostty, Windows Terminal and xterm-likes, which ignore what they
    do not know) or OSC 777 (urxvt, foot, VTE), never both: some know both and would show it twice.
    Inside tmux (3.3 and newer: with ``allow-passthrough on``) it is wrapped to reach the terminal
    around it; where tmux lets nothing through, and in screen, the bell alone is heard.
    """
    if not notices:
        return ""
    return BELL + "".join(_notification(notice, environment) for notice in notices)


def _notification(notice: Notice, environment: Mapping[str, str]) -> str:
    term = environment.get("TERM", "")
    if environment.get("TMUX"):
        inner = f"\x1b]9;{_TITLE}{notice.message}\a"
        return "\x1bPtmux;" + inner.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if "STY" in environment or not term or term.startswith(("screen", "tmux", "dumb", "linux")):
        return ""
    if term.startswith(("rxvt", "foot")) or "VTE_VERSION" in environment:
        title = f"ftwizard {visible(notice.run)}".replace(";", ",")
        return f"\x1b]777;notify;{title};{notice.message}\a"
    return f"\x1b]9;{_TITLE}{notice.message}\a"
