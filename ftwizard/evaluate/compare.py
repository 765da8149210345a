"""Comparison of base and tuned model on the test set, with scores that suit the kind of answers."""

from __future__ import annotations

import gc
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.data.reader import ParsedRow
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs import answer_kind
from ftwizard.runs.answer_kind import AnswerKind
from ftwizard.runs.result import (
    AnswerPair,
    BaseComparison,
    ModelScores,
    SavedAnswers,
    TrainResult,
    judge_answers,
)
from ftwizard.runs.verdict import RowScores
from ftwizard.text import format_count
from ftwizard.train import dataset, generate, model_loading, runtime
from ftwizard.train.encoder import EncodedRow, Encoder, encode_rows

GENERATION_BATCH_SIZE = 16
LIMITED_BATCH_SIZE = 4
"""Smaller batches where time is limited, so that the limit is noticed in time."""
MIN_COMPARISON_S = 2.0
"""Less time is not enough to load two models."""
BASE_SHARE = 0.4
"""Share of a limited time after which the base model gets no further rows. The rest is for its loss,
and for the tuned model."""
REPORT_EVERY_S = 2.0
"""Least time between two reports of progress."""
MAX_ENUM_VALUES = 12


class RowLoss(NamedTuple):
    """Negative log-likelihood of a row's expected answer, in nats, summed over its tokens."""

    total: float
    tokens: int


class _Phase:
    """Reports how far a part of the comparison is; each report raises Stopped after a stop."""

    def __init__(self, worker: Worker, part: str, total: int, unit: str) -> None:
        self._worker, self._last = worker, 0.0
        self._fields = {"what": part, "total": total, "unit": unit}
        worker.phase("comparing", what=part)

    def report(self, done: float) -> None:
        """Report what is done, with a share of what is in work."""
        self._worker.check_stop()
        if (now := time.monotonic()) - self._last >= REPORT_EVERY_S:
            self._last = now
            self._worker.phase("comparing", done=round(done, 1), **self._fields)


def compare(
    worker: Worker, plan: Plan, trained: TrainResult, seconds: float | None = None
) -> BaseComparison | None:
    """Generate answers for the test set with both models (greedy decoding) and score them.

    The merged model is used if it exists, so that what is measured is what will be served. All
    answers are written to ``eval/compare.json``. In limited ``seconds``, only rows that the base
    model answers in time are compared, drawn at random; None if there is no time at all.
    """
    worker.phase("comparing")
    test_set = dataset.read_test_set(worker.folder)
    rows = test_set.rows
    if not rows:
        return BaseComparison(rows=0)
    if seconds is not None and seconds < MIN_COMPARISON_S:
        message = "No time was left to compare with the base model: budget.minutes is used up."
        worker.events.write_finding("comparison_skipped", message, "warning")
        return None
    until = None
    if seconds is not None:
        until = time.monotonic() + seconds * BASE_SHARE
        rows = random.Random(plan.recipe.seed).sample(rows, len(rows))
    linked = JobFolder(worker.folder.link)
    weights = linked.merged if trained.method == "full" else linked.adapter
    tokenizer = model_loading.load_tokenizer(weights)
    base = Path(trained.base)
    encoder = Encoder(tokenizer, model_loading.read_stop_ids(base) | set(trained.end_ids))
    schema = infer_json_schema(test_set.answers)
    texts = [row.conversation.answer for row in rows]
    longest = max(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    limit = plan.finish.max_new_tokens or longest * 3 // 2 + 16

    kind = answer_kind.find_kind(texts, is_json=schema is not None)
    answers: dict[str, list[str]] = {}
    row_scores: dict[str, list[RowScores]] = {}
    scores: dict[str, ModelScores] = {}
    for name in ("base", "tuned"):
        start = time.monotonic()
        phase = _Phase(worker, f"{name} model", len(rows), "answers")
        model = _load(name, worker, plan, base)
        answers[name] = _generate_answers(phase, model, encoder, rows, limit, until)
        if until is not None:
            rows, until = _keep_answered(worker, rows, answers[name]), None
        encoded, _ = encode_rows(encoder, rows, plan.recipe.max_length, needed=False)
        phase = _Phase(worker, f"loss of the {name} model", len(encoded), "rows")
        losses = _compute_losses(phase, model, encoded)
        del model
        gc.collect()
        row_scores[name] = score_rows(kind, answers[name], rows, losses)
        scores[name] = summarize_scores(
            answers[name], rows, schema, row_scores[name], losses, time.monotonic() - start
        )

    tokens = {row.line: row.trained for row in encoded}
    columns = (answers["base"], answers["tuned"], row_scores["base"], row_scores["tuned"])
    pairs = [
        _to_pair(row, tokens.get(row.line, 0), base_answer, tuned_answer, base_scores, tuned_scores)
        for row, base_answer, tuned_answer, base_scores, tuned_scores in zip(
            rows, *columns, strict=True
        )
    ]
    pairs.sort(key=lambda pair: pair.line)
    worker.folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    write_json(worker.folder.answers, SavedAnswers(schema=schema, answers=pairs))
    return BaseComparison(
        rows=len(rows), **scores, schema=schema, pairs=pairs[: plan.finish.pairs],
        kind=kind, verdict=judge_answers(pairs, kind) or msgspec.UNSET,
    )  # fmt: skip


def _to_pair(
    row: ParsedRow,
    tokens: int,
    base: str,
    tuned: str,
    base_scores: RowScores,
    tuned_scores: RowScores,
) -> AnswerPair:
    return AnswerPair(
        line=row.line,
        prompt=row.conversation.prompt,
        expected=row.conversation.answer,
        base=base,
        tuned=tuned,
        tools=row.conversation.tools,
        tokens=tokens,
        base_scores=base_scores,
        tuned_scores=tuned_scores,
    )


def _keep_answered(worker: Worker, rows: list[ParsedRow], answers: list[str]) -> list[ParsedRow]:
    """Return the first rows, as many as there are answers; report if these are not all."""
    if len(answers) < len(rows):
        worker.events.write_finding(
            "comparison_shortened",
            f"Compared on {len(answers):,} of {format_count(len(rows), 'test row')}, drawn at random: "
            "as many as budget.minutes allows.",
        )
    return rows[: len(answers)]


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
    kind: AnswerKind, answers: list[str], rows: list[ParsedRow], losses: dict[int, RowLoss]
) -> list[RowScores]:
    """Score each answer of a model; ``losses`` are by line, missing for truncated rows.

    chrF is sacrebleu's, with its defaults (Popović 2015: character n-grams up to 6, beta 2).
    """
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    scores = []
    for answer, row in zip(answers, rows, strict=True):
        expected, loss = row.conversation.answer, losses.get(row.line)
        similarity = chrf.sentence_score(answer, [expected]).score if kind == "text" else None
        scores.append(
            RowScores(
                match=answer_kind.is_match(kind, answer, expected),
                loss=loss.total / loss.tokens if loss else None,
                fields=answer_kind.score_fields(answer, expected) if kind == "json" else None,
                chrf=similarity,
            )
        )
    return scores


def summarize_scores(
    answers: list[str],
    rows: list[ParsedRow],
    schema: dict[str, Any] | None,
    scores: list[RowScores],
    losses: dict[int, RowLoss],
    seconds: float,
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
        seconds=round(seconds, 1),
        match=sum(row.match for row in scores) / len(scores),
        fields=sum(fields) / len(fields) if fields else None,
        chrf=sum(chrf) / len(chrf) if chrf else None,
        length_ratio=length if chrf else None,
    )


def _load(name: str, worker: Worker, plan: Plan, base: Path) -> Any:
    import torch

    linked = JobFolder(worker.folder.link)
    precision = runtime.choose_precision(plan.recipe, model_loading.read_config(base))
    if name == "base":
        model = model_loading.load_model(base, precision)
    elif linked.merged.exists():
        model = model_loading.load_model(linked.merged, precision)
    else:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model_loading.load_model(base, precision), linked.adapter)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _generate_answers(
    phase: _Phase,
    model: Any,
    encoder: Encoder,
    rows: list[ParsedRow],
    limit: int,
    until: float | None,
) -> list[str]:
    """Generate one greedy answer per row, in batches of similar prompt length.

    ``until``: time of the monotonic clock after which no further batch begins. Rows are then answered
    in their order, and the last ones may get no answer.
    """
    prompts = [encoder.prompt_ids(r.conversation.prompt, r.conversation.tools) for r in rows]
    order, size = list(range(len(rows))), LIMITED_BATCH_SIZE
    if until is None:
        order, size = sorted(order, key=lambda i: len(prompts[i])), GENERATION_BATCH_SIZE
    texts: dict[int, str] = {}
    for start in range(0, len(order), size):
        if until is not None and texts and time.monotonic() >= until:
            break
        batch = order[start : start + size]

        def report(tokens: list[int], start: int = start, count: int = len(batch)) -> bool:
            phase.report(start + count * len(tokens) / limit)
            return False

        answers = generate.generate_answers(
            model, encoder, [prompts[i] for i in batch], limit, should_stop=report
        )
        for i, answer in zip(batch, answers, strict=True):
            texts[i] = answer.text
    return [texts[i] for i in sorted(texts)]


def _compute_losses(phase: _Phase, model: Any, rows: list[EncodedRow]) -> dict[int, RowLoss]:
    """Return the loss over the trainable tokens of each row, by line.

    Rows are processed one by one, and only logits of trainable tokens are cast to float32: with a
    vocabulary of 150,000, the logits of a batch take gigabytes.
    """
    import torch

    losses: dict[int, RowLoss] = {}
    for row in rows:
        phase.report(len(losses))
        ids = torch.tensor([row.input_ids], device=model.device)
        labels = torch.tensor(row.labels[1:], device=model.device)
        positions = (labels != IGNORE_INDEX).nonzero().flatten()
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, positions].float()
        total = torch.nn.functional.cross_entropy(logits, labels[positions], reduction="sum")
        losses[row.line] = RowLoss(float(total), len(positions))
    return losses
