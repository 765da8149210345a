"""The kind of the answers in rows: how they are compared, on what evidence, and how that is described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ftwizard.text import format_count, make_visible

RowScorer = Literal[
    "numeric", "boxed", "choice", "json", "tool_call", "normalized", "exact", "date", "code", "extracted",
    "judge", "chrf", "rouge", "rewards",
]  # fmt: skip
"""Scorers of the test rows. ``extracted``: what a pattern takes from the answers, compared as a number,
a date or text; ``judge``: another model decides; ``rewards``: a function of the user scores them; ``chrf`` and ``rouge``: nothing is checked."""
GRADED: tuple[RowScorer, ...] = ("chrf", "rouge")
MIN_SHARE = 0.9
"""Share of the rows that must have an answer of a kind."""
MAX_SHORT_WORDS = 8
MAX_SHORT_CHARACTERS = 60
"""For languages without spaces between words."""
MIN_REPEATS = 3
"""Mean number of rows per distinct answer from which answers are labels, whatever their length."""
MAX_LABELS = 20
NAMES: dict[RowScorer, str] = {
    "numeric": "a number", "boxed": "a result in \\boxed{}", "choice": "a choice letter", "json": "JSON",
    "tool_call": "tool calls", "normalized": "a short text", "exact": "a text", "date": "a date",
    "code": "a Python program", "extracted": "what your pattern takes", "judge": "free text",
    "chrf": "free text", "rouge": "free text", "rewards": "free text",
}  # fmt: skip
_COMPARED: dict[RowScorer, str] = {
    "json": "each field right or wrong", "tool_call": "names and arguments, right or wrong",
    "exact": "right or wrong to the letter", "code": "right if it is the same program",
    "judge": "the judge model decides", "rewards": "your function decides",
    "chrf": "right or wrong cannot be checked", "rouge": "right or wrong cannot be checked",
}  # fmt: skip


class AnswerExample(msgspec.Struct, frozen=True, kw_only=True):
    """A row with what is taken as its answer."""

    line: int
    tail: str
    """The end of the whole answer."""
    answer: str | None
    """None: nothing is taken, so that the row is not scored."""


class RecognizedAnswers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the answers of rows are compared, and the evidence for it."""

    scorer: RowScorer
    marker: str = ""
    """Text before the answer, at the end of a longer one."""
    pattern: str = ""
    """Of the user: its first group is the answer."""
    function: str = ""
    """Of the user, with its file: ``score.py:score``."""
    lenient: bool = False
    """Whether JSON may be in a fence."""
    rows: int = 0
    """Rows with such an answer."""
    total: int = 0
    """Rows that were read."""
    values: int = 0
    """Distinct answers."""
    examples: list[AnswerExample] = []
    is_chosen: bool = False
    """Whether the user named scorer or pattern."""

    @property
    def is_checked(self) -> bool:
        """Return whether an answer is right or wrong, not only near to the expected one."""
        return self.scorer not in GRADED

    @property
    def has_labels(self) -> bool:
        """Return whether the answers are a few texts, each of several rows."""
        few = min(MAX_LABELS, self.rows // MIN_REPEATS)
        return self.scorer == "normalized" and self.values <= few

    @property
    def rule(self) -> dict[str, Any]:
        """Return the scorer's rule for every row."""
        rule = {"marker": self.marker, "answer_pattern": self.pattern, "lenient": self.lenient}
        rule |= {"rewards": [{"function": self.function}] if self.function else []}
        return {key: value for key, value in rule.items() if value}


def are_short(texts: Sequence[str]) -> bool:
    """Return whether answers are labels or short facts, which are compared as text."""
    distinct = {" ".join(text.casefold().split()) for text in texts}
    is_label = len(texts) >= MIN_REPEATS * len(distinct) > MIN_REPEATS
    return is_label or sum(map(_is_short, texts)) >= MIN_SHARE * len(texts)


def _is_short(text: str) -> bool:
    text = text.strip()
    is_line = len(text) <= MAX_SHORT_CHARACTERS and "\n" not in text
    return is_line and len(text.split()) <= MAX_SHORT_WORDS


def name_answers(kind: RecognizedAnswers) -> str:
    """Name what the answers are: ``a number after “####”``."""
    name = NAMES[kind.scorer]
    if not kind.is_checked and kind.values == 1 < kind.rows:
        return "the same text in all rows"
    if kind.has_labels:
        name = f"one of {kind.values} labels"
    if kind.marker:
        name += f" after “{make_visible(kind.marker, 40)}”"
    if kind.pattern and kind.scorer != "extracted":
        name += " that your pattern takes"
    return name


def describe_answers(kind: RecognizedAnswers, *, is_changed: bool = False) -> str:
    """Describe what the answers are, in how many rows, and how they are compared.

    ``is_changed``: whether that was chosen after the training.
    """
    compared = _COMPARED.get(kind.scorer, "right or wrong")
    after = "; chosen after training" if is_changed else ""
    rows = f" ({kind.rows:,} of {format_count(kind.total, 'row')})"
    shown = rows if kind.is_checked and kind.scorer not in ("judge", "rewards") else ""
    return f"{name_answers(kind)}{shown}: {compared}{after}"
