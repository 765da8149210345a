"""Memory of each of several cards that share one model: fully sharded, a block gathered at a time.

ftwizard trains in one process on one card and shards nothing: this is for saying what would.
Source: PyTorch's documentation of FSDP (FULL_SHARD: parameters, gradients and the optimizer's states
are divided; a unit is gathered before its forward and its backward pass, the next one with it, and
embeddings, last norm and output layer are one unit that stays).
"""

from __future__ import annotations

import msgspec

from ftwizard.estimate.activations import compute_bytes
from ftwizard.estimate.memory import Memory, from_parts
from ftwizard.estimate.moments import Held, hold, moments
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.estimate.stack import OURS, Stack

SPREAD = (0.85, 1.3)
"""The range, as parts of the middle: wider than of one card, as nothing of it was measured here."""
MOST = 8
"""Cards in one machine."""
_GATHERED = 2
"""Blocks that are whole at a time: the one that is computed, and the next."""


class Sharded(msgspec.Struct, frozen=True, kw_only=True):
    """The fewest cards that hold a model together."""

    cards: int
    memory: Memory
    """Of each."""


def estimate(shape: Shape, setup: Setup, cards: int, *, stack: Stack = OURS) -> Memory:
    """Return the memory of each of ``cards`` cards; each passes rows of its own.

    Raises FtwizardError for targets that the model does not have.
    """
    held = hold(shape, setup, stack)
    at_all = moments(shape, setup, stack, held)
    root, one = _units(shape, setup, stack, held)
    for name, at in at_all.items():
        gathered = 0.0 if name == "step" else root + _GATHERED * one
        at["weights"] = at["weights"] / cards + gathered
        for part in ("adapter", "optimizer", "gradients"):
            at[part] = at[part] / cards
        if name != "step":
            at["gradients"] += held.gradients / shape.layers
    name = max(at_all, key=lambda moment: sum(at_all[moment].values()))
    return from_parts(
        at_all[name], moment=name, trained=held.trained, stack=stack, spread=SPREAD,
        said=f"roughly, sharded over {cards} cards (FSDP), from the model's configuration",
    )  # fmt: skip


def fewest(shape: Shape, setup: Setup, free: float, *, stack: Stack = OURS) -> Sharded | None:
    """Return the fewest cards with ``free`` bytes each that surely hold it; None where 8 do not."""
    for cards in range(2, MOST + 1):
        memory = estimate(shape, setup, cards, stack=stack)
        if (memory.peak.high or memory.peak.value) <= free:
            return Sharded(cards=cards, memory=memory)
    return None


def _units(shape: Shape, setup: Setup, stack: Stack, held: Held) -> tuple[float, float]:
    """Return the bytes of the unit that stays whole, and of a block."""
    each = compute_bytes(setup)
    if setup.method == "full":
        each = max(each, stack.full_bytes)
    elif setup.method == "qlora" and stack.loose_bytes:
        each = stack.loose_bytes
    root = each * shape.vocabulary * shape.hidden * (1.0 if shape.tied else 2.0)
    return root, max(0.0, held.weights + held.adapter - root) / shape.layers
