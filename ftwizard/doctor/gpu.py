"""GPU checks: whether the driver answers, the state of each card, precision and attention."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.process_survival import is_container
from ftwizard.hardware.machine import MachineInfo
from ftwizard.hardware.nvml import Card, NvidiaDriver
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
        yield from check_several(driver, os.environ)
        if driver.cause == "hung":
            fix = "The driver has a problem. Look for Xid errors: sudo dmesg   Then reboot."
            yield warning("GPU state", "the driver does not answer all queries", fix)
        for card in driver.cards:
            yield from check_card(card, in_container=is_container(root))
    first = get_first_visible(driver, os.environ) if facts.gpus else None
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


def check_several(driver: NvidiaDriver, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check which of several GPUs a run uses."""
    cards = [card for card in driver.cards if not card.lost]
    if len(cards) < 2:
        return
    detail = f"{len(cards)}; a run uses one of them (where.gpu, default 0)"
    is_mixed = len({card.name for card in cards}) > 1
    if is_mixed and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        detail += "; CUDA orders them by speed, nvidia-smi by slot"
        yield warning("several GPUs", detail, "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    else:
        yield ok("several GPUs", detail)


def check_card(card: Card, *, in_container: bool = False) -> Iterator[Check]:
    """Yield the problems of one card."""
    name = f"GPU {card.index}"
    if card.lost:
        fix = "Reboot; sudo dmesg shows the cause (Xid). Until then, set where.gpu to another GPU."
        yield warning(name, "lost: it no longer responds to the driver", fix)
        return
    if card.capability and card.capability < versions.MAXWELL:
        detail = f"compute capability {versions.format_version(card.capability)}: no current torch supports it"
        yield missing(f"{name} age", detail, "Use another GPU (5.0 or newer; 8.0 for bf16).")
    yield from _check_usage(name, card, in_container)
    if card.uncorrected_errors:
        errors = format_count(card.uncorrected_errors, "uncorrectable memory error")
        fix = f"Reset it while idle: sudo nvidia-smi -i {card.index} --gpu-reset, or reboot."
        yield warning(f"{name} memory", f"{errors} since the driver was loaded", fix)
    if card.mig is not None:
        yield warning(
            f"{name} MIG",
            "split into MIG instances: CUDA sees one of them, with its share of the memory",
            "Choose one: nvidia-smi -L, then export CUDA_VISIBLE_DEVICES=MIG-…",
        )


def _check_usage(name: str, card: Card, in_container: bool) -> Iterator[Check]:
    used, total = card.memory_used, card.memory_total
    if not used or not total or used < max(IDLE_BYTES, IDLE_SHARE * total):
        return
    detail = f"{format_bytes(used)} of {format_bytes(total)} in use"
    if card.processes:
        shown = [
            f"{process.pid}{'' if in_container else _format_command(process.pid)}"
            + (f" {format_bytes(process.memory)}" if process.memory else "")
            for process in card.processes[:3]
        ]
        host = " of the host" if in_container else ""
        detail += f": {'process' if len(shown) == 1 else 'processes'}{host} {', '.join(shown)}"
        if len(card.processes) > len(shown):
            detail += f" and {len(card.processes) - len(shown)} more"
    fix = "Wait, stop them (nvidia-smi lists them), or set where.gpu to another GPU."
    yield warning(name, detail, fix)


def _format_command(pid: int) -> str:
    try:
        return f" ({make_visible(Path(f'/proc/{pid}/comm').read_text().strip(), 20)})"
    except OSError:
        return ""


def get_first_visible(driver: NvidiaDriver, environment: Mapping[str, str]) -> Card | None:
    """Return the GPU that a run uses by default."""
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    cards = [card for card in driver.cards if not card.lost]
    selected = [card for card in cards if first.isdigit() and card.index == int(first)]
    return next(iter([*selected, *cards]), None)


def check_precision(facts: MachineInfo, capability: versions.Version | None) -> Check:
    """Check what ``auto`` means for recipe.precision."""
    if not facts.gpus:
        cpu = "bf16, which the CPU supports" if facts.bfloat16_cpu else "fp32: the CPU has no"
        return ok("precision", f"auto uses {cpu} native{'ly' if facts.bfloat16_cpu else ' bf16'}")
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


def check_attention(capability: versions.Version | None, facts: MachineInfo) -> Check:
    """Check what ``auto`` means for recipe.attention; sdpa is always available."""
    if not facts.flash_attn:
        install = "pip install flash-attn --no-build-isolation"
        note = f" (flash-attn is not installed; optional: {install})" if facts.gpus else ""
        return ok("attention", f"auto uses sdpa{note}")
    if not facts.gpus or (capability and capability < AMPERE):
        needs = f"a GPU of compute capability {versions.format_version(AMPERE)} or newer"
        return ok("attention", f"auto uses sdpa: flash-attn needs {needs}")
    version = versions.get_version("flash-attn") or ""
    return ok("attention", f"auto uses flash-attn {version} if the model supports it, else sdpa")
