"""Test rows of preference training as items: pairs and labeled answers, scored by their probability."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ftwizard.data.conversation import to_pair
from ftwizard.data.example import get_text
from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import set_files
from ftwizard.evaluate.items import Item
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.train.dataset import SavedTestSet

MAX_READ = 400
"""Rows whose probability is measured at most: reading two answers takes less time than writing one."""


def make_items(saved: SavedTestSet) -> list[Item]:
    """Return the pairs, or the labeled answers of both kinds, as items of the target set."""
    return [_make_item(row) for row in (*saved.rows, *saved.unwanted)]


def _make_item(row: ParsedRow) -> Item:
    example, answer = row.example, row.conversation.answer
    if example.kind == "preference":
        rejected = get_text(to_pair(example)[1].messages[-1])
        return set_files.make_item(
            "target", row.conversation.prompt, "prefers", [answer], {"answers": [answer, rejected]},
            tools=row.conversation.tools, line=row.line,
        )  # fmt: skip
    item = set_files.make_item(
        "target", row.conversation.prompt, "wanted", [answer] if example.label else [],
        {"answers": [answer], "label": bool(example.label)},
        tools=row.conversation.tools, line=row.line,
    )  # fmt: skip
    # A model that is good would not answer as the row does: there is nothing to compare an answer with.
    return item if example.label else replace(item, max_tokens=0)


def limit_answers(items: Sequence[Item], limit: int) -> list[Item]:
    """Return items of which at most ``limit`` are answered; of the others only the probability counts."""
    limited, answered = list[Item](), 0
    for item in items:
        answered += item.max_tokens != 0
        limited.append(item if answered <= limit else replace(item, max_tokens=0))
    return limited


def score(item: Item, answer: ItemAnswer) -> ItemScore:
    """Score one model's probabilities of the answers of an item.

    A labeled answer has no score of its own: only the comparison with the others, and with the base
    model, says something.
    """
    if not answer.logps:
        return ItemScore(note="The probability of its answers could not be measured.")
    if item.scorer == "wanted":
        return ItemScore()
    is_right = prefers_chosen(answer)
    return ItemScore(value=float(is_right), passed=is_right)


def get_rejected(item: Item) -> str:
    """Return the rejected answer of a pair; empty for an item of another kind."""
    return str(item.rule["answers"][1]) if item.scorer == "prefers" else ""


def prefers_chosen(answer: ItemAnswer) -> bool:
    """Return whether a model finds the chosen answer of a pair more probable."""
    return answer.logps[0] > answer.logps[1]


def read_answer(item: Item, answer: ItemAnswer) -> str:
    """Return what a model answered; of a pair, the answer that it finds more probable."""
    if item.scorer != "prefers" or not answer.logps:
        return answer.text
    chosen, rejected = item.rule["answers"]
    return str(chosen if prefers_chosen(answer) else rejected)
