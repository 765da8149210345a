"""Answers of the arms to the items, scored and written: what was answered before is not asked again."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from ftwizard.data import general_text
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import (
    judge,
    lm_eval_tasks,
    refusals,
    reward_scores,
    runner,
    scorers,
    thinking,
)
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.failures.inputs import GENERAL, SAFETY, TRAIN, Pair
from ftwizard.evaluate.items import LIKELIHOOD_SCORERS, Item
from ftwizard.evaluate.local_model import Loss
from ftwizard.evaluate.run import preferences, stages
from ftwizard.evaluate.run.subject import Answers, EvaluationSubject, has_gpu
from ftwizard.jobs.folder import JobFolder, write_whole
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe, describe_evaluation
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.text import format_count

MIN_LIKELIHOOD_SHARE = 0.2
"""Share of a limited time that rows of preferences are read in, however long the answers before took:
these rows decide the verdict."""
REPORT_EVERY_S = 1.0
"""Least time between two reports of progress."""


def ask_base_arms(
    worker: Worker, subject: EvaluationSubject, items: Sequence[Item], seconds: float | None = None
) -> Answers:
    """Return the scored answers of the base model, alone and with the user's prompt, and of the parent."""
    answers: Answers = {}
    arms = list_base_arms(subject)
    for arm in arms:
        limit = None if seconds is None else seconds / len(arms)
        answers |= ask_base_arm(worker, subject, arm, items, limit)
    return answers


def ask_base_arm(
    worker: Worker,
    subject: EvaluationSubject,
    arm: Arm,
    items: Sequence[Item],
    seconds: float | None = None,
) -> Answers:
    """Return the scored answers of one of the models that the tuned one is compared with."""
    if kept := read_answers(subject.folder, arm.name):
        return {arm.name: _score_again(worker, subject.folder, arm.name, items, kept)}
    asked = items if arm.name == "base" else _select_for_rivals(subject, items)
    return ask(worker, subject, [arm], asked, seconds)


def _select_for_rivals(subject: EvaluationSubject, items: Sequence[Item]) -> list[Item]:
    """Return the items that prompted model and parent answer: where answers are slow or billed those of the
    task, for which they are; never those of the training rows."""
    others = (TRAIN, "general", "safety") if subject.is_thrifty else (TRAIN,)
    return [item for item in items if item.set not in others]


def list_base_arms(subject: EvaluationSubject) -> list[Arm]:
    """Return the base model, the base model with the user's system prompt and examples, and the parent."""
    base, settings, test_set = subject.base, subject.plan.evaluate, subject.test_set
    if base is None:
        return []
    shots = test_set.shots[: settings.shots]
    system = settings.system or test_set.system
    arms = [base]
    if shots or settings.system is not None:
        arms.append(replace(base, name="prompted", system=system, shots=shots))
    return [*arms, subject.parent] if subject.parent else arms


def ask(
    worker: Worker,
    subject: EvaluationSubject,
    arms: Sequence[Arm],
    items: Sequence[Item],
    seconds: float | None = None,
    base: Sequence[ItemAnswer] = (),
) -> Answers:
    """Return the scored answers of arms, and write them: what the cache has is not asked again.

    In limited ``seconds``, as many items as fit are answered, those of the task first. ``base``: the answers that
    these are compared with; packaged items are asked until they decide.
    """
    recipe, began = subject.plan.recipe, time.monotonic()
    own = [item for item in items if item.scorer != "lm_eval"]
    answers = runner.answer_all(
        arms, own, subject.folder.link, recipe=recipe, seconds=seconds, seed=recipe.seed,
        split=functools.partial(_split, subject, {answer.item: answer for answer in base}),
        on_progress=_make_reporter(worker), say=lambda name: worker.phase("comparing", what=name),
    )  # fmt: skip
    left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
    least = None if seconds is None or left is None else max(left, seconds * MIN_LIKELIHOOD_SHARE)
    answers = preferences.read_likelihoods(worker, subject, arms, own, answers, least)
    if seconds is None:
        ask_by_lm_eval(worker, subject.plan, arms, items, answers)
    scored = {
        arm: score_answers(items, lines)
        for arm, lines in _score_by_rewards(worker, items, answers).items()
    }
    by_id = {item.id: item for item in items}
    for arm, lines in scored.items():
        write_answers(subject.folder, arm, lines)
        _report_unfinished(worker, arm, lines, by_id)
        if base and seconds is None:
            _report_sufficed(worker, items, lines)
    return scored


def _report_sufficed(worker: Worker, items: Sequence[Item], answers: Sequence[ItemAnswer]) -> None:
    """Report that a part of the packaged items decided."""
    asked, total = {answer.item for answer in answers}, Counter(item.set for item in items)
    counts = Counter(item.set for item in items if item.id in asked)
    listed = [
        f"{counts[name]:,} of {total[name]:,} ({describe_evaluation.name_set(name)})"
        for name in (GENERAL, SAFETY)
        if counts[name] < total[name]
    ]
    if listed:
        message = f"Asked only until the items decided: {', '.join(listed)}."
        worker.events.write_finding("items_sufficed", message)


def _split(
    subject: EvaluationSubject,
    base: Mapping[str, ItemAnswer],
    items: Sequence[Item],
    answers: Mapping[str, ItemAnswer],
) -> Iterator[list[Item]]:
    """Yield what a model is asked, part by part; all of it if a judge may class its answers otherwise."""

    def read_pairs(part: Sequence[Item]) -> list[Pair]:
        asked = [item for item in part if item.id in base and item.id in answers]
        scored = score_answers(asked, [answers[item.id] for item in asked])
        return [
            Pair(item, base[item.id], answer) for item, answer in zip(asked, scored, strict=True)
        ]

    is_final = bool(base) and subject.plan.evaluate.judge.url is None
    return stages.split(items, subject.plan.gate, read_pairs if is_final else None)


def _score_by_rewards(worker: Worker, items: Sequence[Item], answers: Answers) -> Answers:
    """Return the answers of arms, scored where the plan's rewards do that."""
    scored: Answers = {}
    for arm, lines in answers.items():
        finished = [thinking.check_finished(answer) for answer in lines]
        scored[arm], problem = reward_scores.score_all(items, finished)
        if problem:
            message = f"Answers of the {arm} model could not be scored. {problem}"
            worker.events.write_finding("reward_failed", message, "warning")
    return scored


def _score_again(
    worker: Worker, folder: JobFolder, arm: str, items: Sequence[Item], kept: list[ItemAnswer]
) -> list[ItemAnswer]:
    """Return kept answers, with scores by the rewards where there was none: their file may be back."""
    rewarded = {item.id for item in items if item.scorer == "rewards"}
    unscored = [
        answer.item in rewarded and answer.score is not None and answer.score.value is None
        for answer in kept
    ]
    if not any(unscored):
        return kept
    cleared = [
        replace(answer, score=None) if is_unscored else answer
        for answer, is_unscored in zip(kept, unscored, strict=True)
    ]
    scored = _score_by_rewards(worker, items, {arm: cleared})[arm]
    write_answers(folder, arm, scored)
    return scored


def _report_unfinished(
    worker: Worker, arm: str, answers: Sequence[ItemAnswer], items: Mapping[str, Item]
) -> None:
    """Report answers that did not end: in their thinking, at their limit of tokens, or at their deadline."""
    count = sum(thinking.is_unfinished(answer) for answer in answers)
    total = format_count(len(answers), "answer")
    if count:
        message = f"The {arm} model only thought, up to its limit, in {count:,} of {total}: they cannot be scored."
        worker.events.write_finding("thinking_unfinished", message, "warning")
    # Answers that only have to be distinguished from a refusal are cut on purpose.
    cut = [
        items[answer.item].max_tokens or 0
        for answer in answers
        if answer.tokens and not answer.ended and not answer.is_late
        and not thinking.is_unfinished(answer)
        and items[answer.item].scorer not in ("refusal", "answered")
    ]  # fmt: skip
    if cut:
        limit = format_count(max(cut), "token")
        most = limit if min(cut) == max(cut) else f"{min(cut):,} to {limit}"
        message = f"{len(cut):,} of {total} of the {arm} model did not end within {most}."
        worker.events.write_finding(
            "answers_cut", message, action="More: finish.max_new_tokens", evidence={"cut": len(cut)}
        )
    late = [items[answer.item] for answer in answers if answer.is_late]
    if late:
        listed = describe.list_items([(item.set, item.line, "") for item in late])
        worker.events.write_finding(
            "answers_late",
            f"{len(late):,} of {total} of the {arm} model took too long and cannot be scored: {listed}.",
            "warning",
            action="Leave these rows out, or cap the answers: finish.max_new_tokens",
            evidence={"lines": [item.line for item in late]},
        )


def measure_texts(
    worker: Worker, subject: EvaluationSubject, arms: Sequence[Arm]
) -> dict[str, list[Loss]]:
    """Return the losses on general text by the name of the arm; none where the plan leaves it out."""
    if not subject.plan.evaluate.general or subject.uses_endpoints:
        return {}
    texts = general_text.select_texts(on_gpu=has_gpu())
    return runner.compute_text_losses(
        arms, texts, recipe=subject.plan.recipe, on_progress=_make_reporter(worker, "texts"),
        say=lambda name: worker.phase("comparing", what=name),
    )  # fmt: skip


def _make_reporter(
    worker: Worker, unit: str = "answers"
) -> Callable[[runner.EvaluationProgress], None]:
    """Return what reports progress, at most once a second, and raises Stopped after a stop."""
    last = 0.0

    def report(progress: runner.EvaluationProgress) -> None:
        nonlocal last
        worker.check_stop()
        if (now := time.monotonic()) - last >= REPORT_EVERY_S:
            last = now
            rate = progress.requests_per_minute
            limit = (
                f", at {describe_evaluation.describe_rate(rate)} that its platform allows"
                if rate
                else ""
            )
            slow = progress.slow
            item = slow and {
                "set": slow.item.set, "line": slow.item.line, "seconds": round(slow.seconds, 1),
                "usual_s": slow.usual_s,
            }  # fmt: skip
            worker.phase(
                "comparing", what=f"{progress.arm} model{limit}", done=progress.arm_done,
                total=progress.arm_total, unit=unit, eta_s=progress.eta_s, slow=item,
            )  # fmt: skip

    return report


def ask_judge(
    worker: Worker, subject: EvaluationSubject, items: Sequence[Item], answers: Answers
) -> Answers:
    """Return the answers with the scores of the judge, for the items that need one.

    A judge that cannot be asked leaves refusals as the rules classed them; items that only a judge can
    score need it, and then its error is raised.
    """
    settings = subject.plan.evaluate.judge
    graded = sum(item.scorer == "judge" for item in items)
    if settings.url is None and not graded:
        return answers
    if settings.url is None:
        message = f"{format_count(graded, 'item')} cannot be scored: evaluate.judge is not set."
        worker.events.write_finding("no_judge", message, "warning")
        return answers
    arm = Arm(
        name="judge", model=settings.url, served_name=settings.model,
        key_variable=settings.key_variable,
    )  # fmt: skip
    try:
        scored, report = judge.judge_all(
            arm, items, answers, subject.folder.link, on_progress=_make_reporter(worker)
        )
    except FtwizardError as error:
        if graded:
            raise
        message = f"The judge could not say which answers refuse: rules decided. {error.message}"
        worker.events.write_finding("judge_failed", message, "warning")
        return answers
    if report.unclassed:
        count = format_count(report.unclassed, "answer")
        message = f"The judge did not say whether {count} refused: rules decided."
        worker.events.write_finding("judge_unclear", message, "warning")
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


def score_answers(items: Sequence[Item], answers: Sequence[ItemAnswer]) -> list[ItemAnswer]:
    """Return the scored answers of one model; what it says to any prompt answers none of them."""
    by_id = {item.id: item for item in items}
    scored = [score_answer(by_id[answer.item], answer) for answer in answers]
    flags = refusals.find_canned([answer.text for answer in scored])
    return [
        replace(answer, score=scorers.score_class(by_id[answer.item], "neither"))
        if is_canned and answer.score and answer.score.answer_class == "answers"
        else answer
        for answer, is_canned in zip(scored, flags, strict=True)
    ]


def score_answer(item: Item, answer: ItemAnswer) -> ItemAnswer:
    if item.scorer in LIKELIHOOD_SCORERS:  # whatever its text is
        return answer if answer.score else replace(answer, score=scorers.score(item, answer.text))
    answer = thinking.check_finished(answer)
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
