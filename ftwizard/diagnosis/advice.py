"""What a pattern means and what to do about it, in words and as actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ftwizard.diagnosis.sign import Pattern, Sign, Value
from ftwizard.diagnosis.verdict import Verdict

Severity = Literal["info", "warning", "error"]
Action = Literal[
    "go_on", "stop", "stop_keep_best", "save", "evaluate",
    "again_half_rate", "again_more_accumulation", "again_half_rate_more_accumulation",
    "again_higher_rate", "again_ten_times_rate", "check_data",
]  # fmt: skip
"""``again_…``: a child run, from a checkpoint or from the start, with that changed;
``higher``: five times."""


@dataclass(frozen=True)
class Finding:
    """A sign in words, with what may be done."""

    code: Pattern
    severity: Severity
    step: int | None
    message: str
    """What was seen, in numbers."""
    action: str
    """What to do, in a sentence."""
    actions: tuple[Action, ...]
    confidence: float
    evidence: dict[str, Value]


@dataclass(frozen=True)
class _Meaning:
    severity: Severity
    seen: Callable[[dict[str, Value], Verdict], str]
    action: str | Callable[[dict[str, Value]], str]
    actions: tuple[Action, ...]


MARKS: dict[Severity, str] = {"info": "·", "warning": "!", "error": "✗"}
IN_WORDS: dict[Pattern, str] = {
    "healthy": "healthy", "plateau": "flat", "overfit": "overfitting",
    "memorising": "learning by heart", "no_learning": "not learning", "spiky": "spiky",
    "spike": "one spike", "diverged": "diverged", "nan": "no number", "zero_loss": "zero loss",
    "eval_nan": "validation is no number", "too_good": "too good to be true",
    "insufficient": "too early to tell", "no_eval": "nothing held out",
}  # fmt: skip


def mark(finding: Finding) -> str:
    """Return the mark of a finding; of a healthy one a tick."""
    return "✓" if finding.code == "healthy" else MARKS[finding.severity]


def findings(verdict: Verdict) -> list[Finding]:
    """Return each sign of a verdict in words, the weightiest first."""
    return [of_sign(sign, verdict) for sign in verdict.signs]


def of_sign(sign: Sign, verdict: Verdict) -> Finding:
    """Return one sign in words; ``verdict`` knows the best checkpoint."""
    meaning = _MEANINGS[sign.pattern]
    return Finding(
        code=sign.pattern,
        severity=meaning.severity,
        step=sign.onset,
        message=meaning.seen(sign.evidence, verdict),
        action=meaning.action if isinstance(meaning.action, str) else meaning.action(sign.evidence),
        actions=meaning.actions,
        confidence=sign.confidence,
        evidence=sign.evidence,
    )


def best_in_words(verdict: Verdict) -> str:
    """Return where the best weights are: measured, and on disk; empty without an evaluation."""
    if verdict.best_step is None:
        return ""
    said = f"Best: {_loss(verdict.best_loss)} at step {verdict.best_step:,}"
    if verdict.best_on_disk == verdict.best_step:
        return f"{said}, on disk."
    if verdict.best_on_disk is not None:
        return f"{said}; on disk: step {verdict.best_on_disk:,}."
    return f"{said}."


def _loss(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _percent(value: Value, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %" if isinstance(value, int | float) else "?"


def _plural(count: Value, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"


_MEANWHILE: dict[Value, str] = {
    "falls": ", while the training loss goes on to fall",
    "is flat": ", while the training loss is flat",
    "rises": ", and the training loss with it a little: the rate may be too high",
    None: "",
}


def _overfit(seen: dict[str, Value], verdict: Verdict) -> str:
    above = "" if seen["severity_share"] is None else f"{_percent(seen['severity_share'])} "
    words = (
        f"The validation loss rises: {_loss(seen['now'])}, {above}above "
        f"its best {_plural(seen['evaluations_since'], 'evaluation')} ago"
        f"{_MEANWHILE[seen.get('training')]}. {best_in_words(verdict)}"
    )
    name = seen.get("score")
    if not name:
        return words
    score = "token accuracy" if "token_accuracy" in str(name) else f"{name}"
    return f"{words} Its {score} still improves: judge by that."


def _memorising(seen: dict[str, Value], verdict: Verdict) -> str:
    said = (
        f"The training loss falls in steps ({_plural(seen['steps_down'], 'step')}, each by about "
        f"{_percent(seen['drop_share'], 0)}), "
        f"{'where' if seen['epochs_known'] else 'evenly spaced, as where'} rows are seen again"
    )
    if verdict.best_step is None:
        return (
            f"{said}, and no validation loss says whether it learns more than these rows by heart."
        )
    return f"{said}; the validation loss does not follow. {best_in_words(verdict)}"


def _no_learning(seen: dict[str, Value], _: Verdict) -> str:
    if seen.get("learning_rate") == 0:
        return "The learning rate is 0: nothing can be learned."
    said = f"The training loss hardly moves: {_loss(seen['start'])}, now {_loss(seen['now'])}"
    if "ln_vocabulary" in seen:
        said += f"; ln of the vocabulary is {_loss(seen['ln_vocabulary'])}, so it only guesses"
    return f"{said}."


def _spiky(seen: dict[str, Value], _: Verdict) -> str:
    said = f"The training loss jumps by {_percent(seen['noise_share'], 0)} of itself throughout"
    norm = seen.get("grad_norm")
    if isinstance(norm, float) and norm > 2:
        return f"{said}, with a gradient norm of {norm:.3g}."
    return f"{said}."


def _diverged(seen: dict[str, Value], verdict: Verdict) -> str:
    return (
        f"The training loss ran away: from {_loss(seen['before'])} to {_loss(seen['now'])}. "
        f"{best_in_words(verdict)}"
    ).rstrip()


def _healthy(seen: dict[str, Value], verdict: Verdict) -> str:
    falls = "Both losses fall" if seen["both_fall"] else "Nothing wrong shows"
    train = "" if seen["train_now"] is None else f", training now {_loss(seen['train_now'])}"
    return (
        f"{falls}: validation from {_loss(seen['start'])} to {_loss(seen['now'])}{train}. "
        f"{best_in_words(verdict)}"
    )


DECAYED = 0.25
"""A share of its height at which the learning rate itself may be why nothing moves."""


def _has_decayed(seen: dict[str, Value]) -> bool:
    share = seen["rate_share"]
    return isinstance(share, float) and share < DECAYED


def _plateau(seen: dict[str, Value], verdict: Verdict) -> str:
    rate = f", at {_percent(seen['rate_share'], 0)} of the learning rate's height"
    when = rate if _has_decayed(seen) else ""
    if verdict.best_step is None:
        return f"The training loss is flat since step {seen['since']:,}{when}."
    return (
        f"The validation loss is flat for {_plural(seen['evaluations'], 'evaluation')}{when}. "
        f"{best_in_words(verdict)}"
    )


def _spike(seen: dict[str, Value], _: Verdict) -> str:
    times = "once" if seen["spikes"] == 1 else f"{seen['spikes']} times, this the highest,"
    return (
        f"The training loss jumped by {_loss(seen['height'])} {times} and came back by step "
        f"{seen['back_at_step']:,}."
    )


def _eval_nan(seen: dict[str, Value], _: Verdict) -> str:
    also = ", though the training's is one" if seen["training_is_one"] else ""
    return (
        f"The validation loss is no number ({seen['eval_loss']}) at {seen['bad']} of "
        f"{_plural(seen['evaluations'], 'evaluation')}{also}."
    )


_MEANINGS: dict[Pattern, _Meaning] = {
    "healthy": _Meaning("info", _healthy, "Go on.", ("go_on",)),
    "plateau": _Meaning(
        "info",
        _plateau,
        lambda seen: (
            "Let it end: the rate's own fall may be why nothing moves."
            if _has_decayed(seen)
            else "Stop soon, or go on from the best with half the rate."
        ),
        ("stop_keep_best", "again_half_rate", "go_on"),
    ),
    "overfit": _Meaning(
        "warning", _overfit,
        "Stop now and keep the best; then fewer epochs, or more diverse rows.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "memorising": _Meaning(
        "warning", _memorising,
        "Keep the best, train fewer epochs, and hold rows out for validation where there are none.",
        ("stop_keep_best",),
    ),
    "no_learning": _Meaning(
        "warning", _no_learning,
        lambda seen: (
            "Set a learning rate above 0."
            if seen.get("learning_rate") == 0
            else "Raise the rate five to ten times, and look at which tokens are trained on "
            "(ftwizard mask)."
        ),
        ("again_higher_rate", "again_ten_times_rate", "check_data"),
    ),
    "spiky": _Meaning(
        "warning", _spiky,
        "Halve the rate and double the gradient accumulation.",
        ("again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"),
    ),
    "spike": _Meaning(
        "info",
        _spike,
        "Go on; look at the rows of that step if it returns.",
        ("go_on", "check_data"),
    ),
    "diverged": _Meaning(
        "error", _diverged,
        "Stop; start again from the best checkpoint with half the rate.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "nan": _Meaning(
        "error",
        lambda seen, verdict: (
            f"The {'gradient norm' if 'grad_norm' in seen else 'training loss'} is no number any "
            f"more ({seen.get('grad_norm', seen.get('loss'))}). {best_in_words(verdict)}"
        ).rstrip(),
        "Go on from the best checkpoint with half the rate, and in bfloat16 if it was float16.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "zero_loss": _Meaning(
        "error",
        lambda seen, _: (
            f"The {seen['of']} loss is exactly 0: no token carries loss, or float16 gave way."
        ),
        "Stop, and see which tokens are trained on: ftwizard mask.",
        ("stop", "check_data"),
    ),
    "eval_nan": _Meaning(
        "warning",
        _eval_nan,
        "Look for validation rows without a trained token, or too long: ftwizard check.",
        ("check_data",),
    ),
    "too_good": _Meaning(
        "warning",
        lambda seen, _: (
            f"The validation loss is {_loss(seen['eval_loss'])} before any row was seen twice."
        ),
        "Look for validation rows that are training rows, and answers that stand in the prompt.",
        ("check_data",),
    ),
    "insufficient": _Meaning(
        "info",
        lambda seen, _: f"{_plural(seen['evaluations'], 'evaluation')} so far: too few to tell.",
        "Go on.", ("go_on", "evaluate"),
    ),
    "no_eval": _Meaning(
        "info",
        lambda _, __: "There is no validation loss: whether it overfits cannot be seen.",
        "Hold 10 to 20 % of the rows out next time, where none are.", ("go_on",),
    ),
}  # fmt: skip
