"""Settings that follow from the rows: how many they are, how long, and how their lengths spread."""

from __future__ import annotations

import math

import msgspec

from ftwizard.advice.hardware import SAFE
from ftwizard.advice.tables import Advised, Method, memory, said, table
from ftwizard.estimate import batches, steps
from ftwizard.estimate import memory as estimate
from ftwizard.estimate.batches import Lengths, Passes
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.machine import Facts
from ftwizard.text import plural

TOGETHER = 16
"""Rows a step, as in QLoRA's own runs."""
FEW_STEPS = 50
"""An epoch of fewer steps takes fewer rows a step."""
ROWS_A_PASS = 4
RANK, HIGHEST_RANK = 16, 256
BITS_A_WEIGHT = 2.0
"""What an adapter keeps; a token teaches about one (LoRA Without Regret, Schulman et al. 2025)."""
ALPHA = 2
PADDED = 0.2
"""Share of padding from which packing is worth it."""
ROUND = 64
"""Lengths are rounded up to a multiple of this."""
LONGEST = 8192
"""No more is advised, whatever rows there are: memory for one such row is a card's."""
ALL = 1.25
"""The longest row sets the length where it is no more than this times the 99th percentile."""
WARMUP, WARMUP_STEPS, MOST_WARMUP = 0.03, 5, 0.1


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of model, rows and machine; None is not known."""

    method: Method
    parameters: int | None
    """Of the model."""
    rows: int | None
    """That are trained on."""
    facts: Facts
    lengths: Lengths | None = None
    """Of the rows that are trained on."""
    shape: Shape | None = None
    context: int | None = None
    """Tokens that the model reads at most."""


def advise(case: Case) -> tuple[Advised, ...]:
    """Advise what follows from the rows; what cannot be told without them is left out."""
    length = max_length(case)
    packing = _packing(case, length)
    batch, accumulation = _batch(case, length, packing)
    found = [epochs(case.rows), length, packing, batch, accumulation]
    if case.method != "full":
        found += _adapter(case)
    packed = int(length.value or 0) if length and packing and packing.value else None
    found.append(_warmup(case, int(batch.value or 1), int(accumulation.value or 1), packed))
    return tuple(one for one in found if one is not None)


def epochs(rows: int | None) -> Advised:
    """Advise passes over the rows: three first, fewer for large sets."""
    found = [one for one in table().epochs if one.rows <= (rows or 0)][-1]
    return Advised(
        name="epochs", value=found.value, reason=found.reason,
        as_of=found.as_of, source=found.source,
    )  # fmt: skip


def max_length(case: Case) -> Advised | None:
    """Advise the length at which one row in a hundred is cut; None where no lengths are known."""
    if case.lengths is None or not case.lengths.buckets:
        return None
    p99, longest = case.lengths.p99, case.lengths.buckets[-1].upto
    limit = min(case.context or LONGEST, LONGEST)
    wanted = _rounded((longest if longest <= p99 * ALL else p99) * case.lengths.most)
    value = min(wanted, limit)
    cut = _percent(batches.cut_share(case.lengths, value))
    if value < p99 and value == case.context:
        return said("max_length", "length-context", value, context=f"{value:,}", cut=cut)
    if value < p99:
        return said("max_length", "length-most", value, cut=cut)
    if case.lengths.most > 1:
        return said("max_length", "length-about", value, p99=f"{p99:,.0f}")
    if value >= longest:
        return said("max_length", "length-all", value, longest=f"{longest:,.0f}")
    return said("max_length", "length", value, p99=f"{p99:,.0f}", cut=cut)


def _rounded(tokens: float) -> int:
    return max(2 * ROUND, math.ceil(tokens / ROUND) * ROUND)


def _packing(case: Case, length: Advised | None) -> Advised | None:
    """Advise packing where padding is much, and enough steps are left."""
    if case.lengths is None or length is None or case.lengths.rows < 1:
        return None
    if not case.facts.gpus:
        return said("packing", "packing-processors", False)
    tokens = int(length.value or 0)
    plain = _passes(case.lengths, ROWS_A_PASS, 1, tokens, packing=False)
    padded = _percent(plain.padded)
    if plain.padded < PADDED:
        return said("packing", "packing-little", False, padded=padded)
    packed = _passes(case.lengths, 1, 1, tokens, packing=True)
    if packed.steps < FEW_STEPS:
        steps_words = plural(packed.steps, "step")
        return said("packing", "packing-few", False, padded=padded, steps=steps_words)
    return said("packing", "packing", True, padded=padded, length=f"{tokens:,}")


def _passes(
    lengths: Lengths, batch_size: int, accumulation: int, tokens: int, *, packing: bool
) -> Passes:
    return batches.passes(
        lengths, batch_size=batch_size, accumulation=accumulation, epochs=1, max_length=tokens,
        packing=packing,
    )  # fmt: skip


def _batch(case: Case, length: Advised | None, packing: Advised | None) -> tuple[Advised, Advised]:
    """Aim at 16 rows a step, fewer where an epoch would have under 50 steps."""
    together = TOGETHER
    while case.rows is not None and together > 4 and case.rows < together * FEW_STEPS:
        together //= 2
    key = "step" if case.rows is None or together == TOGETHER else "step-few"
    each = 1.0  # rows of a sequence
    if packing is not None and packing.value and case.lengths is not None and length is not None:
        each = max(1.0, int(length.value or 1) / max(case.lengths.mean, 1.0))
        key += "-packed"
    wanted = max(1, round(ROWS_A_PASS / each))
    batch = _fitting(case, wanted, int(length.value) if length and length.value else None)
    accumulation = max(1, round(together / (int(batch.value or 1) * each)))
    return batch, said(
        "gradient_accumulation", key, accumulation, each=f"{each:.0f}",
        rows=f"{case.rows or 0:,}", together=together,
    )  # fmt: skip


def _fitting(case: Case, wanted: int, length: int | None) -> Advised:
    """Advise how many rows go through in one pass."""
    memory_here = case.facts.gpu_memory
    if case.shape is not None and length and memory_here:
        return _by_memory(case, case.shape, wanted, length, memory_here)
    if case.parameters is None or memory_here is None:
        return said("batch_size", "batch", min(wanted, ROWS_A_PASS))
    key = "batch-full" if case.method == "full" else "batch"
    # Short of 1.75 times the least memory, activations of four rows are what no longer fits.
    if memory_here < 1.75 * case.parameters * memory(case.method).bytes:
        return said("batch_size", f"{key}-tight", 1)
    what = "Four rows" if wanted == ROWS_A_PASS else plural(wanted, "sequence")
    fit = "fits" if wanted == 1 else "fit"
    return said("batch_size", f"{key}-fits", wanted, rows=what, fit=fit)


def _by_memory(case: Case, shape: Shape, wanted: int, length: int, memory_here: int) -> Advised:
    """Advise the most rows, up to those wanted, whose memory surely fits."""
    for size in sorted({wanted, *(2**n for n in range(5) if 2**n < wanted)}, reverse=True):
        setup = Setup(method=case.method, batch_size=size, length=length)
        peak = estimate.estimate(shape, setup).peak
        if (peak.high or peak.value) <= memory_here * SAFE:
            most = f"{(peak.high or peak.value) / 1e9:,.0f} GB"
            rows = plural(size, "row")
            return said("batch_size", "batch-memory", size, rows=rows, most=most)
    return said("batch_size", "batch-too-much", 1)


def _adapter(case: Case) -> list[Advised]:
    rank = _rank(case)
    alpha = said("alpha", "alpha", int(rank.value or RANK) * ALPHA)
    return [rank, alpha]


def _rank(case: Case) -> Advised:
    """Advise a rank whose adapter holds what there is to learn in one epoch."""
    if case.shape is None or case.lengths is None:
        return said("rank", "rank-unknown", RANK)
    weights = case.shape.adapter(1) or 1  # of an adapter of rank 1
    need = case.lengths.total / (BITS_A_WEIGHT * weights)
    tokens = f"{_short(case.lengths.total)} tokens"
    if need > HIGHEST_RANK:
        return said("rank", "rank-most", HIGHEST_RANK, tokens=tokens)
    rank = max(RANK, 2 ** math.ceil(math.log2(max(need, 1.0))))
    if rank == RANK:
        times = f"{min(RANK / max(need, 1e-9), 1e6):,.0f}"
        return said("rank", "rank-enough", rank, tokens=tokens, times=times)
    return said("rank", "rank-larger", rank, tokens=tokens, rank=rank)


def _short(count: float) -> str:
    for unit, size in (("thousand million", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f}"


def _warmup(case: Case, batch: int, accumulation: int, packed: int | None) -> Advised:
    """Advise 3 % of the steps; more where that would be fewer than five.

    ``packed``: tokens of a sequence that rows share, None where they share none.
    """
    if case.rows is None or case.rows < 1:
        return said("warmup", "warmup", WARMUP)
    passes = float(epochs(case.rows).value or 1)
    total = steps.total_steps(case.rows, batch, accumulation, passes)
    if packed and case.lengths is not None:
        total = batches.passes(
            case.lengths, batch_size=batch, accumulation=accumulation, epochs=passes,
            max_length=packed, packing=True,
        ).steps  # fmt: skip
    share = min(MOST_WARMUP, max(WARMUP, math.ceil(WARMUP_STEPS / total * 100) / 100))
    if share == WARMUP:
        return said("warmup", "warmup", WARMUP)
    return said("warmup", "warmup-short", share, steps=f"{total:,}")


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
