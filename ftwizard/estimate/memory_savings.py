"""Changes that reduce a training's memory, cheapest first.

Each change is re-estimated in full; no saving is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import msgspec

from ftwizard.estimate import batching
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.training_setup import TILED_SINCE, TrainingSetup
from ftwizard.text import format_count

MIN_RANK = 8
MIN_LENGTH = 256
MAX_PAIRS = 3
FEW_CUT, MANY_CUT = 0.01, 0.1
"""Shares of truncated rows below which the cost is negligible, and above which it is highest."""
COSTS = (
    "head", "few cut", "batch_size", "rank", "checkpointing", "some cut", "lora", "qlora", "many cut",
)  # fmt: skip
"""Kinds of changes, the cheapest first: free ones, then those that only take longer."""
SETTINGS = {
    "method": "method", "batch_size": "rows", "gradient_accumulation": "accumulation",
    "gradient_checkpointing": "checkpointing", "rank": "rank", "alpha": "alpha",
    "max_length": "row_length", "grpo.max_completion_length": "answer_length",
}  # fmt: skip
"""Recipe field → setup field."""

Estimate = Callable[[TrainingSetup], MemoryEstimate]
FitTest = Callable[[MemoryEstimate], bool]
Reduction = Callable[[TrainingSetup], list[TrainingSetup]]
"""Returns setups that need less memory, the smallest change first."""
Candidate = tuple[TrainingSetup, MemoryEstimate]
"""Another setup and its memory."""


def search(
    setup: TrainingSetup,
    estimate: Estimate,
    fits: FitTest,
    *,
    spread: LengthDistribution | None = None,
) -> list[Candidate]:
    """Return setups that fit, the cheapest change first.

    These are single changes; if none is enough, up to three pairs; if no pair is enough, all
    changes together; else nothing. ``spread``: row lengths, to count truncated rows.
    """

    def cost(candidate: Candidate) -> tuple[int, int]:
        parts = [COSTS.index(kind) for kind in changed(setup, candidate[0], spread)]
        return max(parts), sum(parts)

    def first(tried: Sequence[TrainingSetup]) -> Candidate | None:
        every = ((variant, estimate(variant)) for variant in tried)
        return next((candidate for candidate in every if fits(candidate[1])), None)

    if singles := [single for reduce in _REDUCTIONS if (single := first(reduce(setup)))]:
        return sorted(singles, key=cost)
    pairs = [_combine(setup, a, b, first) for a, b in combinations(_REDUCTIONS, 2)]
    if enough := [pair for pair in pairs if pair]:
        return sorted(enough, key=cost)[:MAX_PAIRS]
    bottom = minimize_memory(setup, estimate)
    shorter = _shorter_lengths(bottom)
    combined = first([bottom, *shorter, *_lower_ranks((shorter or [bottom])[-1])])
    return [combined] if combined else []


def minimize_memory(setup: TrainingSetup, estimate: Estimate) -> TrainingSetup:
    """Return the setup with the lowest memory for the same length and rank.

    Each change is applied only if it helps: several passes per step keep gradients, which a single
    larger pass does not.
    """
    for reduce in (_tiled, _recomputed, _methods, _smaller_batches):
        setup = min(
            (setup, *reduce(setup)),
            key=lambda candidate: (estimate(candidate).peak.highest, candidate is not setup),
        )
    return setup


def changed_settings(old: TrainingSetup, new: TrainingSetup) -> dict[str, Any]:
    """Return the changed settings by recipe name; empty if only the installation changes."""
    return {
        name: getattr(new, field)
        for name, field in SETTINGS.items()
        if getattr(new, field) != getattr(old, field)
    }


def changed(
    old: TrainingSetup, new: TrainingSetup, spread: LengthDistribution | None
) -> Iterator[str]:
    """Yield the kinds of the changes, as in ``COSTS``."""
    for name in ("head", "batch_size", "checkpointing", "length", "rank", "method"):
        if getattr(new, name) == getattr(old, name):
            continue
        if name == "length":
            yield _grade_cut(_extra_cut_share(old, new, spread))
        else:
            yield new.method if name == "method" else name


def _grade_cut(share: float | None) -> str:
    if share is None or FEW_CUT < share <= MANY_CUT:
        return "some cut"
    return "few cut" if share <= FEW_CUT else "many cut"


def describe_changes(
    old: TrainingSetup, new: TrainingSetup, spread: LengthDistribution | None
) -> tuple[str, str]:
    """Describe the changes, and their cost."""
    pairs = [_describe_change(kind, old, new, spread) for kind in changed(old, new, spread)]
    return "; ".join(change for change, _ in pairs), "; ".join(cost for _, cost in pairs)


_FIXED_CHANGES = {
    "head": (
        f"TRL {TILED_SINCE.major}.{TILED_SINCE.minor} or newer, which never keeps all logits",
        "nothing",
    ),
    "checkpointing": (
        "recompute activations (gradient checkpointing)",
        "about a third more time, the same result",
    ),
    "lora": (
        "train an adapter (lora) instead of all weights",
        "smaller changes to the model, enough for most tasks",
    ),
    "qlora": (
        "QLoRA: an adapter on 4-bit weights",
        "about a third more time, and slightly rounded base weights",
    ),
}
"""Description and cost of changes without numbers."""


def _describe_change(
    kind: str, old: TrainingSetup, new: TrainingSetup, spread: LengthDistribution | None
) -> tuple[str, str]:
    if kind in _FIXED_CHANGES:
        return _FIXED_CHANGES[kind]
    if kind == "batch_size":
        rows = f"{format_count(new.rows, new.row_unit)} per pass instead of {old.rows}"
        passes = f"{format_count(new.accumulation, 'pass', 'passes')} per step"
        return f"{rows}, {passes}", "some time, the same result"
    if kind == "rank":
        alpha = "alpha reduced by the same factor"
        if old.alpha is not None:
            alpha = f"alpha {new.alpha} instead of {old.alpha}, for the same scale"
        return f"rank {new.rank} instead of {old.rank}, {alpha}", "a smaller adapter capacity"
    if new.answer_length != old.answer_length:
        change = f"answers of up to {new.answer_length:,} tokens instead of {old.answer_length:,}"
        return change, "longer answers are cut off and seldom rewarded"
    share = _extra_cut_share(old, new, spread)
    change = f"max length {new.length:,} tokens instead of {old.length:,}"
    if share is None:
        return change, "longer rows are truncated"
    return change, f"{share:.{1 if share < 0.1 else 0}%} more of the rows are truncated"


def _extra_cut_share(
    old: TrainingSetup, new: TrainingSetup, spread: LengthDistribution | None
) -> float | None:
    """Return the additional share of truncated rows; None if unknown, as for answers of the model."""
    if spread is None or new.answer_length != old.answer_length:
        return None
    before = batching.cut_share(spread, old.length)
    return max(0.0, batching.cut_share(spread, new.length) - before)


def _combine(
    setup: TrainingSetup,
    a: Reduction,
    b: Reduction,
    first: Callable[[Sequence[TrainingSetup]], Candidate | None],
) -> Candidate | None:
    """Combine two changes, each as small as possible given the other."""
    weaker = a(setup)
    if not weaker:
        return None
    strongest = weaker[-1]
    combined = first(b(strongest))
    if combined is None:
        return None
    own = [
        name
        for name in TrainingSetup.__struct_fields__
        if getattr(setup, name) != getattr(strongest, name) == getattr(combined[0], name)
    ]
    tried = [
        msgspec.structs.replace(combined[0], **{name: getattr(variant, name) for name in own})
        for variant in weaker
    ]
    return first(tried) or combined


def _tiled(setup: TrainingSetup) -> list[TrainingSetup]:
    return [msgspec.structs.replace(setup, head="tiled")] if setup.head == "full" else []


def _smaller_batches(setup: TrainingSetup) -> list[TrainingSetup]:
    """Return smaller micro-batches with the same rows per step: 4 → 2 → 1."""
    rows, each = setup.rows, setup.sequences_per_row
    return [
        msgspec.structs.replace(
            setup, batch_size=n * each, accumulation=setup.accumulation * rows // n
        )
        for n in range(rows // 2, 0, -1)
        if not rows % n
    ]


def _lower_ranks(setup: TrainingSetup) -> list[TrainingSetup]:
    """Return lower ranks with the same alpha / rank, the adapter's scale.

    Ranks for which alpha would not be an integer are left out.
    """
    if setup.method == "full":
        return []
    halves = [setup.rank >> n for n in range(1, setup.rank.bit_length())]
    alphas = [(rank, (setup.alpha or 0) * rank / setup.rank) for rank in halves if rank >= MIN_RANK]
    return [
        msgspec.structs.replace(
            setup, rank=rank, alpha=setup.alpha if setup.alpha is None else int(alpha)
        )
        for rank, alpha in alphas
        if alpha.is_integer()
    ]


def _recomputed(setup: TrainingSetup) -> list[TrainingSetup]:
    return [] if setup.checkpointing else [msgspec.structs.replace(setup, checkpointing=True)]


def _shorter_lengths(setup: TrainingSetup) -> list[TrainingSetup]:
    """Return shorter round lengths: 1,024, 768, 512, 384, 256. Those of the answers, if the model
    writes them: they are longer than their prompts."""
    longest = setup.answer_length or setup.length
    round_ones = [base << n for n in range(13) for base in (MIN_LENGTH, MIN_LENGTH * 3 // 2)]
    fewer = sorted((length for length in round_ones if length < longest), reverse=True)
    if setup.answer_length:
        prompt = setup.row_length
        return [msgspec.structs.replace(setup, length=prompt + n, answer_length=n) for n in fewer]
    return [msgspec.structs.replace(setup, length=length) for length in fewer]


def _lora(setup: TrainingSetup) -> list[TrainingSetup]:
    return [msgspec.structs.replace(setup, method="lora")] if setup.method == "full" else []


def _qlora(setup: TrainingSetup) -> list[TrainingSetup]:
    if setup.method == "qlora":
        return []
    # Without bf16, a run computes 4-bit models in 32 bit.
    precision = "fp32" if setup.precision == "fp16" else setup.precision
    return [msgspec.structs.replace(setup, method="qlora", precision=precision)]


def _methods(setup: TrainingSetup) -> list[TrainingSetup]:
    return [*_lora(setup), *_qlora(setup)]


_REDUCTIONS: tuple[Reduction, ...] = (
    _tiled,
    _smaller_batches,
    _lower_ranks,
    _recomputed,
    _shorter_lengths,
    _lora,
    _qlora,
)
