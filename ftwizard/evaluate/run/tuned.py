"""The tuned model at the end of a run: its answers next to those of the base model, and the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import reward_scores
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.failures.inputs import TRAIN
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run.asking import (
    ask,
    ask_base_arms,
    ask_judge,
    list_base_arms,
    measure_texts,
)
from ftwizard.evaluate.run.item_selection import freeze_items
from ftwizard.evaluate.run.judgment import judge_answers, read_evidence, write_evaluation
from ftwizard.evaluate.run.subject import Answers, EvaluationSubject, add_parent
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe_evaluation
from ftwizard.runs.evaluation import Evaluation, ItemAnswer
from ftwizard.runs.result import TrainResult, read_merged
from ftwizard.train import dataset

MIN_EVALUATION_S = 2.0
"""Less time is not enough to load a model."""


def evaluate_tuned(
    worker: Worker, plan: Plan, trained: TrainResult, seconds: float | None = None
) -> Evaluation | None:
    """Let the tuned model answer, and judge it; write ``eval/evaluation.json``.

    The merged model is used if there is one, so that what is measured is what will be served. In
    limited ``seconds``, as many items are answered as fit; None without any time.
    """
    folder = worker.folder
    base = Arm(name="base", model=trained.base)
    subject = EvaluationSubject(folder, plan, base, dataset.read_test_set(folder))
    subject = add_parent(subject, folder)
    if seconds is not None and seconds < MIN_EVALUATION_S:
        worker.events.write_finding(
            "comparison_skipped",
            "No time was left to evaluate the tuned model: budget.minutes is used up.",
            "warning",
            action=f"ftwizard eval {folder.id}",
        )
        return None
    tuned = make_tuned_arm(folder, trained)
    items, answers = _ask_all(worker, subject, tuned, seconds)
    with_texts = [base, tuned] if seconds is None else []
    return judge_run(worker, subject, tuned, items, answers, with_texts, trained.step)


def judge_run(
    worker: Worker,
    subject: EvaluationSubject,
    tuned: Arm,
    items: Sequence[Item],
    answers: Answers,
    with_texts: Sequence[Arm] = (),
    step: int | None = None,
) -> Evaluation:
    """Judge the answers of a run's models, and write ``eval/evaluation.json``.

    ``with_texts``: models whose loss on general text counts; ``step``: of the tuned weights, None for
    the last one.
    """
    again = f"ftwizard eval {subject.folder.id}"
    try:
        answers = ask_judge(worker, subject, items, answers)
    except FtwizardError as error:  # what was trained and answered is complete without it
        message = f"The judge could not be asked: {error.message}"
        worker.events.write_finding("judge_failed", message, "warning", action=again)
    texts = measure_texts(worker, subject, with_texts) if with_texts else {}
    evidence = read_evidence(worker, subject, step)
    answers, span = reward_scores.rescale(items, answers)
    evaluation = judge_answers(subject, items, answers, evidence, texts, span)
    arms = [arm for arm in (*list_base_arms(subject), tuned) if arm.name in answers]
    write_evaluation(worker, subject, evaluation, items, arms, answers, again)
    return evaluation


def _ask_all(
    worker: Worker, subject: EvaluationSubject, tuned: Arm, seconds: float | None
) -> tuple[list[Item], Answers]:
    """Return the items, in limited time those that were answered, and the answers of all arms."""
    began = time.monotonic()
    items = freeze_items(worker, subject)
    answers = ask_base_arms(worker, subject, items, seconds)
    asked = _keep_answered(items, answers["base"])
    if seconds is not None:
        seconds = max(0.0, seconds - (time.monotonic() - began))
    answers |= ask(worker, subject, [tuned], asked, seconds, answers["base"])
    answered = _keep_answered(asked, answers["tuned"])
    if seconds is not None and len(answered) < len(items):
        counts = Counter(item.set for item in answered)
        listed = ", ".join(
            f"{counts[name]:,} of {count:,} ({describe_evaluation.name_set(name)})"
            for name, count in Counter(item.set for item in items if item.set != TRAIN).items()
        )
        worker.events.write_finding(
            "evaluation_shortened",
            f"Evaluated on as many items as budget.minutes allows: {listed}.",
            action=f"ftwizard eval {subject.folder.id}",
        )
    return items if seconds is None else answered, answers


def _keep_answered(items: Sequence[Item], answers: Sequence[ItemAnswer]) -> list[Item]:
    ids = {answer.item for answer in answers}
    return [item for item in items if item.id in ids]


def make_tuned_arm(folder: JobFolder, trained: TrainResult) -> Arm:
    """Return the tuned model of a run: the merged one if there is one, else adapter on base.

    One that was merged at another strength is not what the run resulted in.
    """
    linked = JobFolder(folder.link)  # whose paths stay valid where the folder is moved meanwhile
    merged = read_merged(linked)
    if linked.merged.exists() and (merged is None or merged.scale == 1.0):
        return Arm(name="tuned", model=str(linked.merged))
    if trained.method == "full":
        best = linked.checkpoints / f"checkpoint-{trained.step}"
        return Arm(name="tuned", model=str(best), tokenizer=trained.base)
    return Arm(name="tuned", model=trained.base, adapter=str(linked.adapter))
