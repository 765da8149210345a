"""A run as a view follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.follow import LOG_TAIL_BYTES, Follower
from tests.screens.runs_helpers import make_run


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\r\n \ntwo", ["one", "two"]),
        (b"  0%|   \r 50%|#  \r100%|###\nnext\n", ["100%|###", "next"]),
        (b"\r  0%|   \r 50%|#  \r", [" 50%|#  "]),
        (b"100%|###\r        \r\nnext", ["100%|###", "next"]),
        (b"\r\r\n\r", []),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
        (b"\r 50%|#" * LOG_TAIL_BYTES, [" 50%|#"]),
    ],
)
def test_of_a_bar_in_the_log_the_last_state_is_shown(
    home: Path, log: bytes, lines: list[str]
) -> None:
    job = make_run(home, "one")
    job.log.write_bytes(log)
    assert Follower(job).log(10) == lines


def test_the_last_lines_of_the_log_are_shown(home: Path) -> None:
    job = make_run(home, "one")
    assert Follower(job).log(3) == []
    job.log.write_text("".join(f"line {number}\r\n" for number in range(9)))
    assert Follower(job).log(2) == ["line 7", "line 8"]
