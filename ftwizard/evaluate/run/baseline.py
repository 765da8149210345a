"""The base model before the first step: its scores, what is left to gain, and what the items can show."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

import msgspec

from ftwizard.evaluate import results, reward_scores
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.failures.inputs import TRAIN
from ftwizard.evaluate.preference_results import METRICS
from ftwizard.evaluate.run.asking import ask_base_arms, measure_texts
from ftwizard.evaluate.run.item_selection import freeze_items, rank_set
from ftwizard.evaluate.run.subject import EvaluationSubject, add_parent
from ftwizard.jobs.folder import write_json
from ftwizard.jobs.worker import EarlyEnd, Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe_evaluation, evaluation_files, ship_verdict
from ftwizard.runs.evaluation_files import Baseline
from ftwizard.train import dataset

ENOUGH = ("prompt_suffices", "base_suffices")
"""Outcomes of a headroom that is too small to train for."""


def evaluate_base(worker: Worker, plan: Plan, base: Path, seconds: float | None = None) -> None:
    """Evaluate the base model in a folder, as ``evaluate_base_arm`` does."""
    evaluate_base_arm(worker, plan, Arm(name="base", model=str(base)), seconds)


def evaluate_base_arm(worker: Worker, plan: Plan, base: Arm, seconds: float | None = None) -> None:
    """Freeze the items of a run, let the base arms answer them, and report the headroom.

    What an earlier attempt did is not done again. In limited ``seconds``, as many items are answered
    as fit. Raises EarlyEnd where the plan asks for headroom that there is not.
    """
    if not plan.finish.compare:
        return
    baseline = evaluation_files.read_baseline(worker.folder)
    if baseline is None:
        baseline = _measure_baseline(worker, plan, base, seconds)
        write_json(worker.folder.baseline, baseline)
        _report_baseline(worker, plan, baseline)
    headroom = baseline.headroom
    if headroom and headroom.outcome in ENOUGH and plan.evaluate.requires_headroom:
        raise EarlyEnd(
            "refused",
            " ".join(describe_evaluation.describe_headroom(headroom)),
            "Nothing was trained, as evaluate.requires_headroom asks.",
        )


def _measure_baseline(worker: Worker, plan: Plan, base: Arm, seconds: float | None) -> Baseline:
    subject = EvaluationSubject(
        worker.folder, plan, base, dataset.read_test_set(worker.folder),
        uses_endpoints=base.is_endpoint,
    )  # fmt: skip
    subject = add_parent(subject, worker.folder)
    items = freeze_items(worker, subject)
    answers = ask_base_arms(worker, subject, items, seconds)
    if seconds is None:
        measure_texts(worker, subject, [base])  # which the cache keeps
    _trim_memory()
    answers, span = reward_scores.rescale(items, answers)
    by_arm = results.index_answers(answers)
    summaries = {
        name: results.summarize_set([item for item in items if item.set == name], by_arm, span)
        for name in dict.fromkeys(
            item.set for item in sorted(items, key=rank_set) if item.set != TRAIN
        )
    }
    target = summaries.get("target")
    # Labeled answers are scored by the change since the base model, which alone shows no headroom;
    # nor do rewards that have no known limit. In a limited time there may be no answer.
    score = target.arms.get("base") if target and not target.span else None
    is_scored = score is not None and score.n > 0 and score.metric != METRICS["wanted"]
    headroom = ship_verdict.judge_headroom(target, plan.gate) if target and is_scored else None
    return Baseline(sets=summaries, headroom=headroom)


def _report_baseline(worker: Worker, plan: Plan, baseline: Baseline) -> None:
    if headroom := baseline.headroom:
        worker.events.write_finding(
            "headroom",
            " ".join(describe_evaluation.describe_headroom(headroom)),
            "warning" if headroom.outcome in ENOUGH else "info",
            evidence=msgspec.to_builtins(headroom),
        )
    if baseline.sets:
        powers = describe_evaluation.describe_powers(baseline.sets, plan.gate)
        provable = {name: result.provable for name, result in baseline.sets.items()}
        worker.events.write_finding("power", f"{'; '.join(powers)}.", evidence=provable)


def _trim_memory() -> None:
    """Return freed memory to the system, so that it does not count as that of the training."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
