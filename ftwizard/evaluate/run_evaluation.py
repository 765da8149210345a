"""The evaluation of a run: its base model before the first step, the tuned model at the end."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ftwizard.data.reader import ParsedRow
from ftwizard.diagnosis import Curve
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import (
    compare,
    frozen_items,
    judge,
    lm_eval_tasks,
    prompts,
    results,
    runner,
    scorers,
    sets,
)
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.exports.recorded import Recorded
from ftwizard.evaluate.exports.write import list_facts, write_exports
from ftwizard.evaluate.failures.detect import find_failures
from ftwizard.evaluate.failures.inputs import (
    TRAIN,
    FailureInputs,
    TextLoss,
    TrainingRow,
    to_training_rows,
)
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import LocalAnswerer, LocalModels, Loss
from ftwizard.jobs.folder import JobFolder, write_json, write_whole
from ftwizard.jobs.worker import EarlyEnd, Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs import (
    describe_evaluation,
    evaluation_files,
    loss_curves,
    ship_verdict,
)
from ftwizard.runs.evaluation import Evaluation, ItemAnswer
from ftwizard.runs.evaluation_files import Baseline
from ftwizard.runs.result import BaseComparison, TrainResult
from ftwizard.runs.summary import read_progress
from ftwizard.text import format_count
from ftwizard.train import dataset

MAX_ITEMS_GPU, MAX_ITEMS_CPU = 400, 40
"""Items of a set where the plan names no number."""
MAX_REFUSAL_TOKENS = 64
"""Tokens of an answer that only has to be distinguished from a refusal, which begins as one."""
MIN_EVALUATION_S = 2.0
"""Less time is not enough to load a model."""
MIN_TEXTS = 20
"""General texts that are measured on a CPU."""
REPORT_EVERY_S = 1.0
"""Least time between two reports of progress."""
ENOUGH = ("prompt_suffices", "base_suffices")
"""Outcomes of a headroom that is too small to train for."""
Answers = dict[str, list[ItemAnswer]]
"""By the name of the arm."""


class Subject(NamedTuple):
    """What is evaluated, and where its files are."""

    folder: JobFolder
    """Its ``eval/`` has the items and answers."""
    plan: Plan
    base: Arm | None
    """The base model; None: there is nothing to compare with."""
    test_set: dataset.SavedTestSet
    """Of the run."""


# ------------------------------------------------------------------------ before the first step


def evaluate_base(worker: Worker, plan: Plan, base: Path, seconds: float | None = None) -> None:
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


def _measure_baseline(worker: Worker, plan: Plan, base: Path, seconds: float | None) -> Baseline:
    arm = Arm(name="base", model=str(base))
    subject = Subject(worker.folder, plan, arm, dataset.read_test_set(worker.folder))
    items = freeze_items(worker, subject)
    answers = ask_base_arms(worker, subject, items, seconds)
    if seconds is None:
        measure_texts(worker, subject, [arm])  # which the cache keeps
    _trim_memory()
    by_arm = results.index_answers(answers)
    summaries = {
        name: results.summarize_set([item for item in items if item.set == name], by_arm)
        for name in dict.fromkeys(
            item.set for item in sorted(items, key=_rank_set) if item.set != TRAIN
        )
    }
    target = summaries.get("target")
    is_scored = target is not None and target.arms["base"].n > 0
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


def freeze_items(worker: Worker, subject: Subject) -> list[Item]:
    """Return the frozen items of a run; draw and freeze them if that was not done yet.

    Raises FtwizardError for a file of items that cannot be used, or that was changed since.
    """
    folder, plan = subject.folder, subject.plan
    if frozen := frozen_items.read(folder):
        return frozen[0]
    worker.phase("comparing", what="items")
    limit = plan.evaluate.max_items or (MAX_ITEMS_GPU if _has_gpu() else MAX_ITEMS_CPU)
    items, counts = frozen_items.draw(collect_items(worker, subject), limit, plan.recipe.seed)
    items = prompts.set_limits(items, _count_tokens(subject))
    frozen_items.freeze(folder, items, counts, plan.gate)
    drawn = [
        f"{drawn.items:,} of {drawn.available:,} ({describe_evaluation.name_set(name)})"
        for name, drawn in counts.items()
        if drawn.items < drawn.available and name != TRAIN
    ]
    if drawn:
        message = (
            f"Evaluated on items drawn at random: {', '.join(drawn)}. All: evaluate.max_items."
        )
        worker.events.write_finding("items_drawn", message)
    return items


def collect_items(worker: Worker, subject: Subject) -> list[Item]:
    """Return all items that the plan asks for, and those of a sample of the training rows."""
    plan, test_set = subject.plan, subject.test_set
    rows = sets.make_target_items(test_set)
    rows += [
        replace(item, set=TRAIN, id=f"{TRAIN}-{item.id}")
        for item in sets.make_target_items(replace(test_set, rows=test_set.trained))
    ]
    if limit := plan.finish.max_new_tokens:
        rows = [replace(item, max_tokens=limit) for item in rows]
    items = rows
    if plan.evaluate.general:
        items += sets.read_packaged("general")
    if plan.evaluate.safety:
        items += sets.read_packaged("safety")
        items += sets.make_personal_items(read_training_rows(worker, subject))
    items += sets.read_files(plan.evaluate.sets, worker.check_stop, needs_target=not test_set.rows)
    return [
        replace(item, max_tokens=MAX_REFUSAL_TOKENS)
        if item.max_tokens is None and item.scorer in ("refusal", "answered")
        else item
        for item in items
    ]


def _count_tokens(subject: Subject) -> Callable[[str], int]:
    if subject.base is None or runner.is_endpoint(subject.base):
        return prompts.count_bytes
    models = LocalModels(AnswerCache(None), subject.plan.recipe)
    return LocalAnswerer(subject.base, models).count_tokens


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def ask_base_arms(
    worker: Worker, subject: Subject, items: Sequence[Item], seconds: float | None = None
) -> Answers:
    """Return the scored answers of the base model, alone and with the user's prompt."""
    answers: Answers = {}
    arms = list_base_arms(subject)
    for arm in arms:
        asked = items if arm.name == "base" else _select_for_prompt(items)
        kept = read_answers(subject.folder, arm.name)
        limit = None if seconds is None else seconds / len(arms)
        answers |= {arm.name: kept} if kept else ask(worker, subject, [arm], asked, limit)
    return answers


def _select_for_prompt(items: Sequence[Item]) -> list[Item]:
    """Return the items that the prompted model answers: on a CPU those of the task, for which the
    prompt is; never those of the training rows."""
    others = (TRAIN,) if _has_gpu() else (TRAIN, "general", "safety")
    return [item for item in items if item.set not in others]


def list_base_arms(subject: Subject) -> list[Arm]:
    """Return the base model, and the base model with the user's system prompt and examples."""
    base, settings, test_set = subject.base, subject.plan.evaluate, subject.test_set
    if base is None:
        return []
    shots = test_set.shots[: settings.shots]
    system = settings.system or test_set.system
    if not shots and settings.system is None:
        return [base]
    return [base, replace(base, name="prompted", system=system, shots=shots)]


def ask(
    worker: Worker,
    subject: Subject,
    arms: Sequence[Arm],
    items: Sequence[Item],
    seconds: float | None = None,
) -> Answers:
    """Return the scored answers of arms, and write them: what the cache has is not asked again.

    In limited ``seconds``, as many items as fit are answered, a random part of them all.
    """
    recipe = subject.plan.recipe
    own = [item for item in items if item.scorer != "lm_eval"]
    answers = runner.answer_all(
        arms, own, subject.folder.link, recipe=recipe, seconds=seconds, seed=recipe.seed,
        on_progress=_make_reporter(worker), say=lambda name: worker.phase("comparing", what=name),
    )  # fmt: skip
    if seconds is None:
        ask_by_lm_eval(worker, subject.plan, arms, items, answers)
    by_id = {item.id: item for item in items}
    scored = {
        arm: [score_answer(by_id[answer.item], answer) for answer in lines]
        for arm, lines in answers.items()
    }
    for arm, lines in scored.items():
        write_answers(subject.folder, arm, lines)
    return scored


def measure_texts(worker: Worker, subject: Subject, arms: Sequence[Arm]) -> dict[str, list[Loss]]:
    """Return the losses on general text by the name of the arm; none where the plan leaves it out."""
    if not subject.plan.evaluate.general:
        return {}
    texts = [paragraph.text for paragraph in sets.read_general_text()]
    texts = texts if _has_gpu() else texts[:: len(texts) // MIN_TEXTS]
    return runner.compute_text_losses(
        arms, texts, recipe=subject.plan.recipe, on_progress=_make_reporter(worker, "texts"),
        say=lambda name: worker.phase("comparing", what=name),
    )  # fmt: skip


def _make_reporter(worker: Worker, unit: str = "answers") -> Callable[[runner.Progress], None]:
    """Return what reports progress, at most once a second, and raises Stopped after a stop."""
    last = 0.0

    def report(progress: runner.Progress) -> None:
        nonlocal last
        worker.check_stop()
        if (now := time.monotonic()) - last >= REPORT_EVERY_S:
            last = now
            worker.phase(
                "comparing", what=f"{progress.arm} model", done=progress.arm_done,
                total=progress.arm_total, unit=unit, eta_s=progress.eta_s,
            )  # fmt: skip

    return report


def ask_judge(worker: Worker, subject: Subject, items: Sequence[Item], answers: Answers) -> Answers:
    """Return the answers with the scores of the judge, for the items that need one."""
    settings = subject.plan.evaluate.judge
    graded = sum(item.scorer == "judge" for item in items)
    if not graded:
        return answers
    if settings.url is None:
        message = f"{format_count(graded, 'item')} cannot be scored: evaluate.judge is not set."
        worker.events.write_finding("no_judge", message, "warning")
        return answers
    arm = Arm(
        name="judge", model=settings.url, served_name=settings.model,
        key_variable=settings.key_variable,
    )  # fmt: skip
    scored, report = judge.judge_all(
        arm, items, answers, subject.folder.link, on_progress=_make_reporter(worker)
    )
    if report.unscored:
        total = format_count(report.judged + report.unscored, "answer")
        message = f"The judge gave no clear verdict on {report.unscored:,} of {total}."
        worker.events.write_finding("judge_unclear", message, "warning")
    return scored


def ask_by_lm_eval(
    worker: Worker, plan: Plan, arms: Sequence[Arm], items: Sequence[Item], answers: Answers
) -> None:
    """Add to ``answers`` those to the tasks of lm-eval; an arm with a prompt is not asked."""
    tasks: dict[str, list[Item]] = {}
    for item in items:
        if item.scorer == "lm_eval":
            tasks.setdefault(item.set, []).append(item)
    for arm in arms:
        for name, part in tasks.items() if arm.system is None and not arm.shots else ():

            def report(done: int, total: int, label: str = f"{arm.name} model, {name}") -> None:
                worker.check_stop()
                worker.phase("comparing", what=label, done=done, total=total, unit="requests")

            answers[arm.name] += lm_eval_tasks.answer(
                arm, part, recipe=plan.recipe, on_progress=report
            )


def score_answer(item: Item, answer: ItemAnswer) -> ItemAnswer:
    if answer.score is not None:  # there is no answer: its note says why
        return answer
    return replace(answer, score=scorers.score(item, answer.text))


def write_answers(folder: JobFolder, arm: str, answers: Sequence[ItemAnswer]) -> None:
    lines = b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)
    write_whole(folder.evaluations / f"{arm}.jsonl", lines)


def read_answers(folder: JobFolder, arm: str) -> list[ItemAnswer] | None:
    """Return the scored answers of an arm; None before it answered, and if they are unreadable."""
    try:
        data = (folder.evaluations / f"{arm}.jsonl").read_bytes()
        answers = [msgspec.json.decode(line, type=ItemAnswer) for line in data.splitlines()]
    except (OSError, ValueError):
        return None
    return answers if all(answer.score for answer in answers) else None


def _trim_memory() -> None:
    """Return freed memory to the system, so that it does not count as that of the training."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


# ------------------------------------------------------------------------ after the training


def evaluate_tuned(
    worker: Worker, plan: Plan, trained: TrainResult, seconds: float | None = None
) -> tuple[Evaluation | None, BaseComparison | None]:
    """Let the tuned model answer, and judge it; write ``eval/evaluation.json``.

    The merged model is used if there is one, so that what is measured is what will be served. In
    limited ``seconds``, as many items are answered as fit; None without any time.
    """
    folder = worker.folder
    base = Arm(name="base", model=trained.base)
    subject = Subject(folder, plan, base, dataset.read_test_set(folder))
    if seconds is not None and seconds < MIN_EVALUATION_S:
        worker.events.write_finding(
            "comparison_skipped",
            "No time was left to evaluate the tuned model: budget.minutes is used up.",
            "warning",
            action=f"ftwizard eval {folder.id}",
        )
        return None, None
    tuned = make_tuned_arm(folder, trained)
    items, answers = _ask_all(worker, subject, tuned, seconds)
    try:
        answers = ask_judge(worker, subject, items, answers)
    except FtwizardError as error:  # what was trained and answered is complete without it
        worker.events.write_finding(
            "judge_failed", f"The judge could not be asked: {error.message}", "warning",
            action=f"ftwizard eval {folder.id}",
        )  # fmt: skip
    texts = {} if seconds is not None else measure_texts(worker, subject, [base, tuned])
    evidence = read_evidence(worker, subject, trained.step)
    evaluation = judge_answers(subject, items, answers, evidence, texts)
    write_evaluation(subject, evaluation, items, [*list_base_arms(subject), tuned], answers)
    compared = compare.derive_comparison(folder, plan, subject.test_set, items, answers)
    return evaluation, compared


def _ask_all(
    worker: Worker, subject: Subject, tuned: Arm, seconds: float | None
) -> tuple[list[Item], Answers]:
    """Return the items that were answered, and the answers of all arms."""
    began = time.monotonic()
    items = freeze_items(worker, subject)
    answers = ask_base_arms(worker, subject, items, seconds)
    asked = _keep_answered(items, answers["base"])
    if seconds is not None:
        seconds = max(0.0, seconds - (time.monotonic() - began))
    answers |= ask(worker, subject, [tuned], asked, seconds)
    answered = _keep_answered(asked, answers["tuned"])
    if len(answered) < len(items):
        counts = Counter(item.set for item in answered)
        listed = ", ".join(
            f"{counts[name]:,} of {count:,} ({describe_evaluation.name_set(name)})"
            for name, count in Counter(item.set for item in items if item.set != TRAIN).items()
        )
        worker.events.write_finding(
            "evaluation_shortened",
            f"Evaluated on as many items as budget.minutes allows, drawn at random: {listed}.",
            action=f"ftwizard eval {subject.folder.id}",
        )
    return answered, answers


def _keep_answered(items: Sequence[Item], answers: Sequence[ItemAnswer]) -> list[Item]:
    ids = {answer.item for answer in answers}
    return [item for item in items if item.id in ids]


def make_tuned_arm(folder: JobFolder, trained: TrainResult) -> Arm:
    """Return the tuned model of a run: the merged one if there is one, else adapter on base."""
    linked = JobFolder(folder.link)  # whose paths stay valid where the folder is moved meanwhile
    if linked.merged.exists():
        return Arm(name="tuned", model=str(linked.merged))
    if trained.method == "full":
        best = linked.checkpoints / f"checkpoint-{trained.step}"
        return Arm(name="tuned", model=str(best), tokenizer=trained.base)
    return Arm(name="tuned", model=trained.base, adapter=str(linked.adapter))


class Evidence(NamedTuple):
    """What is known of a run besides answers."""

    rows: Sequence[TrainingRow] = ()
    curve: Curve | None = None
    step: int | None = None
    """Step of the tuned weights."""


NO_EVIDENCE = Evidence()
"""Of a model that no run here trained."""


def read_evidence(worker: Worker, subject: Subject, step: int) -> Evidence:
    """Return the training rows and the curve of a run."""
    worker.phase("comparing", what="the verdict")
    rows = to_training_rows(read_training_rows(worker, subject))
    curve = loss_curves.from_progress(read_progress(subject.folder, exact=True), subject.folder)
    return Evidence(rows, curve, step)


def judge_answers(
    subject: Subject,
    items: Sequence[Item],
    answers: Answers,
    evidence: Evidence = NO_EVIDENCE,
    texts: Mapping[str, Sequence[Loss]] | None = None,
) -> Evaluation:
    """Judge the answers of base and tuned model by the gate and the five failures.

    ``texts``: their losses on general text.
    """
    texts = texts or {}
    items = sorted(items, key=_rank_set)
    pairs = zip(texts.get("base", ()), texts.get("tuned", ()), strict=False)
    by_arm = results.index_answers(answers)
    failures = find_failures(
        FailureInputs(
            items=items, base=by_arm.get("base", {}), tuned=by_arm["tuned"], rows=evidence.rows,
            curve=evidence.curve, step=evidence.step,
            text_losses=[
                TextLoss(base.total / base.tokens, tuned.total / tuned.tokens, base.tokens)
                for base, tuned in pairs if base.tokens and tuned.tokens
            ],
        )
    )  # fmt: skip
    return results.make_evaluation(items, answers, failures, subject.plan.gate, evidence.rows)


def _rank_set(item: Item) -> tuple[int, str]:
    """Return what to order sets by: target, general, safety, then the user's own."""
    first = ("target", "general", "safety")
    return (first.index(item.set), "") if item.set in first else (len(first), item.set)


def write_evaluation(
    subject: Subject,
    evaluation: Evaluation,
    items: Sequence[Item],
    arms: Sequence[Arm],
    answers: Answers,
) -> None:
    """Write ``eval/evaluation.json``, and what other tools and people read."""
    folder = subject.folder
    write_json(folder.evaluation, evaluation)
    asked = [item for item in items if item.set != TRAIN]
    recorded = Recorded(asked, arms, answers, datetime.now().astimezone())
    facts = [
        ("model", subject.plan.model.name),
        *list_facts(recorded, folder.read_job().hashes),
    ]
    write_exports(folder.evaluations, evaluation, recorded, folder.id, facts)


def read_training_rows(worker: Worker, subject: Subject) -> list[ParsedRow]:
    """Return the rows that a run is trained on; none if they can no longer be read."""
    try:
        parts = dataset.load_rows(subject.plan, subject.folder.read_job().hashes)
    except FtwizardError as error:
        worker.events.write_finding(
            "rows_changed",
            f"{error.message} Without the training rows, memorization cannot be judged.",
            "warning",
        )
        return []
    return [*parts["train"], *parts.get("mix", [])]
