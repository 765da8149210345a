"""Main memory for training on the CPU: a rough estimate, because little is published."""

from __future__ import annotations

import msgspec

from ftwizard.estimate import memory
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.training_setup import FTWIZARD_OVERHEAD, TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure

AS_OF = "2026-11"
"""When both were measured."""
LIBRARIES = (0.3e9, 0.5e9, 1.0e9)
"""Bytes of torch and related libraries: low, likely, high. Measured: 0.5."""
TIMES = (1.0, 1.5, 2.5)
"""Ratio of used memory to the sum of tensors (low, likely, high), for temporary copies of kernels
and the allocator's cache. Measured: LoRA of SmolLM2-135M in bf16, 4 rows of 174 tokens, grew by
2.3 GB for 1.2 GB of tensors."""


def estimate_cpu_memory(shape: ModelShape, setup: TrainingSetup) -> MemoryEstimate:
    """Estimate the memory of training on the CPU, in bytes, with a wide range.

    Raises FtwizardError for target modules that the model does not have.
    """
    tensors_memory = memory.estimate_memory(
        shape, setup, stack=msgspec.structs.replace(FTWIZARD_OVERHEAD, counter="allocated")
    )
    tensors = tensors_memory.peak.value
    low, value, high = (
        times * tensors + more for times, more in zip(TIMES, LIBRARIES, strict=True)
    )
    around = "kernel copies, allocator cache, libraries"
    parts = tensors_memory.parts | {
        "context": Figure(
            value=value - tensors, unit="bytes", low=low - tensors, high=high - tensors,
            source=around, as_of=AS_OF,
        )
    }  # fmt: skip
    peak = Figure(
        value=value, unit="bytes", low=low, high=high,
        source=f"very rough: {tensors_memory.peak.source}; plus {around}", as_of=AS_OF,
    )  # fmt: skip
    return msgspec.structs.replace(tensors_memory, parts=parts, peak=peak)
