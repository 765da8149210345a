"""Settings that depend on the rows: their number and the distribution of their lengths."""

from __future__ import annotations

import math

import msgspec

from ftwizard.advice.recipe_rules import SAFE, AdvisedValue, advise_value, memory, table
from ftwizard.estimate import batching, training_setup
from ftwizard.estimate.batching import LengthDistribution, compute_passes
from ftwizard.estimate.memory import estimate_memory
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Method, Recipe
from ftwizard.text import format_count

ROWS_PER_STEP = 16
"""As in QLoRA's own runs."""
MIN_STEPS_PER_EPOCH = 50
"""With fewer steps per epoch, fewer rows per step are advised."""
ROWS_PER_PASS = 4
RANK, MAX_RANK = 16, 256
BITS_PER_WEIGHT = 2.0
"""Capacity of an adapter; a token carries about one bit (LoRA Without Regret, Schulman et al.
2025)."""
ALPHA_RATIO = 2
"""Alpha / rank."""
MIN_PADDING_SHARE = 0.2
"""Share of padding from which packing is worth it."""
LENGTH_MULTIPLE = 64
"""Lengths are rounded up to a multiple of this."""
MAX_LENGTH = 8192
"""Largest advised length: one such row fills a GPU's memory."""
MAX_OVER_P99 = 1.25
"""The longest row sets the length if it is at most this many times the 99th percentile."""
WARMUP, WARMUP_STEPS, MAX_WARMUP = 0.03, 5, 0.1


class RowsCase(msgspec.Struct, frozen=True, kw_only=True):
    """Model, rows and machine to advise on; None where unknown."""

    method: Method
    parameters: int | None
    """Of the model."""
    rows: int | None
    """Number of training examples."""
    facts: MachineInfo
    lengths: LengthDistribution | None = None
    """Of the training examples."""
    shape: ModelShape | None = None
    context: int | None = None
    """Context length of the model in tokens."""


def advise(case: RowsCase) -> tuple[AdvisedValue, ...]:
    """Advise the settings that depend on the rows; those that need unknown facts are left out."""
    length = max_length(case)
    packing = _packing(case, length)
    batch, accumulation = _batch(case, length, packing)
    candidates = [epochs(case.rows), length, packing, batch, accumulation]
    if case.method != "full":
        rank = _rank(case)
        alpha = advise_value("alpha", "alpha", int(rank.value or RANK) * ALPHA_RATIO)
        candidates += [rank, alpha]
    packed = int(length.value or 0) if length and packing and packing.value else None
    candidates.append(_warmup(case, int(batch.value or 1), int(accumulation.value or 1), packed))
    return tuple(advice for advice in candidates if advice is not None)


def epochs(rows: int | None) -> AdvisedValue:
    """Advise the number of epochs: three, fewer for large datasets."""
    rule = [row for row in table().epochs if row.rows <= (rows or 0)][-1]
    return rule.advise("epochs", rule.value, rule.reason)


def max_length(case: RowsCase) -> AdvisedValue | None:
    """Advise the length that truncates 1% of the rows; None if no lengths are known."""
    if case.lengths is None or not case.lengths.buckets:
        return None
    p99, longest = case.lengths.p99, case.lengths.buckets[-1].upto
    limit = min(case.context or MAX_LENGTH, MAX_LENGTH)
    wanted = _rounded((longest if longest <= p99 * MAX_OVER_P99 else p99) * case.lengths.most)
    value = min(wanted, limit)
    cut = _percent(batching.cut_share(case.lengths, value))
    if value < p99 and value == case.context:
        return advise_value("max_length", "length-context", value, context=f"{value:,}", cut=cut)
    if value < p99:
        return advise_value("max_length", "length-most", value, cut=cut)
    if case.lengths.most > 1:
        return advise_value("max_length", "length-about", value, p99=f"{p99:,.0f}")
    if value >= longest:
        return advise_value("max_length", "length-all", value, longest=f"{longest:,.0f}")
    return advise_value("max_length", "length", value, p99=f"{p99:,.0f}", cut=cut)


def _rounded(tokens: float) -> int:
    return max(2 * LENGTH_MULTIPLE, math.ceil(tokens / LENGTH_MULTIPLE) * LENGTH_MULTIPLE)


def _packing(case: RowsCase, length: AdvisedValue | None) -> AdvisedValue | None:
    """Advise packing if there is much padding and enough steps remain."""
    if case.lengths is None or length is None or case.lengths.rows < 1:
        return None
    if not case.facts.gpus:
        return advise_value("packing", "packing-processors", False)
    tokens = int(length.value or 0)
    plain = compute_passes(
        case.lengths, Recipe(batch_size=ROWS_PER_PASS, epochs=1, max_length=tokens)
    )
    padded = _percent(plain.padding_share)
    if plain.padding_share < MIN_PADDING_SHARE:
        return advise_value("packing", "packing-little", False, padded=padded)
    packed = compute_passes(
        case.lengths, Recipe(batch_size=1, epochs=1, max_length=tokens, packing=True)
    )
    if packed.steps < MIN_STEPS_PER_EPOCH:
        steps_words = format_count(packed.steps, "step")
        return advise_value("packing", "packing-few", False, padded=padded, steps=steps_words)
    return advise_value("packing", "packing", True, padded=padded, length=f"{tokens:,}")


def _batch(
    case: RowsCase, length: AdvisedValue | None, packing: AdvisedValue | None
) -> tuple[AdvisedValue, AdvisedValue]:
    """Advise 16 rows per step, fewer if an epoch would have under 50 steps."""
    together = ROWS_PER_STEP
    while case.rows is not None and together > 4 and case.rows < together * MIN_STEPS_PER_EPOCH:
        together //= 2
    key = "step" if case.rows is None or together == ROWS_PER_STEP else "step-few"
    each = 1.0  # rows per sequence
    if packing is not None and packing.value and case.lengths is not None and length is not None:
        each = max(1.0, int(length.value or 1) / max(case.lengths.mean, 1.0))
        key += "-packed"
    wanted = max(1, round(ROWS_PER_PASS / each))
    batch = _fitting(case, wanted, int(length.value) if length and length.value else None)
    accumulation = max(1, round(together / (int(batch.value or 1) * each)))
    return batch, advise_value(
        "gradient_accumulation", key, accumulation, each=f"{each:.0f}",
        rows=f"{case.rows or 0:,}", together=together,
    )  # fmt: skip


def _fitting(case: RowsCase, wanted: int, length: int | None) -> AdvisedValue:
    """Advise the rows per forward pass."""
    memory_here = case.facts.gpu_memory
    if case.shape is not None and length and memory_here:
        return _by_memory(case, case.shape, wanted, length, memory_here)
    if case.parameters is None or memory_here is None:
        return advise_value("batch_size", "batch", min(wanted, ROWS_PER_PASS))
    key = "batch-full" if case.method == "full" else "batch"
    # Below 1.75 times the minimum memory, the activations of four rows no longer fit.
    if memory_here < 1.75 * case.parameters * memory(case.method).bytes:
        return advise_value("batch_size", f"{key}-tight", 1)
    rows_text = "Four rows" if wanted == ROWS_PER_PASS else format_count(wanted, "sequence")
    fit = "fits" if wanted == 1 else "fit"
    return advise_value("batch_size", f"{key}-fits", wanted, rows=rows_text, fit=fit)


def _by_memory(
    case: RowsCase, shape: ModelShape, wanted: int, length: int, memory_here: int
) -> AdvisedValue:
    """Advise the largest batch, up to ``wanted``, whose upper memory estimate fits."""
    for size in sorted({wanted, *(2**n for n in range(5) if 2**n < wanted)}, reverse=True):
        setup = TrainingSetup(method=case.method, batch_size=size, length=length)
        need = estimate_memory(shape, setup).peak.highest
        if need <= memory_here * SAFE:
            rows, most = format_count(size, "row"), f"{need / 1e9:,.0f} GB"
            return advise_value("batch_size", "batch-memory", size, rows=rows, most=most)
    return advise_value("batch_size", "batch-too-much", 1)


def _rank(case: RowsCase) -> AdvisedValue:
    """Advise a rank whose adapter can store the information of one epoch."""
    if case.shape is None or case.lengths is None:
        return advise_value("rank", "rank-unknown", RANK)
    weights = case.shape.adapter(1) or 1  # of an adapter of rank 1
    need = case.lengths.total / (BITS_PER_WEIGHT * weights)
    tokens = f"{_short(case.lengths.total)} tokens"
    if need > MAX_RANK:
        return advise_value("rank", "rank-most", MAX_RANK, tokens=tokens)
    rank = max(RANK, 2 ** math.ceil(math.log2(max(need, 1.0))))
    if rank == RANK:
        times = f"{min(RANK / max(need, 1e-9), 1e6):,.0f}"
        return advise_value("rank", "rank-enough", rank, tokens=tokens, times=times)
    return advise_value("rank", "rank-larger", rank, tokens=tokens, rank=rank)


def _short(count: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f}"


def _warmup(case: RowsCase, batch: int, accumulation: int, packed: int | None) -> AdvisedValue:
    """Advise warmup over 3% of the steps, or about five steps if that is more.

    ``packed``: tokens per packed sequence, None without packing.
    """
    if case.rows is None or case.rows < 1:
        return advise_value("warmup", "warmup", WARMUP)
    passes = float(epochs(case.rows).value or 1)
    total = training_setup.total_steps(case.rows, batch, accumulation, passes)
    if packed and case.lengths is not None:
        recipe = Recipe(
            batch_size=batch, gradient_accumulation=accumulation, epochs=passes, max_length=packed,
            packing=True,
        )  # fmt: skip
        total = compute_passes(case.lengths, recipe).steps
    share = min(MAX_WARMUP, max(WARMUP, math.ceil(WARMUP_STEPS / total * 100) / 100))
    if share == WARMUP:
        return advise_value("warmup", "warmup", WARMUP)
    return advise_value("warmup", "warmup-short", share, steps=f"{total:,}")


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
