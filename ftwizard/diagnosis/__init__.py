"""Diagnosis of loss curves: a series in, a verdict with its confidence out. Pure functions."""

from ftwizard.diagnosis.advice import IN_WORDS, MARKS, Action, Finding, findings, mark
from ftwizard.diagnosis.curve import Curve, Objective, Pattern, Point, Sign
from ftwizard.diagnosis.messages import best_in_words
from ftwizard.diagnosis.verdict import Verdict, diagnose

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
