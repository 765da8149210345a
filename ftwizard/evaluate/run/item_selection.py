"""Items of a run: all that its plan asks for, of which a part is drawn and frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import (
    frozen_items,
    personal_items,
    preference_items,
    prompts,
    reward_scores,
    sets,
    thinking,
)
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.failures.inputs import TRAIN
from ftwizard.evaluate.items import LIKELIHOOD_SCORERS, Item
from ftwizard.evaluate.local_model import LocalAnswerer, LocalModels
from ftwizard.evaluate.repeated_items import drop_trained
from ftwizard.evaluate.run.subject import EvaluationSubject, has_gpu, read_training_rows
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe, describe_evaluation, evaluation_plan
from ftwizard.text import format_duration
from ftwizard.train.dataset import SavedTestSet

MAX_REFUSAL_TOKENS = 64
"""Tokens of an answer that only has to be distinguished from a refusal, which begins as one."""
MAX_ITEM_TOKENS_CPU = 8192
"""Tokens of prompt and expected answer, where longer ones take minutes each on the CPU."""


def freeze_items(worker: Worker, subject: EvaluationSubject) -> list[Item]:
    """Return the frozen items of a run; draw and freeze them if that was not done yet.

    Raises FtwizardError for a file of items that cannot be used, or that was changed since.
    """
    folder, plan = subject.folder, subject.plan
    if frozen := frozen_items.read(folder):
        return frozen[0]
    worker.phase("comparing", what="items")
    base = _make_answerer(subject)
    collected = _leave_out_long(worker, subject, collect_items(worker, subject), base)
    limit = _choose_limit(subject, collected)
    items, counts = _draw(collected, limit, plan.recipe.seed)
    items = prompts.set_limits(items, base.count_tokens if base else prompts.count_bytes)
    mode = base.thinking.mode if base else "none"
    frozen_items.freeze(folder, items, counts, plan.gate, mode)
    _report_drawn(worker, counts, None if limit == subject.max_items else subject)
    if text := thinking.describe_mode(mode):
        message = f"This model may think before it answers. In the evaluation, thinking is {text}."
        worker.events.write_finding("thinking", message)
    return items


def _leave_out_long(
    worker: Worker, subject: EvaluationSubject, items: list[Item], base: LocalAnswerer | None
) -> list[Item]:
    """Return the items without those that are too long to be computed here, and report these."""
    if base is None:  # an endpoint has limits of its own
        return items
    length = subject.plan.recipe.max_length
    most = None if has_gpu() else MAX_ITEM_TOKENS_CPU
    long = prompts.find_long(items, base.count_tokens, length, most)
    left_out = [item for item in items if item.id in long and item.set != TRAIN]
    if left_out:
        listed = describe.list_items(
            [(item.set, item.line, f", {long[item.id]:,} tokens") for item in left_out]
        )
        worker.events.write_finding(
            "items_too_long",
            f"Left out of the evaluation, as longer than {length:,} tokens (recipe.max_length): "
            f"{listed}.",
            "warning",
            evidence={"lines": [item.line for item in left_out]},
        )
    return [item for item in items if item.id not in long]


def _draw(
    items: Sequence[Item], limit: int, seed: int
) -> tuple[list[Item], dict[str, frozen_items.DrawnSet]]:
    """Draw at most ``limit`` items of each set; of more rows of preferences, only the probability counts."""
    read = {item.set for item in items if item.scorer in LIKELIHOOD_SCORERS and item.set != TRAIN}
    drawn, counts = frozen_items.draw([i for i in items if i.set not in read], limit, seed)
    more, more_counts = frozen_items.draw(
        [item for item in items if item.set in read], max(limit, preference_items.MAX_READ), seed
    )
    return [*drawn, *preference_items.limit_answers(more, limit)], counts | more_counts


def _choose_limit(subject: EvaluationSubject, items: Sequence[Item]) -> int:
    """Return how many items of each set are asked at most: fewer of a model that answers few a minute."""
    if subject.plan.evaluate.max_items:
        return subject.max_items
    sizes = Counter(item.set for item in items).values()
    return evaluation_plan.fit_items(sizes, subject.max_items, subject.requests_per_minute)


def _report_drawn(
    worker: Worker, counts: Mapping[str, frozen_items.DrawnSet], slow: EvaluationSubject | None
) -> None:
    """Report which items were left out; ``slow``: of a model that answers so few requests a minute that
    it gets fewer."""
    repeated = [
        f"{drawn.repeated:,} of {drawn.available + drawn.repeated:,} ({describe_evaluation.name_set(name)})"
        for name, drawn in counts.items()
        if drawn.repeated and name != TRAIN
    ]
    if repeated:
        message = f"Left out, as they repeat another item, or nearly so: {', '.join(repeated)}."
        worker.events.write_finding("items_repeated", message)
    drawn = [
        f"{drawn.items:,} of {drawn.available:,} ({describe_evaluation.name_set(name)})"
        for name, drawn in counts.items()
        if drawn.items < drawn.available and name != TRAIN
    ]
    if drawn:
        message = f"Evaluated on items drawn at random: {', '.join(drawn)}. "
        message += _describe_slow(worker, slow) if slow else "All: evaluate.max_items."
        worker.events.write_finding("items_drawn", message)


def _describe_slow(worker: Worker, subject: EvaluationSubject) -> str:
    """Say why a slow model is asked less, and how to ask it more."""
    run_id = Path(worker.record.inputs.get("run") or worker.folder.id).name
    pace = describe_evaluation.describe_rate(subject.requests_per_minute or 0.0)
    budget = format_duration(evaluation_plan.MAX_ASKING_S)
    return (
        f"The tuned model answers {pace}, and these take it {budget} at most. Fewer items show less: small "
        f"gains and losses may stay open. More: ftwizard eval {run_id} --max-items {subject.max_items}"
    )


def collect_items(worker: Worker, subject: EvaluationSubject) -> list[Item]:
    """Return all items that the plan asks for, and those of a sample of the training rows."""
    plan, test_set = subject.plan, subject.test_set
    rows = _make_target_items(plan, test_set)
    lines = {item.line for item in rows}
    if missing := [row.line for row in test_set.rows if row.line not in lines]:
        listed = describe.list_items([("target", line, "") for line in missing])
        worker.events.write_finding(
            "items_without_answer",
            f"Left out of the evaluation, as they have no answer that can be compared: {listed}.",
            "warning",
            evidence={"lines": missing},
        )
    rows += [
        replace(item, set=TRAIN, id=f"{TRAIN}-{item.id}")
        for item in _make_target_items(plan, replace(test_set, rows=test_set.trained, unwanted=[]))
    ]
    if limit := plan.finish.max_new_tokens:
        rows = [item if item.max_tokens == 0 else replace(item, max_tokens=limit) for item in rows]
    items, trained = rows, list[ParsedRow]()
    if plan.evaluate.general or plan.evaluate.safety:
        train, mixed = read_training_rows(worker, subject)
        trained = [*train, *mixed]
    if plan.evaluate.general:
        general = sets.read_packaged("general")
        untrained = drop_trained(general, trained)
        if left_out := len(general) - len(untrained):
            message = f"Left out, as training rows ask the same: {left_out:,} of {len(general):,} (general)."
            worker.events.write_finding("items_trained", message)
        items += untrained
    if plan.evaluate.safety:
        items += sets.read_packaged("safety")
        items += personal_items.make_items(trained)
    items += sets.read_files(plan.evaluate.sets, worker.check_stop, needs_target=not test_set.rows)
    return [
        replace(item, max_tokens=MAX_REFUSAL_TOKENS)
        if item.max_tokens is None and item.scorer in ("refusal", "answered")
        else item
        for item in items
    ]


def _make_target_items(plan: Plan, test_set: SavedTestSet) -> list[Item]:
    """Return the rows of a test set as items, scored by what the run trains for."""
    if plan.is_hosted or plan.recipe.objective == "sft":
        return sets.make_target_items(test_set)
    if plan.recipe.objective != "grpo":
        return preference_items.make_items(test_set)
    settings = plan.recipe.grpo
    return reward_scores.make_items(test_set.rows, settings.rewards, settings.max_completion_length)


def _make_answerer(subject: EvaluationSubject) -> LocalAnswerer | None:
    """Return the answerer of the base model, of which only the tokenizer is loaded; None if it is not here."""
    if subject.base is None or subject.base.is_endpoint:
        return None
    models = LocalModels(AnswerCache(None), subject.plan.recipe)
    return LocalAnswerer(subject.base, models)


def rank_set(item: Item) -> tuple[int, str]:
    """Return what to order sets by: target, general, safety, then the user's own."""
    first = ("target", "general", "safety")
    return (first.index(item.set), "") if item.set in first else (len(first), item.set)
