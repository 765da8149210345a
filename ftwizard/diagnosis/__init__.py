"""Diagnosis of loss curves: a series in, a verdict with its confidence out. Pure functions."""

from ftwizard.diagnosis.advice import (
    IN_WORDS,
    MARKS,
    Action,
    Finding,
    findings,
    mark,
)
from ftwizard.diagnosis.curve import Curve, Objective, Point
from ftwizard.diagnosis.sign import Pattern, Sign
from ftwizard.diagnosis.verdict import Verdict, diagnose
from ftwizard.diagnosis.words import best_in_words

__all__ = [
    "IN_WORDS",
    "MARKS",
    "Action",
    "Curve",
    "Finding",
    "Objective",
    "Pattern",
    "Point",
    "Sign",
    "Verdict",
    "best_in_words",
    "diagnose",
    "findings",
    "mark",
]  # fmt: skip
