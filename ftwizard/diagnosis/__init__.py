"""Diagnosis of loss curves: a series in, a verdict with its confidence out. Pure functions."""

from ftwizard.diagnosis.advice import (
    MARKS,
    PATTERN_NAMES,
    DiagnosisFinding,
    describe_best,
    describe_former,
    describes_best,
    get_mark,
    to_findings,
)
from ftwizard.diagnosis.curve import Curve, Pattern, Point, Sign
from ftwizard.diagnosis.meaning import Action
from ftwizard.diagnosis.verdict import CurveVerdict, diagnose

__all__ = [
    "MARKS", "PATTERN_NAMES", "Action", "Curve", "CurveVerdict", "DiagnosisFinding", "Pattern",
    "Point", "Sign", "describe_best", "describe_former", "describes_best", "diagnose", "get_mark",
    "to_findings",
]  # fmt: skip
