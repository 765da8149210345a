"""Which precision and which attention a run takes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ftwizard import machine
from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.doctor.driver import Card, Driver
from ftwizard.machine import Facts

AMPERE: versions.Version = (8, 0)
"""The first compute capability with bf16, and the first that flash-attn 2 runs on (its README)."""
HOW = "pip install flash-attn --no-build-isolation"


def look(facts: Facts, driver: Driver) -> Iterator[Check]:
    """Say what ``auto`` takes for recipe.precision and recipe.attention."""
    card = first_visible(driver, os.environ) if facts.gpus else None
    yield precision(facts, card.capability if card else None)
    yield attention(card.capability if card else None, on_gpu=bool(facts.gpus))


def first_visible(driver: Driver, environment: Mapping[str, str]) -> Card | None:
    """Return the one GPU that a run takes where its plan names none."""
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    there = [one for one in driver.cards if not one.lost]
    named = [one for one in there if first.isdigit() and one.index == int(first)]
    return next(iter([*named, *there]), None)


def precision(facts: Facts, capability: versions.Version | None) -> Check:
    """Say what training computes in."""
    if not facts.gpus:
        if facts.bfloat16_cpu:
            return ok("precision", "auto takes bf16, which the processors multiply")
        return ok("precision", "auto takes fp32: the processors do not multiply bf16")
    if capability is None:
        return ok("precision", "the driver does not tell the GPU's compute capability")
    said = f"compute capability {versions.dotted(capability)}"
    if capability >= AMPERE:
        return ok("precision", f"auto takes bf16 ({said})")
    return warning(
        "precision",
        f"no bf16 ({said}): auto takes fp16, and fp32 for QLoRA and Gemma",
        "GPUs of the Ampere generation (8.0) and newer have bf16.",
    )


def attention(capability: versions.Version | None, *, on_gpu: bool) -> Check:
    """Say which attention ``auto`` takes; sdpa is always there."""
    version = versions.installed("flash-attn")
    there = machine.is_installed("flash_attn")
    if there and on_gpu and capability and capability >= AMPERE:
        found = f"auto takes flash-attn {version or ''} where the model has it, else sdpa"
        return ok("attention", found)
    if there and on_gpu and capability:
        found = f"auto takes sdpa: flash-attn needs {versions.dotted(AMPERE)}, this card has "
        return ok("attention", found + versions.dotted(capability))
    if there:
        return ok("attention", "auto takes sdpa: flash-attn needs a GPU")
    more = f" (flash-attn is not installed; optional: {HOW})" if on_gpu else ""
    return ok("attention", f"auto takes sdpa{more}")
