"""What a terminal is told while one watches: once each, nothing old, and no word is obeyed."""

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


def test_what_was_there_when_the_view_came_is_not_told() -> None:
    progress = Progress()
    progress.feed([finding("old")])
    noticer = NotificationTracker("one")
    assert noticer.get_news(ENDED, progress) == []
    assert noticer.get_news(ENDED, progress) == []


def test_each_new_thing_is_told_once() -> None:
    progress, noticer = Progress(), NotificationTracker("one")
    noticer.get_news(RUNNING, progress)
    progress.feed([finding("one"), finding("of no weight", "info")])
    assert [n.message for n in noticer.get_news(RUNNING, progress)] == ["one"]
    assert noticer.get_news(RUNNING, progress) == []
    progress.feed([finding("two", "error")])
    news = noticer.get_news(ENDED, progress)
    assert [n.message for n in news] == ["two", "Run one finished."]
    assert noticer.get_news(ENDED, progress) == []


def test_a_resumed_run_is_told_of_again() -> None:
    progress, noticer = Progress(), NotificationTracker("one")
    progress.feed([finding("first attempt")])
    noticer.get_news(ENDED, progress)
    progress.feed([finding("second attempt", attempt=2)])
    again = Status(state="ended", attempt=2, end_reason="crashed")
    messages = [n.message for n in noticer.get_news(again, progress)]
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
def test_each_terminal_is_told_as_it_can_hear(environment: dict[str, str], sent: str) -> None:
    assert format_sequences([Notification("a;b", "m")], environment) == sent


def test_without_news_nothing_is_sent_and_for_two_one_bell() -> None:
    assert format_sequences([], {"TERM": "xterm"}) == ""
    assert (
        format_sequences([Notification("a", "m"), Notification("a", "n")], {"TERM": "linux"})
        == "\a"
    )


@given(st.text())
def test_no_word_of_a_run_ends_the_sequence_early(text: str) -> None:
    progress, noticer = Progress(), NotificationTracker("one")
    noticer.get_news(RUNNING, progress)
    progress.feed([finding(text)])
    (new,) = noticer.get_news(RUNNING, progress)
    sent = format_sequences([new], {"TERM": "xterm"})
    assert sent.startswith("\a\x1b]9;")
    assert sent.endswith("\a")
    assert not [c for c in sent[2:-1] if unicodedata.category(c) in ("Cc", "Cf", "Cs")]
