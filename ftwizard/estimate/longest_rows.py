"""The longest rows that fit a machine with a setup: found by bisection of the memory estimate."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate import gpu_fit, plan_estimate, training_machine
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.memory import MemoryEstimate, estimate_cpu_memory
from ftwizard.estimate.memory_savings import Estimate
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan

STEP = 64
"""Tokens: lengths are multiples of this."""
MAX_TOKENS = 2**20
"""Longest length tried, if the model's context length is unknown."""


class LongestRows(msgspec.Struct, frozen=True, kw_only=True):
    """The longest rows that fit with one setup, in tokens."""

    batch_size: int
    """Rows, packed sequences, pairs, or answers of the model, in one forward pass."""
    unit: str = "row"
    """What of these, in words."""
    fits: int
    """Even the upper end of the estimate fits; 0 if none does."""
    may_fit: int
    """The likely need fits, but not the upper end if it is longer than ``fits``."""
    limit: int
    """Longest length tried: the model's context length, or ``MAX_TOKENS``."""
    high: float | None = None
    """Upper end of the memory at ``fits`` tokens, in bytes; None if nothing fits."""

    @property
    def is_limited(self) -> bool:
        """Return whether the model's context ends before the memory does."""
        return self.fits >= self.limit


def find_longest(
    setup: TrainingSetup, estimate: Estimate, free: float, context: int | None = None
) -> LongestRows:
    """Return the longest rows of which ``setup.batch_size`` in one pass fit ``free`` bytes.

    ``estimate``: of the memory of a setup, which never falls with the length; ``context``: tokens
    that the model was made for; None if unknown.
    """
    limit = context or MAX_TOKENS

    def memory(length: int) -> MemoryEstimate:
        return estimate(msgspec.structs.replace(setup, length=length))

    fits = _bisect(lambda length: memory(length).peak.highest <= free, limit)
    may = _bisect(lambda length: memory(length).peak.value <= free, limit)
    return LongestRows(
        batch_size=setup.rows, unit=setup.row_unit, fits=fits, may_fit=max(fits, may), limit=limit,
        high=memory(fits).peak.highest if fits else None,
    )  # fmt: skip


def _bisect(is_enough: Callable[[int], bool], limit: int) -> int:
    """Return the longest length, a multiple of ``STEP`` or ``limit`` itself, that passes; else 0."""
    if is_enough(limit):
        return limit
    low, high = 0, -(-limit // STEP)  # 0 counts as passing, ``limit`` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_enough(middle * STEP) else (low, middle)
    return low * STEP


def find_longest_rows(
    plan: Plan,
    lengths: Lengths,
    shape: ModelShape | None,
    facts: MachineInfo,
    *,
    counted: MemoryEstimate | None = None,
    context: int | None = None,
) -> tuple[LongestRows, ...]:
    """Return the longest rows that fit the plan's device: in its batches, and one row per pass.

    Empty if the model or the device's memory is unknown, or the model lacks the target modules.
    ``counted``: from the ledger, if it ran; ``context``: tokens that the model was made for.
    """
    free = training_machine.available_bytes(plan, facts)
    if shape is None or not free:
        return ()
    trained = training_machine.setup(plan, lengths, facts, shape)
    alone = msgspec.structs.replace(trained, batch_size=trained.sequences_per_row)
    try:
        group = plan_estimate.find_group(plan, trained, shape, facts)
        estimate: Estimate = lambda candidate: estimate_cpu_memory(shape, candidate, group)
        if facts.gpus:
            estimate = gpu_fit.estimate_like(shape, trained, counted, group)
        setups = [trained] if trained.rows == 1 else [trained, alone]
        return tuple(find_longest(each, estimate, free, context) for each in setups)
    except FtwizardError:
        return ()
