"""Text for terminals: visible control characters and formatted amounts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.text import (
    format_byte_range,
    format_bytes,
    format_count,
    format_duration,
    format_duration_range,
    format_learning_rate,
    make_lines_visible,
    make_visible,
    shorten_middle,
)


@given(st.text())
def test_visible_text_contains_no_control_characters(text: str) -> None:
    shown = make_visible(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    kept = make_lines_visible(text)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in kept)


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=50))
def test_make_visible_keeps_plain_text(text: str) -> None:
    assert make_visible(text) == text


def test_make_visible_escapes_controls_and_truncates() -> None:
    assert make_visible("\x1b]52;c;aGk=\x07") == "␛]52;c;aGk=␇"
    assert make_visible("a\nb\u202ec\x9b") == "a\\nb\\u202ec\\u009b"
    assert make_visible("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("value", "words"),
    [(8, "8 s"), (60, "1 min"), (250, "4 min 10 s"), (59.7, "1 min"), (7500, "2 h 05 min")],
)
def test_format_duration_uses_at_most_two_units(value: float, words: str) -> None:
    assert format_duration(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0 B"), (999, "999 B"), (92.9e6, "93 MB"), (1.44e9, "1.4 GB")]
)
def test_format_bytes_uses_decimal_units(value: float, words: str) -> None:
    assert format_bytes(value) == words


def test_format_count_adds_plurals_and_separators() -> None:
    assert [format_count(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]


def test_format_byte_range_shows_a_shared_unit_once() -> None:
    assert format_byte_range(9.1e9, 11.4e9) == "9.1–11.4 GB"
    assert format_byte_range(9e8, 1.2e9) == "900 MB – 1.2 GB"
    assert format_byte_range(5e6, 5e6) == "5 MB"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (426, 958, "7–16 min"), (50, 121, "50 s – 2 min"), (1867, 4200, "31 min – 1 h 10 min"),
        (5400, 12120, "1 h 30 min – 3 h 20 min"), (40_000, 90_000, "11–25 h"),
        (7201, 7300, "about 2 h"), (69, 600, "1 min 10 s – 10 min"), (0.2, 1.4, "about 1 s"),
        (5400, 12600, "1 h 30 min – 3 h 30 min"),
    ],
)  # fmt: skip
def test_format_duration_range_rounds_to_its_precision(low: float, high: float, words: str) -> None:
    assert format_duration_range(low, high) == words


def parse_seconds(words: str) -> int:
    parts = words.split(" ")
    lengths = {"s": 1, "min": 60, "h": 3600}
    return sum(int(n) * lengths[unit] for n, unit in zip(parts[::2], parts[1::2], strict=True))


def parse_range(words: str) -> tuple[int, int]:
    """Parse ``about 2 h``, ``7–16 min`` and ``50 s – 2 min`` as a reader would."""
    if words.startswith("about "):
        return (parse_seconds(words.removeprefix("about ")),) * 2
    first, last = words.split("–")
    if first[-1].isdigit():  # both have the unit of the last
        first += " " + last.split(" ")[1]
    return parse_seconds(first.strip()), parse_seconds(last.strip())


def is_near(shown: int, seconds: float) -> bool:
    """Return whether ``shown`` is ``seconds``, rounded to the precision of such a time."""
    for minimum, error in ((36_000, 1800), (7_200, 300), (120, 30), (60, 5)):
        if seconds >= minimum:
            return abs(shown - seconds) <= error
    return abs(shown - max(seconds, 1)) <= 0.5


@given(low=st.floats(0, 1e7), more=st.floats(1, 5))
def test_format_duration_range_is_near_both_ends(low: float, more: float) -> None:
    for high in (low, low * more):
        words = format_duration_range(low, high)
        first, last = parse_range(words)
        assert is_near(first, low) and is_near(last, high), words
        assert "00 min" not in words


@pytest.mark.parametrize(
    ("rate", "words"), [(2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (0.1, "0.1"), (0.0, "0"), (5.0, "5")]
)
def test_learning_rate_is_formatted_briefly(rate: float, words: str) -> None:
    assert format_learning_rate(rate) == words


@given(st.text(alphabet="abc-09", max_size=80), st.integers(1, 90))
def test_shortened_text_keeps_both_ends(text: str, width: int) -> None:
    short = shorten_middle(text, width)
    assert len(short) == min(width, len(text))
    if len(text) > width:
        head, tail = short.split("…")
        assert text.startswith(head) and text.endswith(tail) and 0 <= len(head) - len(tail) <= 1
