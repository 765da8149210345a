"""Memory of one GPU while a model is trained, part by part, from counts and widths alone.

The peak is the fullest of four moments (``ftwizard.estimate.moments``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ftwizard.estimate.activations import compute_bytes
from ftwizard.estimate.moments import hold, moments
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.estimate.stack import OURS, Stack
from ftwizard.figure import Figure

GIB = 2**30
AS_OF = "2026-11"
"""When what is added up here was last held against published peaks and the ledger's counts."""
SLACK = 0.02
"""Of the tensors, what torch's allocator adds by rounding blocks and segments."""
LOW, HIGH = 0.9, 1.21
"""The range, as parts of the middle: what is not counted (fragments, workspaces, a library's own
copies) adds more often than rows shorter than the longest take away."""
PARTS = (
    "weights", "adapter", "gradients", "optimizer", "activations", "logits", "dequantisation",
    "context",
)  # fmt: skip
"""In the order of a stacked bar; together they are the peak."""
SURE = ("weights", "adapter", "optimizer")
"""Tensors that are there from the first step to the last, of sizes that are known exactly."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What one GPU holds at the fullest moment; figures in bytes."""

    parts: dict[str, Figure]
    """By name, in the order of ``PARTS``; their values add up to the peak's."""
    peak: Figure
    moment: str
    """When it is fullest: ``loss``, ``backward``, ``end of backward`` or ``step``."""
    trained: int
    """Parameters that are trained."""

    @property
    def sure(self) -> float:
        """Return the bytes that are held whatever the rows are: no range begins below them."""
        return sum(self.parts[name].value for name in SURE)


def estimate(shape: Shape, setup: Setup, *, gpus: int = 1, stack: Stack = OURS) -> Memory:
    """Return the memory of each of ``gpus`` GPUs, each of which holds the whole model.

    Raises FtwizardError for targets that the model does not have.
    """
    held = hold(shape, setup, stack)
    at_all = moments(shape, setup, stack, held)
    if gpus > 1:  # DistributedDataParallel: buckets of gradients beside the gradients
        for at in at_all.values():
            at["gradients"] += held.gradients
    name = max(at_all, key=lambda one: sum(at_all[one].values()))
    at = at_all[name]
    stranded = 0.0
    if setup.head == "full" and compute_bytes(setup) == 2:
        stranded = stack.stranded_bytes * shape.vocabulary * setup.tokens
    return from_parts(
        at,
        moment=name,
        trained=held.trained,
        stack=stack,
        stranded=stranded,
    )


_SAID = {
    "weights": "parameters × bytes each",
    "adapter": "rank × (inputs + outputs) of each adapted layer",
    "gradients": "as wide as what is trained",
    "optimizer": "two AdamW moments of each trained parameter",
    "activations": "inputs of the blocks, and what one block keeps (all, without checkpointing)",
    "logits": "vocabulary × tokens that are scored at once",
    "dequantisation": "16-bit copies of the layer that is being computed",
    "context": "CUDA context, and what torch's allocator holds back",
}


def from_parts(
    alive: Mapping[str, float],
    *,
    moment: str,
    trained: int,
    stack: Stack = OURS,
    stranded: float = 0.0,
    spread: tuple[float, float] = (LOW, HIGH),
    said: str = "added up from the model's configuration",
) -> Memory:
    """Return the memory of which ``alive`` are the bytes of tensors by part, at the peak.

    ``stranded`` are bytes that the allocator holds back on top; ``spread`` is the
    range, which does not begin below what is held for sure.
    """
    allocated = sum(alive.values())
    beside = _beside(allocated, stranded, stack)
    sure = sum(alive.get(name, 0.0) for name in SURE)
    parts = {
        name: Figure(value=alive.get(name, 0.0), unit="bytes", source=_SAID[name], as_of=AS_OF)
        for name in PARTS[:-1]
    }
    parts["context"] = Figure(value=beside, unit="bytes", source=_SAID["context"], as_of=AS_OF)
    peak = Figure(
        value=allocated + beside,
        unit="bytes",
        low=max(spread[0] * (allocated + beside), sure),
        high=spread[1] * (allocated + beside),
        source=f"{said}, at the fullest moment ({moment})",
        as_of=AS_OF,
    )
    return Memory(parts=parts, peak=peak, moment=moment, trained=trained)


def _beside(allocated: float, stranded: float, stack: Stack) -> float:
    """Return the bytes that come on top of the tensors, as the stack's counter sees them."""
    if stack.counter == "allocated":
        return 0.0
    held_back = SLACK * allocated + stranded
    return held_back + (stack.context_bytes if stack.counter == "device" else 0.0)
