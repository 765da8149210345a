"""What a pattern means and what to do about it, in words and as actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ftwizard.diagnosis import words
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
    actions: tuple[Action, ...] | Callable[[dict[str, Value]], tuple[Action, ...]]


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
        message=meaning.seen(sign.evidence, verdict) + words.scaled(sign.evidence),
        action=meaning.action if isinstance(meaning.action, str) else meaning.action(sign.evidence),
        actions=meaning.actions(sign.evidence) if callable(meaning.actions) else meaning.actions,
        confidence=sign.confidence,
        evidence=sign.evidence,
    )


_MEANINGS: dict[Pattern, _Meaning] = {
    "healthy": _Meaning("info", words.healthy, "Go on.", ("go_on",)),
    "plateau": _Meaning(
        "info",
        words.plateau,
        lambda seen: (
            "Let it end: the rate's own fall may be why nothing moves."
            if words.has_decayed(seen)
            else "Stop soon, or go on from the best with half the rate."
        ),
        ("stop_keep_best", "again_half_rate", "go_on"),
    ),
    "overfit": _Meaning(
        "warning", words.overfit,
        "Stop now and keep the best; then fewer epochs, or more diverse rows.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "memorising": _Meaning(
        "warning", words.memorising,
        "Keep the best, train fewer epochs, and hold rows out for validation where there are none.",
        ("stop_keep_best",),
    ),
    "no_learning": _Meaning(
        "warning", words.no_learning,
        lambda seen: (
            "Set a learning rate above 0."
            if seen.get("learning_rate") == 0
            else "Raise the rate five to ten times, and look at which tokens are trained on "
            "(ftwizard mask)."
        ),
        ("again_higher_rate", "again_ten_times_rate", "check_data"),
    ),
    "spiky": _Meaning(
        "warning", words.spiky,
        "Halve the rate and double the gradient accumulation.",
        ("again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"),
    ),
    "spike": _Meaning(
        "info",
        words.spike,
        "Go on; look at the rows of that step if it returns.",
        ("go_on", "check_data"),
    ),
    "diverged": _Meaning(
        "error", words.diverged,
        "Stop; start again from the best checkpoint with half the rate.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "nan": _Meaning(
        "error",
        words.nan,
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
        words.eval_nan,
        "Look for validation rows without a trained token, or too long: ftwizard check.",
        ("check_data",),
    ),
    "too_good": _Meaning(
        "warning",
        lambda seen, _: (
            f"The validation loss is {words.loss(seen['eval_loss'])} before any row was seen twice."
        ),
        "Look for validation rows that are training rows, and answers that stand in the prompt.",
        ("check_data",),
    ),
    "insufficient": _Meaning(
        "info",
        words.insufficient,
        lambda seen: (
            "Keep the checkpoint of the first evaluation, and evaluate more often."
            if words.rises(seen)
            else "Go on."
        ),
        lambda seen: (
            ("stop_keep_best", "evaluate") if words.rises(seen) else ("go_on", "evaluate")
        ),
    ),
    "no_eval": _Meaning(
        "info",
        lambda _, __: "There is no validation loss: whether it overfits cannot be seen.",
        "Hold 10 to 20 % of the rows out next time, where none are.", ("go_on",),
    ),
}  # fmt: skip
