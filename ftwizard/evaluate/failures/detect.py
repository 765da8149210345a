"""All five failures of one tuned model."""

from __future__ import annotations

from ftwizard.evaluate.failures.forgetting import find_forgetting
from ftwizard.evaluate.failures.inputs import FailureInputs
from ftwizard.evaluate.failures.memorization import find_memorization
from ftwizard.evaluate.failures.mode_collapse import find_mode_collapse
from ftwizard.evaluate.failures.overfitting import find_overfitting
from ftwizard.evaluate.failures.safety import find_safety_loss
from ftwizard.runs.evaluation import Failure

_DETECTORS = (
    find_forgetting, find_overfitting, find_memorization, find_mode_collapse, find_safety_loss,
)  # fmt: skip


def find_failures(inputs: FailureInputs) -> list[Failure]:
    """Judge the five failures, in a fixed order; each is found, not found, or cannot be told."""
    return [detect(inputs) for detect in _DETECTORS]
