"""The job of ``ftwizard eval``: a run, a checkpoint, weaker adapters, a folder or an endpoint."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ftwizard.advice.evidence import recognize_as_planned
from ftwizard.evaluate import reward_scores
from ftwizard.evaluate.answer_cache import FILE
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run import rescore
from ftwizard.evaluate.run.asking import (
    ask,
    ask_base_arms,
    ask_judge,
    list_base_arms,
    measure_texts,
)
from ftwizard.evaluate.run.hosted import ask_base_endpoint, save_rows
from ftwizard.evaluate.run.item_selection import freeze_items
from ftwizard.evaluate.run.judgment import (
    NO_EVIDENCE,
    judge_answers,
    read_evidence,
    write_evaluation,
)
from ftwizard.evaluate.run.subject import Answers, EvaluationSubject, add_parent
from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker, WorkResult
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_job import Candidate, EvaluationRequest, EvaluationResult
from ftwizard.runs.verdict import RewardSpan
from ftwizard.train import dataset

_RANK = {"ship": 2, "cannot_tell": 1, "do_not_ship": 0}


def run(worker: Worker) -> WorkResult:
    """Ask base and candidates, judge each candidate, and name the best one."""
    request = msgspec.convert(worker.record.inputs, EvaluationRequest)
    subject = _make_subject(worker, request)
    arms = [_fetch(worker, msgspec.convert(arm, Arm)) for arm in request.candidates]
    items = freeze_items(worker, subject)
    if subject.scorer_changed:
        items = rescore.change_scorer(items, subject.test_set)
    if subject.uses_endpoints and request.run is not None:
        answers = ask_base_endpoint(worker, subject, items)
    else:
        answers = ask_base_arms(worker, subject, items)
    answers |= ask(worker, subject, arms, items, base=answers.get("base", ()))
    if subject.scorer_changed:
        answers = rescore.score_again(items, answers)
    answers = ask_judge(worker, subject, items, answers)
    answers, span = reward_scores.rescale(items, answers)
    evaluations = _judge(worker, subject, arms, request, items, answers, span)
    best = max(evaluations, key=lambda name: _rank(evaluations[name]))
    tuned = next(replace(arm, name="tuned") for arm in arms if arm.name == best)
    again = f"ftwizard eval {Path(request.run).name}" if request.run and request.is_result else None
    write_evaluation(
        worker, subject, evaluations[best], items,
        [*(arm for arm in list_base_arms(subject) if arm.name in answers), tuned],
        answers | {"tuned": answers[best]}, again,
    )  # fmt: skip
    candidates = [
        Candidate(
            name=arm.name,
            verdict=evaluations[arm.name].verdict,
            scores={
                name: result.arms["tuned"].score
                for name, result in evaluations[arm.name].sets.items()
            },
            step=request.steps.get(arm.name),
            scale=arm.scale,
        )
        for arm in arms
    ]
    result = EvaluationResult(
        end_reason="finished", attempt=worker.attempt, evaluation=evaluations[best], best=best,
        candidates=candidates,
    )  # fmt: skip
    return WorkResult(result)


def _make_subject(worker: Worker, request: EvaluationRequest) -> EvaluationSubject:
    """Return what is evaluated; items that the run froze are used again, so that all compare."""
    plan = plan_file.load(worker.folder.plan, begun=True)
    base = _fetch(worker, msgspec.convert(request.base, Arm)) if request.base else None
    arms = [msgspec.convert(arm, Arm) for arm in request.candidates] + ([base] if base else [])
    over_network = all(arm.is_endpoint for arm in arms)
    rate = _find_rate(request)
    if request.run is None:
        empty = dataset.SavedTestSet(rows=[])
        return EvaluationSubject(worker.folder, plan, base, empty, over_network, rate)
    folder = JobFolder(Path(request.run))
    if over_network:
        save_rows(worker, folder, plan)
    try:
        test_set = dataset.read_test_set(folder)
    except (OSError, msgspec.MsgspecError):  # it was not to be evaluated
        test_set = dataset.SavedTestSet(rows=[])
    test_set, is_changed = _choose_kind(test_set, plan, plan_file.read_run(folder))
    if request.is_result:
        subject = EvaluationSubject(folder, plan, base, test_set, over_network, rate)
        return add_parent(subject._replace(scorer_changed=is_changed), folder)
    if not worker.folder.evaluations.exists() and plan.evaluate == _read_settings(folder):
        worker.folder.evaluations.mkdir(mode=0o700)
        for name in ("items.jsonl", "frozen.json"):
            if (folder.evaluations / name).exists():
                shutil.copy(folder.evaluations / name, worker.folder.evaluations / name)
    if over_network and _names_models(plan):
        _copy_answers(folder, worker.folder)
    subject = EvaluationSubject(worker.folder, plan, base, test_set, over_network, rate)
    return add_parent(subject._replace(scorer_changed=is_changed), folder)


def _choose_kind(
    test_set: dataset.SavedTestSet, plan: Plan, used: Plan
) -> tuple[dataset.SavedTestSet, bool]:
    """Return the test set with the kind of answers that a plan names, and whether the run had another.

    Raises FtwizardError for a scorer that finds no answer in its rows.
    """
    rows = dataset.list_answered([*test_set.rows, *test_set.trained])
    settings = plan.evaluate
    names = ("scorer", "answer_pattern", "judge")
    if not rows or all(getattr(settings, name) == getattr(used.evaluate, name) for name in names):
        return test_set, False
    kind = recognize_as_planned(rows, settings)
    dataset.require_answers(dataset.list_answered(test_set.rows), kind)
    before = test_set.kind or kind
    is_same = (kind.scorer, kind.rule) == (before.scorer, before.rule)
    return replace(test_set, kind=kind), not is_same


def _names_models(plan: Plan) -> bool:
    """Return whether a platform's name for a model never stands for another, as that of a deployment that
    the user makes may."""
    serving = (PLATFORMS[name].serving for name in PLATFORMS if name == plan.provider)
    return next(serving, "own_deployment") != "own_deployment"


def _copy_answers(run: JobFolder, job: JobFolder) -> None:
    """Copy the answers that a run has already, so that a platform is not asked and paid twice."""
    answers = run.evaluations / FILE
    if answers.exists() and not (job.evaluations / FILE).exists():
        job.evaluations.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(answers, job.evaluations / FILE)


def _find_rate(request: EvaluationRequest) -> float | None:
    """Return how many requests a minute each of the tuned models answers, which share what is allowed."""
    arms = [msgspec.convert(arm, Arm) for arm in request.candidates]
    rates = [arm.requests_per_minute for arm in arms if arm.requests_per_minute]
    return min(rates) / len(arms) if rates else None


def _read_settings(folder: JobFolder) -> object:
    return plan_file.read_run(folder).evaluate


def _fetch(worker: Worker, arm: Arm) -> Arm:
    """Return an arm whose model is on this machine: a Hub id is fetched."""
    if arm.is_endpoint or Path(arm.model).is_dir():
        return arm
    source = hub.locate(arm.model)
    folder = hub.fetch(source, dataset.phase_reporter(worker, "fetching"))
    return replace(arm, model=str(folder))


def _judge(
    worker: Worker,
    subject: EvaluationSubject,
    arms: Sequence[Arm],
    request: EvaluationRequest,
    items: Sequence[Item],
    answers: Answers,
    span: RewardSpan | None,
) -> dict[str, Evaluation]:
    """Return the evaluation of each candidate, which takes the place of the tuned model."""
    evidence = NO_EVIDENCE
    if request.run is not None:
        run = subject._replace(folder=JobFolder(Path(request.run)))
        evidence = read_evidence(worker, run, 0)
    names, evaluations = [arm.name for arm in arms], {}
    texts = {}
    if subject.base:
        texts = measure_texts(worker, subject, [subject.base, *arms])
    for name in names:
        own = {arm: lines for arm, lines in answers.items() if arm not in names}
        own["tuned"] = answers[name]
        of_step = evidence._replace(step=request.steps.get(name))
        losses = {"base": texts.get("base", []), "tuned": texts.get(name, [])}
        evaluations[name] = judge_answers(subject, items, own, of_step, losses, span)
    return evaluations


def _rank(evaluation: Evaluation) -> tuple[int, float]:
    """Return what to choose the best candidate by: the verdict, then the score on the target set."""
    target = evaluation.sets.get("target")
    return _RANK[evaluation.verdict], target.arms["tuned"].score if target else 0.0
