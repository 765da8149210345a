"""Test prompts of reinforcement as items, and their scores by the rewards of the plan.

A score is the weighted mean of the rewards, so that rewards of 0 to 1 give a share. Of others, the
share is that of the way from the least to the greatest score that any of the compared models got.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import set_files
from ftwizard.evaluate.items import Item
from ftwizard.rewards.reward import Reward, RewardError
from ftwizard.rewards.rows import PromptRow, make_batch, to_row
from ftwizard.rewards.scoring import open_scorers
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.runs.verdict import RewardSpan

BINARY = frozenset(
    ("exact_answer", "numeric_answer", "choice_letter", "json_valid", "regex_format")
)
"""Packaged functions that only give 0 and 1: alone, they make an answer right or wrong."""
Answers = dict[str, list[ItemAnswer]]
"""Answers by the name of the arm."""
MAX_BATCH = 64
"""Answers that a function scores at once, within its time limit."""


def make_items(rows: Sequence[ParsedRow], rewards: Sequence[Reward], max_tokens: int) -> list[Item]:
    """Return rows as items of the target set, whose answers have at most ``max_tokens``."""
    named = [msgspec.to_builtins(reward) for reward in rewards]
    items = []
    for row in rows:
        columns = to_row(row).columns
        item = set_files.make_item(
            "target",
            row.conversation.prompt,
            "rewards",
            [row.conversation.answer] if row.conversation.answer else [],
            {"rewards": named, "columns": columns},
            tools=row.conversation.tools,
            line=row.line,
        )
        items.append(replace(item, max_tokens=max_tokens))
    return items


def score_all(items: Sequence[Item], answers: Sequence[ItemAnswer]) -> tuple[list[ItemAnswer], str]:
    """Return the answers, those to items of rewards with their scores, and what went wrong.

    Answers that a function fails on have no score, but a note; so have all where one cannot be opened.
    """
    by_id = {item.id: item for item in items if item.scorer == "rewards"}
    indexes = [n for n, a in enumerate(answers) if a.item in by_id and a.score is None]
    if not indexes:
        return list(answers), ""
    scored, problem = list(answers), ""
    rewards = msgspec.convert(by_id[answers[indexes[0]].item].rule["rewards"], list[Reward])
    try:
        with open_scorers(rewards) as scorers:
            for start in range(0, len(indexes), MAX_BATCH):
                part = indexes[start : start + MAX_BATCH]
                rows = [_to_row(by_id[answers[n].item]) for n in part]
                batch = make_batch(rows, [answers[n].text for n in part])
                try:
                    columns = [scorer.score(batch) for scorer in scorers]
                except RewardError as error:
                    problem = problem or error.message
                    scores = [ItemScore(note=error.message)] * len(part)
                else:
                    scores = [_combine(rewards, values) for values in zip(*columns, strict=True)]
                for n, score in zip(part, scores, strict=True):
                    scored[n] = replace(answers[n], score=score)
    except RewardError as error:  # of opening: its file was moved or deleted since the training
        problem, score = error.message, ItemScore(note=error.message)
        for n in indexes:
            scored[n] = replace(answers[n], score=score)
    return scored, problem


def rescale(items: Sequence[Item], answers: Answers) -> tuple[Answers, RewardSpan | None]:
    """Return answers whose scores by rewards are shares of a span, and the span.

    It reaches from the least to the greatest score of all models, and over 0–1. None: the scores are
    within 0–1, and as they were.
    """
    ids = {item.id for item in items if item.scorer == "rewards"}
    scores = [
        answer.value
        for lines in answers.values()
        for answer in lines
        if answer.item in ids and answer.value is not None
    ]
    low, high = min(0.0, *scores, 0.0), max(1.0, *scores, 1.0)
    if (low, high) == (0.0, 1.0):
        return answers, None
    span = RewardSpan(low=low, high=high)

    def scale(answer: ItemAnswer) -> ItemAnswer:
        if answer.item not in ids or answer.score is None or answer.value is None:
            return answer
        return replace(answer, score=replace(answer.score, value=span.to_share(answer.value)))

    return {arm: [scale(answer) for answer in lines] for arm, lines in answers.items()}, span


def get_reward(item: Item, answer: ItemAnswer, span: RewardSpan | None) -> float | None:
    """Return the reward of an answer, whose score is a share of ``span``; None without one."""
    if item.scorer != "rewards" or answer.value is None:
        return None
    return span.to_reward(answer.value) if span else answer.value


def _to_row(item: Item) -> PromptRow:
    return PromptRow(
        line=item.line or 0,
        prompt=item.messages,
        reference=item.expected[0] if item.expected else "",
        columns=item.rule.get("columns", {}),
    )


def _combine(rewards: Sequence[Reward], values: Sequence[float | None]) -> ItemScore:
    """Return the weighted mean of the rewards that apply."""
    applied = [(r.weight, v) for r, v in zip(rewards, values, strict=True) if v is not None]
    total = sum(abs(weight) for weight, _ in applied)
    if not total:
        return ItemScore(note="None of the rewards applies to it.")
    value = sum(weight * reward for weight, reward in applied) / total
    is_binary = len(rewards) == 1 and rewards[0].file is None and rewards[0].name in BINARY
    return ItemScore(value=value, passed=value == 1.0 if is_binary else None)
