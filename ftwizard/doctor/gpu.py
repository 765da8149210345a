"""GPU checks: whether the driver answers, and the state of each card."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ftwizard.advice import questions
from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.driver import Card, NvidiaDriver
from ftwizard.doctor.process_survival import is_container
from ftwizard.hardware.machine import MachineInfo
from ftwizard.text import format_bytes, format_count, make_visible

IDLE_BYTES = 1_000_000_000
"""A desktop and the driver itself use less GPU memory than this."""
IDLE_SHARE = 0.05
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, NO_PERMISSION, MISMATCH = 9, 12, 4, 18
"""NVML's return codes (nvml.h)."""
THROTTLING = {
    0x08: "hardware slowdown",
    0x20: "too hot (software limit)",
    0x40: "too hot (hardware limit)",
    0x80: "power brake",
}
"""Abnormal ones among NVML's clocks event reasons (nvml.h)."""
PROHIBITED, EXCLUSIVE = 2, 3
NVIDIA = "0x10de"
CPU_ADVICE = "Small models train on the CPU; larger ones need a machine with an NVIDIA GPU."


def run_checks(
    facts: MachineInfo, driver: NvidiaDriver, *, root: Path = Path("/")
) -> Iterator[Check]:
    """Check which GPUs there are, or why there is none; then the state of each."""
    if not facts.gpus:
        yield explain_no_gpu(facts, driver, dict(questions.describe_machine(facts))["GPU"], root)
        return
    cards = Counter(
        f"{make_visible(card.name or 'a GPU', 40)}, {format_bytes(card.memory) if card.memory else 'memory unknown'}"
        for card in facts.gpus
    )
    names = "; ".join(f"{count} × {name}" if count > 1 else name for name, count in cards.items())
    version = f"; driver {driver.version}" if driver.version else ""
    cuda = f" (CUDA {'.'.join(map(str, driver.cuda))})" if driver.cuda else ""
    yield ok("GPU", make_visible(f"{names}{version}{cuda}"))
    yield from check_several(driver, os.environ)
    if driver.hung:
        fix = "The driver has a problem. Look for Xid errors: sudo dmesg   Then reboot."
        yield warning("GPU state", "the driver does not answer all queries", fix)
    for card in driver.cards:
        yield from check_card(card, in_container=is_container(root))


def explain_no_gpu(
    facts: MachineInfo, driver: NvidiaDriver, detail: str, root: Path = Path("/")
) -> Check:
    """Explain why there is no GPU, and how to get one."""
    inside = is_container(root)
    fixes = {
        MISMATCH: "The driver was updated while running: reboot this machine"
        + (" (the host of this container)." if inside else "."),
        DRIVER_NOT_LOADED: "Load it: sudo modprobe nvidia   "
        "If that fails, the driver does not match the kernel: reinstall it and reboot.",
        NO_PERMISSION: "Give this user access to /dev/nvidia*: sudo usermod -aG video,render $USER, "
        "then log in again.",
    }
    if facts.no_gpu and "CUDA_VISIBLE_DEVICES" in facts.no_gpu:
        return warning("GPU", detail, "unset CUDA_VISIBLE_DEVICES")
    if driver.hung or "no answer" in (facts.no_gpu or ""):
        return warning(
            "GPU", detail, "The driver hangs. Look for Xid errors: sudo dmesg   Then reboot."
        )
    if driver.error in fixes:
        return warning("GPU", detail, fixes[driver.error])
    if "is lost" in (facts.no_gpu or ""):
        return warning(
            "GPU", detail, "A GPU fell off the bus: reboot. For the cause: sudo dmesg (Xid)."
        )
    if driver.error == LIBRARY_NOT_FOUND and (cards := count_nvidia_cards(root)):
        detail = f"{format_count(cards, 'NVIDIA card')} on the bus, but no working driver"
        fix = (
            "Start the container with GPUs: docker run --gpus all … "
            "(the host needs nvidia-container-toolkit)."
            if inside
            else "Install the driver (Ubuntu: sudo ubuntu-drivers install), then reboot."
        )
        return warning("GPU", detail, fix)
    return warning("GPU", detail, CPU_ADVICE)


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


def check_several(driver: NvidiaDriver, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check which of several GPUs a run uses."""
    cards = [card for card in driver.cards if not card.lost]
    if len(cards) < 2:
        return
    names = {card.name for card in cards}
    detail = f"{len(cards)}; a run uses one of them (where.gpu, default 0)"
    if len(names) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        yield warning(
            "several GPUs",
            f"{detail}; CUDA orders them by speed, nvidia-smi by slot",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        )
        return
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
    yield from _check_errors(name, card)
    reasons = [reason for bit, reason in THROTTLING.items() if (card.throttle or 0) & bit]
    if reasons:
        fix = f"Check cooling and power: nvidia-smi -q -d PERFORMANCE,TEMPERATURE -i {card.index}"
        yield warning(f"{name} clocks", f"reduced: {', '.join(reasons)}", fix)
    if card.mig:
        yield warning(
            f"{name} MIG",
            "split into MIG instances: CUDA sees one of them, with its share of the memory",
            "Choose one: nvidia-smi -L, then export CUDA_VISIBLE_DEVICES=MIG-…",
        )
    if card.compute_mode == PROHIBITED:
        yield missing(
            f"{name} mode", "compute mode is “prohibited”", f"sudo nvidia-smi -i {card.index} -c 0"
        )
    if card.persistence is False:
        yield warning(
            f"{name} persistence",
            "off: the driver unloads an idle card, so every start is slower",
            "sudo systemctl enable --now nvidia-persistenced"
            + (" (on the host)" if in_container else ""),
        )


def _check_usage(name: str, card: Card, in_container: bool) -> Iterator[Check]:
    if not card.used or not card.memory or card.used < max(IDLE_BYTES, IDLE_SHARE * card.memory):
        return
    detail = f"{format_bytes(card.used)} of {format_bytes(card.memory)} in use"
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
    if card.compute_mode == EXCLUSIVE and card.processes:
        yield missing(name, f"{detail}; it allows only one process", fix)
    else:
        yield warning(name, detail, fix)


def _format_command(pid: int) -> str:
    try:
        return f" ({make_visible(Path(f'/proc/{pid}/comm').read_text().strip(), 20)})"
    except OSError:
        return ""


def _check_errors(name: str, card: Card) -> Iterator[Check]:
    if card.rows_failed:
        detail = "bad memory rows, and no spare rows left"
        yield warning(f"{name} memory", detail, "Do not train on this card; have it replaced.")
    elif card.uncorrected or card.rows_pending:
        detail = (
            f"{format_count(card.uncorrected, 'uncorrectable memory error')} since the driver was loaded"
            if card.uncorrected
            else "bad memory rows wait for a reset to be remapped"
        )
        fix = f"Reset it while idle: sudo nvidia-smi -i {card.index} --gpu-reset, or reboot."
        yield warning(f"{name} memory", detail, fix)
