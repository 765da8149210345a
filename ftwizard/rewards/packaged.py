"""Packaged reward functions for answers that a program can verify.

Each returns a reward from 0 to 1, or None where a row has no reference. Those that compare an answer
ignore what a model thinks before it, up to ``</think>``.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import regex

from ftwizard.data.example import RowProblem
from ftwizard.errors import FtwizardError
from ftwizard.rewards import json_answers, quantities
from ftwizard.rewards.choices import find_choice, read_choices
from ftwizard.text import find_similar, make_visible

MAX_PATTERN_CHARACTERS = 10_000
MAX_LENGTH = 1_000_000
_THOUGHT_END = "</think>"
Options = Mapping[str, Any]
Score = Callable[[str, str, str, Options], float | None]
"""Takes the completion, the reference (empty if there is none), the last message of the prompt, and
the options."""


class PackagedReward(NamedTuple):
    """A packaged function."""

    score: Score
    description: str
    """What it rewards, in one line."""
    options: Mapping[str, Callable[[Any], str | None]]
    """Its options, each with a check that returns what is wrong with a value."""
    required: tuple[str, ...] = ()
    uses_reference: bool = True


def exact_answer(completion: str, reference: str, prompt: str, options: Options) -> float | None:
    """Return 1 for the reference's text, without white space around it; with ``ignore_case`` also
    in other case, white space and surrounding punctuation."""
    if not reference.strip():
        return None
    answer = _strip_thought(completion)
    if options.get("ignore_case"):
        return float(_normalize(answer) == _normalize(reference))
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
        match = _compile(options["pattern"]).fullmatch(
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


def _normalize(text: str) -> str:
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip("\"'`“”‘’*.,;:!?() ") or words


def _is_lenient(options: Options) -> bool:
    return bool(options.get("lenient", False))


@functools.lru_cache(64)
def _compile(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.DOTALL)


def _check_switch(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _check_tolerance(value: Any) -> str | None:
    try:
        quantities.check_tolerance(value)
    except (ValueError, OverflowError):
        return "must be a number, or a share such as 1%"
    return None


def _check_choices(value: Any) -> str | None:
    is_listing = isinstance(value, list | dict) and 2 <= len(value) <= 26
    if not is_listing or not all(re.fullmatch("[A-Z]", key) for key in read_choices(value)):
        return "must be a list of 2 to 26 texts"
    return None


def _check_schema(value: Any) -> str | None:
    try:
        json_answers.check_schema(value)
    except RowProblem as problem:
        return f"cannot be used: {problem.message} ({problem.fix})"
    return None


def _check_pattern(value: Any) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN_CHARACTERS:
        return f"must be a regular expression of up to {MAX_PATTERN_CHARACTERS:,} characters"
    try:
        _compile(value)
    except (regex.error, RecursionError, OverflowError) as error:
        return f"is not a regular expression: {make_visible(str(error), 100)}"
    return None


def _check_count(value: Any) -> str | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LENGTH
    return None if is_count else f"must be a whole number from 1 to {MAX_LENGTH:,}"


def _check_unit(value: Any) -> str | None:
    return None if value in ("words", "characters") else "must be words or characters"


PACKAGED: dict[str, PackagedReward] = {
    "exact_answer": PackagedReward(
        exact_answer, "1 for the text of the reference", {"ignore_case": _check_switch}
    ),
    "numeric_answer": PackagedReward(
        numeric_answer, "1 for the number of the reference", {"tolerance": _check_tolerance}
    ),
    "choice_letter": PackagedReward(
        choice_letter, "1 for the letter of the reference", {"choices": _check_choices}
    ),
    "json_fields": PackagedReward(
        json_fields, "share of the reference's JSON fields that are right",
        {"lenient": _check_switch},
    ),
    "json_valid": PackagedReward(
        json_valid, "1 for JSON, valid for a schema",
        {"schema": _check_schema, "lenient": _check_switch}, uses_reference=False,
    ),
    "regex_format": PackagedReward(
        regex_format, "1 if a pattern matches the whole completion",
        {"pattern": _check_pattern}, required=("pattern",), uses_reference=False,
    ),
    "length_limit": PackagedReward(
        length_limit, "1 for a length within limits, less the more it is outside of them",
        {"min": _check_count, "max": _check_count, "unit": _check_unit}, required=("max",),
        uses_reference=False,
    ),
}  # fmt: skip
"""The functions by name."""


def check_options(name: str, options: Options) -> None:
    """Raise FtwizardError for an unknown function, and for options that it cannot be used with."""
    shown = make_visible(name, 60)
    packaged = PACKAGED.get(name)
    if packaged is None:
        near = find_similar(name, list(PACKAGED))
        hint = f"Did you mean {near}?" if near else f"Choose from {', '.join(PACKAGED)}"
        raise FtwizardError(
            f"“{shown}” is not a reward function.",
            f"{hint.rstrip('?')}{'?' if near else ''}"
            f"{' Or' if near else ', or'} name one of your own: rewards.py:my_reward.",
        )
    for option, value in options.items():
        check = packaged.options.get(option)
        if check is None:
            names = ", ".join(packaged.options)
            message = f"{shown} has no option “{make_visible(option, 60)}”."
            raise FtwizardError(message, f"Its options: {names}.")
        if problem := check(value):
            raise FtwizardError(f"{shown}: {option} {problem}.", "Correct it.")
    for option in packaged.required:
        if option not in options:
            raise FtwizardError(
                f"{shown} needs the option {option}.", f"Its value {_HELP[option]}."
            )
    if options.get("min", 1) > options.get("max", MAX_LENGTH):
        raise FtwizardError(f"{shown}: min is above max.", "Lower min, or raise max.")


_HELP = {
    "pattern": "is a regular expression: {pattern: '<think>.*</think>.*'}",
    "max": "is the most words that get the full reward: {max: 50}",
}
