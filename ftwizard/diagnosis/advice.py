"""Findings: what each pattern means, and the actions to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ftwizard.diagnosis import messages
from ftwizard.diagnosis.curve import Pattern, Sign
from ftwizard.diagnosis.messages import Evidence
from ftwizard.diagnosis.verdict import Verdict

Severity = Literal["info", "warning", "error"]
Action = Literal[
    "go_on", "stop", "stop_keep_best", "save", "evaluate",
    "again_half_rate", "again_more_accumulation", "again_half_rate_more_accumulation",
    "again_higher_rate", "again_ten_times_rate", "check_data",
]  # fmt: skip
"""``again_…``: a child run, from a checkpoint or from the start, with that setting changed;
``higher``: five times the learning rate."""


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
    severity: Severity
    describe: Callable[[Evidence, Verdict], str]
    action: str | Callable[[Evidence], str]
    actions: tuple[Action, ...] | Callable[[Evidence], tuple[Action, ...]]


MARKS: dict[Severity, str] = {"info": "·", "warning": "!", "error": "✗"}
PATTERN_NAMES: dict[Pattern, str] = {
    "healthy": "healthy", "plateau": "flat", "overfit": "overfitting",
    "memorising": "memorizing", "no_learning": "not learning", "spiky": "spiky",
    "spike": "one spike", "diverged": "diverged", "nan": "NaN loss", "zero_loss": "zero loss",
    "eval_nan": "NaN validation loss", "too_good": "too good to be true",
    "insufficient": "not enough evaluations", "no_eval": "no validation",
}  # fmt: skip


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
        message=meaning.describe(evidence, verdict) + messages.describe_scaling(evidence),
        action=meaning.action if isinstance(meaning.action, str) else meaning.action(evidence),
        actions=meaning.actions(evidence) if callable(meaning.actions) else meaning.actions,
        confidence=round(sign.confidence, 3),
        evidence=evidence,
    )


_MEANINGS: dict[Pattern, _Meaning] = {
    "healthy": _Meaning("info", messages.describe_healthy, "Continue.", ("go_on",)),
    "plateau": _Meaning(
        "info", messages.describe_plateau,
        lambda evidence: (
            "Let it finish: the low learning rate may explain the flat loss."
            if messages.has_decayed(evidence)
            else "Stop soon, or continue from the best with half the learning rate."
        ),
        ("stop_keep_best", "again_half_rate", "go_on"),
    ),
    "overfit": _Meaning(
        "warning", messages.describe_overfit,
        "Stop now and keep the best. Then use fewer epochs, or more diverse rows.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "memorising": _Meaning(
        "warning", messages.describe_memorizing,
        "Keep the best and train fewer epochs. Set validation rows aside if there are none.",
        ("stop_keep_best",),
    ),
    "no_learning": _Meaning(
        "warning", messages.describe_no_learning,
        lambda evidence: (
            "Set a learning rate above 0."
            if evidence.get("learning_rate") == 0
            else "Raise the learning rate 5 to 10 times, and check the loss mask (ftwizard mask)."
        ),
        ("again_higher_rate", "again_ten_times_rate", "check_data"),
    ),
    "spiky": _Meaning(
        "warning", messages.describe_spiky,
        "Halve the learning rate and double the gradient accumulation.",
        ("again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"),
    ),
    "spike": _Meaning(
        "info", messages.describe_spike,
        "Continue. If it happens again, check the rows of that step.", ("go_on", "check_data"),
    ),
    "diverged": _Meaning(
        "error", messages.describe_diverged,
        "Stop, and start again from the best checkpoint with half the learning rate.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "nan": _Meaning(
        "error", messages.describe_nan,
        "Restart from the best checkpoint with half the learning rate. Replace float16 by bfloat16.",
        ("stop_keep_best", "again_half_rate"),
    ),
    "zero_loss": _Meaning(
        "error", messages.describe_zero_loss,
        "Stop, and check which tokens are trained on: ftwizard mask.", ("stop", "check_data"),
    ),
    "eval_nan": _Meaning(
        "warning", messages.describe_eval_nan,
        "Look for validation rows with no trainable tokens, or too long: ftwizard check.",
        ("check_data",),
    ),
    "too_good": _Meaning(
        "warning", messages.describe_too_good,
        "Look for training rows in the validation set, and for answers in the prompts.",
        ("check_data",),
    ),
    "insufficient": _Meaning(
        "info", messages.describe_insufficient,
        lambda evidence: (
            "Keep the first evaluation's checkpoint, and evaluate more often."
            if messages.is_rising(evidence)
            else "Continue."
        ),
        lambda evidence: (
            ("stop_keep_best", "evaluate") if messages.is_rising(evidence) else ("go_on", "evaluate")
        ),
    ),
    "no_eval": _Meaning(
        "info", messages.describe_no_eval,
        "If none are, set aside 10–20% of the rows for validation next time.", ("go_on",),
    ),
}  # fmt: skip
