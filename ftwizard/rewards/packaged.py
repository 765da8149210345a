"""Packaged reward functions for answers that a program can verify: their options, with checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import regex

from ftwizard.data.example import RowProblem
from ftwizard.errors import FtwizardError
from ftwizard.rewards import answer_scores, json_answers, quantities
from ftwizard.rewards.answer_scores import Options
from ftwizard.rewards.choices import read_choices
from ftwizard.text import find_similar, make_visible

MAX_PATTERN_CHARACTERS = 10_000
MAX_LENGTH = 1_000_000
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
        answer_scores.compile_pattern(value)
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
        answer_scores.exact_answer, "1 for the text of the reference", {"ignore_case": _check_switch}
    ),
    "numeric_answer": PackagedReward(
        answer_scores.numeric_answer, "1 for the number of the reference", {"tolerance": _check_tolerance}
    ),
    "choice_letter": PackagedReward(
        answer_scores.choice_letter, "1 for the letter of the reference", {"choices": _check_choices}
    ),
    "json_fields": PackagedReward(
        answer_scores.json_fields, "share of the reference's JSON fields that are right",
        {"lenient": _check_switch},
    ),
    "json_valid": PackagedReward(
        answer_scores.json_valid, "1 for JSON, valid for a schema",
        {"schema": _check_schema, "lenient": _check_switch}, uses_reference=False,
    ),
    "regex_format": PackagedReward(
        answer_scores.regex_format, "1 if a pattern matches the whole completion",
        {"pattern": _check_pattern}, required=("pattern",), uses_reference=False,
    ),
    "length_limit": PackagedReward(
        answer_scores.length_limit, "1 for a length within limits, less the more it is outside of them",
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
