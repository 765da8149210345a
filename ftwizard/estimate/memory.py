"""Memory during training, part by part, computed from counts and widths.

The peak is the fullest of several moments (``ftwizard.estimate.memory_phases``). On one GPU, on
several that share a model, or on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ftwizard.estimate.activations import stream_bytes
from ftwizard.estimate.memory_phases import ResidentBytes, compute_moments, compute_resident
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
SHARDED_RANGE = (0.85, 1.3)
"""Range factors: wider than for one GPU, because nothing was measured here."""
MAX_CARDS = 8
"""GPUs in one machine."""
_GATHERED = 2
"""Number of gathered blocks: the current and the next one."""
CPU_LIBRARIES = (0.3e9, 0.5e9, 1.0e9)
"""Bytes of torch and related libraries: low, likely, high. Measured: 0.5."""
CPU_TIMES = (1.0, 1.5, 2.5)
"""Ratio of used memory to the sum of tensors (low, likely, high), for temporary copies of kernels
and the allocator's cache. Measured: LoRA of SmolLM2-135M in bf16, 4 rows of 174 tokens, grew by
2.3 GB for 1.2 GB of tensors."""


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


class Sharded(msgspec.Struct, frozen=True, kw_only=True):
    """The fewest GPUs that fit a sharded model."""

    cards: int
    memory: MemoryEstimate
    """Per GPU."""


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
    moments = compute_moments(shape, setup, stack, resident)
    if gpus > 1:  # DistributedDataParallel: gradient buckets in addition to the gradients
        for at in moments.values():
            at["gradients"] += resident.gradients
    stranded = 0.0
    if setup.head == "full" and setup.bytes_each == 2:
        stranded = stack.stranded_bytes * shape.vocabulary * setup.tokens
    moment = _find_peak(moments)
    return from_parts(
        moments[moment], moment=moment, trained=resident.trained, stack=stack, stranded=stranded
    )


def _find_peak(moments: Mapping[str, Mapping[str, float]]) -> str:
    return max(moments, key=lambda moment: sum(moments[moment].values()))


def estimate_sharded(
    shape: ModelShape,
    setup: TrainingSetup,
    cards: int,
    *,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> MemoryEstimate:
    """Estimate the memory of each of ``cards`` GPUs that share a model and process different rows.

    ftwizard trains on one GPU and does not shard: this only serves suggestions. Source: PyTorch's
    FSDP documentation (FULL_SHARD: parameters, gradients and optimizer states are divided; each unit
    is gathered before its forward and backward pass, together with the next one; embeddings, last
    norm and output layer form one unit that stays gathered). Raises FtwizardError for target modules
    that the model does not have.
    """
    resident = compute_resident(shape, setup, stack)
    moments = compute_moments(shape, setup, stack, resident)
    root, per_block = _measure_units(shape, setup, stack, resident)
    for name, at in moments.items():
        for part in ("weights", "adapter", "optimizer", "gradients"):
            at[part] /= cards
        if name != "step":
            at["weights"] += root + _GATHERED * per_block
            at["gradients"] += resident.gradients / shape.layers
    moment = _find_peak(moments)
    return from_parts(
        moments[moment], moment=moment, trained=resident.trained, stack=stack, spread=SHARDED_RANGE,
        source=f"rough, sharded over {cards} GPUs (FSDP), computed from the model's configuration",
    )  # fmt: skip


def _measure_units(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, resident: ResidentBytes
) -> tuple[float, float]:
    """Return the bytes of the unit that stays gathered, and of a block."""
    root = (
        stream_bytes(setup, stack) * shape.vocabulary * shape.hidden * (1.0 if shape.tied else 2.0)
    )
    return root, max(0.0, resident.weights + resident.adapter - root) / shape.layers


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
        if memory.peak.highest <= free:
            return Sharded(cards=cards, memory=memory)
    return None


def estimate_cpu_memory(shape: ModelShape, setup: TrainingSetup) -> MemoryEstimate:
    """Estimate the memory of training on the CPU, in bytes, with a wide range: little is published.

    Raises FtwizardError for target modules that the model does not have.
    """
    stack = msgspec.structs.replace(FTWIZARD_OVERHEAD, counter="allocated")
    memory = estimate_memory(shape, setup, stack=stack)
    tensors = memory.peak.value
    low, value, high = (
        times * tensors + more for times, more in zip(CPU_TIMES, CPU_LIBRARIES, strict=True)
    )
    around = "kernel copies, allocator cache, libraries"
    context = Figure(
        value=value - tensors, unit="bytes", low=low - tensors, high=high - tensors,
        source=around, as_of=AS_OF,
    )  # fmt: skip
    peak = Figure(
        value=value, unit="bytes", low=low, high=high,
        source=f"very rough: {memory.peak.source}; plus {around}", as_of=AS_OF,
    )  # fmt: skip
    return msgspec.structs.replace(memory, parts=memory.parts | {"context": context}, peak=peak)


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
    context, allocated = 0.0, sum(alive.values())
    if stack.counter != "allocated":
        context = SLACK * allocated + stranded
        context += stack.context_bytes if stack.counter == "device" else 0.0
    sizes = {**alive, "context": context}
    parts = {
        name: Figure(value=sizes.get(name, 0.0), unit="bytes", source=_SOURCES[name], as_of=AS_OF)
        for name in PARTS
    }
    total = allocated + context
    peak = Figure(
        value=total, unit="bytes", high=spread[1] * total,
        low=max(spread[0] * total, sum(parts[name].value for name in SURE)),
        source=f"{source}, at the peak ({moment})", as_of=AS_OF,
    )  # fmt: skip
    return MemoryEstimate(parts=parts, peak=peak, moment=moment, trained=trained)
