"""Wrapped text: no line begins with a unit whose number ended the line before."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.text import Text
from textual.pilot import Pilot

from ftwizard import word_wrap
from ftwizard.cli import help_text, output
from ftwizard.screens import layout
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import NoticeDialog
from ftwizard.text import format_age, format_bytes, format_count, format_duration
from tests.screens.frames import drive, wait_for_text

WORDS = st.sampled_from(
    ["training", "a", "of", "needs", "validation", "loss,", "(about", "memory)"]
)
QUANTITIES = st.one_of(
    st.integers(0, 10**12).map(format_bytes),
    st.integers(0, 10**6).map(format_duration),
    st.integers(0, 10**6).map(format_age),
    st.integers(0, 10**6).map(lambda count: format_count(count, "row")),
    st.sampled_from(["6.0 s", "~ 40 %", "$ 0.12", "step 30", "9.1–11.4 GB", "3 evaluations"]),
)
TEXTS = st.lists(st.one_of(WORDS, QUANTITIES), min_size=1, max_size=30).map(" ".join)


def find_torn(lines: list[str]) -> list[tuple[str, str]]:
    """Return the adjacent lines that tear a quantity apart."""
    starts, units = re.compile(r"[A-Za-z%]"), re.compile(r"[\d~$]$|\bstep$")
    return [
        (above, below)
        for above, below in pairwise(line.strip() for line in lines)
        if units.search(above) and (starts.match(below) or re.search(r"[~$]$|step$", above))
    ]


@given(TEXTS, st.integers(30, 90))
def test_wrapped_text_keeps_units_with_their_numbers(text: str, width: int) -> None:
    output.make_console()
    assume(not re.search(r"min \d+ (h|min)", text))  # durations in a row may be longer than a line
    wrapped = layout.wrap_hanging(Text(text), 2, width).plain
    assert wrapped.split() == text.split()
    assert not find_torn(wrapped.split("\n"))
    assert not find_torn(help_text._wrap(text, width))


@pytest.mark.parametrize("width", [60, 67, 73, 80])
def test_widgets_keep_units_with_their_numbers(width: int) -> None:
    details = (
        "It needs 12 GB in 4 min 10 s for ~ 40 % of 1,800 rows at $ 0.12 from step 30 on. " * 4
    )

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(NoticeDialog(Text("Title"), details))
        await wait_for_text(pilot, "Title")

    shown = drive(FtwizardApp(), (width, 24), play)
    lines = [line.strip(" │") for line in shown.split("\n") if "│" in line]
    assert len(lines) > 5 and not find_torn(lines)


def test_a_sentence_is_not_glued_to_the_number_before_it() -> None:
    words = [
        match[0].strip() for match in word_wrap.WORD.finditer("Stop at step 80. Then 3 more, 7")
    ]
    assert words == ["Stop", "at", "step 80.", "Then", "3 more,", "7"]


def test_a_mark_stays_with_its_name() -> None:
    output.make_console()
    text = Text("✓ adapter  ✓ merged model  ✓ proved")
    assert "✓\n" not in layout.wrap_hanging(text, 0, 29).plain + "\n"
