"""Token statistics of data files: totals, trainable tokens and row lengths.

``sample_estimate`` gives a quick estimate with an interval; ``TokenCounter`` counts every row.
Counts are ranges if a tokenizer is private, or if the tokens of tools, images or a chat template are
undocumented.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import add
from statistics import NormalDist
from typing import Any

import msgspec

from ftwizard.data.example import Example, PlainChats, ToolChats
from ftwizard.data.findings import MAX_SHOWN_LINES, FileFinding
from ftwizard.data.histogram import summarize_lengths
from ftwizard.data.platforms import Target
from ftwizard.data.tokens.row_tokens import ChatCounts, RowCount, RowCounter
from ftwizard.data.tokens.tokenizers import Encoding
from ftwizard.text import format_count

CONFIDENCE = 0.95
_MAX_LENGTH = 2**32 - 1


class TokenEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated tokens of a whole file."""

    value: int
    low: int
    high: int


NO_TOKENS = TokenEstimate(value=0, low=0, high=0)


class TokenLengths(msgspec.Struct, frozen=True, kw_only=True):
    """Total tokens and row lengths; ``tokens`` in a report."""

    total: int
    low: int
    high: int
    exact: bool
    """Whether every row was counted with the model's own tokenizer and nothing was estimated."""
    encoding: str
    """Display name of the encoding."""
    rows: int
    """Counted rows; the figures below are of these."""
    mean: float
    p50: int
    p95: int
    p99: int
    max: int
    over_limit: int
    """Rows longer than ``limit`` tokens."""
    limit: int | None
    histogram: list[tuple[int, int]]
    """(upper edge, rows up to it and above the previous edge), in order."""


class TrainableTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Trainable tokens; ``trained_tokens`` in a report."""

    total: int
    low: int
    high: int
    exact: bool
    rows_without: int
    """Rows with no trainable tokens."""


class TokenCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The result of counting rows."""

    tokens: TokenLengths
    trained: TrainableTokens
    over_lines: list[int]
    """Lines of rows over the limit; at most ``SHOWN_LINES``."""
    longest_line: int | None
    emptied: int
    """Rows with no trainable tokens left after truncation at the limit."""
    emptied_lines: list[int]


class TokenCounter:
    """Accumulates the counts of rows; picklable, and mergeable across parts of a file."""

    def __init__(self, target: Target, encoding: Encoding, limit: int | None = None) -> None:
        """Set ``limit``, the maximum tokens of a row; defaults to that of the target."""
        self.target, self.encoding = target, encoding
        self.limit = target.max_tokens if limit is None else limit
        self.lengths = array("I")
        """Estimated tokens of each row."""
        self.sums = RowCount(0, 0, 0, 0, 0, 0)
        self.rows_without = self.over = self.emptied = 0
        self.over_lines: list[int] = []
        self.emptied_lines: list[int] = []
        self.longest: tuple[int, int] = (-1, 0)
        """Tokens and negative line, so that the first of equal rows wins."""
        self._counter: RowCounter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_counter": None}  # tokenizers cannot be pickled

    def add(self, line: int, example: Example) -> tuple[int, int]:
        """Count a row; return its estimated tokens and trainable tokens."""
        count = self._get_counter().count(example)
        self.sums = RowCount(*map(add, self.sums, count))
        return self._add_length(line, count), round(count.trained * self.encoding.factor[1])

    def add_chats(self, chats: PlainChats) -> None:
        """Count consecutive rows."""
        self._add_counts(chats.line, self._get_counter().count_chats(chats.roles, chats.encoded))

    def add_tool_chats(self, chats: ToolChats) -> None:
        """Count consecutive rows with tools."""
        self._add_counts(chats.line, self._get_counter().count_tool_chats(chats))

    def _add_counts(self, line: int, counts: ChatCounts) -> None:
        """Note the tokens of consecutive rows, the first of which is on ``line``."""
        import numpy as np  # not needed for a first look

        text, frame, guessed, trained, before = (int(column.sum()) for column in counts)
        self.sums = RowCount(*map(add, self.sums, (text, frame, guessed, 0, trained, before)))
        factor = self.encoding.factor[1]
        likely = counts.text + counts.frame + counts.guessed
        starts = counts.before
        if factor != 1:
            likely, starts = (
                np.rint(tokens * factor).astype(np.int64) for tokens in (likely, starts)
            )
        self.lengths.frombytes(np.minimum(likely, _MAX_LENGTH).astype(np.uint32).tobytes())
        top = int(likely.argmax())
        self.longest = max(self.longest, (int(likely[top]), -line - top))
        self.rows_without += int(np.count_nonzero(counts.trained == 0))
        if self.limit is None:
            return
        is_over = likely > self.limit
        is_emptied = is_over & (counts.trained > 0) & (starts >= self.limit)
        self.over += int(is_over.sum())
        self.emptied += int(is_emptied.sum())
        for lines, rows in ((self.over_lines, is_over), (self.emptied_lines, is_emptied)):
            for index in np.flatnonzero(rows)[:MAX_SHOWN_LINES].tolist():
                _add_line(lines, line + index)

    def _get_counter(self) -> RowCounter:
        if self._counter is None:
            self._counter = RowCounter(self.target, self.encoding)
        return self._counter

    def _add_length(self, line: int, count: RowCount) -> int:
        """Note the estimated tokens of a row, and return them."""
        factor, image = self.encoding.factor[1], (self.encoding.images or (0, 0, 0))[1]
        likely = count.text + count.frame + count.guessed
        if factor != 1:
            likely = round(likely * factor)
        likely += count.images * image
        self.lengths.append(min(likely, _MAX_LENGTH))
        if likely >= self.longest[0]:
            self.longest = max(self.longest, (likely, -line))
        self.rows_without += not count.trained
        if self.limit is not None and likely > self.limit:
            self.over += 1
            _add_line(self.over_lines, line)
            if count.trained and round(count.before * factor) >= self.limit:
                self.emptied += 1
                _add_line(self.emptied_lines, line)
        return likely

    def extend(self, later: TokenCounter, lines_before: int) -> None:
        """Add the rows of a part of the file that begins after ``lines_before`` lines."""
        self.lengths.extend(later.lengths)
        self.sums = RowCount(*map(add, self.sums, later.sums))
        self.rows_without += later.rows_without
        self.over += later.over
        self.emptied += later.emptied
        for line in later.over_lines:
            _add_line(self.over_lines, line + lines_before)
        for line in later.emptied_lines:
            _add_line(self.emptied_lines, line + lines_before)
        self.longest = max(self.longest, (later.longest[0], later.longest[1] - lines_before))

    def counts(self) -> TokenCounts:
        """Return the counts so far."""
        return TokenCounts(
            tokens=self._lengths(),
            trained=self._trained(),
            over_lines=list(self.over_lines),
            longest_line=-self.longest[1] if self.lengths else None,
            emptied=self.emptied,
            emptied_lines=list(self.emptied_lines),
        )

    def _lengths(self) -> TokenLengths:
        total = sum(self.lengths)
        is_exact = self.encoding.is_exact and not self.sums.guessed and not self.sums.images
        low, high = (total, total) if is_exact else self._range(total)
        return TokenLengths(
            total=total, low=low, high=high, exact=is_exact, encoding=self.encoding.words,
            rows=len(self.lengths), over_limit=self.over, limit=self.limit,
            **summarize_lengths(self.lengths),
        )  # fmt: skip

    def _range(self, total: int) -> tuple[int, int]:
        """Return the lower and upper bound of the total tokens."""
        least, _, most = self.encoding.factor
        fewest, _, top = self.encoding.images or (0, 0, 0)
        sure = self.sums.text + (self.sums.frame if self.encoding.is_exact else 0)
        added = self.encoding.added * len(self.lengths)
        low = math.floor(sure * least) + self.sums.images * fewest
        high = math.ceil(self.sums.tokens * most) + added + self.sums.images * top
        return min(low, total), max(high, total)

    def _trained(self) -> TrainableTokens:
        least, likely, most = self.encoding.factor
        trained, guessed = self.sums.trained, self.sums.guessed
        total = round(trained * likely)
        exact = self.encoding.own and not guessed
        return TrainableTokens(
            total=total,
            low=total if exact else math.floor(max(trained - guessed, 0) * least),
            high=total if exact else math.ceil(trained * most),
            exact=exact,
            rows_without=self.rows_without,
        )


def sample_estimate(
    pairs: Sequence[tuple[int, int]], total_bytes: int, total_rows: int
) -> TokenEstimate:
    """Estimate the tokens of a file from a random sample, with a 95% interval.

    ``pairs`` are bytes and tokens of each sampled row, ``total_bytes`` and ``total_rows`` those of the
    file. Tokens per byte vary less than tokens per row (ratio estimate with finite population
    correction: Cochran, Sampling Techniques, 3rd ed., chapter 6). If all rows are sampled, the result
    is exact. Raises ValueError if fewer than two of several rows are sampled.
    """
    count = len(pairs)
    bytes_, tokens = sum(b for b, _ in pairs), sum(t for _, t in pairs)
    if count >= total_rows:
        return TokenEstimate(value=tokens, low=tokens, high=tokens)
    if count < 2 or not bytes_:
        raise ValueError(f"{format_count(count, 'row')} of {total_rows:,} do not allow an interval")
    ratio = tokens / bytes_
    variance = sum((t - ratio * b) ** 2 for b, t in pairs) / (count - 1)
    # Scaled by bytes, not by rows, which is also correct if the sample has longer rows.
    scale = total_bytes * count / bytes_
    error = scale * math.sqrt(variance * (1 - count / total_rows) / count)
    value, margin = ratio * total_bytes, _get_t_quantile(count - 1) * error
    # The total is at least what was counted.
    low = max(math.floor(value - margin), tokens)
    return TokenEstimate(
        value=max(round(value), low), low=low, high=max(math.ceil(value + margin), low)
    )


def _get_t_quantile(freedom: int) -> float:
    """Return the quantile of Student's t for ``CONFIDENCE`` (Cornish-Fisher: 1% error at 5)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def sampled(counts: TokenCounts, tokens: TokenEstimate, trained: TokenEstimate) -> TokenCounts:
    """Return the counts of a sample with the estimated totals of the file.

    Row lengths stay those of the sample. If the encoding is a range itself, the interval widens.
    """

    def widened(counted: TokenLengths | TrainableTokens, estimate: TokenEstimate) -> dict[str, Any]:
        low, high = (
            (counted.low / counted.total, counted.high / counted.total) if counted.total else (1, 1)
        )
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


def find_long_rows(counts: TokenCounts, target: Target, unit: str = "line") -> list[FileFinding]:
    """Return findings on rows that are too long; ``unit``: what their numbers count."""
    lengths, about = counts.tokens, "" if counts.tokens.exact else "about "
    if lengths.limit is None or not lengths.over_limit:
        return []
    limit = f"{lengths.limit:,} tokens"
    limit_of = f"limit of {target.words}" if target.hosted else "max_length"
    too_long = format_count(lengths.over_limit, "row has", "rows have")
    alternative = "" if target.hosted else ", or raise max_length"
    results = [
        FileFinding(
            code="too_long",
            message=f"{too_long} more than {limit} ({limit_of}); the longest, at {unit} "
            f"{counts.longest_line}, has {about}{lengths.max:,}, counted with {lengths.encoding}",
            fix=f"shorten or split them{alternative}; longer rows are {_describe_loss(target)}",
            count=lengths.over_limit,
            lines=counts.over_lines,
        )
    ]
    if counts.emptied and target.method == "sft":
        too_late = format_count(counts.emptied, "row begins its", "rows begin their")
        results.append(
            FileFinding(
                code="nothing_to_train_after_truncation",
                message=f"{too_late} first answer after {limit}: no trainable tokens are left after "
                "truncation",
                fix=f"shorten the text before the answer{alternative}",
                count=counts.emptied,
                lines=counts.emptied_lines,
            )
        )
    return results


def _describe_loss(target: Target) -> str:
    if target.hosted:
        return "rejected or truncated"
    if target.method in ("dpo", "kto"):
        return "truncated, or left out where an answer begins after the limit"
    return "left out" if target.method == "rft" else "truncated"


def _add_line(lines: list[int], line: int) -> None:
    if len(lines) < MAX_SHOWN_LINES:
        lines.append(line)
