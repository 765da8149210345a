"""Forgiving search in the list of models: ``llama 8b``, ``qwen3 4``, ``smolm2``."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable

from ftwizard.advice.model_choice import ModelOption

MIN_TYPO = 4
"""Characters from which a word may be mistyped; shorter ones are all similar."""
CUTOFF = 0.75
"""Least similarity (difflib's ratio) of a mistyped word: one wrong letter in four."""
_EXACT, _PREFIX, _PART, _TYPO = 4, 3, 2, 1
_NUMBER = re.compile(r"(?<=[a-z])(?=\d)")
"""Where a number begins: ``qwen3`` is ``qwen`` and ``3``."""
_SEPARATORS = re.compile(r"[\s/_-]+")


def search_options(options: Iterable[ModelOption], words: str) -> tuple[ModelOption, ...]:
    """Return the options that match every word, the best matches first, else in their order; what
    cannot be trained comes last.

    A word matches a part of the name, the license or the origin, whole, from its start or within;
    without such a match also a similar part.
    """
    wanted = [word for word in _SEPARATORS.split(words.lower()) if word]
    if not wanted:
        return tuple(options)
    scored = [(_score(option, wanted), option) for option in options]
    return tuple(option for score, option in sorted(scored, key=lambda item: -item[0]) if score > 0)


def _score(option: ModelOption, wanted: list[str]) -> int:
    """Return how well all words match: the weakest match, then their sum; 0 if one does not."""
    parts, joined = _split(option.name, option.license or "", option.origin)
    scores = [_score_word(word, parts, joined) for word in wanted]
    return 0 if 0 in scores else 100 * min(scores) + sum(scores)


@functools.lru_cache(maxsize=1024)
def _split(name: str, license: str, origin: str) -> tuple[tuple[str, ...], str]:
    """Return the parts of what can be searched, and the name without separators."""
    named = _SEPARATORS.split(name.lower())
    numbers = [part for whole in named for part in _NUMBER.split(whole)]
    return (*named, *numbers, license.lower(), origin), "".join(named)


def _score_word(word: str, parts: tuple[str, ...], joined: str) -> int:
    if word in parts:
        return _EXACT
    if any(part.startswith(word) for part in parts):
        return _PREFIX
    if word in joined or any(word in part for part in parts):
        return _PART
    if len(word) >= MIN_TYPO and difflib.get_close_matches(word, parts, 1, CUTOFF):
        return _TYPO
    return 0
