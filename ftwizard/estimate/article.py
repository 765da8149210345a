"""What the article says of memory, beside our own figures, and why they differ."""

from __future__ import annotations

import msgspec

from ftwizard.estimate.memory import Memory
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.figure import Figure
from ftwizard.text import size, sizes

_SOURCE = "article “End-to-End Fine-Tuning Pipeline”"
_AS_OF = "2026-04"
_GB = 10**9
_NEAR = 0.15
"""How far a model's size may be from the article's for its figure to be set beside."""


class RuleOfThumb(msgspec.Struct, frozen=True, kw_only=True):
    """The article's figure for a model of this size, trained by QLoRA."""

    peak: Figure
    parts: dict[str, Figure]
    """As the article names them; empty where it gives none."""
    why: str
    """Why ours differs, in numbers."""


def by_qlora(setup: Setup) -> Setup:
    """Return the setup by the article's method on a GPU: what its figure can be held against."""
    if setup.method == "qlora":
        return setup
    return msgspec.structs.replace(setup, method="qlora", checkpointing=True, precision="bf16")


def rule_of_thumb(shape: Shape, ours: Memory, *, otherwise: str = "") -> RuleOfThumb | None:
    """Return what the article says, None for models of other sizes.

    ``ours``: our own figure by QLoRA; ``otherwise``: how the plan trains where not by QLoRA on a
    GPU, in words.
    """
    if abs(shape.parameters / 8.03e9 - 1) < _NEAR:
        return RuleOfThumb(
            peak=_figure(16),
            parts={"model and overhead": _figure(10), "LoRA": _figure(2), "optimizer": _figure(4)},
            why=_why(ours, otherwise)
            + " 16 GB is safe at the defaults, but it does not grow with rows and length as the "
            "memory does.",
        )
    if abs(shape.parameters / 70.55e9 - 1) < _NEAR:
        return RuleOfThumb(
            peak=_figure(48),
            parts={},
            why=_why(ours, otherwise)
            + " 48 GB is about right for one card; two cards of 24 GB need the model sharded over "
            "them, which ftwizard does not do.",
        )
    return None


def _figure(gigabytes: float) -> Figure:
    return Figure(value=gigabytes * _GB, unit="bytes", source=_SOURCE, as_of=_AS_OF)


def _why(ours: Memory, otherwise: str) -> str:
    adapter, peak = ours.parts["adapter"].value, ours.peak
    first = ""
    if otherwise:
        own = sizes(peak.low or peak.value, peak.high or peak.value)
        first = f"This plan trains {otherwise}; by QLoRA on a GPU our own figure is {own}: "
    return (
        f"{first}4-bit weights with their embeddings take {size(ours.parts['weights'].value)}, an adapter "
        f"of {ours.trained:,} parameters {size(adapter)} and its optimizer "
        f"{size(ours.parts['optimizer'].value)}, less than the article allows; activations "
        f"({size(ours.parts['activations'].value)}) come on top and grow with rows × length."
    )
