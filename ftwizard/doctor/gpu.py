"""GPU checks: whether the driver answers, the state of each card, precision and attention."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.doctor.process_survival import is_container
from ftwizard.hardware import hub_kernels, machine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.hardware.nvml import NvidiaDriver, NvmlGpu
from ftwizard.text import format_bytes, format_count, make_visible

IDLE_BYTES = 1_000_000_000
"""A desktop and the driver itself use less GPU memory than this."""
IDLE_SHARE = 0.05
NVIDIA = "0x10de"
CPU_ADVICE = "Small models train on the CPU; larger ones need a machine with an NVIDIA GPU."
FIXES = {
    "hidden": "unset CUDA_VISIBLE_DEVICES",
    "unmatched": "unset CUDA_VISIBLE_DEVICES, or name a GPU that nvidia-smi -L lists",
    "hung": "The driver hangs. Look for Xid errors: sudo dmesg   Then reboot.",
    "lost": "A GPU fell off the bus: reboot. For the cause: sudo dmesg (Xid).",
    "mismatch": "The driver was updated while running: reboot this machine (in a container: its host).",
    "not_loaded": "Load it: sudo modprobe nvidia   "
    "If that fails, the driver does not match the kernel: reinstall it and reboot.",
}
"""By the cause that there is no GPU."""
AMPERE: versions.Version = (8, 0)
"""The first compute capability with bf16, and with flash-attn 2 (its README)."""


def run_checks(
    facts: MachineInfo, driver: NvidiaDriver, *, root: Path = Path("/")
) -> Iterator[Check]:
    """Check which GPUs there are, or why there is none; the state of each; what ``auto`` means."""
    if not facts.gpus:
        yield explain_no_gpu(facts, root)
    else:
        yield _describe_gpus(facts, driver)
        if (count := sum(not card.lost for card in driver.cards)) > 1:
            yield ok(
                "several GPUs",
                f"{count}; a run uses one of them (where.gpu), or more (where.processes)",
            )
        for card in driver.cards:
            yield from check_card(card)
    selection = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = get_first_visible(driver, selection) if facts.gpus else None
    yield check_precision(facts, first.capability if first else None)
    yield check_attention(first.capability if first else None, facts)


def explain_no_gpu(facts: MachineInfo, root: Path = Path("/")) -> Check:
    """Explain why there is no GPU, and how to get one."""
    detail = f"none ({make_visible(facts.no_gpu or 'not found', 80)})"
    fix = FIXES.get(facts.no_gpu_cause or "", CPU_ADVICE)
    if facts.no_gpu_cause == "no_driver" and (cards := count_nvidia_cards(root)):
        detail = f"{format_count(cards, 'NVIDIA card')} on the bus, but no working driver"
        fix = (
            "Start the container with GPUs: docker run --gpus all … "
            "(the host needs nvidia-container-toolkit)."
            if is_container(root)
            else "Install the driver (Ubuntu: sudo ubuntu-drivers install), then reboot."
        )
    return warning("GPU", detail, fix)


def count_nvidia_cards(root: Path = Path("/")) -> int:
    """Count the NVIDIA display and compute devices on the PCI bus."""
    count = 0
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            is_nvidia = (device / "vendor").read_text().strip() == NVIDIA
            count += is_nvidia and (device / "class").read_text().startswith("0x03")
        except OSError:
            continue
    return count


def _describe_gpus(facts: MachineInfo, driver: NvidiaDriver) -> Check:
    gpus = Counter(
        f"{make_visible(gpu.name or 'a GPU', 40)}, {format_bytes(gpu.memory) if gpu.memory else 'memory unknown'}"
        for gpu in facts.gpus
    )
    names = "; ".join(f"{count} × {name}" if count > 1 else name for name, count in gpus.items())
    version = f"; driver {driver.version}" if driver.version else ""
    cuda = f" (CUDA {versions.format_version(driver.cuda)})" if driver.cuda else ""
    return ok("GPU", make_visible(f"{names}{version}{cuda}"))


def check_card(card: NvmlGpu) -> Iterator[Check]:
    """Yield the problems of one card."""
    name = f"GPU {card.index}"
    if card.lost:
        fix = "Reboot; sudo dmesg shows the cause (Xid). Until then, set where.gpu to another GPU."
        yield warning(name, "lost: it no longer responds to the driver", fix)
        return
    yield from _check_usage(name, card)
    if card.uncorrected_errors:
        errors = format_count(card.uncorrected_errors, "uncorrectable memory error")
        fix = f"Reset it while idle: sudo nvidia-smi -i {card.index} --gpu-reset, or reboot."
        yield warning(f"{name} memory", f"{errors} since the driver was loaded", fix)
    if card.mig is not None:
        detail = "split into MIG instances: CUDA sees one of them, with its share of the memory"
        fix = "Choose one: nvidia-smi -L, then export CUDA_VISIBLE_DEVICES=MIG-…"
        yield warning(f"{name} MIG", detail, fix)


def _check_usage(name: str, card: NvmlGpu) -> Iterator[Check]:
    used, total = card.memory_used, card.memory_total
    if not used or not total or used < max(IDLE_BYTES, IDLE_SHARE * total):
        return
    detail = f"{format_bytes(used)} of {format_bytes(total)} in use"
    if card.processes:
        shown = [
            f"{process.pid} ({format_bytes(process.memory)})"
            if process.memory
            else f"{process.pid}"
            for process in card.processes[:3]
        ]
        detail += f" by {'process' if len(shown) == 1 else 'processes'} {', '.join(shown)}"
        if more := len(card.processes) - len(shown):
            detail += f" and {more} more"
    fix = "Wait, stop them (nvidia-smi lists them), or set where.gpu to another GPU."
    yield warning(name, detail, fix)


def get_first_visible(driver: NvidiaDriver, selection: str | None) -> NvmlGpu | None:
    """Return the GPU that a run uses by default; ``selection`` is CUDA_VISIBLE_DEVICES."""
    cards = [card for card in driver.cards if not card.lost]
    selected = machine.select(cards, selection) if selection else []
    return next((card for card in [*selected, *cards] if card.index is not None), None)


def check_precision(facts: MachineInfo, capability: versions.Version | None) -> Check:
    """Check what ``auto`` means for recipe.precision."""
    if not facts.gpus:
        bf16, fp32 = "bf16, which the CPU supports natively", "fp32: the CPU has no native bf16"
        return ok("precision", f"auto uses {bf16 if facts.bfloat16_cpu else fp32}")
    if capability is None:
        return ok("precision", "unknown: bf16 depends on the GPU's compute capability")
    reason = f"compute capability {versions.format_version(capability)}"
    if capability >= AMPERE:
        return ok("precision", f"auto uses bf16 ({reason})")
    detail = f"no bf16 ({reason}): auto uses fp16, and fp32 for QLoRA and Gemma"
    return warning("precision", detail, "GPUs from Ampere (8.0) on support bf16.")


def check_attention(capability: versions.Version | None, facts: MachineInfo) -> Check:
    """Check what ``auto`` means for recipe.attention; sdpa is always available."""
    if not facts.flash_attn:
        return ok("attention", f"auto uses sdpa{_describe_flash(capability) if facts.gpus else ''}")
    if not facts.gpus or (capability and capability < AMPERE):
        needs = f"a GPU of compute capability {versions.format_version(AMPERE)} or newer"
        return ok("attention", f"auto uses sdpa: flash-attn needs {needs}")
    version = versions.get_version("flash-attn") or ""
    return ok("attention", f"auto uses flash-attn {version} if the model supports it, else sdpa")


def _describe_flash(capability: versions.Version | None) -> str:
    """Return how a machine with a GPU and without flash-attn gets FlashAttention."""
    if capability and capability < AMPERE:
        return ""
    setting = f"recipe.attention: {hub_kernels.FLASH_ATTENTION}"
    if hub_kernels.explain_missing():
        return f"; FlashAttention without a compiler: {hub_kernels.format_install_command()}, then {setting}"
    return f"; FlashAttention: {setting}"
