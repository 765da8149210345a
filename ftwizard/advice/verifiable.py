"""Whether answers can be told right from wrong by a program: then reinforcement may teach more.

Reinforcement fine-tuning (RFT) samples answers and rewards the right ones, so that reasoning is
learnt that nobody wrote down (SPEC K5). It needs a grader, and a task that the model sometimes
solves already.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ftwizard.catalog.paths import catalog
from ftwizard.catalog.sourced import Sourced

Kind = Literal["number", "json", "code", "choice"]
MOST = 0.8
"""Share of answers of one kind from which the task is taken to be of it."""
FEW_ROWS = 20
"""Fewer answers tell nothing."""
CHOICES = 20
"""Most different answers of a choice, each given ``REPEATED`` times on average."""
REPEATED = 5
SHORT = 60
"""Characters of a short answer."""
_FINAL = re.compile(
    r"(?:####|\\boxed\{|answer is:?|=)\s*\$?(-?[\d.,/]+)\}?\s*[.$]*\s*$", re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?[$€£]?\s?[\d.,]*\d[\d.,/]*\s?(?:%|[a-z]{1,3})?", re.IGNORECASE)
_FENCE = re.compile(r"^```[\w+-]*\n.*\n```$", re.DOTALL)
_CODE = re.compile(r"^\s*(def |class |import |from \w+ import|SELECT |function |#include|public )")
_WORDS: dict[Kind, tuple[str, str]] = {
    "number": ("end in a number", "compare the number"),
    "json": ("are JSON", "compare the fields"),
    "code": ("are code", "run its tests"),
    "choice": ("are one of a few", "compare the words"),
}


class Verifiable(msgspec.Struct, frozen=True, kw_only=True):
    """What answers are, where they can be verified."""

    kind: Kind
    share: float
    """Of the answers looked at."""
    looked_at: int


class Suggestion(Sourced, frozen=True, kw_only=True):
    """Reinforcement fine-tuning, and why."""

    reason: str
    caution: str
    where: tuple[str, ...]
    """Names of the services that offer it."""


def verifiable(answers: Iterable[str]) -> Verifiable | None:
    """Return what can be verified in ``answers``; None where most cannot, or there are too few."""
    texts = [one.strip() for one in answers if one.strip()]
    if len(texts) < FEW_ROWS:
        return None
    counts = Counter(kind for one in texts if (kind := _kind(one)))
    different = len(set(texts))
    short = sum(len(one) <= SHORT for one in texts)
    if different <= min(CHOICES, len(texts) / REPEATED) and short >= MOST * len(texts):
        counts = Counter({"choice": short})
    if not counts:
        return None
    kind, count = counts.most_common(1)[0]
    share = count / len(texts)
    return Verifiable(kind=kind, share=share, looked_at=len(texts)) if share >= MOST else None


def _kind(text: str) -> Kind | None:
    if text[0] in "[{" and _is_json(text):
        return "json"
    if _NUMBER.fullmatch(text) or _FINAL.search(text):
        return "number"
    if _FENCE.match(text) or _CODE.match(text):
        inner = text.strip("`").partition("\n")[2].strip()
        return "json" if text.startswith("```json") and _is_json(inner) else "code"
    return None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def suggestion(found: Verifiable | None) -> Suggestion | None:
    """Suggest reinforcement where answers can be verified; None where they cannot."""
    if found is None:
        return None
    are, grader = _WORDS[found.kind]
    return Suggestion(
        reason=f"{found.share:.0%} of {found.looked_at:,} answers {are}, so that a program can tell "
        f"right from wrong ({grader}): reinforcement fine-tuning (RFT) learns from that, also what "
        "leads to an answer.",
        caution="It needs such a grader, and a model that is right now and then; supervised rows as "
        "these are the simpler start.",
        where=_where(),
        as_of="2026-04",
        source="End-to-End Fine-Tuning Pipeline (article, edition 2026-04): mathematics, code, "
        "structured extraction",
    )


def _where() -> tuple[str, ...]:
    return tuple(
        one.name for one in catalog().path("cloud").platforms
        if any("RFT" in claim.words for claim in one.special)
    )  # fmt: skip


def answers(preview: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the last answer of each row of a report's preview, in plain text."""
    found: list[str] = []
    for row in preview:
        example = row.get("example", {})
        turns = [*example.get("messages", ()), *example.get("chosen", ())]
        for turn in reversed(turns):
            if turn.get("role") == "assistant" and isinstance(turn.get("content"), str):
                found.append(turn["content"])
                break
    return found
