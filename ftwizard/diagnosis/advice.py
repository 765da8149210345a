"""Findings: what each pattern means in numbers, and the actions to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ftwizard.diagnosis import objective_advice
from ftwizard.diagnosis.curve import Pattern, Sign, Value
from ftwizard.diagnosis.meaning import (
    Action,
    Evidence,
    Meaning,
    Severity,
    format_count,
    format_loss,
    format_percent,
)
from ftwizard.diagnosis.verdict import CurveVerdict
from ftwizard.text import format_epochs, format_learning_rate

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
    confidence: float | None
    """From 0 to 1; None where nothing was judged."""
    evidence: Evidence


def get_mark(finding: DiagnosisFinding) -> str:
    """Return the mark of a finding: a tick for a healthy run, else by severity."""
    return "✓" if finding.code == "healthy" else MARKS[finding.severity]


def to_findings(verdict: CurveVerdict) -> list[DiagnosisFinding]:
    """Convert each sign of a verdict to a finding, the most severe first."""
    return [_to_finding(sign, verdict) for sign in verdict.signs]


def _to_finding(sign: Sign, verdict: CurveVerdict) -> DiagnosisFinding:
    meaning, evidence = _MEANINGS[sign.pattern], sign.evidence
    return DiagnosisFinding(
        code=sign.pattern,
        severity=meaning.severity(evidence) if callable(meaning.severity) else meaning.severity,
        step=sign.onset,
        message=_describe(meaning.message, evidence, describe_best(verdict)),
        action=meaning.action if isinstance(meaning.action, str) else meaning.action(evidence),
        actions=meaning.actions(evidence) if callable(meaning.actions) else meaning.actions,
        confidence=None if sign.confidence is None else round(sign.confidence, 3),
        evidence=evidence,
    )


def describe_former(findings: Sequence[Mapping[str, Any]]) -> str:
    """Describe the warning that the newest verdict replaced: ``was: spiky until step 30``.

    ``findings`` are a run's ``finding`` events. Empty if no other warning was shown before.
    """
    verdicts = [event for event in findings if event.get("verdict")]
    for former, later in reversed(list(pairwise(verdicts))):
        code, step = former.get("code"), later.get("step")
        if former.get("severity") in ("warning", "error") and code != verdicts[-1].get("code"):
            name = PATTERN_NAMES.get(code) if isinstance(code, str) else None  # type: ignore[call-overload]
            return f"was: {name} until step {step:,}" if name and isinstance(step, int) else ""
    return ""


def describe_best(verdict: CurveVerdict) -> str:
    """Describe the best evaluation and its checkpoint; empty without an evaluation."""
    if verdict.best_step is None:
        return ""
    value = verdict.best_loss if verdict.best_reward is None else verdict.best_reward
    name = "" if verdict.best_reward is None else "reward "
    best = f"Best: {name}{format_loss(value)} at step {verdict.best_step:,}"
    if verdict.best_on_disk == verdict.best_step:
        return f"{best}, on disk."
    if verdict.best_on_disk is not None:
        return f"{best}; on disk: step {verdict.best_on_disk:,}."
    return f"{best}."


def describes_best(finding: DiagnosisFinding) -> bool:
    """Return whether the message of a finding describes the best evaluation, if there is one."""
    if finding.code == "insufficient":
        return bool(finding.evidence["evaluations"])
    return finding.code in _DESCRIBING_BEST


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


def _describe_overfit(evidence: Evidence, best: str) -> str:
    if text := objective_advice.describe_overfit(evidence, best):
        return text
    losses = f"{format_loss(evidence['best_loss'])} → {format_loss(evidence['now'])}"
    message = (
        f"Validation loss has risen for {format_count(evidence['evaluations_since'], 'evaluation')} "
        f"({losses}, {_format_rise(evidence['rise'], evidence)})"
        f"{_MEANWHILE[evidence.get('training')]}. {best}"
    )
    name = evidence.get("score")
    if not name:
        return message
    names = {"eval_rewards_accuracies": "accuracy"}
    score = "token accuracy" if "token_accuracy" in str(name) else names.get(str(name), str(name))
    return f"{message} Its {score} still improves: judge by that."


def _format_rise(rise: Value, evidence: Evidence) -> str:
    """Format a rise in nats, with the interval that the rows show, if known."""
    text, low = f"+{format_loss(rise)}", evidence.get("rise_low")
    if not isinstance(low, float):
        return text
    high = evidence["rise_high"]
    return f"{text}; {evidence['rows']} rows show {low:+.2g} to {high:+.2g}"


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
    if evidence.get("objective") == "grpo":
        few = f"{format_count(evidence['rewards'], 'logged reward')} so far."
        return f"{few} {objective_advice.describe_figures(evidence)}"
    count = evidence["evaluations"]
    few = f"{format_count(count, 'evaluation') if count else 'No evaluation'}"
    if evidence.get("is_done"):
        first = f"{few} in the whole run: too few for a verdict."
    else:
        first = f"{few} so far." if count else "No evaluation yet."
    return " ".join(
        filter(None, [first, _describe_reached(evidence), _describe_since_best(evidence, best)])
    )


def _describe_reached(evidence: Evidence) -> str:
    """Describe how the losses, and the figures of the objective, changed so far."""
    figures = objective_advice.describe_figures(evidence)
    losses = "" if evidence.get("objective") == "grpo" else _describe_losses(evidence)
    return f"{losses} {figures}".strip()


def _describe_losses(evidence: Evidence) -> str:
    """Describe how the losses changed so far; empty with too few of them."""
    parts = []
    for name, begin, now in (
        ("Training", "train_start", "train_now"),
        ("validation", "start", "now"),
    ):
        a, b = evidence[begin], evidence[now]
        if isinstance(a, float) and isinstance(b, float) and a != b:
            parts.append(f"{name} loss {format_loss(a)} → {format_loss(b)}")
    text = ", ".join(parts)
    epoch = evidence["epoch"]
    if text and isinstance(epoch, float):
        text += f" in {format_epochs(float(f'{epoch:.2g}'))}"
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _describe_since_best(evidence: Evidence, best: str) -> str:
    """Describe a validation loss above its best, and what that shows; else only the best."""
    above = evidence.get("above_best")
    if not isinstance(above, float):
        return best
    low, high, rows = evidence.get("rise_low"), evidence.get("rise_high"), evidence.get("rows")
    if not isinstance(low, float) or not isinstance(high, float):
        return f"The newest is {format_loss(above)} above the best. {best}"
    interval = f"{above:+.2g}, between {low:+.2g} and {high:+.2g}"
    if low > 0:
        return f"The newest is above the best, as {rows} rows prove ({interval}). {best}"
    return f"Since the best, no change that these {rows} rows can show ({interval}). {best}"


def _describe_diverged(evidence: Evidence, best: str) -> str:
    before, now, start = (format_loss(evidence[name]) for name in ("before", "now", "start"))
    began = "" if before == start else f"; it began at {start}"
    best = best if evidence.get("evaluated_before") else ""
    return f"Training loss diverged ({before} → {now}{began}){_describe_guessing(evidence)}. {best}"


def _describe_memorizing(evidence: Evidence, best: str) -> str:
    has_epochs = evidence["epochs_known"]
    when = "when rows repeat" if has_epochs else "at even intervals, as if rows repeat"
    message = (
        f"Training loss drops in steps ({format_count(evidence['steps_down'], 'step')}, about "
        f"{format_percent(evidence['drop_share'], 0)} each) {when}"
    )
    if not best:
        return f"{message}. No validation loss shows whether it only memorizes."
    return f"{message}; validation loss does not follow. {best}"


def _describe_no_learning(evidence: Evidence, _: str) -> str:
    if evidence.get("learning_rate") == 0:
        return "The learning rate is 0: the model cannot learn."
    if text := objective_advice.describe_no_learning(evidence):
        return text
    if "eval_now" in evidence:
        losses = f"{format_loss(evidence['eval_start'])} → {format_loss(evidence['eval_now'])}"
        return f"Validation loss barely moves ({losses}){_describe_guessing(evidence)}."
    losses = f"{format_loss(evidence['start'])} → {format_loss(evidence['now'])}"
    return f"Training loss barely moves ({losses}){_describe_guessing(evidence)}."


def _describe_guessing(evidence: Evidence) -> str:
    if "ln_vocabulary" not in evidence:
        return ""
    chance = format_loss(evidence["ln_vocabulary"])
    return f". That is random guessing (ln of the vocabulary size is {chance})"


def _describe_spiky(evidence: Evidence, _: str) -> str:
    share, norm = format_percent(evidence["noise_share"], 0), evidence.get("grad_norm")
    rows = ", more than the choice of rows explains" if evidence.get("sampling") else ""
    grad_norm = f", with a grad norm of {norm:.3g}" if isinstance(norm, float) and norm > 2 else ""
    return f"Training loss jumps by {share} throughout{rows}{grad_norm}."


def _describe_healthy(evidence: Evidence, best: str) -> str:
    both_fall = evidence["both_fall"] and "above_best" not in evidence
    trend = "Both losses fall." if both_fall else "No problems found."
    before, now = evidence["train_start"], evidence["train_now"]
    is_higher = isinstance(before, float) and isinstance(now, float) and now > before
    if evidence["evaluations"] and is_higher:
        # Only the choice of rows: a rise would be a finding.
        evidence = {**evidence, "train_now": before}
    return " ".join(
        filter(None, [trend, _describe_reached(evidence), _describe_since_best(evidence, best)])
    )


def _describe_no_eval(evidence: Evidence, _: str) -> str:
    losses = ""
    if "train_now" in evidence:
        losses = f"Training loss {format_loss(evidence['train_start'])} → {format_loss(evidence['train_now'])}. "
    return f"{losses}Without validation loss, overfitting would go unnoticed."


def _has_decayed(evidence: Evidence) -> bool:
    """Return whether the learning rate is low enough to explain a flat loss."""
    share = evidence["rate_share"]
    return isinstance(share, float) and share < DECAYED


def _describe_plateau(evidence: Evidence, best: str) -> str:
    share, rate = format_percent(evidence["rate_share"], 0), ""
    if _has_decayed(evidence):
        rate = f", with the learning rate at {share} of its peak"
    if not best:
        return f"Training loss has been flat since step {evidence['since']:,}{rate}."
    evaluations = format_count(evidence["evaluations"], "evaluation")
    return f"Validation loss has been flat for {evaluations}{rate}. {best}"


def _describe_spike(evidence: Evidence, _: str) -> str:
    height, back = format_loss(evidence["height"]), evidence.get("back_at_step")
    if back is None:
        return f"Training loss jumped by {height}, and has not come back."
    if evidence["spikes"] == 1:
        return f"Training loss jumped once, by {height}, and recovered by step {back:,}."
    return (
        f"Training loss jumped {evidence['spikes']} times. The largest jump ({height}) recovered "
        f"by step {back:,}."
    )


def _describe_eval_nan(evidence: Evidence, _: str) -> str:
    contrast = ", though training loss is finite" if evidence["training_is_one"] else ""
    return (
        f"Validation loss is {_format_not_finite(evidence['eval_loss'])} in {evidence['bad']} of "
        f"{format_count(evidence['evaluations'], 'evaluation')}{contrast}."
    )


def _describe_zero_loss(evidence: Evidence, _: str) -> str:
    name = f"{evidence['of']}".capitalize()
    return f"{name} loss is exactly 0: no token counts toward the loss, or float16 underflowed."


def _advise_overfit(evidence: Evidence) -> str:
    epochs = evidence.get("best_epoch")
    fewer = f"about {epochs:.2g} epochs" if isinstance(epochs, float) else "fewer epochs"
    return f"Stop now and keep the best. Next time, train {fewer}, or on more diverse rows."


def _advise_no_learning(evidence: Evidence) -> str:
    if evidence.get("learning_rate") == 0:
        return "Set a learning rate above 0."
    if text := objective_advice.advise_no_learning(evidence):
        return text
    rate, usual = evidence.get("rate"), evidence.get("usual_rate")
    if _is_usual_rate(evidence) and isinstance(rate, float):
        return (
            f"The learning rate ({format_learning_rate(rate)}) is not low: check first which tokens are trained on "
            "(ftwizard mask). Then try 5 times the rate."
        )
    advised = f" (usual: {format_learning_rate(usual)})" if isinstance(usual, float) else ""
    return (
        f"Raise the learning rate 5 to 10 times{advised}, and check the loss mask (ftwizard mask)."
    )


def _is_usual_rate(evidence: Evidence) -> bool:
    """Return whether the learning rate is at least half the usual one."""
    rate, usual = evidence.get("rate"), evidence.get("usual_rate")
    return isinstance(rate, float) and isinstance(usual, float) and rate >= usual / 2


def _explain_rate(evidence: Evidence) -> str:
    """Relate the learning rate to the usual one, which the run may have been advised to use."""
    rate, usual = evidence.get("rate"), evidence.get("usual_rate")
    if not isinstance(rate, float) or not isinstance(usual, float):
        return ""
    if _is_above_usual(evidence):
        return f": {format_learning_rate(rate)} is above the usual {format_learning_rate(usual)}"
    return f": the usual {format_learning_rate(usual)} is too high for these rows"


def _is_above_usual(evidence: Evidence) -> bool:
    rate, usual = evidence.get("rate"), evidence.get("usual_rate")
    return isinstance(rate, float) and isinstance(usual, float) and rate > 1.5 * usual


def _advise_diverged(evidence: Evidence) -> str:
    where = (
        "from the best checkpoint" if evidence.get("evaluated_before") else "from the base model"
    )
    if _is_above_usual(evidence):
        usual, rate = evidence["usual_rate"], evidence["rate"]
        assert isinstance(usual, float)
        assert isinstance(rate, float)
        return (
            f"Stop, and start again {where} with the usual learning rate, "
            f"{format_learning_rate(usual)}; this run had {format_learning_rate(rate)}."
        )
    return f"Stop, and start again {where} with half the learning rate{_explain_rate(evidence)}."


def _advise_insufficient(evidence: Evidence) -> str:
    if evidence.get("is_done"):
        return "Compare the answers with those of the base model. Next time, evaluate more often."
    if evidence.get("above_best") is not None:
        return "Continue to the next evaluation, and evaluate more often. The best is kept."
    return "Continue."


_MEANINGS: dict[Pattern, Meaning] = {
    "healthy": Meaning(
        "healthy", "info", _describe_healthy,
        lambda evidence: "Look at the results." if evidence.get("is_done") else "Continue.",
        ("go_on",),
    ),
    "plateau": Meaning(
        "flat", "info", _describe_plateau,
        lambda evidence: (
            "Let it finish: the low learning rate may explain the flat loss."
            if _has_decayed(evidence)
            else "Stop soon, or continue from the best with half the learning rate."
        ),
        ("stop_keep_best", "again_half_rate", "go_on"),
    ),
    "overfit": Meaning(
        "overfitting", "warning", _describe_overfit,
        _advise_overfit,
        ("stop_keep_best", "again_half_rate"),
    ),
    "memorizing": Meaning(
        "memorizing", "warning", _describe_memorizing,
        lambda evidence: (
            "Keep the best and train fewer epochs."
            if evidence.get("validated")
            else "Train fewer epochs, and set validation rows aside."
        ),
        ("stop_keep_best",),
    ),
    "no_learning": Meaning(
        "not learning", "warning", _describe_no_learning, _advise_no_learning,
        lambda evidence: (
            ("check_data", "again_higher_rate")
            if _is_usual_rate(evidence)
            else ("again_higher_rate", "again_ten_times_rate", "check_data")
        ),
    ),
    "spiky": Meaning(
        "spiky", "warning", _describe_spiky,
        lambda evidence: (
            f"Halve the learning rate and double the gradient accumulation{_explain_rate(evidence)}."
        ),
        ("again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"),
    ),
    "spike": Meaning(
        "spike", lambda evidence: "info" if evidence.get("back_at_step") else "warning", _describe_spike,
        lambda evidence: (
            "Continue. If it happens again, check the rows of that step."
            if evidence.get("back_at_step")
            else "Wait for the next evaluation. If it is above the best, stop and keep the best."
        ),
        lambda evidence: (
            ("go_on", "check_data") if evidence.get("back_at_step") else ("evaluate", "stop_keep_best")
        ),
    ),
    "diverged": Meaning(
        "diverged", "error",
        _describe_diverged, _advise_diverged,
        lambda evidence: (
            ("stop_keep_best" if evidence.get("evaluated_before") else "stop",
             "again_usual_rate" if _is_above_usual(evidence) else "again_half_rate")
        ),
    ),
    "nan": Meaning(
        "NaN loss", "error", _describe_nan,
        "Restart from the best checkpoint with half the learning rate. Replace float16 by bfloat16.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "zero_loss": Meaning(
        "zero loss", "error", _describe_zero_loss,
        "Stop, and check which tokens are trained on: ftwizard mask.", ("stop", "check_data"),
    ),
    "eval_nan": Meaning(
        "NaN validation loss", "warning", _describe_eval_nan,
        "Look for validation rows with no trainable tokens, or too long: ftwizard check.",
        ("check_data",),
    ),
    "too_good": Meaning(
        "too good to be true", "warning",
        "Validation loss is {eval_loss:.4g} before any row was repeated.",
        "Look for training rows in the validation set, and for answers in the prompts.",
        ("check_data",),
    ),
    "insufficient": Meaning(
        "not enough evaluations", "info", _describe_insufficient, _advise_insufficient,
        lambda evidence: (
            ("go_on", "evaluate")
            if evidence.get("above_best") is None
            else ("stop_keep_best", "evaluate")
        ),
    ),
    **objective_advice.OBJECTIVE_MEANINGS,
    "no_eval": Meaning(
        "no validation", "info", _describe_no_eval,
        "Set aside 10–20% of the rows for validation next time.", ("go_on",),
    ),
}  # fmt: skip
PATTERN_NAMES: dict[Pattern, str] = {code: meaning.name for code, meaning in _MEANINGS.items()}
