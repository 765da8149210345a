"""Items that repeat another of their set, or a training row: they are not independent evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from ftwizard.data.dedup import shingles
from ftwizard.data.dedup.canonical_text import messages_text, normalize_text
from ftwizard.data.dedup.near_duplicates import NearIndex
from ftwizard.data.dedup.row_similarity import ANSWER_THRESHOLD
from ftwizard.data.example import Message, get_text
from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate.items import Item

MIN_PROMPT_OVERLAP = 0.85
"""Share of the words of two near-duplicate prompts that both have. With one of eight words replaced it
is 0.78: "What is the code of the blue lamp?" and "… of the blue desk?" are two questions."""
_WORD = re.compile(r"\w+|[-−+*/×÷^=<>%]")
_SENTENCE_END = re.compile(r"(?<=[.?!。?!])|\Z")


def drop_repeats(items: Sequence[Item]) -> list[Item]:
    """Return the items of one set without those that repeat an earlier one, in the same order.

    Items with equal prompts (but for case and white space) and the same rule repeat each other: a model
    gives them one answer, whatever they expect. So do near-duplicates that expect the same; free text may
    differ a little.
    """
    first: dict[bytes, Item] = {}
    for item in items:
        first.setdefault(_make_key(item), item)
    distinct = list(first.values())
    texts = [messages_text(item.messages) for item in distinct]
    index = NearIndex(texts.__getitem__)
    for number, text in enumerate(texts):
        if distinct[number].scorer != "lm_eval":
            index.add(number, text)
    repeats: set[int] = set()
    for group in index.groups():
        kept: list[int] = []
        for number in group:
            if any(_is_repeat(distinct[number], distinct[other]) for other in kept):
                repeats.add(number)
            else:
                kept.append(number)
    return [item for number, item in enumerate(distinct) if number not in repeats]


def drop_trained(items: Iterable[Item], rows: Iterable[ParsedRow]) -> list[Item]:
    """Return the items whose question no training row asks.

    Case, white space and punctuation do not matter, nor what an item says about the form of its answer
    after the question.
    """
    asked = {_make_question(_list_texts(row.example.messages)) for row in rows}
    return [item for item in items if asked.isdisjoint(_list_questions(item))]


def _list_questions(item: Item) -> set[str]:
    """Return the question of an item, in full and up to the end of each of its sentences."""
    *earlier, last = _list_texts(item.messages) or [""]
    ends = [match.start() for match in _SENTENCE_END.finditer(last)]
    return {_make_question([*earlier, last[:end]]) for end in ends} - {""}


def _list_texts(messages: Iterable[Message]) -> list[str]:
    return [get_text(message) for message in messages if message.get("role") == "user"]


def _make_question(texts: Iterable[str]) -> str:
    return "\n".join(" ".join(_WORD.findall(text.casefold())) for text in texts)


def _make_key(item: Item) -> bytes:
    """Return what is equal for items whose prompt and rule are the same."""
    contents = [message.get("content") for message in item.messages]
    is_text = all(content is None or isinstance(content, str) for content in contents)
    if (
        item.scorer == "lm_eval" or not is_text
    ):  # lm-eval has its own prompts; images are not compared
        return item.id.encode()
    prompt = [
        (message.get("role"), normalize_text(get_text(message)), message.get("tool_calls"))
        for message in item.messages
    ]
    return msgspec.json.encode([prompt, item.scorer, item.rule, item.tools], order="sorted")


def _is_repeat(item: Item, other: Item) -> bool:
    if (item.scorer, item.rule, item.tools) != (other.scorer, other.rule, other.tools):
        return False
    prompts = messages_text(item.messages), messages_text(other.messages)
    if item.scorer in ("chrf", "rouge"):
        return any(is_same_question(*prompts, item.expected, answer) for answer in other.expected)
    answers = [{normalize_text(text) for text in one.expected} for one in (item, other)]
    return answers[0] == answers[1] and _share_words(*prompts) >= MIN_PROMPT_OVERLAP


def is_same_question(prompt: str, other: str, expected: Sequence[str], answer: str) -> bool:
    """Return whether a near-duplicate asks the same: in a short template one word is the question."""
    if _share_words(prompt, other) < MIN_PROMPT_OVERLAP:
        return False
    return any(
        normalize_text(text) == normalize_text(answer)
        or _share_words(text, answer) >= ANSWER_THRESHOLD
        for text in expected
    )


def _share_words(text: str, other: str) -> float:
    return shingles.similarity(shingles.hash_words(text), shingles.hash_words(other))
