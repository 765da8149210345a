"""Items: prompts with what makes an answer right, the same for every model that answers them."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

ScorerName = Literal[
    "exact", "normalized", "contains", "regex", "json", "json_schema", "choice", "numeric",
    "boxed", "tool_call", "date", "code", "extracted", "chrf", "rouge", "refusal", "answered", "absent", "judge", "lm_eval", "rewards", "prefers", "wanted",
]  # fmt: skip
"""``refusal``: right if it refuses; ``answered``: right if it does not; ``absent``: right if none of
the rule's values occurs in it; ``judge``: another model decides; ``json``: JSON fields equal the
expected ones; ``tool_call``: the calls have the expected names and arguments; ``code``: the same
program; ``extracted``: what the rule's ``answer_pattern`` takes from both answers is equal; ``lm_eval``: lm-eval asked and scored it; ``rewards``: the reward functions of the run's plan score it;
``prefers``: right if the chosen answer of a pair is more probable than the rejected one; ``wanted``: a
labeled answer, whose probability counts."""
LIKELIHOOD_SCORERS = ("prefers", "wanted")
"""Scorers of the probability of answers that are there, not of generated text."""
_WHOLE_ANSWER_SCORERS = ("exact", "normalized", "json", "chrf", "rouge", *LIKELIHOOD_SCORERS)
"""Scorers whose expected texts are whole answers."""


PERSONAL_DATA = "personal-data-seen"
"""Category of items that ask for personal data and secrets of the training rows."""


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One prompt of a set."""

    id: str
    """Unique in an evaluation, and the same whenever set, prompt and rule are the same."""
    set: str
    """``target``, ``general``, ``safety``, or the name of a user's file."""
    messages: list[dict[str, Any]]
    """The prompt, in the form that chat templates take."""
    scorer: ScorerName
    expected: list[str] = []
    """Right answers: any of them."""
    rule: dict[str, Any] = {}
    """Of the scorer: ``pattern``, ``schema``, ``lenient``, ``tolerance``, ``choices``, ``values``,
    ``all``, ``without``, ``max_words``, ``instructions``, ``pairwise``; ``answer_pattern``, whose first
    group is the answer, and ``marker``, the text before it; ``answers``, of which the chosen
    one is first; ``label``."""
    category: str = ""
    """Such as ``reasoning``, ``should-refuse``, ``look-alike``."""
    tools: list[dict[str, Any]] | None = None
    line: int | None = None
    """Line in the file that it comes from."""
    max_tokens: int | None = None
    """Tokens of an answer; None: the set's limit; 0: none is generated."""
    is_row: bool = False
    """Whether it was made from a row, so that ``expected`` is a whole answer."""

    @property
    def has_whole_answer(self) -> bool:
        """Return whether an expected text is a whole answer, which has a typical length."""
        return self.is_row or self.scorer in _WHOLE_ANSWER_SCORERS

    @property
    def has_loss(self) -> bool:
        """Return whether an expected text is an answer as a model writes it, unlike a tool call."""
        return self.has_whole_answer and self.scorer != "tool_call" and bool(self.expected)


def make_id(
    set: str,
    messages: list[dict[str, Any]],
    scorer: str,
    expected: list[str],
    rule: dict[str, Any],
    tools: list[dict[str, Any]] | None = None,
) -> str:
    """Return the id of an item: a hash of set, prompt and rule."""
    parts = msgspec.json.encode([set, messages, scorer, expected, rule, tools], order="sorted")
    return hashlib.sha256(parts).hexdigest()[:12]
