"""What separates the columns of a table of text, and what they are called."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ftwizard.data.files.lines import Line
from ftwizard.data.files.names import FIELDS
from ftwizard.data.files.table_text import Dialect, records

_DIALECTS = (
    Dialect(delimiter=","),
    Dialect(delimiter="\t"),
    Dialect(delimiter="\t", quoted=False),
    Dialect(delimiter=";"),
    Dialect(delimiter="|"),
)
_LOOKED_AT = 200
"""Records of the head that are looked at."""
_LONGEST = 64
"""Characters of a column's name."""
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")
_UNLIKE_NAMES = re.compile(r"[{}\[\]\"]|[.?!]$")


class Header(NamedTuple):
    """What the first row of a table is."""

    dialect: Dialect
    named: bool
    """It names the columns; else it holds values like the others."""


def sniff(lines: Sequence[Line]) -> Header | None:
    """Return how the table is written whose first ``lines`` these are; None where it is none."""
    lines = [line for line in lines if line.data.strip()]
    if not lines:
        return None
    only = lines[0].data.strip().strip(b'"').strip().decode("utf-8", "replace")
    if only.lower() in FIELDS:
        return Header(Dialect(delimiter=",", columns=(only,)), named=True)
    found = [guess for dialect in _DIALECTS if (guess := _guess(lines, dialect))]
    return max(found, key=lambda one: one.fit).header if found else None


def repeated(columns: Sequence[str]) -> str | None:
    """Return a name that stands twice among ``columns``."""
    return next((name for name, count in Counter(columns).items() if count > 1), None)


class _Guess(NamedTuple):
    fit: tuple[float, ...]
    header: Header


def _guess(lines: Sequence[Line], dialect: Dialect) -> _Guess | None:
    """Return how well ``dialect`` fits; None where it does not."""
    rows = [one.fields for one in itertools.islice(records(iter(lines), dialect), _LOOKED_AT)]
    if not rows or rows[0] is None or len(rows[0]) < 2:
        return None
    header, others = rows[0], rows[1:]
    # pandas writes an index, which has no name; spreadsheets write columns that hold nothing.
    named = all(_is_name(cell) for cell in header if cell) and any(header)
    known = sum(name.strip().lower() in FIELDS for name in header) if named else 0
    named = named and (known > 0 or all(header[1:]))
    alike = sum(row is not None and len(row) == len(header) for row in others)
    share = alike / len(others) if others else 1.0
    if not known:
        if len(others) < 2 or share < (0.8 if named else 0.95):
            return None
        if 2 * sum(line.data.lstrip()[:1] in (b"{", b"[") for line in lines) >= len(lines):
            return None
        if 2 * sum(cell[:1] == " " for row in others for cell in (row or [])[1:]) > len(others):
            return None  # commas of sentences
    columns = tuple(header)
    if named:
        # What is aligned with blanks, or has one after each comma, is named without them.
        columns = tuple(n.strip() or f"Unnamed: {place}" for place, n in enumerate(header))
    fit = (known, share, len(header), dialect.quoted)
    return _Guess(fit, Header(msgspec.structs.replace(dialect, columns=columns), named))


def _is_name(cell: str) -> bool:
    """Say whether a cell of the first row can be a column's name, and is no value."""
    cell = cell.strip()
    return bool(
        cell
        and len(cell) <= _LONGEST
        and len(cell.split()) <= 5
        and not _UNLIKE_NAMES.search(cell)
        and not _NUMBER.fullmatch(cell)
    )
