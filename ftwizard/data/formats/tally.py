"""Which format a file's rows have, told over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data.container import FileProblem
from ftwizard.data.conversation import RowProblem
from ftwizard.data.format_names import NAMES, Format
from ftwizard.data.formats.detect import UNKNOWN, Looks, nulls, recognised
from ftwizard.data.quoted import SEARCHED, quoted
from ftwizard.text import plural, visible

_SHOWN_KEYS = 12
_SHOWN_NULLS = 3
_KEPT_KEYS = 1000
_KEY_WIDTH = 30
_UNREAD = {frozenset(("prompt", "completions")): "stepwise supervision"}
"""Kinds of rows that are known and not read, by their keys."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The format of a file's rows."""

    format: Format | None
    """None where there is no row that is an object."""
    also: frozenset[Format] = frozenset()
    """The other formats that every row makes sense in."""


class Tally:
    """Counts what rows look like; its size does not grow with the rows."""

    def __init__(self) -> None:
        self._looks: Counter[Looks] = Counter()
        self._keys: Counter[str] = Counter()
        self._null: Counter[str] = Counter()
        """How often each of ``_keys`` is null."""

    def add(self, row: Any) -> Looks:
        """Count one row and return what it looks like; what is no object or list is left out."""
        looks = recognised(row)
        if looks.best:
            self._looks[looks] += 1
        elif isinstance(row, dict):
            self._looks[looks] += 1
            self._keep(row)
        return looks

    def count(self, looks: Looks, rows: int) -> None:
        """Count in rows of which it is known what they look like."""
        self._looks[looks] += rows

    def merge(self, other: Tally) -> None:
        """Count in what another part of the file holds."""
        self._looks.update(other._looks)
        for key, count in other._keys.items():
            if key in self._keys or len(self._keys) < _KEPT_KEYS:
                self._keys[key] += count
                self._null[key] += other._null[key]

    def decide(self, path: Path) -> Decision:
        """Return the format that most rows have; their order is of no account.

        Raises FileProblem: ``unknown_format`` where most have none, ``ambiguous_format`` where
        two would do as well.
        """
        total = self._looks.total()
        if not total:
            return Decision(format=None)
        if self._looks[UNKNOWN] * 2 > total:
            raise self._unknown(path)
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
        ranks = {format: (fits[format], best[format], shared[format]) for format in NAMES}
        first, *others = sorted(NAMES, key=ranks.__getitem__, reverse=True)
        rivals = [other for other in others if ranks[other] == ranks[first]]
        if shared[first] > best[first]:
            rivals = rivals or [max((f for f in others if shared[f]), key=shared.__getitem__)]
            raise _ambiguous(path, [first, *rivals])
        if rivals:
            raise _half(path, [first, *rivals])
        also = {format for format in NAMES if fits[format] == total and format != first}
        return Decision(format=first, also=frozenset(also))

    def keys_seen(self) -> str:
        """Name the keys of the rows that have no format, the most frequent first."""
        ranked = sorted(self._keys.items(), key=lambda item: (-item[1], item[0]))
        shown = [
            quoted(key, _KEY_WIDTH) + (": null" if self._null[key] == count else "")
            for key, count in ranked[:_SHOWN_KEYS]
        ]
        return ", ".join(shown) or "none"

    def _keep(self, row: dict[Any, Any]) -> None:
        for key, value in row.items():
            name = str(key)[:SEARCHED]  # not shorter: half a secret is not known for one
            if name in self._keys or len(self._keys) < _KEPT_KEYS:
                self._keys[name] += 1
                self._null[name] += value is None

    def _unknown(self, path: Path) -> FileProblem:
        unread = next((name for keys, name in _UNREAD.items() if keys <= self._keys.keys()), None)
        what = (
            f"look like {unread}, which is not read" if unread else "have no format that is known"
        )
        known = self._looks.total() - self._looks[UNKNOWN]
        but = f" ({known:,} of {plural(self._looks.total(), 'row')} have one)" if known else ""
        return FileProblem(
            "unknown_format",
            f"The rows of {visible(str(path))} {what}{but}; their keys: {self.keys_seen()}.",
            "Formats that are read: "
            + "; ".join(f"{name} ({words})" for name, words in NAMES.items())
            + ". If the rows are one of these all the same, name it as --format (in a plan: "
            "data.format).",
        )


def tally(rows: Iterable[Any]) -> Tally:
    """Count all of ``rows``."""
    found = Tally()
    for row in rows:
        found.add(row)
    return found


def check(looks: Looks, format: Format, *, exactly: bool, row: Any = None) -> None:
    """Raise RowProblem for a row that looks like another format than ``format``.

    Unless ``exactly``, a row with the fields of ``format`` may have those of others besides.
    Of ``row``, where it is given, the problem names the fields that are null.
    """
    if not looks.best or format in (looks.fits if exactly else looks.holds):
        if exactly and len(looks.best) > 1:
            names = " as well as like ".join(_words(looks.best))
            raise _mixed(f"it looks like {names}")
        return
    names = " and like ".join(_words(looks.best))
    empty = nulls(row)[:_SHOWN_NULLS]
    why = f" ({' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} null)" if empty else ""
    raise _mixed(f"it looks like {names}{why}, not {NAMES[format]}")


def _mixed(message: str) -> RowProblem:
    return RowProblem(
        "mixed_formats",
        message,
        "keep one format in a file, or name the one that is meant: --format NAME (in a plan: "
        "data.format)",
    )


def _words(formats: Iterable[Format]) -> list[str]:
    return [words for name, words in NAMES.items() if name in formats]


def _ambiguous(path: Path, formats: list[Format]) -> FileProblem:
    names = [f"{name} ({NAMES[name]})" for name in formats]
    return FileProblem(
        "ambiguous_format",
        f"The rows of {visible(str(path))} can be read as {' or as '.join(names)}; these do not "
        "mean the same.",
        _choose(formats),
    )


def _half(path: Path, formats: list[Format]) -> FileProblem:
    names = [f"{name} ({NAMES[name]})" for name in formats]
    return FileProblem(
        "ambiguous_format",
        f"As many rows of {visible(str(path))} look like {' as like '.join(names)}.",
        "Keep one format in a file. " + _choose(formats),
    )


def _choose(formats: list[Format]) -> str:
    names = " or ".join(f"--format {name}" for name in formats)
    return f"Name the one that is meant: {names} (in a plan: data.format)."
