"""Scores of answers that a program can verify: the functions of the packaged rewards.

Each takes the completion, the reference (empty if there is none), the last message of the prompt, and
its options. It returns a reward from 0 to 1, or None where a row has no reference. Those that compare
an answer ignore what a model thinks before it, up to ``</think>``.

Ejected scripts have a copy of this module and of those that it imports: it needs no other of ftwizard.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from typing import Any

import regex

from ftwizard.rewards import json_answers, quantities
from ftwizard.rewards.choices import find_choice, read_choices

Options = Mapping[str, Any]
_THOUGHT_END = "</think>"


def exact_answer(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 for the reference's text, without white space around it; with ``ignore_case`` also
    in other case, white space and surrounding punctuation."""
    if not reference.strip():
        return None
    answer = _strip_thought(completion)
    if options.get("ignore_case"):
        return float(normalize_answer(answer) == normalize_answer(reference))
    return float(answer.strip() == reference.strip())


def numeric_answer(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 for the number of the reference: the one in ``\\boxed{}``, after ``####`` or “the
    answer is”, else the last one that the prompt does not have."""
    wanted = quantities.find_quantity(reference)
    if wanted is None:
        return None
    asked = quantities.list_numbers(prompt) - {wanted.value}
    answer = quantities.find_quantity(_strip_thought(completion), asked)
    return float(
        answer is not None and quantities.is_same(wanted, answer, options.get("tolerance"))
    )


def choice_letter(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 for the letter of the reference: “B”, “(b)”, “The answer is B”."""
    choices = read_choices(options.get("choices"))
    wanted = find_choice(reference, choices)
    if wanted is None:
        return None
    return float(find_choice(_strip_thought(completion), choices) == wanted)


def json_fields(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return the share of the reference's JSON fields that are right; extra ones count as wrong."""
    try:
        wanted = json_answers.read_json(reference)
    except ValueError:
        return None
    try:
        value = json_answers.read_json(_strip_thought(completion), lenient=_is_lenient(options))
        return json_answers.share_of_fields(value, wanted)
    except (ValueError, RecursionError):
        return 0.0


def json_valid(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 for an answer that is JSON, valid for ``schema`` if there is one."""
    try:
        value = json_answers.read_json(_strip_thought(completion), lenient=_is_lenient(options))
        schema = options.get("schema")
        return 1.0 if schema is None else float(json_answers.is_valid(value, schema))
    except (ValueError, RecursionError, TimeoutError):
        return 0.0


def regex_format(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 if ``pattern`` matches the whole completion; ``.`` also matches line ends."""
    try:
        match = compile_pattern(options["pattern"]).fullmatch(
            completion.strip(), timeout=json_answers.MAX_MATCH_S
        )
    except TimeoutError:
        return 0.0
    return float(match is not None)


def length_limit(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 from ``min`` to ``max`` words or characters; less the more it is outside of them, and
    0 from twice ``max``."""
    counts = completion.split() if options.get("unit", "words") == "words" else completion.strip()
    length, most, least = len(counts), options["max"], options.get("min", 1)
    if length < least:
        return float(length / least)
    return float(max(0.0, min(1.0, (2 * most - length) / most)))


def _strip_thought(completion: str) -> str:
    return completion.rpartition(_THOUGHT_END)[2]


def normalize_answer(text: str) -> str:
    """Return a text without case, surrounding punctuation and repeated white space."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip("\"'`“”‘’*.,;:!?() ") or words


def _is_lenient(options: Options) -> bool:
    return bool(options.get("lenient", False))


@functools.lru_cache(64)
def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Return a regular expression; raise regex.error, RecursionError or OverflowError."""
    return regex.compile(pattern, regex.DOTALL)
