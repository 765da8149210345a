"""Limits on output in flight to the terminal, and detection of a slow connection."""

from __future__ import annotations

from ftwizard.screens.terminal.backpressure import (
    LOST_S,
    MAX_IN_FLIGHT_BYTES,
    MAX_LOST,
    MIN_FAST_ANSWERS,
    QUERY_COLUMNS,
    SLOW_S,
    TerminalLink,
    build_query,
)

FRAME = 3 * MAX_IN_FLIGHT_BYTES // 2


def send(link: TerminalLink, size: int, now: float) -> None:
    """Send a frame with its query; the system accepts all of it at once."""
    link.sent(size)
    link.written(size + len(link.ask(now)), now)


def create_answered_link() -> TerminalLink:
    """Return the link to a terminal that has answered."""
    link = TerminalLink()
    send(link, 10, 0)
    link.answered(0.01)
    return link


def answer(link: TerminalLink, times: int, took: float = 0.0) -> None:
    for _ in range(times):
        send(link, 10, 0)
        link.answered(took)


def test_next_frame_waits_for_the_answer_to_a_large_frame() -> None:
    link = create_answered_link()
    assert link.has_room(0.1)
    send(link, FRAME, 0.1)
    assert not link.has_room(0.2)
    link.answered(0.5)
    assert link.has_room(0.5)


def test_small_frames_are_sent_up_to_the_in_flight_limit() -> None:
    link = create_answered_link()
    for _ in range(3):
        send(link, MAX_IN_FLIGHT_BYTES // 5, 0.1)
        assert link.has_room(0.1)
    for _ in range(2):
        send(link, MAX_IN_FLIGHT_BYTES // 5, 0.1)
    assert not link.has_room(0.1)
    link.answered(0.2)  # only the oldest frame
    assert link.has_room(0.2)


def test_silent_terminal_is_limited_only_by_pending_writes() -> None:
    link = TerminalLink()
    for _ in range(10):
        send(link, FRAME, 0)
        assert link.has_room(0)
    link.sent(FRAME)
    size = FRAME + len(link.ask(1))
    assert not link.has_room(1.1)
    link.written(size, 1.2)
    assert link.has_room(1.2)
    assert not link.is_slow and not link.is_awaited


def test_late_first_answers_do_not_release_later_frames() -> None:
    link = TerminalLink()
    for _ in range(3):
        send(link, 10, 0)
    link.answered(0.3, 1)
    send(link, FRAME, 0.4)
    link.answered(0.5, 2)
    link.answered(0.5, 3)
    assert not link.has_room(0.5), "these answered the second and third frames"
    link.answered(0.6, 4)
    assert link.has_room(0.6)


def test_single_lost_answer_does_not_mark_the_link_slow() -> None:
    link = TerminalLink()
    for number in range(1, 100):
        now = float(number)
        send(link, 10, now)
        if number != 50:
            link.answered(now + 0.1, number % QUERY_COLUMNS)
        link.has_room(now + 0.2)
        assert not link.is_slow
        assert link.is_awaited == (number == 50)


def test_begin_forgets_the_frames_in_flight() -> None:
    link = create_answered_link()
    send(link, FRAME, 1)
    link.begin()
    assert not link.is_awaited
    assert link.has_room(1000) and not link.is_slow


def test_query_restores_the_cursor_and_encodes_its_number() -> None:
    assert build_query(1) == "\x1b7\x1b[1;2H\x1b[6n\x1b8"
    assert len({build_query(number) for number in range(QUERY_COLUMNS)}) == QUERY_COLUMNS


def test_overdue_answer_marks_the_link_slow_before_it_arrives() -> None:
    link = create_answered_link()
    send(link, FRAME, 0)
    link.has_room(SLOW_S)
    assert not link.is_slow
    link.has_room(SLOW_S + 0.1)
    assert link.is_slow


def test_hanging_write_marks_the_link_slow() -> None:
    link = TerminalLink()
    link.sent(FRAME)
    link.ask(0)
    link.has_room(SLOW_S + 0.1)
    assert link.is_slow


def test_each_relapse_requires_more_fast_answers_to_recover() -> None:
    link = create_answered_link()
    answer(link, 1, took=2 * SLOW_S)
    answer(link, MIN_FAST_ANSWERS - 1)
    answer(link, 1, took=2 * SLOW_S)
    answer(link, MIN_FAST_ANSWERS - 1)
    assert link.is_slow
    answer(link, 1)
    assert not link.is_slow
    answer(link, 1, took=2 * SLOW_S)
    answer(link, 2 * MIN_FAST_ANSWERS - 1)
    assert link.is_slow
    answer(link, 1)
    assert not link.is_slow


def test_link_stops_waiting_after_too_many_lost_answers() -> None:
    link = create_answered_link()
    now = 0.0
    for lost in range(MAX_LOST):
        send(link, FRAME, now)
        assert not link.has_room(now + LOST_S - 1) and link.is_awaited
        now += LOST_S + 1
        assert link.has_room(now), lost
    for _ in range(3):
        send(link, FRAME, now)
        assert link.has_room(now), "the terminal does not answer"
    link.answered(now)
    send(link, FRAME, now)
    assert not link.has_room(now), "the terminal answers again"
