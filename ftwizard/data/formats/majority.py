"""Format detection for files, by a count over all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data.example import RowProblem
from ftwizard.data.format_names import FORMAT_NAMES, Format
from ftwizard.data.formats.detect import UNKNOWN, FormatMatch, find_null_fields, match_formats
from ftwizard.data.io.inspect import FileProblem
from ftwizard.data.privacy.quote import MAX_SEARCHED_CHARACTERS, quote
from ftwizard.text import format_count, make_visible

_SHOWN_KEYS = 12
_SHOWN_NULLS = 3
_KEPT_KEYS = 1000
_KEY_WIDTH = 30
_UNSUPPORTED = {frozenset(("prompt", "completions")): "stepwise supervision"}
"""Known formats that are not supported, by their keys."""


class FormatDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The format of a file's rows."""

    format: Format | None
    """None if no row is an object."""
    also: frozenset[Format] = frozenset()
    """Other formats that fit every row."""


class FormatCounter:
    """Counter of row formats, of bounded size."""

    def __init__(self) -> None:
        self._looks: Counter[FormatMatch] = Counter()
        self._keys: Counter[str] = Counter()
        self._null: Counter[str] = Counter()
        """How often each of ``_keys`` is null."""

    def add(self, row: Any) -> FormatMatch:
        """Count one row and return the formats it matches; only objects and lists count."""
        looks = match_formats(row)
        if looks.best:
            self._looks[looks] += 1
        elif isinstance(row, dict):
            self._looks[looks] += 1
            self._count_keys(row)
        return looks

    def count(self, looks: FormatMatch, rows: int) -> None:
        """Add rows whose formats are known already."""
        self._looks[looks] += rows

    def merge(self, later: FormatCounter) -> None:
        """Add the counts of another part of the file."""
        self._looks.update(later._looks)
        for key, count in later._keys.items():
            if key in self._keys or len(self._keys) < _KEPT_KEYS:
                self._keys[key] += count
                self._null[key] += later._null[key]

    def decide(self, path: Path) -> FormatDecision:
        """Return the format of most rows, independent of their order.

        Raises FileProblem: ``unknown_format`` if most rows match none, ``ambiguous_format`` if two
        formats fit equally well.
        """
        total = self._looks.total()
        if not total:
            return FormatDecision(format=None)
        if self._looks[UNKNOWN] * 2 > total:
            raise self._unknown_problem(path)
        fits: Counter[Format] = Counter()
        best: Counter[Format] = Counter()
        shared: Counter[Format] = Counter()
        for looks, count in self._looks.items():
            for format in looks.fits:
                fits[format] += count
            for format in looks.best:
                (best if len(looks.best) == 1 else shared)[format] += count
        if fits["openai-chat"] == fits["bedrock-claude"] and best["bedrock-claude"]:
            best["openai-chat"] = 0  # rows without a system prompt are the same in both
        ranks = {format: (fits[format], best[format], shared[format]) for format in FORMAT_NAMES}
        first, *rest = sorted(FORMAT_NAMES, key=ranks.__getitem__, reverse=True)
        rivals = [format for format in rest if ranks[format] == ranks[first]]
        if shared[first] > best[first]:
            rivals = rivals or [max((f for f in rest if shared[f]), key=shared.__getitem__)]
            raise _ambiguous_problem(path, [first, *rivals])
        if rivals:
            raise _tie_problem(path, [first, *rivals])
        also = {format for format in FORMAT_NAMES if fits[format] == total and format != first}
        return FormatDecision(format=first, also=frozenset(also))

    def format_keys(self) -> str:
        """List the keys of rows without a format, most frequent first."""
        ranked = sorted(self._keys.items(), key=lambda item: (-item[1], item[0]))
        shown = [
            quote(key, _KEY_WIDTH) + (": null" if self._null[key] == count else "")
            for key, count in ranked[:_SHOWN_KEYS]
        ]
        return ", ".join(shown) or "none"

    def _count_keys(self, row: dict[Any, Any]) -> None:
        for key, value in row.items():
            name = str(key)[
                :MAX_SEARCHED_CHARACTERS
            ]  # not shorter: a truncated secret is not recognized
            if name in self._keys or len(self._keys) < _KEPT_KEYS:
                self._keys[name] += 1
                self._null[name] += value is None

    def _unknown_problem(self, path: Path) -> FileProblem:
        unsupported = next(
            (name for keys, name in _UNSUPPORTED.items() if keys <= self._keys.keys()), None
        )
        problem = (
            f"look like {unsupported}, which is not supported"
            if unsupported
            else "match no known format"
        )
        total = self._looks.total()
        matched = total - self._looks[UNKNOWN]
        except_for = f" ({matched:,} of {format_count(total, 'row')} match one)" if matched else ""
        return FileProblem(
            "unknown_format",
            f"The rows of {make_visible(str(path))} {problem}{except_for}; their keys: "
            f"{self.format_keys()}.",
            "Supported formats: "
            + "; ".join(f"{name} ({words})" for name, words in FORMAT_NAMES.items())
            + ". If the rows have one of these, set it with --format NAME (in a plan: data.format).",
        )


def count_formats(rows: Iterable[Any]) -> FormatCounter:
    """Count the formats of ``rows``."""
    counter = FormatCounter()
    for row in rows:
        counter.add(row)
    return counter


def check_format(looks: FormatMatch, format: Format, *, exactly: bool, row: Any = None) -> None:
    """Raise RowProblem for a row that looks like a format other than ``format``.

    Unless ``exactly``, a row with the fields of ``format`` may have those of others too. The
    problem names the null fields of ``row``, if passed.
    """
    if not looks.best or format in (looks.fits if exactly else looks.holds):
        if exactly and len(looks.best) > 1:
            names = " and ".join(_format_labels(looks.best))
            raise _mixed_problem(looks, f"it looks like both {names}")
        return
    names = " and ".join(_format_labels(looks.best))
    empty = find_null_fields(row)[:_SHOWN_NULLS]
    why = f" ({' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} null)" if empty else ""
    raise _mixed_problem(looks, f"it looks like {names}{why}, not {FORMAT_NAMES[format]}")


def _mixed_problem(looks: FormatMatch, message: str) -> RowProblem:
    return RowProblem(
        f"mixed_formats.{'+'.join(sorted(looks.best))}",
        message,
        "keep one format per file, or set it with --format NAME (in a plan: data.format)",
    )


def _format_labels(formats: Iterable[Format]) -> list[str]:
    return [label for name, label in FORMAT_NAMES.items() if name in formats]


def _ambiguous_problem(path: Path, formats: list[Format]) -> FileProblem:
    names = [f"{name} ({FORMAT_NAMES[name]})" for name in formats]
    return FileProblem(
        "ambiguous_format",
        f"The rows of {make_visible(str(path))} can be read as {' or as '.join(names)}, with different "
        "meanings.",
        _format_choices(formats),
        candidates=tuple(formats),
    )


def _tie_problem(path: Path, formats: list[Format]) -> FileProblem:
    names = [f"{name} ({FORMAT_NAMES[name]})" for name in formats]
    return FileProblem(
        "ambiguous_format",
        f"Equally many rows of {make_visible(str(path))} look like {' and '.join(names)}.",
        "Keep one format per file. " + _format_choices(formats),
        candidates=tuple(formats),
    )


def _format_choices(formats: list[Format]) -> str:
    names = " or ".join(f"--format {name}" for name in formats)
    return f"Set the right one: {names} (in a plan: data.format)."
