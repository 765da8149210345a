"""Letters of multiple-choice questions in answers."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from ftwizard.rewards.words import fold, has_words

_MARKED_CHOICE = re.compile(
    r"(?:\\boxed\{\s*(?:\\text\{)?|(?i:\b(?:answer|choice|option|respuesta|réponse|antwort|risposta|"
    r"resposta)\b(?:\s+(?:is|es|est|ist|è|é))?)(?i:\s+(?:option|choice|letter))?\s*[:=]?\s*[(\[“\"'*]*)"
    r"([A-Z])(?![\w'’])"
)
_FIRST_CHOICE = re.compile(r"[(\[“\"'*\s]*([A-Za-z])(?:[)\].:,*”\"'\s]+|$)")
_ANY_CHOICE = re.compile(
    r"\(([A-Z])\)|\*\*([A-Z])\*\*|(?<![\w'’])(?<!not )([B-HJ-Z])(?=[).:])|[:\n]\s*([A-Z])\s*\Z"
)
_ANOTHER_CHOICE = re.compile(
    r"[)\]*]*\s*(?:[,/&]|and\b|or\b)\s*(?:and\s+|or\s+)?[(\[*]*([A-Z])(?=[)\]*]*\s*(?:$|[.,]|and\b|or\b))"
)
"""After a letter: a second one, “B or C”, so that neither is chosen."""


_LISTED_CHOICE = re.compile(r"^\W*([A-Z])[).:]", re.MULTILINE)


def find_choice(answer: str, choices: dict[str, str]) -> str | None:
    """Return the letter that an answer chooses, None if none, several, or one with another's text.

    Accepts “B”, “(b)”, “The answer is B) Paris”, and the text of exactly one choice.
    """
    text = unicodedata.normalize("NFKC", answer).strip()
    letter, end = _find_letter(text, choices)
    if letter is None:
        return _find_named_choice(fold(text), choices)
    line = fold(text[end:].partition("\n")[0]).lstrip(" )].:,“”\"'-")
    starts = {key for key, name in choices.items() if name and line.startswith(fold(name))}
    return letter if letter in starts or not starts else None


def _find_letter(text: str, choices: dict[str, str]) -> tuple[str | None, int]:
    """Return the letter that a text chooses, and its end; several, and a list of all, choose none."""
    marked = [match for match in _MARKED_CHOICE.finditer(text) if match[1] in choices]
    first = _FIRST_CHOICE.match(text)
    chosen = marked[-1] if marked else first
    if chosen and (other := _ANOTHER_CHOICE.match(text, chosen.end(1))) and other[1] in choices:
        return None, 0
    if marked:
        return str(marked[-1][1]), marked[-1].end()
    if len(choices.keys() & set(_LISTED_CHOICE.findall(text))) > 1:
        return None, 0
    if first and (letter := first[1].upper()) in choices:
        is_alone = first.end() == len(text)
        is_article = first[1] in "aAI" and not re.search(r"[)\].:,*”\"']", first[0])
        if is_alone or (first[1].isupper() and not is_article) or ")" in first[0]:
            return letter, first.end()
    named = {next(filter(None, m.groups())): m.end() for m in _ANY_CHOICE.finditer(text)}
    letters = list(named.keys() & choices.keys())
    return (letters[0], named[letters[0]]) if len(letters) == 1 else (None, 0)


def _find_named_choice(text: str, choices: dict[str, str]) -> str | None:
    """Return the only choice whose text occurs; one within another that occurs does not count."""
    named = {letter for letter, name in choices.items() if name and has_words(text, name)}
    named -= {a for a in named for b in named if a != b and fold(choices[a]) in fold(choices[b])}
    return named.pop() if len(named) == 1 else None


def read_choices(choices: Any) -> dict[str, str]:
    """Return choices by letter; without a list, the letters A–J without texts."""
    if isinstance(choices, dict):
        return {str(key).strip().upper(): str(text) for key, text in choices.items()}
    texts = list(map(str, choices)) if choices else [""] * 10
    return {chr(ord("A") + n): text for n, text in enumerate(texts)}
