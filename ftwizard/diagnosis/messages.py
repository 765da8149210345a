"""Messages for each pattern: the numbers of a sign in a sentence or two."""

from __future__ import annotations

from ftwizard.diagnosis.curve import Value
from ftwizard.diagnosis.verdict import Verdict

Evidence = dict[str, Value]

DECAYED = 0.25
"""Share of the peak learning rate below which a flat loss may be due to the schedule."""
_MEANWHILE: dict[Value, str] = {
    "falls": ", while training loss keeps falling",
    "is flat": ", while training loss is flat",
    "rises": ". Training loss rises slightly too: the learning rate may be too high",
    None: "",
}
_NOT_FINITE = {"nan": "NaN", "inf": "infinite", "-inf": "infinite"}


def describe_best(verdict: Verdict) -> str:
    """Describe the best evaluation and its checkpoint; empty without an evaluation."""
    if verdict.best_step is None:
        return ""
    best = f"Best: {format_loss(verdict.best_loss)} at step {verdict.best_step:,}"
    if verdict.best_on_disk == verdict.best_step:
        return f"{best}, on disk."
    if verdict.best_on_disk is not None:
        return f"{best}; on disk: step {verdict.best_on_disk:,}."
    return f"{best}."


def format_loss(value: Value) -> str:
    """Format a loss with four significant digits."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _format_percent(value: Value, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}%" if isinstance(value, int | float) else "?"


def _format_count(count: Value, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _format_rise(first: Value, now: Value, share: Value) -> str:
    percent = "" if share is None else f", +{_format_percent(share)}"
    return f"({format_loss(first)} → {format_loss(now)}{percent})"


def describe_scaling(evidence: Evidence) -> str:
    """Describe a training loss that is logged as a sum; empty if it is logged as a mean."""
    if "logged_times" not in evidence:
        return ""
    times = evidence["logged_times"]
    return f" Training loss is logged as {times} × its mean (gradient accumulation)."


def describe_overfit(evidence: Evidence, verdict: Verdict) -> str:
    rise = _format_rise(evidence["best_loss"], evidence["now"], evidence["severity_share"])
    message = (
        f"Validation loss has risen for {_format_count(evidence['evaluations_since'], 'evaluation')} "
        f"{rise}{_MEANWHILE[evidence.get('training')]}. {describe_best(verdict)}"
    )
    name = evidence.get("score")
    if not name:
        return message
    score = "token accuracy" if "token_accuracy" in str(name) else f"{name}"
    return f"{message} Its {score} still improves: judge by that."


def describe_nan(evidence: Evidence, verdict: Verdict) -> str:
    if "eval_loss" in evidence:
        message = (
            f"Training loss is exactly 0 and validation loss is "
            f"{_format_not_finite(evidence['eval_loss'])}. It probably overflowed and is logged as 0"
        )
    else:
        name = "Grad norm" if "grad_norm" in evidence else "Training loss"
        value = evidence.get("grad_norm", evidence.get("loss"))
        message = f"{name} became {_format_not_finite(value)}"
    return f"{message}. {describe_best(verdict)}".rstrip()


def _format_not_finite(value: Value) -> str:
    return _NOT_FINITE.get(str(value), str(value))


def describe_insufficient(evidence: Evidence, verdict: Verdict) -> str:
    message = f"Not enough evaluations yet: {evidence['evaluations']} so far."
    if not is_rising(evidence):
        return message
    rise = _format_rise(evidence["first"], evidence["now"], evidence["severity_share"])
    return (
        f"{message} But validation loss has risen since the first {rise}"
        f"{_MEANWHILE[evidence['training']]}. {describe_best(verdict)}"
    )


def is_rising(evidence: Evidence) -> bool:
    """Return whether each of the few evaluations is above the first."""
    return "first" in evidence


def describe_memorizing(evidence: Evidence, verdict: Verdict) -> str:
    when = (
        "when rows repeat" if evidence["epochs_known"] else "at even intervals, as if rows repeat"
    )
    message = (
        f"Training loss drops in steps ({_format_count(evidence['steps_down'], 'step')}, about "
        f"{_format_percent(evidence['drop_share'], 0)} each) {when}"
    )
    if verdict.best_step is None:
        return f"{message}. No validation loss shows whether it only memorizes."
    return f"{message}; validation loss does not follow. {describe_best(verdict)}"


def describe_no_learning(evidence: Evidence, _: Verdict) -> str:
    if evidence.get("learning_rate") == 0:
        return "The learning rate is 0: the model cannot learn."
    losses = f"{format_loss(evidence['start'])} → {format_loss(evidence['now'])}"
    return f"Training loss barely moves ({losses}){_describe_guessing(evidence)}."


def _describe_guessing(evidence: Evidence) -> str:
    if "ln_vocabulary" not in evidence:
        return ""
    chance = format_loss(evidence["ln_vocabulary"])
    return f". That is random guessing (ln of the vocabulary size is {chance})"


def describe_spiky(evidence: Evidence, _: Verdict) -> str:
    share = _format_percent(evidence["noise_share"], 0)
    norm = evidence.get("grad_norm")
    grad_norm = f", with a grad norm of {norm:.3g}" if isinstance(norm, float) and norm > 2 else ""
    return f"Training loss jumps by {share} throughout{grad_norm}."


def describe_diverged(evidence: Evidence, verdict: Verdict) -> str:
    losses = f"{format_loss(evidence['before'])} → {format_loss(evidence['now'])}"
    return (
        f"Training loss diverged ({losses}){_describe_guessing(evidence)}. {describe_best(verdict)}"
    ).rstrip()


def describe_healthy(evidence: Evidence, verdict: Verdict) -> str:
    trend = "Both losses fall" if evidence["both_fall"] else "No problems found"
    train_now = evidence["train_now"]
    train = "" if train_now is None else f", training now {format_loss(train_now)}"
    return (
        f"{trend}: validation {format_loss(evidence['start'])} → {format_loss(evidence['now'])}"
        f"{train}. {describe_best(verdict)}"
    )


def has_decayed(evidence: Evidence) -> bool:
    """Return whether the learning rate is low enough to explain a flat loss."""
    share = evidence["rate_share"]
    return isinstance(share, float) and share < DECAYED


def describe_plateau(evidence: Evidence, verdict: Verdict) -> str:
    share = _format_percent(evidence["rate_share"], 0)
    learning_rate = (
        f", with the learning rate at {share} of its peak" if has_decayed(evidence) else ""
    )
    if verdict.best_step is None:
        return f"Training loss has been flat since step {evidence['since']:,}{learning_rate}."
    evaluations = _format_count(evidence["evaluations"], "evaluation")
    return (
        f"Validation loss has been flat for {evaluations}{learning_rate}. {describe_best(verdict)}"
    )


def describe_spike(evidence: Evidence, _: Verdict) -> str:
    height, step = format_loss(evidence["height"]), f"{evidence['back_at_step']:,}"
    if evidence["spikes"] == 1:
        return f"Training loss jumped once, by {height}, and recovered by step {step}."
    return (
        f"Training loss jumped {evidence['spikes']} times. The largest jump ({height}) recovered "
        f"by step {step}."
    )


def describe_eval_nan(evidence: Evidence, _: Verdict) -> str:
    contrast = ", though training loss is finite" if evidence["training_is_one"] else ""
    return (
        f"Validation loss is {_format_not_finite(evidence['eval_loss'])} in {evidence['bad']} of "
        f"{_format_count(evidence['evaluations'], 'evaluation')}{contrast}."
    )


def describe_zero_loss(evidence: Evidence, _: Verdict) -> str:
    name = f"{evidence['of']}".capitalize()
    return f"{name} loss is exactly 0: no token counts toward the loss, or float16 underflowed."


def describe_too_good(evidence: Evidence, _: Verdict) -> str:
    return f"Validation loss is {format_loss(evidence['eval_loss'])} before any row was repeated."


def describe_no_eval(_: Evidence, __: Verdict) -> str:
    return "No validation loss, so overfitting would go unnoticed."
