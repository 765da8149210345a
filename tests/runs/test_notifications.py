"""Terminal notifications: new events, once each, in safe escape sequences."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.jobs.status import Status
from ftwizard.runs.notifications import Notification, NotificationTracker, format_sequences
from ftwizard.runs.progress import Progress

RUNNING = Status(state="running", attempt=1)
ENDED = Status(state="ended", attempt=1, end_reason="finished")


def finding(message: str, severity: str = "warning", attempt: int = 1) -> dict[str, object]:
    return {"t": 1.0, "kind": "finding", "attempt": attempt, "step": 1, "severity": severity,
            "message": message}  # fmt: skip


def test_findings_and_ends_before_the_first_look_are_skipped() -> None:
    progress = Progress()
    progress.feed([finding("old")])
    tracker = NotificationTracker("one")
    assert tracker.get_news(ENDED, progress) == []
    assert tracker.get_news(ENDED, progress) == []


def test_new_findings_and_ends_are_notified_once() -> None:
    progress, tracker = Progress(), NotificationTracker("one")
    tracker.get_news(RUNNING, progress)
    progress.feed([finding("one"), finding("of no weight", "info")])
    assert [n.message for n in tracker.get_news(RUNNING, progress)] == ["one"]
    assert tracker.get_news(RUNNING, progress) == []
    progress.feed([finding("two", "error")])
    news = tracker.get_news(ENDED, progress)
    assert [n.message for n in news] == ["two", "Run one finished."]
    assert tracker.get_news(ENDED, progress) == []


def test_resumed_attempt_is_notified_again() -> None:
    progress, tracker = Progress(), NotificationTracker("one")
    progress.feed([finding("first attempt")])
    tracker.get_news(ENDED, progress)
    progress.feed([finding("second attempt", attempt=2)])
    again = Status(state="ended", attempt=2, end_reason="crashed")
    messages = [n.message for n in tracker.get_news(again, progress)]
    assert messages == ["second attempt", "Run one crashed."]


@pytest.mark.parametrize(
    ("environment", "sent"),
    [
        ({"TERM": "xterm-256color"}, "\a\x1b]9;ftwizard: m\a"),
        ({"TERM": "foot"}, "\a\x1b]777;notify;ftwizard a,b;m\a"),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7600"}, "\a\x1b]777;notify;ftwizard a,b;m\a"),
        ({"TERM": "tmux-256color", "TMUX": "/x"}, "\a\x1bPtmux;\x1b\x1b]9;ftwizard: m\a\x1b\\"),
        ({"TERM": "screen", "STY": "1"}, "\a"),
        ({"TERM": "tmux-256color"}, "\a"),
        ({"TERM": "linux"}, "\a"),
        ({}, "\a"),
    ],
)
def test_escape_sequence_depends_on_the_terminal(environment: dict[str, str], sent: str) -> None:
    assert format_sequences([Notification("a;b", "m")], environment) == sent


def test_no_news_sends_nothing_and_two_send_one_bell() -> None:
    assert format_sequences([], {"TERM": "xterm"}) == ""
    assert (
        format_sequences([Notification("a", "m"), Notification("a", "n")], {"TERM": "linux"})
        == "\a"
    )


@given(st.text())
def test_finding_text_cannot_end_the_sequence_early(text: str) -> None:
    progress, tracker = Progress(), NotificationTracker("one")
    tracker.get_news(RUNNING, progress)
    progress.feed([finding(text)])
    (new,) = tracker.get_news(RUNNING, progress)
    sent = format_sequences([new], {"TERM": "xterm"})
    assert sent.startswith("\a\x1b]9;")
    assert sent.endswith("\a")
    assert not [c for c in sent[2:-1] if unicodedata.category(c) in ("Cc", "Cf", "Cs")]
