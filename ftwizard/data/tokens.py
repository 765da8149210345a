"""How many tokens a file comes to where it goes, and how many of them are learnt.

At once an estimate from a few rows, with its interval (``sample_estimate``); then every row counted
(``Tally``, ``exact``). Both are ranges where a tokenizer is not public, or nobody says how tools,
pictures or a chat template become tokens: a figure is called exact only where it is.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any

import msgspec

from ftwizard.data import encodings, spread
from ftwizard.data.checks.found import SHOWN_LINES, FileFound
from ftwizard.data.encodings import Encoding
from ftwizard.data.example import Example
from ftwizard.data.row_tokens import RowCount, RowCounter
from ftwizard.data.targets import Target
from ftwizard.text import plural

CONFIDENCE = 0.95
_MOST = 2**32 - 1


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a whole file."""

    value: int
    low: int
    high: int


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a file's rows: ``tokens`` of a report."""

    total: int
    low: int
    high: int
    exact: bool
    """Every row was counted, by the very tokenizer, and nothing in them is a matter of guess."""
    encoding: str
    """How they were counted, in words."""
    rows: int
    """Rows that were counted; the figures below are theirs."""
    mean: float
    p50: int
    p95: int
    p99: int
    max: int
    over_limit: int
    """Rows of more than ``limit`` tokens."""
    limit: int | None
    histogram: list[tuple[int, int]]
    """(upper edge, rows up to it and above the edge before), in order."""


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that are learnt: ``trained_tokens`` of a report."""

    total: int
    low: int
    high: int
    exact: bool
    rows_without: int
    """Rows that nothing of is learnt."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What counting rows came to."""

    tokens: Lengths
    trained: Trained
    over_lines: list[int]
    """Of rows over the limit; at most ``SHOWN_LINES``."""
    longest_line: int | None
    emptied: int
    """Rows that nothing to learn is left of once they are cut at the limit."""
    emptied_lines: list[int]
    uncounted_pictures: int
    """Pictures of which nobody says how many tokens they are."""


class Tally:
    """Adds up rows; those of the parts of a file are merged. It can be sent between processes."""

    def __init__(self, target: Target, encoding: Encoding, limit: int | None = None) -> None:
        """``limit``: tokens of a row; default: what the target takes."""
        self.target, self.encoding = target, encoding
        self.limit = target.max_tokens if limit is None else limit
        self.lengths = array("I")
        """Likely tokens of each row."""
        self.sums = RowCount(0, 0, 0, 0, 0, 0)
        self.rows_without = self.over = self.emptied = 0
        self.over_lines: list[int] = []
        self.emptied_lines: list[int] = []
        self.longest: tuple[int, int] = (-1, 0)
        """Tokens and minus the line, so that the first of equals wins."""
        self._counter: RowCounter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_counter": None}  # a tokenizer does not travel

    def add(self, line: int, example: Example) -> tuple[int, int]:
        """Count a row; return its likely tokens, and those of them that are learnt."""
        if self._counter is None:
            self._counter = RowCounter(self.target, self.encoding)
        one = self._counter.count(example)
        self.sums = _sum(self.sums, one)
        factor = self.encoding.factor[1]
        likely = round(one.tokens * factor) + one.pictures * self._picture
        self.lengths.append(min(likely, _MOST))
        self.longest = max(self.longest, (likely, -line))
        self.rows_without += not one.trained
        if self.limit is not None and likely > self.limit:
            self.over += 1
            _note(self.over_lines, line)
            if one.trained and round(one.before * factor) >= self.limit:
                self.emptied += 1
                _note(self.emptied_lines, line)
        return likely, round(one.trained * factor)

    @property
    def _picture(self) -> int:
        return self.encoding.pictures[1] if self.encoding.pictures else 0

    def extend(self, later: Tally, lines_before: int) -> None:
        """Add the rows of a part of the file that begins after ``lines_before`` lines."""
        later.over_lines = [line + lines_before for line in later.over_lines]
        later.emptied_lines = [line + lines_before for line in later.emptied_lines]
        later.longest = (later.longest[0], later.longest[1] - lines_before)
        self.merge(later)

    def merge(self, other: Tally) -> None:
        """Add the rows of another tally of the same target, encoding and limit."""
        self.lengths.extend(other.lengths)
        self.sums = _sum(self.sums, other.sums)
        self.rows_without += other.rows_without
        self.over += other.over
        self.emptied += other.emptied
        self.over_lines = sorted([*self.over_lines, *other.over_lines])[:SHOWN_LINES]
        self.emptied_lines = sorted([*self.emptied_lines, *other.emptied_lines])[:SHOWN_LINES]
        self.longest = max(self.longest, other.longest)

    def counts(self) -> Counts:
        """Return what the rows so far come to."""
        return Counts(
            tokens=self._lengths(),
            trained=self._trained(),
            over_lines=list(self.over_lines),
            longest_line=-self.longest[1] if self.lengths else None,
            emptied=self.emptied,
            emptied_lines=list(self.emptied_lines),
            uncounted_pictures=0 if self.encoding.pictures else self.sums.pictures,
        )

    def _lengths(self) -> Lengths:
        total = sum(self.lengths)
        known = self.encoding.is_exact and not self.sums.guessed and not self.sums.pictures
        low, high = (total, total) if known else self._range(total)
        return Lengths(
            total=total, low=low, high=high, exact=known, encoding=self.encoding.words,
            rows=len(self.lengths), over_limit=self.over, limit=self.limit,
            **spread.of(self.lengths),
        )  # fmt: skip

    def _range(self, total: int) -> tuple[int, int]:
        """Return the fewest and the most tokens that all rows may come to."""
        least, _, most = self.encoding.factor
        fewest, _, top = self.encoding.pictures or (0, 0, 0)
        sure = self.sums.text + (self.sums.frame if self.encoding.is_exact else 0)
        added = self.encoding.added * len(self.lengths)
        low = math.floor(sure * least) + self.sums.pictures * fewest
        high = math.ceil(self.sums.tokens * most) + added + self.sums.pictures * top
        return min(low, total), max(high, total)

    def _trained(self) -> Trained:
        least, likely, most = self.encoding.factor
        trained, guessed = self.sums.trained, self.sums.guessed
        total = round(trained * likely)
        exact = self.encoding.own and not guessed
        return Trained(
            total=total,
            low=total if exact else math.floor(max(trained - guessed, 0) * least),
            high=total if exact else math.ceil(trained * most),
            exact=exact,
            rows_without=self.rows_without,
        )


def exact(
    rows: Iterable[tuple[int, Example]],
    target: Target,
    encoding: Encoding | None = None,
    limit: int | None = None,
) -> Counts:
    """Count every row (line, example); ``limit`` as in ``Tally``."""
    tally = Tally(target, encoding or encodings.choose(target), limit)
    for line, example in rows:
        tally.add(line, example)
    return tally.counts()


def sample_estimate(
    pairs: Iterable[tuple[int, int]], total_bytes: int, total_rows: int
) -> Estimate:
    """Estimate the tokens of a file from rows drawn at random, with the interval of 95 %.

    ``pairs`` are bytes and tokens of each drawn row, ``total_bytes`` and ``total_rows`` those of
    the file, bytes measured alike. Tokens a byte are steadier than tokens a row (ratio estimate
    with finite population correction: Cochran, Sampling Techniques, 3rd ed., chapter 6). Rows that
    are all there are give the number itself. Raises ValueError for fewer than two rows of more.
    """
    drawn = list(pairs)
    count = len(drawn)
    bytes_, tokens = sum(b for b, _ in drawn), sum(t for _, t in drawn)
    if count >= total_rows:
        return Estimate(value=tokens, low=tokens, high=tokens)
    if count < 2 or not bytes_:
        raise ValueError(f"{plural(count, 'row')} of {total_rows:,} cannot tell how far off it is")
    ratio = tokens / bytes_
    variance = sum((t - ratio * b) ** 2 for b, t in drawn) / (count - 1)
    # In bytes of the file, not in rows: right also where the sample has the longer rows.
    scale = total_bytes * count / bytes_
    error = scale * math.sqrt(variance * (1 - count / total_rows) / count)
    value, margin = ratio * total_bytes, _student(count - 1) * error
    # What was counted is there.
    low = max(math.floor(value - margin), tokens)
    return Estimate(value=max(round(value), low), low=low, high=max(math.ceil(value + margin), low))


def _student(freedom: int) -> float:
    """Return the quantile of Student's t for ``CONFIDENCE`` (Cornish-Fisher: 1 % off at 5)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def sampled(counts: Counts, tokens: Estimate, trained: Estimate) -> Counts:
    """Return the counts of drawn rows with the estimated totals of the file.

    Lengths stay those of the drawn rows. Where the encoding itself is a range, the interval widens
    by it.
    """

    def widened(one: Lengths | Trained, estimate: Estimate) -> dict[str, Any]:
        low, high = (one.low / one.total, one.high / one.total) if one.total else (1, 1)
        return {
            "total": estimate.value,
            "low": math.floor(estimate.low * low),
            "high": math.ceil(estimate.high * high),
            "exact": False,
        }

    return msgspec.structs.replace(
        counts,
        tokens=msgspec.structs.replace(counts.tokens, **widened(counts.tokens, tokens)),
        trained=msgspec.structs.replace(counts.trained, **widened(counts.trained, trained)),
    )


def findings(counts: Counts, target: Target) -> list[FileFound]:
    """Return what is to be said of rows that are too long."""
    lengths, about = counts.tokens, "" if counts.tokens.exact else "about "
    if lengths.limit is None or not lengths.over_limit:
        return []
    limit = f"{lengths.limit:,} tokens"
    taken = f"are taken of a row ({target.words})" if target.hosted else "are kept (max_length)"
    have = plural(lengths.over_limit, "row has", "rows have")
    cure = "" if target.hosted else ", or raise max_length"
    found = [
        FileFound(
            code="too_long",
            message=f"{have} more than the {limit} that {taken}; the longest, at line "
            f"{counts.longest_line}, has {about}{lengths.max:,} ({lengths.encoding})",
            fix=f"shorten them, or make several rows of each{cure}; what is beyond is "
            f"{'refused or cut' if target.hosted else 'cut'}",
            count=lengths.over_limit,
            lines=counts.over_lines,
        )
    ]
    if counts.emptied and target.method == "sft":
        begin = plural(counts.emptied, "row begins its", "rows begin their")
        found.append(
            FileFound(
                code="nothing_to_train_after_truncation",
                message=f"{begin} first answer after the first {limit}: cut there, nothing "
                "is left to learn from",
                fix=f"shorten what stands before the answer{cure}",
                count=counts.emptied,
                lines=counts.emptied_lines,
            )
        )
    return found


def _note(lines: list[int], line: int) -> None:
    if len(lines) < SHOWN_LINES:
        lines.append(line)


def _sum(one: RowCount, other: RowCount) -> RowCount:
    return RowCount(*(a + b for a, b in zip(one, other, strict=True)))
