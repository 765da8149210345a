"""Memory per GPU of a model that is fully sharded over several GPUs (FSDP).

ftwizard trains on one GPU and does not shard: this only serves suggestions. Source: PyTorch's FSDP
documentation (FULL_SHARD: parameters, gradients and optimizer states are divided; each unit is
gathered before its forward and backward pass, together with the next one; embeddings, last norm and
output layer form one unit that stays gathered).
"""

from __future__ import annotations

import msgspec

from ftwizard.estimate.activations import compute_bytes
from ftwizard.estimate.memory import MemoryEstimate, from_parts
from ftwizard.estimate.memory_phases import ResidentBytes, compute_moments, compute_resident
from ftwizard.estimate.training_setup import FTWIZARD_OVERHEAD, FrameworkOverhead, TrainingSetup
from ftwizard.models.shapes import ModelShape

SPREAD = (0.85, 1.3)
"""Range factors: wider than for one GPU, because nothing was measured here."""
MAX_CARDS = 8
"""GPUs in one machine."""
_GATHERED = 2
"""Number of gathered blocks: the current and the next one."""


class Sharded(msgspec.Struct, frozen=True, kw_only=True):
    """The fewest GPUs that fit a sharded model."""

    cards: int
    memory: MemoryEstimate
    """Per GPU."""


def estimate_sharded(
    shape: ModelShape,
    setup: TrainingSetup,
    cards: int,
    *,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> MemoryEstimate:
    """Estimate the memory of each of ``cards`` GPUs, which process different rows.

    Raises FtwizardError for target modules that the model does not have.
    """
    resident = compute_resident(shape, setup, stack)
    at_all = compute_moments(shape, setup, stack, resident)
    root, per_block = _units(shape, setup, stack, resident)
    for name, at in at_all.items():
        gathered = 0.0 if name == "step" else root + _GATHERED * per_block
        at["weights"] = at["weights"] / cards + gathered
        for part in ("adapter", "optimizer", "gradients"):
            at[part] = at[part] / cards
        if name != "step":
            at["gradients"] += resident.gradients / shape.layers
    name = max(at_all, key=lambda moment: sum(at_all[moment].values()))
    return from_parts(
        at_all[name], moment=name, trained=resident.trained, stack=stack, spread=SPREAD,
        source=f"rough, sharded over {cards} GPUs (FSDP), computed from the model's configuration",
    )  # fmt: skip


def find_fewest_gpus(
    shape: ModelShape,
    setup: TrainingSetup,
    free: float,
    *,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> Sharded | None:
    """Return the fewest GPUs with ``free`` bytes each that surely fit it; None if 8 do not."""
    for cards in range(2, MAX_CARDS + 1):
        memory = estimate_sharded(shape, setup, cards, stack=stack)
        if (memory.peak.high or memory.peak.value) <= free:
            return Sharded(cards=cards, memory=memory)
    return None


def _units(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, resident: ResidentBytes
) -> tuple[float, float]:
    """Return the bytes of the unit that stays gathered, and of a block."""
    each = compute_bytes(setup)
    if setup.method == "full":
        each = max(each, stack.full_bytes)
    elif setup.method == "qlora" and stack.loose_bytes:
        each = stack.loose_bytes
    root = each * shape.vocabulary * shape.hidden * (1.0 if shape.tied else 2.0)
    return root, max(0.0, resident.weights + resident.adapter - root) / shape.layers
