"""The article's memory figures compared with our own estimates."""

from __future__ import annotations

import msgspec

from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure
from ftwizard.text import format_byte_range, format_bytes

_SOURCE = "article “End-to-End Fine-Tuning Pipeline”"
_AS_OF = "2026-04"
_GB = 10**9
_NEAR = 0.15
"""Largest relative difference in model size for which the article's figure applies."""


class RuleOfThumb(msgspec.Struct, frozen=True, kw_only=True):
    """The article's figure for QLoRA on a model of this size."""

    peak: Figure
    parts: dict[str, Figure]
    """The article's own parts; empty if it gives none."""
    why: str
    """Why our estimate differs."""


def to_qlora(setup: TrainingSetup) -> TrainingSetup:
    """Return the setup with the article's method on a GPU, for a fair comparison."""
    if setup.method == "qlora":
        return setup
    return msgspec.structs.replace(setup, method="qlora", checkpointing=True, precision="bf16")


def rule_of_thumb(
    shape: ModelShape, ours: MemoryEstimate, *, otherwise: str = ""
) -> RuleOfThumb | None:
    """Return the article's figure; None for other model sizes.

    ``ours``: our estimate for QLoRA; ``otherwise``: description of the plan's method, if it is not
    QLoRA on a GPU.
    """
    if abs(shape.parameters / 8.03e9 - 1) < _NEAR:
        return RuleOfThumb(
            peak=_figure(16),
            parts={"model and overhead": _figure(10), "LoRA": _figure(2), "optimizer": _figure(4)},
            why=_why(ours, otherwise)
            + " 16 GB is safe with the defaults, but not with longer rows or larger batches.",
        )
    if abs(shape.parameters / 70.55e9 - 1) < _NEAR:
        return RuleOfThumb(
            peak=_figure(48),
            parts={},
            why=_why(ours, otherwise)
            + " 48 GB is about right for one GPU. Two 24 GB GPUs would need sharding, which "
            "ftwizard does not support.",
        )
    return None


def _figure(gigabytes: float) -> Figure:
    return Figure(value=gigabytes * _GB, unit="bytes", source=_SOURCE, as_of=_AS_OF)


def _why(ours: MemoryEstimate, otherwise: str) -> str:
    adapter, peak = ours.parts["adapter"].value, ours.peak
    first = ""
    if otherwise:
        own = format_byte_range(peak.low or peak.value, peak.high or peak.value)
        first = f"This plan trains {otherwise}. For QLoRA on a GPU, our estimate is {own}. "
    return (
        f"{first}4-bit weights with embeddings take {format_bytes(ours.parts['weights'].value)}, an adapter "
        f"of {ours.trained:,} parameters {format_bytes(adapter)} and its optimizer "
        f"{format_bytes(ours.parts['optimizer'].value)}: less than the article assumes. Activations "
        f"({format_bytes(ours.parts['activations'].value)}) are extra and grow with rows × length."
    )
