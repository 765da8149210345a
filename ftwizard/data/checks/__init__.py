"""Checks of single rows, one family per module, and of all rows together.

A family is a pure function: it takes one row, yields its findings and never raises, whatever the
row contains. The target decides how severe a finding is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftwizard.data.checks import (
    content,
    images,
    preference,
    roles,
    secrets,
    text_quality,
    tokens,
    tools,
    volatile_facts,
)
from ftwizard.data.checks.aggregate import (
    IgnoredLabel,
    ImageMix,
    LabelBalance,
    LengthBias,
    SystemMix,
)
from ftwizard.data.example import Example
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target

Family = Callable[[Example, Target], Iterator[RowFinding]]

_FORM_FAMILIES: tuple[Family, ...] = (
    roles.check,
    content.check,
    tools.check,
    images.check,
    preference.check,
    tokens.check,
)
_CONTENT_FAMILIES: tuple[Family, ...] = (text_quality.check, secrets.check, volatile_facts.check)
"""Their findings are for a person to judge; no target treats them as errors."""
FAMILIES: tuple[Family, ...] = (*_FORM_FAMILIES, *_CONTENT_FAMILIES)
FILE_FAMILIES = (LengthBias, LabelBalance, IgnoredLabel, ImageMix, SystemMix)
"""Checks over all rows: classes with ``add``, ``add_plain``, ``merge`` and ``findings``."""


def check_row(example: Example, target: Target) -> list[RowFinding]:
    """Return the findings of a row that matter to ``target``, each code once."""
    findings: dict[str, RowFinding] = {}
    for family in FAMILIES:
        for finding in family(example, target):
            if finding.code not in findings and target.severity(finding.code) is not None:
                findings[finding.code] = finding
    return list(findings.values())


def find_row_error(example: Example, target: Target) -> RowFinding | None:
    """Return the first error of a row for ``target``, or None."""
    for family in _FORM_FAMILIES:
        for finding in family(example, target):
            if target.severity(finding.code) == "error":
                return finding
    return None
