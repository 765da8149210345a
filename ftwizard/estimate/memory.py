"""GPU memory during training, part by part, computed from counts and widths.

The peak is the fullest of several moments (``ftwizard.estimate.memory_phases``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ftwizard.estimate.activations import compute_bytes
from ftwizard.estimate.memory_phases import compute_moments, compute_resident
from ftwizard.estimate.training_setup import FTWIZARD_OVERHEAD, FrameworkOverhead, TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure

GIB = 2**30
AS_OF = "2026-11"
"""When the estimate was last compared with published peaks and the ledger's counts."""
SLACK = 0.02
"""Share that torch's allocator adds to tensors by rounding blocks and segments."""
LOW, HIGH = 0.9, 1.21
"""Range factors. Uncounted memory (fragments, workspaces, copies of libraries) adds more often than
shorter rows save."""
PARTS = (
    "weights", "adapter", "gradients", "optimizer", "activations", "logits", "dequantisation",
    "context",
)  # fmt: skip
"""In the order of a stacked bar; they add up to the peak."""
SURE = ("weights", "adapter", "optimizer")
"""Permanent tensors of exactly known size."""


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one GPU at its peak; figures in bytes."""

    parts: dict[str, Figure]
    """By name, in the order of ``PARTS``; their values add up to the peak's."""
    peak: Figure
    moment: str
    """When the peak occurs: ``loss``, ``backward``, ``end of backward``, ``attention`` or ``step``."""
    trained: int
    """Trainable parameters."""

    @property
    def sure(self) -> float:
        """Return the bytes needed for any rows: the lower bound of every range."""
        return sum(self.parts[name].value for name in SURE)


def estimate_memory(
    shape: ModelShape,
    setup: TrainingSetup,
    *,
    gpus: int = 1,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> MemoryEstimate:
    """Estimate the memory of each of ``gpus`` GPUs, each with the whole model.

    Raises FtwizardError for target modules that the model does not have.
    """
    resident = compute_resident(shape, setup, stack)
    at_all = compute_moments(shape, setup, stack, resident)
    if gpus > 1:  # DistributedDataParallel: gradient buckets in addition to the gradients
        for at in at_all.values():
            at["gradients"] += resident.gradients
    name = max(at_all, key=lambda moment: sum(at_all[moment].values()))
    at = at_all[name]
    stranded = 0.0
    if setup.head == "full" and compute_bytes(setup) == 2:
        stranded = stack.stranded_bytes * shape.vocabulary * setup.tokens
    return from_parts(
        at,
        moment=name,
        trained=resident.trained,
        stack=stack,
        stranded=stranded,
    )


_SOURCES = {
    "weights": "parameters × bytes each",
    "adapter": "rank × (inputs + outputs) of each adapted layer",
    "gradients": "same precision as the trained weights",
    "optimizer": "two AdamW moments per trainable parameter",
    "activations": "block inputs plus one block's activations (all blocks without checkpointing)",
    "logits": "vocabulary × tokens scored at once",
    "dequantisation": "16-bit copies of the current layer",
    "context": "CUDA context and memory cached by torch's allocator",
}


def from_parts(
    alive: Mapping[str, float],
    *,
    moment: str,
    trained: int,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
    stranded: float = 0.0,
    spread: tuple[float, float] = (LOW, HIGH),
    source: str = "computed from the model's configuration",
) -> MemoryEstimate:
    """Build the memory from the bytes of live tensors by part at the peak, ``alive``.

    ``stranded``: bytes that the allocator additionally holds back; ``spread``: range factors; the
    range never starts below the permanent tensors.
    """
    allocated = sum(alive.values())
    context = _context_bytes(allocated, stranded, stack)
    sure = sum(alive.get(name, 0.0) for name in SURE)
    parts = {
        name: Figure(value=alive.get(name, 0.0), unit="bytes", source=_SOURCES[name], as_of=AS_OF)
        for name in PARTS[:-1]
    }
    parts["context"] = Figure(value=context, unit="bytes", source=_SOURCES["context"], as_of=AS_OF)
    peak = Figure(
        value=allocated + context,
        unit="bytes",
        low=max(spread[0] * (allocated + context), sure),
        high=spread[1] * (allocated + context),
        source=f"{source}, at the peak ({moment})",
        as_of=AS_OF,
    )
    return MemoryEstimate(parts=parts, peak=peak, moment=moment, trained=trained)


def _context_bytes(allocated: float, stranded: float, stack: FrameworkOverhead) -> float:
    """Return the bytes in addition to tensors, as the stack's counter sees them."""
    if stack.counter == "allocated":
        return 0.0
    held_back = SLACK * allocated + stranded
    return held_back + (stack.context_bytes if stack.counter == "device" else 0.0)
