"""The article's memory figures compared with our own estimates."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_machine
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.memory import MemoryEstimate, estimate_memory
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure
from ftwizard.text import format_byte_range, format_bytes

_NEAR = 0.15
"""Largest relative difference in model size for which the article's figure applies."""
_METHODS = {"lora": "with LoRA on 16-bit weights", "full": "all weights", "qlora": ""}


class _Statement(NamedTuple):
    parameters: float
    gigabytes: float
    parts: dict[str, float]
    """Gigabytes; empty if it gives none."""
    verdict: str
    """Whether it holds."""


_STATEMENTS = (
    _Statement(
        8.03e9, 16, {"model and overhead": 10, "LoRA": 2, "optimizer": 4},
        "16 GB is safe with the defaults, but not with longer rows or larger batches.",
    ),
    _Statement(
        70.55e9, 48, {},
        "48 GB is about right for one GPU. Two 24 GB GPUs would need sharding "
        "(where.parallel: fsdp).",
    ),
)  # fmt: skip


class RuleOfThumb(msgspec.Struct, frozen=True, kw_only=True):
    """The article's figure for QLoRA on a model of this size."""

    peak: Figure
    parts: dict[str, Figure]
    """The article's own parts; empty if it gives none."""
    why: str
    """Why our estimate differs."""


def compare_with_article(
    plan: Plan, lengths: Lengths, shape: ModelShape | None, facts: MachineInfo
) -> RuleOfThumb | None:
    """Compare the article's memory figure for QLoRA with ours for the same rows.

    QLoRA is used whatever the plan's method. None if the article has no figure for this model size.
    """
    size = shape.parameters if shape else 0
    near = (known for known in _STATEMENTS if abs(size / known.parameters - 1) < _NEAR)
    statement = next(near, None)
    if shape is None or statement is None:
        return None
    setup = training_machine.setup(plan, lengths, facts, shape)
    otherwise = _METHODS[setup.method] if facts.gpus else "on the CPU"
    if otherwise:
        setup = msgspec.structs.replace(setup, method="qlora", checkpointing=True, precision="bf16")
    try:
        ours = estimate_memory(shape, setup)
    except FtwizardError:
        return None
    return RuleOfThumb(
        peak=_figure(statement.gigabytes),
        parts={name: _figure(gigabytes) for name, gigabytes in statement.parts.items()},
        why=f"{_explain_difference(ours, otherwise)} {statement.verdict}",
    )


def _figure(gigabytes: float) -> Figure:
    return Figure(
        value=gigabytes * 10**9, unit="bytes", source="article “End-to-End Fine-Tuning Pipeline”",
        as_of="2026-04",
    )  # fmt: skip


def _explain_difference(ours: MemoryEstimate, otherwise: str) -> str:
    sizes = {name: format_bytes(part.value) for name, part in ours.parts.items()}
    first = ""
    if otherwise:
        own = format_byte_range(ours.peak.lowest, ours.peak.highest)
        first = f"This plan trains {otherwise}. For QLoRA on a GPU, our estimate is {own}. "
    return (
        f"{first}4-bit weights with embeddings take {sizes['weights']}, an adapter of "
        f"{ours.trained:,} parameters {sizes['adapter']} and its optimizer {sizes['optimizer']}: "
        f"less than the article assumes. Activations ({sizes['activations']}) are extra and grow "
        "with rows × length."
    )
