"""Memory of the machine where a model is trained on its processors: rough, as little is published."""

from __future__ import annotations

import msgspec

from ftwizard.estimate import memory
from ftwizard.estimate.memory import Memory
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.estimate.stack import OURS
from ftwizard.figure import Figure

AS_OF = "2026-11"
"""When the two were measured."""
LIBRARIES = (0.3e9, 0.5e9, 1.0e9)
"""Bytes that torch and the libraries around it take: lowest, likely, highest. Measured: 0.5."""
TIMES = (1.0, 1.5, 2.5)
"""How many times as much is taken as the tensors add up to, for temporary copies of the kernels and
what the allocator keeps. Measured: LoRA of SmolLM2-135M in bf16, 4 rows of 174 tokens, grew by
2.3 GB where the tensors add up to 1.2."""


def estimate(shape: Shape, setup: Setup) -> Memory:
    """Return the memory that a training on processors takes, in bytes, with a wide range.

    Raises FtwizardError for targets that the model does not have.
    """
    found = memory.estimate(shape, setup, stack=msgspec.structs.replace(OURS, counter="allocated"))
    tensors = found.peak.value
    low, value, high = (
        times * tensors + more for times, more in zip(TIMES, LIBRARIES, strict=True)
    )
    around = "kernels' copies, what the allocator keeps, libraries"
    parts = found.parts | {
        "context": Figure(
            value=value - tensors, unit="bytes", low=low - tensors, high=high - tensors,
            source=around, as_of=AS_OF,
        )
    }  # fmt: skip
    peak = Figure(
        value=value, unit="bytes", low=low, high=high,
        source=f"very roughly: {found.peak.source}; then {around}", as_of=AS_OF,
    )  # fmt: skip
    return msgspec.structs.replace(found, parts=parts, peak=peak)
