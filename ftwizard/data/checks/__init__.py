"""What is to be said of rows that can be read: one family of checks a file.

A family looks at one row and yields what it finds, pure and without fail, whatever the row holds.
How grave that is, the target says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftwizard.data.checks import (
    content,
    facts,
    images,
    order,
    preference,
    secrets,
    text,
    tokens,
    tools,
)
from ftwizard.data.checks.found import Found
from ftwizard.data.checks.over_rows import (
    IgnoredLabel,
    ImageMix,
    LabelBalance,
    LengthBias,
    SystemMix,
)
from ftwizard.data.example import Example
from ftwizard.data.read import Problem, Row
from ftwizard.data.targets import Target, target

Family = Callable[[Example, Target], Iterator[Found]]

_OF_FORM: tuple[Family, ...] = (
    order.check,
    content.check,
    tools.check,
    images.check,
    preference.check,
    tokens.check,
)
_OF_SENSE: tuple[Family, ...] = (text.check, secrets.check, facts.check)
"""What they find is for a person to judge: nowhere is it an error."""
FAMILIES: tuple[Family, ...] = (*_OF_FORM, *_OF_SENSE)
FILE_FAMILIES = (LengthBias, LabelBalance, IgnoredLabel, ImageMix, SystemMix)
"""What is seen only over all rows: classes with ``add``, ``add_plain``, ``merge``, ``found``."""


def of_row(example: Example, target: Target) -> list[Found]:
    """Return what the families find in a row that is of account for ``target``, each code once."""
    found: dict[str, Found] = {}
    for family in FAMILIES:
        for one in family(example, target):
            if one.code not in found and target.severity(one.code) is not None:
                found[one.code] = one
    return list(found.values())


def error_of_row(example: Example, target: Target) -> Found | None:
    """Return an error of a row for ``target``, the first of ``of_row``; None where it has none."""
    for family in _OF_FORM:
        for one in family(example, target):
            if target.severity(one.code) == "error":
                return one
    return None


def notes(rows: list[Row]) -> list[Problem]:
    """Return what the checks of text find in ``rows``, each code once a row."""
    found: list[Problem] = []
    for row in rows:
        example = Example(kind="chat", messages=row.conversation.messages)
        once = {one.code: one for one in reversed([*text.check(example, target("trl-sft"))])}
        found.extend(
            Problem(line=row.line, code=one.code, message=one.message, fix=one.fix)
            for one in reversed(once.values())
        )
    return found
