"""Nothing foreign reaches a terminal as a command to it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.text import duration, plural, size, visible, visible_lines


@given(st.text())
def test_no_control_is_left(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    kept = visible_lines(text)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in kept)


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=50))
def test_plain_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_controls_are_shown() -> None:
    assert visible("\x1b]52;c;aGk=\x07") == "␛]52;c;aGk=␇"
    assert visible("a\nb\u202ec\x9b") == "a\\nb\\u202ec\\u009b"
    assert visible("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("value", "words"),
    [(8, "8 s"), (60, "1 min"), (250, "4 min 10 s"), (59.7, "1 min"), (7500, "2 h 05 min")],
)
def test_times(value: float, words: str) -> None:
    assert duration(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0 B"), (999, "999 B"), (92.9e6, "93 MB"), (1.44e9, "1.4 GB")]
)
def test_sizes(value: float, words: str) -> None:
    assert size(value) == words


def test_counts() -> None:
    assert [plural(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
