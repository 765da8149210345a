"""Rows into forward passes: how much is padding, how many sequences packing makes, how many steps.

All from how the lengths of the rows spread, as the data check tells it; no row is read again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ftwizard.estimate import steps

FILL = 0.98
"""Of packed sequences, by best-fit decreasing: 97 to 99 % where most rows are short (Krell et al.
2021, Efficient Sequence Packing without Cross-contamination)."""


GROUPS = 48
"""Of rows that are about as long, at most."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of about one length."""

    upto: float
    """The most tokens that one of them has."""
    length: float
    """Tokens of one of them, on average."""
    rows: float


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of rows; only a few dozen numbers, however many rows there are."""

    rows: int
    total: float
    """Tokens of all rows, before any is cut."""
    p99: float
    """Tokens that all rows but one in a hundred keep within."""
    buckets: tuple[Bucket, ...]
    """In rising order."""
    most: float = 1.0
    """Times as many tokens as the rows may have, where another tokenizer than the model's counted."""

    @property
    def mean(self) -> float:
        """Return the tokens of a row."""
        return self.total / self.rows if self.rows else 0.0

    def scaled(self, rows: int) -> Lengths:
        """Return the same spread over another number of rows: the part that is trained on."""
        share = rows / self.rows if self.rows else 0.0
        scaled = tuple(msgspec.structs.replace(one, rows=one.rows * share) for one in self.buckets)
        return msgspec.structs.replace(self, rows=rows, total=self.total * share, buckets=scaled)


class Passes(msgspec.Struct, frozen=True, kw_only=True):
    """What goes through a model in one training."""

    steps: int
    """Optimizer steps."""
    passes: float
    """Forward passes, each with its backward pass."""
    tokens: float
    """Of the rows, as often as they are trained on; cut where they are too long."""
    padding: float
    """Tokens that only fill up a batch."""
    attended: float
    """Tokens that attention runs over: of the longest row of a batch, or of a packed row."""
    cut: float
    """Share of the rows that are cut."""

    @property
    def each(self) -> float:
        """Return the tokens of one forward pass, padding included."""
        return (self.tokens + self.padding) / self.passes

    @property
    def padded(self) -> float:
        """Return the share of what is computed that is padding."""
        return self.padding / (self.tokens + self.padding)


def of_estimate(found: Mapping[str, Any]) -> dict[str, Lengths | None] | None:
    """Return how long the rows are that an estimate encoded, by part, from its document.

    None where it encoded none, or cut some: they are longer than it tells.
    """
    known = found.get("lengths")
    if not known or any(part["cut"] for part in found["parts"].values()):
        return None
    return msgspec.convert(known, dict[str, Lengths | None])


def lengths(tokens: Mapping[str, Any] | None) -> Lengths | None:
    """Return how lengths spread, from ``tokens`` of a check's report; None where none were counted.

    A bucket's rows are taken for as long as its middle, and all buckets then a little longer or
    shorter, so that the mean is the one that was counted.
    """
    if not tokens or not tokens.get("histogram") or not tokens.get("mean"):
        return None
    edges = [float(edge) for edge, _ in tokens["histogram"]]
    counts = [int(count) for _, count in tokens["histogram"]]
    rows, mean = sum(counts), float(tokens["mean"])
    middles = [(low + high) / 2 for low, high in zip([edges[0], *edges], edges, strict=False)]
    guess = sum(m * c for m, c in zip(middles, counts, strict=True)) / rows
    buckets = tuple(
        Bucket(upto=edge, length=min(edge, middle * mean / guess), rows=count)
        for edge, middle, count in zip(edges, middles, counts, strict=True)
        if count
    )
    # Of a large file the lengths are those of a sample, the total is that of the whole file.
    total = float(tokens["total"]) or 1.0
    counted = Lengths(
        rows=rows, total=mean * rows, p99=float(tokens["p99"]), buckets=buckets,
        most=max(1.0, float(tokens.get("high") or total) / total),
    )  # fmt: skip
    return counted.scaled(max(rows, round(total / mean)))


def of_rows(counts: Sequence[int]) -> Lengths | None:
    """Return how the lengths of rows spread, each counted in tokens; None where there are none.

    Rows are put together in groups of about as many, from the shortest on.
    """
    ordered = sorted(counts)
    if not ordered:
        return None
    each = max(1, -(-len(ordered) // GROUPS))
    groups = [ordered[start : start + each] for start in range(0, len(ordered), each)]
    return Lengths(
        rows=len(ordered),
        total=sum(ordered),
        p99=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        buckets=tuple(
            Bucket(upto=group[-1], length=sum(group) / len(group), rows=len(group))
            for group in groups
        ),
    )


def of_one_length(rows: int, tokens: float) -> Lengths:
    """Return rows that all have ``tokens`` tokens: where only their mean is known."""
    bucket = Bucket(upto=tokens, length=tokens, rows=rows)
    return Lengths(rows=rows, total=rows * tokens, p99=tokens, buckets=(bucket,))


def cut_share(spread: Lengths, max_length: float) -> float:
    """Return the share of the rows that are longer; lengths are even within a bucket."""
    longer, below = 0.0, 0.0
    for one in spread.buckets:
        if one.upto > max_length:
            low = max(below, 2 * one.length - one.upto)
            longer += one.rows * min(1.0, (one.upto - max_length) / max(one.upto - low, 1.0))
        below = one.upto
    return longer / spread.rows if spread.rows else 0.0


def passes(
    spread: Lengths,
    *,
    batch_size: int,
    accumulation: int,
    epochs: float,
    max_length: int,
    packing: bool,
) -> Passes:
    """Return what training on rows of that spread passes through the model; rows are drawn at random.

    Raises ValueError where there are no rows.
    """
    rows = spread.rows
    kept = [(min(one.length, max_length), one.rows) for one in spread.buckets]
    if rows < 1:
        raise ValueError("there are no rows to train on")
    total = sum(length * count for length, count in kept)
    if packing:
        sequences = _packed(kept, total, max_length)
        longest, padding = sum(length**2 * count for length, count in kept) / total, 0.0
    else:
        sequences = rows
        longest = _longest(kept, rows, min(batch_size, rows))
        padding = max(0.0, longest * rows - total)
    batches = -(-sequences // batch_size)
    return Passes(
        steps=steps.total_steps(sequences, batch_size, accumulation, epochs),
        passes=batches * epochs,
        tokens=total * epochs,
        padding=padding * epochs,
        attended=longest,
        cut=cut_share(spread, max_length),
    )


def _packed(kept: list[tuple[float, float]], total: float, max_length: int) -> int:
    """Return how many sequences rows fill: no two rows of more than half a sequence share one."""
    large = sum(count for length, count in kept if length > max_length / 2)
    return max(1, round(large), math.ceil(total / (max_length * FILL)))


def _longest(kept: list[tuple[float, float]], rows: int, batch: int) -> float:
    """Return the expected length of the longest of ``batch`` rows drawn at random.

    Source: the maximum of n draws is at most x with probability F(x)ⁿ.
    """
    found = below = 0.0
    for length, count in kept:
        share = min(1.0, below + count / rows)
        found += length * (share**batch - below**batch)
        below = share
    return found
