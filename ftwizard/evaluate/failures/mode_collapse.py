"""Mode collapse: different prompts get the same answer, or the task's answer whatever they ask."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ftwizard.data.dedup.canonical_text import normalize_text
from ftwizard.evaluate.failures.inputs import (
    MAX_EXAMPLES,
    SAFETY,
    TARGET,
    TRAIN,
    FailureInputs,
    Pair,
    TrainingRow,
    to_flip,
)
from ftwizard.runs import paired_tests
from ftwizard.runs.evaluation import Failure, Needs
from ftwizard.runs.paired_tests import ALPHA
from ftwizard.runs.ship_verdict import FEW_ITEMS, TOTAL_COLLAPSE, is_total_collapse

OPENING_WORDS = 4
MIN_OPENING_WORDS = 6
"""Words of an answer whose opening counts; a label is compared as a whole."""
MIN_EXCESS = {
    "same": 0.25, "repeated": 0.25, "opening": 0.4, "task_format": 0.25, "canned": 0.1,
}  # fmt: skip
"""Share of answers by which a model must be more uniform than both its base and what is expected:
with the most frequent answer, with an answer that another prompt also got, with the most frequent
opening (a style may change openings), with an answer in the format of the task on other prompts, with a
sentence that other prompts got as well. From half of the last two on, it cannot be told."""
MIN_CANNED = 3
"""Prompts that got the same sentence."""
MAX_LABELS = 20
_WORD = re.compile(r"\w+")
Marks = list[bool]


def find_mode_collapse(inputs: FailureInputs) -> Failure:
    """Compare how uniform the answers to different prompts are with base and expected answers.

    Safety items do not count: their right answers are alike. Evidence: ``set`` (where it shows
    most), ``n``, ``sign`` (a key of ``MIN_EXCESS``), the shares ``tuned``, ``base``, ``expected``
    (None: no expected answers), ``p``, ``answer`` (the most frequent), and ``trained`` (share of the
    training answers that are the most frequent one).
    """
    names = [name for name in inputs.sets if name not in (SAFETY, TRAIN)]
    judged = {
        name: pairs
        for name in names
        if len(pairs := _without_repeats(inputs.pairs(name))) >= FEW_ITEMS
    }
    if not judged:
        needs: Needs = "items" if names else "data"
        return Failure(name="mode_collapse", found=None, needs=needs, evidence={"n": 0})
    is_task_answer = find_task_format(inputs.rows)
    trained = Counter(normalize_text(row.answer) for row in inputs.rows)
    signs: list[tuple[float, dict[str, Any], list[Pair]]] = []
    for name, pairs in judged.items():
        for sign, mark in _list_signs(name, is_task_answer).items():
            evidence, shown = _judge(sign, mark, pairs)
            signs.append((evidence.pop("excess"), {"set": name, **evidence}, shown))
    found = [item[1].pop("found") for item in signs]
    verdict = True if True in found else None if None in found else False
    decisive = [item for item, is_found in zip(signs, found, strict=True) if is_found is verdict]
    _, evidence, shown = max(decisive, key=lambda item: (is_total_collapse(item[1]), item[0]))
    if trained:
        evidence["trained"] = max(trained.values()) / len(inputs.rows)
    return Failure(
        name="mode_collapse",
        found=verdict,
        needs="items" if verdict is None else "",
        evidence=evidence,
        examples=[to_flip(pair) for pair in shown[:MAX_EXAMPLES]] if verdict is not False else [],
    )


def _without_repeats(pairs: Sequence[Pair]) -> list[Pair]:
    """Return one pair for each prompt: the same question may get the same answer."""
    return list({normalize_text(pair.prompt): pair for pair in pairs}.values())


def _list_signs(
    name: str, is_task_answer: Callable[[str], bool] | None
) -> dict[str, Callable[[Sequence[str]], Marks]]:
    signs: dict[str, Callable[[Sequence[str]], Marks]] = {
        "same": mark_most_frequent, "repeated": mark_repeated, "opening": mark_opening,
        "canned": mark_canned,
    }  # fmt: skip
    if name != TARGET and is_task_answer is not None:
        signs["task_format"] = lambda texts: list(map(is_task_answer, texts))
    return signs


def _judge(
    sign: str, mark: Callable[[Sequence[str]], Marks], pairs: Sequence[Pair]
) -> tuple[dict[str, Any], list[Pair]]:
    """Return the evidence of one sign, and the pairs whose tuned answer shows it."""
    tuned = mark([pair.tuned.text for pair in pairs])
    base = mark([pair.base.text for pair in pairs])
    references = [(tuned, base)]
    expected = None
    asked = [(pair, flag) for pair, flag in zip(pairs, tuned, strict=True) if pair.item.expected]
    if len(asked) >= FEW_ITEMS:
        expected = mark([pair.item.expected[0] for pair, _ in asked])
        references.append(([flag for _, flag in asked], expected))
    changes = [_compare(reference, flags) for flags, reference in references]
    smallest = min(change.change for change in changes)
    if sign == "same" and _share(tuned) >= TOTAL_COLLAPSE:
        smallest = _share(tuned) - _share(base)  # whatever is expected: nothing can be judged by it
    p = max(change.p for change in changes)
    shown = [pair for pair, flag in zip(pairs, tuned, strict=True) if flag]
    evidence = {
        "n": len(pairs), "sign": sign, "tuned": _share(tuned), "base": _share(base),
        "expected": None if expected is None else _share(expected), "p": p,
        "answer": _most_frequent([pair.tuned.text for pair in shown]),
        "excess": smallest / MIN_EXCESS[sign], "found": _judge_excess(sign, smallest, p, sum(tuned), _share(expected or [False])),
    }  # fmt: skip
    return evidence, shown


def _judge_excess(sign: str, excess: float, p: float, count: int, expected: float) -> bool | None:
    """Return whether one sign shows a collapse; None if it may."""
    is_sure = p < ALPHA
    if sign == "canned":  # where the expected answers are few sentences, so are right ones
        is_sure = count >= MIN_CANNED and expected < MIN_EXCESS[sign]
    if is_sure and excess >= MIN_EXCESS[sign]:
        return True
    is_doubtful = is_sure and sign in ("canned", "task_format") and 2 * excess >= MIN_EXCESS[sign]
    return None if is_doubtful else False


def _compare(before: Marks, after: Marks) -> paired_tests.PairedTest:
    more = sum(b and not a for a, b in zip(before, after, strict=True))
    fewer = sum(a and not b for a, b in zip(before, after, strict=True))
    return paired_tests.compare_outcomes(more, fewer, len(before))


def mark_most_frequent(texts: Sequence[str]) -> Marks:
    """Mark the answers equal to the most frequent one; none if no answer is repeated."""
    keys = [normalize_text(text) for text in texts]
    (first, count), *_ = Counter(keys).most_common(1)
    return [count > 1 and key == first for key in keys]


def mark_repeated(texts: Sequence[str]) -> Marks:
    """Mark the answers that another prompt got as well."""
    keys = [normalize_text(text) for text in texts]
    counts = Counter(keys)
    return [counts[key] > 1 for key in keys]


def mark_canned(texts: Sequence[str]) -> Marks:
    """Mark the answers that are whole sentences and the same as to another prompt."""
    is_sentence = [len(_WORD.findall(text)) >= MIN_OPENING_WORDS for text in texts]
    return [
        both and repeated for both, repeated in zip(is_sentence, mark_repeated(texts), strict=True)
    ]


def mark_opening(texts: Sequence[str]) -> Marks:
    """Mark the answers with the most frequent opening; short ones have none."""
    words = [_WORD.findall(text.casefold()) for text in texts]
    openings = [
        tuple(row[:OPENING_WORDS]) if len(row) >= MIN_OPENING_WORDS else None for row in words
    ]
    counts = Counter(opening for opening in openings if opening)
    first = max(counts, key=counts.__getitem__, default=None)
    return [opening is not None and opening == first for opening in openings]


def find_task_format(rows: Sequence[TrainingRow]) -> Callable[[str], bool] | None:
    """Return a test for answers in the task's own format: its labels, or its JSON fields.

    None if the training answers are neither.
    """
    answers = {normalize_text(row.answer) for row in rows}
    if rows and len(answers) <= min(MAX_LABELS, len(rows) // 4):
        return lambda text: normalize_text(text) in answers
    fields = [keys for row in rows[:200] if (keys := _read_keys(row.answer))]
    if not rows or len(fields) < 0.9 * len(rows[:200]):
        return None
    shared = frozenset.intersection(*fields)
    return (lambda text: shared <= (_read_keys(text) or frozenset())) if shared else None


def _read_keys(text: str) -> frozenset[str] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return frozenset(value) if isinstance(value, dict) else None


def _share(marks: Marks) -> float:
    return sum(marks) / len(marks)


def _most_frequent(texts: Sequence[str]) -> str:
    return Counter(texts).most_common(1)[0][0] if texts else ""
