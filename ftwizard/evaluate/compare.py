"""Comparison of base and tuned model on the test rows, with scores that suit the kind of answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import preference_items, reward_scores
from ftwizard.evaluate.items import Item
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan.schema import Plan
from ftwizard.rewards.recognized_answers import GRADED, NAMES
from ftwizard.runs import answer_kind
from ftwizard.runs.answer_kind import AnswerKind
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.runs.result import (
    AnswerPair,
    BaseComparison,
    ModelScores,
    SavedAnswers,
    judge_answers,
)
from ftwizard.runs.verdict import RewardSpan, RowScores
from ftwizard.train import dataset

MAX_ENUM_VALUES = 12


class RowLoss(NamedTuple):
    """Negative log-likelihood of a row's expected answer, in nats, summed over its tokens."""

    total: float
    tokens: int


def derive_comparison(
    folder: JobFolder,
    plan: Plan,
    test_set: dataset.SavedTestSet,
    items: Sequence[Item],
    answers: Mapping[str, Sequence[ItemAnswer]],
    span: RewardSpan | None = None,
) -> BaseComparison:
    """Return the comparison on the test rows among ``items``, from the answers of ``base`` and
    ``tuned``; write all of them to ``eval/compare.json``. ``span``: rewards that scores by rewards are
    shares of.
    """
    by_arm = {
        arm: {answer.item: answer for answer in answers.get(arm, ())} for arm in ("base", "tuned")
    }
    asked = {
        item.line: item
        for item in items
        if item.set == "target"
        and item.max_tokens != 0
        and all(item.id in lines for lines in by_arm.values())
    }
    rows = [row for row in test_set.rows if row.line in asked]
    if not rows:
        return BaseComparison(rows=0)
    schema = infer_json_schema(test_set.answers)
    kind = _find_kind(rows, [asked[row.line] for row in rows], schema)
    texts, row_scores, scores = {}, {}, {}
    losses: dict[int, RowLoss] = {}
    for arm, lines in by_arm.items():
        of_rows = [lines[asked[row.line].id] for row in rows]
        losses = {
            row.line: RowLoss(answer.loss * answer.loss_tokens, answer.loss_tokens)
            for row, answer in zip(rows, of_rows, strict=True)
            if answer.loss is not None
        }
        texts[arm] = [answer.text for answer in of_rows]
        row_scores[arm] = score_rows(kind, of_rows, rows, losses)
        scores[arm] = summarize_scores(texts[arm], rows, schema, row_scores[arm], losses)
    pairs = [
        AnswerPair(
            line=row.line, **_read_prompt(row, asked[row.line]),
            base=texts["base"][index], tuned=texts["tuned"][index], tools=row.conversation.tools,
            tokens=losses[row.line].tokens if row.line in losses else 0,
            base_scores=row_scores["base"][index], tuned_scores=row_scores["tuned"][index],
            **_read_scorer(asked[row.line], by_arm, span),
        )
        for index, row in enumerate(rows)
    ]  # fmt: skip
    pairs.sort(key=lambda pair: pair.line)
    write_json(folder.answers, SavedAnswers(schema=schema, answers=pairs))
    return BaseComparison(
        rows=len(rows), base=scores["base"], tuned=scores["tuned"], schema=schema, pairs=pairs[: plan.finish.pairs],
        kind=kind, verdict=judge_answers(pairs, kind) or msgspec.UNSET,
    )  # fmt: skip


def _find_kind(
    rows: Sequence[ParsedRow], items: Sequence[Item], schema: dict[str, Any] | None
) -> AnswerKind:
    """Return the kind of the answers: as the items are scored, or by the texts where that says nothing."""
    scorers = {item.scorer for item in items}
    if len(scorers) == 1 and (scorer := scorers.pop()) in NAMES:
        return "json" if scorer == "json" else "text" if scorer in GRADED else "short"
    texts = [row.conversation.answer for row in rows]
    return answer_kind.find_kind(texts, is_json=schema is not None)


def _read_prompt(row: ParsedRow, item: Item) -> dict[str, Any]:
    """Return prompt and expected answer, as fields of ``AnswerPair``; of a call, those at its turn."""
    if item.scorer == "tool_call":
        return {"prompt": item.messages, "expected": item.expected[0]}
    return {"prompt": row.conversation.prompt, "expected": row.conversation.answer}


def _read_scorer(
    item: Item, answers: Mapping[str, Mapping[str, ItemAnswer]], span: RewardSpan | None
) -> dict[str, Any]:
    """Return what a row was trained for besides its expected answer, as fields of ``AnswerPair``."""
    both = [answers[arm][item.id] for arm in ("base", "tuned")]
    if item.scorer == "rewards":
        return {"rewards": [reward_scores.get_reward(item, answer, span) for answer in both]}
    if item.scorer == "wanted":
        return {"label": bool(item.rule["label"])}
    if item.scorer != "prefers":
        return {}
    preferred = [preference_items.prefers_chosen(answer) for answer in both if answer.logps]
    return {
        "rejected": preference_items.get_rejected(item),
        "prefers_chosen": preferred if len(preferred) == len(both) else [],
    }


def infer_json_schema(answers: list[str]) -> dict[str, Any] | None:
    """Infer a JSON Schema from ``answers``; return None if they are not all JSON objects.

    Keys in every answer are required, unknown keys are forbidden, and strings with few distinct
    values become enumerations.
    """
    from genson import SchemaBuilder

    try:
        objects = [json.loads(answer) for answer in answers]
    except (ValueError, RecursionError):
        return None
    if not objects or not all(isinstance(value, dict) for value in objects):
        return None
    builder = SchemaBuilder()
    for value in objects:
        builder.add_object(value)
    schema: dict[str, Any] = builder.to_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["additionalProperties"] = False
    for key, kind in schema.get("properties", {}).items():
        if kind.get("type") == "string":
            values = Counter(v[key] for v in objects if key in v)
            if len(values) <= MAX_ENUM_VALUES and values.total() >= 2 * len(values):
                kind["enum"] = sorted(values)
    return schema


def is_valid(schema: dict[str, Any], answer: str) -> bool:
    """Return whether ``answer`` is JSON that is valid for ``schema``."""
    from jsonschema import Draft202012Validator

    try:
        return bool(Draft202012Validator(schema).is_valid(json.loads(answer)))
    except (ValueError, RecursionError):
        return False


def score_rows(
    kind: AnswerKind,
    answers: Sequence[ItemAnswer],
    rows: list[ParsedRow],
    losses: dict[int, RowLoss],
) -> list[RowScores]:
    """Score each answer of a model; ``losses`` are by line, missing for truncated rows.

    An answer that its item's scorer found right or wrong is.

    chrF is sacrebleu's, with its defaults (Popović 2015: character n-grams up to 6, beta 2).
    """
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    scores = []
    for answer, row in zip(answers, rows, strict=True):
        expected, loss = row.conversation.answer, losses.get(row.line)
        text, passed = answer.text, answer.score.passed if answer.score else None
        similarity = chrf.sentence_score(text, [expected]).score if kind == "text" else None
        is_match = answer_kind.is_match(kind, text, expected) if passed is None else passed
        scores.append(
            RowScores(
                match=is_match,
                loss=loss.total / loss.tokens if loss else None,
                fields=_score_fields(answer, expected) if kind == "json" else None,
                chrf=similarity,
            )
        )
    return scores


def _score_fields(answer: ItemAnswer, expected: str) -> float:
    if answer.score and answer.score.value is not None:
        return answer.score.value
    return answer_kind.score_fields(answer.text, expected)


def summarize_scores(
    answers: list[str],
    rows: list[ParsedRow],
    schema: dict[str, Any] | None,
    scores: list[RowScores],
    losses: dict[int, RowLoss],
) -> ModelScores:
    """Return the scores of a model over all rows; loss and chrF as in ``score_rows``."""
    expected = [row.conversation.answer.strip() for row in rows]
    exact = [answer.strip() == text for answer, text in zip(answers, expected, strict=True)]
    valid = [is_valid(schema, answer) for answer in answers] if schema else []
    tokens = sum(loss.tokens for loss in losses.values())
    chrf = [row.chrf for row in scores if row.chrf is not None]
    fields = [row.fields for row in scores if row.fields is not None]
    length = sum(len(answer.strip()) for answer in answers) / max(1, sum(map(len, expected)))
    return ModelScores(
        loss=sum(loss.total for loss in losses.values()) / tokens if tokens else None,
        exact=sum(exact) / len(exact),
        json_valid=sum(valid) / len(valid) if schema else None,
        match=sum(row.match for row in scores) / len(scores),
        fields=sum(fields) / len(fields) if fields else None,
        chrf=sum(chrf) / len(chrf) if chrf else None,
        length_ratio=length if chrf else None,
    )
