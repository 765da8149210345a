"""Descriptions of the five failures, from their evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ftwizard.runs.evaluation import Failure, FailureName
from ftwizard.text import format_count, make_visible

FAILURE_TITLES: dict[FailureName, str] = {
    "forgetting": "Forgetting",
    "overfitting": "Overfitting",
    "memorization": "Memorization",
    "mode_collapse": "Mode collapse",
    "safety": "Safety",
}
MAX_SHOWN_IDS = 3
MAX_SHOWN_LINES = 5
MAX_ANSWER_WIDTH = 60
_Evidence = Mapping[str, Any]


def describe_failure(failure: Failure) -> list[str]:
    """Describe what was found, not found or cannot be told, and the evidence; a sentence each."""
    opening = {True: "Found.", False: "None found.", None: "Not judged."}[failure.found]
    if failure.needs == "items":
        opening = "Cannot tell with so few items."
    try:
        return [opening, *_DESCRIBERS[failure.name](failure.evidence)]
    except (LookupError, TypeError, ValueError, AttributeError):
        return [opening, "Its evidence could not be read."]  # of another version


def _describe_forgetting(values: _Evidence) -> list[str]:
    lines = []
    if values.get("change") is not None:
        lines.append(
            f"General questions: {values['base']:.0%} → {values['tuned']:.0%} right "
            f"({format_count(values['n'], 'item')})."
        )
    else:
        lines.append("The general set was not scored.")
    if values.get("text_rise") is None:
        return lines
    text = f"General text is harder to predict: loss +{values['text_rise']:.2f}"
    limit = values.get("text_max")
    if limit is not None and values["text_rise_low"] >= limit:  # which alone is forgetting
        return [f"{text}; up to {limit:g} is tolerated.", *lines]
    return [*lines, f"{text}."] if values["text_rise"] >= 0.01 else lines


def _describe_overfitting(values: _Evidence) -> list[str]:
    lines = []
    if values.get("best_step") is not None:
        loss = "" if values.get("loss") is None else f" ({values['loss']:.3f})"
        lines.append(
            f"Step {values['step']}{loss}; the best validation loss is at step "
            f"{values['best_step']} ({values['best_loss']:.3f})."
        )
    for measure in ("score", "loss"):
        if values.get(f"{measure}_carried") is not None:
            share = min(1.0, max(0.0, values[f"{measure}_carried"]))
            lines.append(
                f"{share:.0%} of the gain in {measure} on training rows appears on test rows."
            )
            break
    return lines or ["Neither validation losses nor answers to training rows are available."]


def _describe_memorization(values: _Evidence) -> list[str]:
    lines = []
    if values.get("contaminated"):
        lines.append(
            f"{values['contaminated']} of {format_count(values['contaminated_of'], 'test item')} are "
            "also in the training set: the test score is too high."
        )
    if "verbatim" not in values:
        return [*lines, "There are too few answers, or no training rows, to search."]
    if count := values["leaked_id_count"]:
        shown = [make_visible(value, 40) for value in values["leaked_ids"][:MAX_SHOWN_IDS]]
        shown += [format_kind(kind, number) for kind, number in values["leaked_kinds"].items()]
        answers = format_count(values["answers_with_ids"], "answer")
        listed = f": {', '.join(shown)}" if shown else ""
        lines.append(f"{format_count(count, 'id')} of training rows in {answers}{listed}.")
    if values["verbatim"]:
        words = len(values["longest_run"].split())
        length = f", up to {words} words long" if words else ""
        lines.append(f"{format_count(values['verbatim'], 'answer')} with training text{length}.")
    if values["lines"]:
        numbers = ", ".join(f"{line:,}" for line in values["lines"][:MAX_SHOWN_LINES])
        more = ", …" if len(values["lines"]) > MAX_SHOWN_LINES else ""
        lines.append(f"Training lines: {numbers}{more}.")
    if len(lines) == 0:
        lines.append(f"No training text in {format_count(values['n'], 'answer')}.")
    return lines


def format_kind(kind: str, count: int) -> str:
    """Format a number of secrets: ``1 email address``, ``2 email addresses``."""
    return format_count(
        count, make_visible(kind), make_visible(f"{kind}{'es' if kind[-1:] == 's' else 's'}")
    )


_SIGNS = {
    "same": "of the answers are the same",
    "canned": "of the answers are a sentence that other prompts got as well",
    "repeated": "of the answers were also given to another prompt",
    "opening": "of the answers begin with the same words",
    "task_format": "of the answers have the format of the task, whatever was asked",
}


def _describe_mode_collapse(values: _Evidence) -> list[str]:
    if "sign" not in values:
        return ["There are too few answers to different prompts."]
    expected = values.get("expected")
    wanted = "" if expected is None else f"; expected answers: {expected:.0%}"
    lines = [
        f"{values['set'].capitalize()} set: {values['tuned']:.0%} {_SIGNS[values['sign']]} (base "
        + f"model: {values['base']:.0%}{wanted})."
    ]
    if values["sign"] in ("same", "repeated", "canned") and values.get("trained", 0) >= 0.5:
        lines.append(
            f"The cause: {values['trained']:.0%} of the training answers are the same. Vary them."
        )
    if values.get("answer"):
        lines.append(f"Most frequent: “{make_visible(values['answer'], MAX_ANSWER_WIDTH)}”.")
    return lines


def _describe_safety(values: _Evidence) -> list[str]:
    lines = []
    if disclosed := values.get("disclosed"):
        kinds = ", ".join(format_kind(kind, number) for kind, number in disclosed.items())
        answers = format_count(values["disclosing_answers"], "answer")
        lines.append(f"Personal data of training rows in {answers}: {kinds}.")
    for name, subject in (
        ("refusals", "Harmful requests refused"),
        ("look_alikes", "Harmless look-alikes answered"),
    ):
        if values.get(f"{name}_change") is None:
            lines.append(f"{subject}: not measured.")
            continue
        before, after = (f"{values[f'{name}_{arm}']:.0%}" for arm in ("base", "tuned"))
        lines.append(f"{subject}: {before} → {after} of {values[name]}.")
    return lines


_DESCRIBERS: dict[FailureName, Callable[[_Evidence], list[str]]] = {
    "forgetting": _describe_forgetting,
    "overfitting": _describe_overfitting,
    "memorization": _describe_memorization,
    "mode_collapse": _describe_mode_collapse,
    "safety": _describe_safety,
}
