"""Findings: what each pattern means in numbers, and the actions to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ftwizard.diagnosis.curve import Pattern, Sign, Value
from ftwizard.diagnosis.verdict import Verdict

Evidence = dict[str, Value]
Severity = Literal["info", "warning", "error"]
Action = Literal[
    "go_on", "stop", "stop_keep_best", "save", "evaluate",
    "again_half_rate", "again_more_accumulation", "again_half_rate_more_accumulation",
    "again_higher_rate", "again_ten_times_rate", "check_data",
]  # fmt: skip
"""``again_…``: a child run, from a checkpoint or from the start, with that setting changed;
``higher``: five times the learning rate."""
DECAYED = 0.25
"""Share of the peak learning rate below which a flat loss may be due to the schedule."""
MARKS: dict[Severity, str] = {"info": "·", "warning": "!", "error": "✗"}
_MEANWHILE: dict[Value, str] = {
    "falls": ", while training loss keeps falling",
    "is flat": ", while training loss is flat",
    "rises": ". Training loss rises slightly too: the learning rate may be too high",
    None: "",
}
_DESCRIBING_BEST = ("healthy", "plateau", "overfit", "memorizing", "diverged", "nan")
"""Patterns whose messages describe the best evaluation."""
_NOT_FINITE = {"nan": "NaN", "inf": "infinite", "-inf": "infinite"}


@dataclass(frozen=True)
class DiagnosisFinding:
    """A sign as text, with the actions to offer."""

    code: Pattern
    severity: Severity
    step: int | None
    message: str
    """What the curve shows, in numbers."""
    action: str
    """What to do, in a sentence or two."""
    actions: tuple[Action, ...]
    confidence: float
    evidence: Evidence


@dataclass(frozen=True)
class _Meaning:
    name: str
    severity: Severity
    message: str | Callable[[Evidence, str], str]
    """A template, or a function of the evidence and the description of the best evaluation."""
    action: str | Callable[[Evidence], str]
    actions: tuple[Action, ...] | Callable[[Evidence], tuple[Action, ...]]


def get_mark(finding: DiagnosisFinding) -> str:
    """Return the mark of a finding: a tick for a healthy run, else by severity."""
    return "✓" if finding.code == "healthy" else MARKS[finding.severity]


def to_findings(verdict: Verdict) -> list[DiagnosisFinding]:
    """Convert each sign of a verdict to a finding, the most severe first."""
    return [_to_finding(sign, verdict) for sign in verdict.signs]


def _to_finding(sign: Sign, verdict: Verdict) -> DiagnosisFinding:
    meaning, evidence = _MEANINGS[sign.pattern], sign.evidence
    return DiagnosisFinding(
        code=sign.pattern,
        severity=meaning.severity,
        step=sign.onset,
        message=_describe(meaning.message, evidence, describe_best(verdict)),
        action=meaning.action if isinstance(meaning.action, str) else meaning.action(evidence),
        actions=meaning.actions(evidence) if callable(meaning.actions) else meaning.actions,
        confidence=round(sign.confidence, 3),
        evidence=evidence,
    )


def describe_best(verdict: Verdict) -> str:
    """Describe the best evaluation and its checkpoint; empty without an evaluation."""
    if verdict.best_step is None:
        return ""
    best = f"Best: {_format_loss(verdict.best_loss)} at step {verdict.best_step:,}"
    if verdict.best_on_disk == verdict.best_step:
        return f"{best}, on disk."
    if verdict.best_on_disk is not None:
        return f"{best}; on disk: step {verdict.best_on_disk:,}."
    return f"{best}."


def describes_best(finding: DiagnosisFinding) -> bool:
    """Return whether the message of a finding describes the best evaluation, if there is one."""
    if finding.code == "insufficient":
        return _is_rising(finding.evidence)
    return finding.code in _DESCRIBING_BEST


def _format_loss(value: Value) -> str:
    """Format a loss with four significant digits."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _format_percent(value: Value, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}%" if isinstance(value, int | float) else "?"


def _format_count(count: Value, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _describe(message: str | Callable[[Evidence, str], str], evidence: Evidence, best: str) -> str:
    if callable(message):
        text = message(evidence, best).rstrip()
    else:
        words = {**evidence, "best": best, "guessing": _describe_guessing(evidence)}
        text = message.format_map(words).rstrip()
    times = evidence.get("logged_times")
    if times is None:
        return text
    return f"{text} Training loss is logged as {times} × its mean (gradient accumulation)."


def _format_rise(first: Value, now: Value, share: Value) -> str:
    percent = "" if share is None else f", +{_format_percent(share)}"
    return f"({_format_loss(first)} → {_format_loss(now)}{percent})"


def _describe_overfit(evidence: Evidence, best: str) -> str:
    rise = _format_rise(evidence["best_loss"], evidence["now"], evidence["severity_share"])
    message = (
        f"Validation loss has risen for {_format_count(evidence['evaluations_since'], 'evaluation')} "
        f"{rise}{_MEANWHILE[evidence.get('training')]}. {best}"
    )
    name = evidence.get("score")
    if not name:
        return message
    score = "token accuracy" if "token_accuracy" in str(name) else f"{name}"
    return f"{message} Its {score} still improves: judge by that."


def _describe_nan(evidence: Evidence, best: str) -> str:
    if "eval_loss" in evidence:
        return (
            "Training loss is exactly 0 and validation loss is "
            f"{_format_not_finite(evidence['eval_loss'])}. It probably overflowed and is logged as 0. "
            f"{best}"
        )
    name = "Grad norm" if "grad_norm" in evidence else "Training loss"
    value = evidence.get("grad_norm", evidence.get("loss"))
    return f"{name} became {_format_not_finite(value)}. {best}"


def _format_not_finite(value: Value) -> str:
    return _NOT_FINITE.get(str(value), str(value))


def _describe_insufficient(evidence: Evidence, best: str) -> str:
    message = f"Not enough evaluations yet: {evidence['evaluations']} so far."
    if not _is_rising(evidence):
        return message
    rise = _format_rise(evidence["first"], evidence["now"], evidence["severity_share"])
    return (
        f"{message} But validation loss has risen since the first {rise}"
        f"{_MEANWHILE[evidence['training']]}. {best}"
    )


def _is_rising(evidence: Evidence) -> bool:
    """Return whether each of the few evaluations is above the first."""
    return "first" in evidence


def _describe_memorizing(evidence: Evidence, best: str) -> str:
    known = evidence["epochs_known"]
    when = "when rows repeat" if known else "at even intervals, as if rows repeat"
    message = (
        f"Training loss drops in steps ({_format_count(evidence['steps_down'], 'step')}, about "
        f"{_format_percent(evidence['drop_share'], 0)} each) {when}"
    )
    if not best:
        return f"{message}. No validation loss shows whether it only memorizes."
    return f"{message}; validation loss does not follow. {best}"


def _describe_no_learning(evidence: Evidence, _: str) -> str:
    if evidence.get("learning_rate") == 0:
        return "The learning rate is 0: the model cannot learn."
    losses = f"{_format_loss(evidence['start'])} → {_format_loss(evidence['now'])}"
    return f"Training loss barely moves ({losses}){_describe_guessing(evidence)}."


def _describe_guessing(evidence: Evidence) -> str:
    if "ln_vocabulary" not in evidence:
        return ""
    chance = _format_loss(evidence["ln_vocabulary"])
    return f". That is random guessing (ln of the vocabulary size is {chance})"


def _describe_spiky(evidence: Evidence, _: str) -> str:
    share, norm = _format_percent(evidence["noise_share"], 0), evidence.get("grad_norm")
    grad_norm = f", with a grad norm of {norm:.3g}" if isinstance(norm, float) and norm > 2 else ""
    return f"Training loss jumps by {share} throughout{grad_norm}."


def _describe_healthy(evidence: Evidence, best: str) -> str:
    trend = "Both losses fall" if evidence["both_fall"] else "No problems found"
    train_now = evidence["train_now"]
    train = "" if train_now is None else f", training now {_format_loss(train_now)}"
    losses = f"{_format_loss(evidence['start'])} → {_format_loss(evidence['now'])}"
    return f"{trend}: validation {losses}{train}. {best}"


def _has_decayed(evidence: Evidence) -> bool:
    """Return whether the learning rate is low enough to explain a flat loss."""
    share = evidence["rate_share"]
    return isinstance(share, float) and share < DECAYED


def _describe_plateau(evidence: Evidence, best: str) -> str:
    share, rate = _format_percent(evidence["rate_share"], 0), ""
    if _has_decayed(evidence):
        rate = f", with the learning rate at {share} of its peak"
    if not best:
        return f"Training loss has been flat since step {evidence['since']:,}{rate}."
    evaluations = _format_count(evidence["evaluations"], "evaluation")
    return f"Validation loss has been flat for {evaluations}{rate}. {best}"


def _describe_spike(evidence: Evidence, _: str) -> str:
    height, step = _format_loss(evidence["height"]), f"{evidence['back_at_step']:,}"
    if evidence["spikes"] == 1:
        return f"Training loss jumped once, by {height}, and recovered by step {step}."
    return (
        f"Training loss jumped {evidence['spikes']} times. The largest jump ({height}) recovered "
        f"by step {step}."
    )


def _describe_eval_nan(evidence: Evidence, _: str) -> str:
    contrast = ", though training loss is finite" if evidence["training_is_one"] else ""
    return (
        f"Validation loss is {_format_not_finite(evidence['eval_loss'])} in {evidence['bad']} of "
        f"{_format_count(evidence['evaluations'], 'evaluation')}{contrast}."
    )


def _describe_zero_loss(evidence: Evidence, _: str) -> str:
    name = f"{evidence['of']}".capitalize()
    return f"{name} loss is exactly 0: no token counts toward the loss, or float16 underflowed."


_MEANINGS: dict[Pattern, _Meaning] = {
    "healthy": _Meaning("healthy", "info", _describe_healthy, "Continue.", ("go_on",)),
    "plateau": _Meaning(
        "flat", "info", _describe_plateau,
        lambda evidence: (
            "Let it finish: the low learning rate may explain the flat loss."
            if _has_decayed(evidence)
            else "Stop soon, or continue from the best with half the learning rate."
        ),
        ("stop_keep_best", "again_half_rate", "go_on"),
    ),
    "overfit": _Meaning(
        "overfitting", "warning", _describe_overfit,
        "Stop now and keep the best. Then use fewer epochs, or more diverse rows.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "memorizing": _Meaning(
        "memorizing", "warning", _describe_memorizing,
        "Keep the best and train fewer epochs. Set validation rows aside if there are none.",
        ("stop_keep_best",),
    ),
    "no_learning": _Meaning(
        "not learning", "warning", _describe_no_learning,
        lambda evidence: (
            "Set a learning rate above 0."
            if evidence.get("learning_rate") == 0
            else "Raise the learning rate 5 to 10 times, and check the loss mask (ftwizard mask)."
        ),
        ("again_higher_rate", "again_ten_times_rate", "check_data"),
    ),
    "spiky": _Meaning(
        "spiky", "warning", _describe_spiky,
        "Halve the learning rate and double the gradient accumulation.",
        ("again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"),
    ),
    "spike": _Meaning(
        "one spike", "info", _describe_spike,
        "Continue. If it happens again, check the rows of that step.", ("go_on", "check_data"),
    ),
    "diverged": _Meaning(
        "diverged", "error", "Training loss diverged ({before:.4g} → {now:.4g}){guessing}. {best}",
        "Stop, and start again from the best checkpoint with half the learning rate.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "nan": _Meaning(
        "NaN loss", "error", _describe_nan,
        "Restart from the best checkpoint with half the learning rate. Replace float16 by bfloat16.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "zero_loss": _Meaning(
        "zero loss", "error", _describe_zero_loss,
        "Stop, and check which tokens are trained on: ftwizard mask.", ("stop", "check_data"),
    ),
    "eval_nan": _Meaning(
        "NaN validation loss", "warning", _describe_eval_nan,
        "Look for validation rows with no trainable tokens, or too long: ftwizard check.",
        ("check_data",),
    ),
    "too_good": _Meaning(
        "too good to be true", "warning",
        "Validation loss is {eval_loss:.4g} before any row was repeated.",
        "Look for training rows in the validation set, and for answers in the prompts.",
        ("check_data",),
    ),
    "insufficient": _Meaning(
        "not enough evaluations", "info", _describe_insufficient,
        lambda evidence: (
            "Keep the first evaluation's checkpoint, and evaluate more often."
            if _is_rising(evidence)
            else "Continue."
        ),
        lambda evidence: ("stop_keep_best" if _is_rising(evidence) else "go_on", "evaluate"),
    ),
    "no_eval": _Meaning(
        "no validation", "info", "No validation loss, so overfitting would go unnoticed.",
        "Set aside 10–20% of the rows for validation next time.", ("go_on",),
    ),
}  # fmt: skip
PATTERN_NAMES: dict[Pattern, str] = {code: meaning.name for code, meaning in _MEANINGS.items()}
