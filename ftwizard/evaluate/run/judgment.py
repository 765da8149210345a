"""The judgment of answers: by the gate and the five failures, with what a run knows besides; and its files."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ftwizard.diagnosis import Curve
from ftwizard.diagnosis.pair_lengths import LengthRule
from ftwizard.evaluate import frozen_items, preference_results, results, sets
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.failures.detect import find_failures
from ftwizard.evaluate.failures.inputs import (
    TRAIN,
    FailureInputs,
    TextLoss,
    TrainingRow,
    pair_answers,
    to_flip,
    to_training_rows,
)
from ftwizard.evaluate.inspect_log import Recorded, list_facts, write_logs
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import Loss
from ftwizard.evaluate.run.item_selection import rank_set
from ftwizard.evaluate.run.subject import Answers, EvaluationSubject, read_training_rows
from ftwizard.evaluate.thinking import describe_mode
from ftwizard.jobs.folder import write_json
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.rewards.recognized_answers import RecognizedAnswers
from ftwizard.runs import hosted, loss_curves
from ftwizard.runs.evaluation import Action, Evaluation, Flip
from ftwizard.runs.summary import read_progress
from ftwizard.runs.verdict import RewardSpan

MAX_MIX_SHARE = 0.5
"""As in a plan."""


class RunEvidence(NamedTuple):
    """What is known of a run besides answers."""

    rows: Sequence[TrainingRow] = ()
    curve: Curve | None = None
    step: int | None = None
    """Step of the tuned weights."""
    lengths: LengthRule | None = None
    """How well the length of answers alone tells the training pairs apart, where that was reported."""


NO_EVIDENCE = RunEvidence()
"""Of a model that no run here trained."""


def read_evidence(worker: Worker, subject: EvaluationSubject, step: int | None) -> RunEvidence:
    """Return the training rows and the curve of a run. ``step``: of the tuned weights; None: the last."""
    worker.phase("comparing", what="the verdict")
    rows = to_training_rows(*read_training_rows(worker, subject))
    progress = read_progress(subject.folder)
    curve = loss_curves.from_progress(progress, subject.folder)
    return RunEvidence(rows, curve, step, _find_length_rule(progress.findings))


def _find_length_rule(findings: Sequence[Mapping[str, Any]]) -> LengthRule | None:
    reported = [
        finding.get("evidence") for finding in findings if finding.get("code") == "pairs_by_length"
    ]
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(reported[-1], LengthRule) if reported else None
    return None


def judge_answers(
    subject: EvaluationSubject,
    items: Sequence[Item],
    answers: Answers,
    evidence: RunEvidence = NO_EVIDENCE,
    texts: Mapping[str, Sequence[Loss]] | None = None,
    span: RewardSpan | None = None,
) -> Evaluation:
    """Judge the answers of base and tuned model by the gate and the five failures.

    ``texts``: their losses on general text; ``span``: rewards that scores by rewards are shares of.
    """
    texts = texts or {}
    pairs = zip(texts.get("base", ()), texts.get("tuned", ()), strict=False)
    by_arm = results.index_answers(answers)
    drawn = Counter(item.set for item in items)
    items = sorted((item for item in items if item.id in by_arm["tuned"]), key=rank_set)
    failures = find_failures(
        FailureInputs(
            items=[item for item in items if item.max_tokens != 0], base=by_arm.get("base", {}), tuned=by_arm["tuned"], rows=evidence.rows,
            curve=evidence.curve, step=evidence.step, gate=subject.plan.gate,
            text_losses=[
                TextLoss(base.total / base.tokens, tuned.total / tuned.tokens, base.tokens)
                for base, tuned in pairs if base.tokens and tuned.tokens
            ],
        )
    )  # fmt: skip
    own = [row for row in evidence.rows if row.line > 0]  # which a person can change
    evaluation = results.make_evaluation(
        items, answers, failures, subject.plan.gate, own, evidence.lengths, span
    )
    return msgspec.structs.replace(
        evaluation,
        samples=list_samples(items, by_arm, subject.plan.finish.pairs, span),
        actions=list(_list_possible(evaluation, subject.plan, drawn)),
        parent=subject.parent_id,
        answers=_find_kind(subject, items),
        scorer_changed=subject.scorer_changed,
    )


def list_samples(
    items: Sequence[Item], answers: preference_results.Answers, count: int, span: RewardSpan | None
) -> list[Flip]:
    """Return the first ``count`` test rows with the answers of base and tuned model."""
    rows = [item for item in items if item.set == "target" and item.max_tokens != 0]
    rows.sort(key=lambda row: row.line or 0)
    pairs = pair_answers(rows, answers.get("base", {}), answers.get("tuned", {}))
    return [to_flip(pair, span) for pair in pairs[:count]]


def _find_kind(subject: EvaluationSubject, items: Sequence[Item]) -> RecognizedAnswers | None:
    """Return how the answers of the test rows were compared, if the items are scored that way."""
    kind = subject.test_set.kind
    scorers = {item.scorer for item in items if item.set == "target"}
    return kind if kind and scorers == {kind.scorer} else None


def _list_possible(
    evaluation: Evaluation, plan: Plan, drawn: Mapping[str, int]
) -> Iterator[Action]:
    """Yield the actions that change something for a run of this plan.

    ``drawn``: items of each set, of which those that were open were all asked.

    A run that mixed general rows in may mix in twice as many. More items are of all packaged sets:
    the one that needs most decides their number.
    """
    more = None
    needs_deployment = hosted.get_serving(plan.provider, plan.model.name) == "own_deployment"
    for action in evaluation.actions:
        value = action.value or 0
        if action.kind == "scale" and (plan.is_hosted or plan.recipe.method == "full"):
            continue  # without an adapter here
        if action.kind == "epochs" and value >= _count_epochs(plan):
            continue
        if plan.is_hosted and action.kind in ("drop_rows", "mix", "epochs"):
            yield msgspec.structs.replace(action, by_hand=True)
            continue
        if action.kind == "checkpoint" and needs_deployment:
            action = msgspec.structs.replace(action, needs_deployment=True)
        if action.kind == "mix" and (share := plan.data.mix.share):
            if share >= MAX_MIX_SHARE:
                continue
            action = msgspec.structs.replace(action, value=min(MAX_MIX_SHARE, 2 * share))
        if action.kind == "more_items" and action.set in ("general", "safety"):
            total = len(sets.read_packaged(action.set))
            if not 0 < drawn.get(action.set, 0) < total:
                continue
            if more is None or min(value, total) > (more.value or 0):
                more = msgspec.structs.replace(action, value=float(min(value, total)))
            continue
        yield action
    if more:
        yield more


def _count_epochs(plan: Plan) -> float:
    """Return the epochs of a plan; infinite where the platform chooses them."""
    epochs = plan.platform_settings.epochs if plan.is_hosted else plan.recipe.epochs
    return math.inf if epochs == "auto" else epochs


def write_evaluation(
    worker: Worker,
    subject: EvaluationSubject,
    evaluation: Evaluation,
    items: Sequence[Item],
    arms: Sequence[Arm],
    answers: Answers,
    again: str | None,
) -> None:
    """Write ``eval/evaluation.json``, and ``eval/inspect/`` for other tools.

    If only these logs cannot be written, the verdict stands; ``again`` is the command that writes
    them later.
    """
    folder = subject.folder
    write_json(folder.evaluation, evaluation)
    asked = [item for item in items if item.set != TRAIN and item.max_tokens != 0]
    recorded = Recorded(asked, arms, answers, datetime.now().astimezone())
    facts = {"model": subject.plan.model.name}
    facts |= list_facts(recorded, folder.read_job().hashes)
    frozen = frozen_items.read(folder)
    if frozen and (text := describe_mode(frozen[1].thinking)):
        facts["thinking"] = text
    logs = folder.evaluations / "inspect"
    try:
        write_logs(logs, recorded, evaluation.sets, facts)
    except OSError as error:
        shutil.rmtree(logs, ignore_errors=True)  # parts of them, which also need the space
        worker.events.write_finding(
            "reports_failed",
            f"The verdict is complete, but {logs} could not be written: {error.strerror or error}.",
            "warning",
            action=again,
        )
