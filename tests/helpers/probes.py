"""Probe measurements for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.estimate.probe_cache import ProbeMeasurements


def measured(**changes: Any) -> ProbeMeasurements:
    """Return measurements of 1,000 tokens/s in every step."""
    measurements = ProbeMeasurements(
        device="CPU, 2 threads", device_memory=10**10, precision="fp32",
        memory_source="growth of the resident memory", memory_before=300, memory_loaded=500, memory_training=4000,
        memory_evaluation=2000, memory_allocated=None, memory_on_device=None, longest=100, steps=2,
        step_s=0.4, tokens_per_s=1000.0, useful_tokens_per_s=800.0, rates=[1000.0, 1000.0],
        evaluation_s=0.2, evaluation_tokens_per_s=2000.0, epoch_tokens=50_000,
        validation_tokens=4000,
    )  # fmt: skip
    return msgspec.structs.replace(measurements, **changes)
