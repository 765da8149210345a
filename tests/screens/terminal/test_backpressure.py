"""How much may be on its way to the terminal, and when its line is called slow."""

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


def send(line: TerminalLink, size: int, now: float) -> None:
    """Send a frame with its build_query; the system takes all of it at once."""
    line.sent(size)
    line.written(size + len(line.ask(now)), now)


def answering() -> TerminalLink:
    """Return the line of a terminal that has answered."""
    line = TerminalLink()
    send(line, 10, 0)
    line.answered(0.01)
    return line


def answer(line: TerminalLink, times: int, took: float = 0.0) -> None:
    for _ in range(times):
        send(line, 10, 0)
        line.answered(took)


def test_a_frame_waits_until_the_one_before_has_arrived() -> None:
    line = answering()
    assert line.has_room(0.1)
    send(line, FRAME, 0.1)
    assert not line.has_room(0.2)
    line.answered(0.5)
    assert line.has_room(0.5)


def test_small_frames_follow_each_other_without_waiting() -> None:
    line = answering()
    for _ in range(3):
        send(line, MAX_IN_FLIGHT_BYTES // 5, 0.1)
        assert line.has_room(0.1)
    for _ in range(2):
        send(line, MAX_IN_FLIGHT_BYTES // 5, 0.1)
    assert not line.has_room(0.1)
    line.answered(0.2)  # the oldest of them alone
    assert line.has_room(0.2)


def test_a_terminal_that_never_answers_gets_what_the_system_takes() -> None:
    line = TerminalLink()
    for _ in range(10):
        send(line, FRAME, 0)
        assert line.has_room(0)
    line.sent(FRAME)
    size = FRAME + len(line.ask(1))
    assert not line.has_room(1.1)
    line.written(size, 1.2)
    assert line.has_room(1.2)
    assert not line.is_slow and not line.is_awaited


def test_first_answers_that_come_late_free_nothing_that_was_sent_after() -> None:
    line = TerminalLink()
    for _ in range(3):
        send(line, 10, 0)
    line.answered(0.3, 1)
    send(line, FRAME, 0.4)
    line.answered(0.5, 2)
    line.answered(0.5, 3)
    assert not line.has_room(0.5), "these were the answers to the second and the third"
    line.answered(0.6, 4)
    assert line.has_room(0.6)


def test_one_lost_answer_makes_no_other_late() -> None:
    line = TerminalLink()
    for number in range(1, 100):
        now = float(number)
        send(line, 10, now)
        if number != 50:
            line.answered(now + 0.1, number % QUERY_COLUMNS)
        line.has_room(now + 0.2)
        assert not line.is_slow
        assert line.is_awaited == (number == 50)


def test_after_another_has_had_the_terminal_nothing_is_owed() -> None:
    line = answering()
    send(line, FRAME, 1)
    line.begin()
    assert not line.is_awaited
    assert line.has_room(1000) and not line.is_slow


def test_a_question_puts_the_cursor_back_and_tells_which_it_is() -> None:
    assert build_query(1) == "\x1b7\x1b[1;2H\x1b[6n\x1b8"
    assert len({build_query(number) for number in range(QUERY_COLUMNS)}) == QUERY_COLUMNS


def test_late_answers_make_it_slow_also_while_they_are_waited_for() -> None:
    line = answering()
    send(line, FRAME, 0)
    line.has_room(SLOW_S)
    assert not line.is_slow
    line.has_room(SLOW_S + 0.1)
    assert line.is_slow


def test_a_write_that_hangs_makes_it_slow() -> None:
    line = TerminalLink()
    line.sent(FRAME)
    line.ask(0)
    line.has_room(SLOW_S + 0.1)
    assert line.is_slow


def test_enough_answers_in_time_end_it_and_each_relapse_takes_longer() -> None:
    line = answering()
    answer(line, 1, took=2 * SLOW_S)
    answer(line, MIN_FAST_ANSWERS - 1)
    answer(line, 1, took=2 * SLOW_S)
    answer(line, MIN_FAST_ANSWERS - 1)
    assert line.is_slow
    answer(line, 1)
    assert not line.is_slow
    answer(line, 1, took=2 * SLOW_S)
    answer(line, 2 * MIN_FAST_ANSWERS - 1)
    assert line.is_slow
    answer(line, 1)
    assert not line.is_slow


def test_lost_answers_are_given_up_one_frame_at_a_time() -> None:
    line = answering()
    now = 0.0
    for lost in range(MAX_LOST):
        send(line, FRAME, now)
        assert not line.has_room(now + LOST_S - 1) and line.is_awaited
        now += LOST_S + 1
        assert line.has_room(now), lost
    for _ in range(3):
        send(line, FRAME, now)
        assert line.has_room(now), "it does not answer"
    line.answered(now)
    send(line, FRAME, now)
    assert not line.has_room(now), "it does again"
