"""Checks of the precision and the attention implementation that a run uses here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.doctor.driver import Card, NvidiaDriver
from ftwizard.hardware import machine
from ftwizard.hardware.machine import MachineInfo

AMPERE: versions.Version = (8, 0)
"""The first compute capability with bf16, and with flash-attn 2 (its README)."""
INSTALL_FLASH_ATTN = "pip install flash-attn --no-build-isolation"


def run_checks(facts: MachineInfo, driver: NvidiaDriver) -> Iterator[Check]:
    """Check what ``auto`` means for recipe.precision and recipe.attention."""
    card = get_first_visible(driver, os.environ) if facts.gpus else None
    yield check_precision(facts, card.capability if card else None)
    yield check_attention(card.capability if card else None, on_gpu=bool(facts.gpus))


def get_first_visible(driver: NvidiaDriver, environment: Mapping[str, str]) -> Card | None:
    """Return the GPU that a run uses by default."""
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    cards = [card for card in driver.cards if not card.lost]
    selected = [card for card in cards if first.isdigit() and card.index == int(first)]
    return next(iter([*selected, *cards]), None)


def check_precision(facts: MachineInfo, capability: versions.Version | None) -> Check:
    """Check the precision that training uses."""
    if not facts.gpus:
        if facts.bfloat16_cpu:
            return ok("precision", "auto uses bf16, which the CPU supports natively")
        return ok("precision", "auto uses fp32: the CPU has no native bf16")
    if capability is None:
        return ok("precision", "unknown: bf16 depends on the GPU's compute capability")
    reason = f"compute capability {versions.format_version(capability)}"
    if capability >= AMPERE:
        return ok("precision", f"auto uses bf16 ({reason})")
    return warning(
        "precision",
        f"no bf16 ({reason}): auto uses fp16, and fp32 for QLoRA and Gemma",
        "GPUs from Ampere (8.0) on support bf16.",
    )


def check_attention(capability: versions.Version | None, *, on_gpu: bool) -> Check:
    """Check which attention ``auto`` uses; sdpa is always available."""
    version = versions.get_version("flash-attn")
    has_flash = machine.is_installed("flash_attn")
    if has_flash and on_gpu and capability and capability >= AMPERE:
        detail = f"auto uses flash-attn {version or ''} if the model supports it, else sdpa"
        return ok("attention", detail)
    if has_flash and on_gpu and capability:
        detail = (
            f"auto uses sdpa: flash-attn needs {versions.format_version(AMPERE)}, this card has "
        )
        return ok("attention", detail + versions.format_version(capability))
    if has_flash:
        return ok("attention", "auto uses sdpa: flash-attn needs a GPU")
    note = f" (flash-attn is not installed; optional: {INSTALL_FLASH_ATTN})" if on_gpu else ""
    return ok("attention", f"auto uses sdpa{note}")
