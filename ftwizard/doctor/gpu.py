"""The GPUs: whether the driver answers, and what state each card is in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ftwizard.advice import questions
from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.containers import is_container
from ftwizard.doctor.driver import Card, Driver
from ftwizard.machine import Facts
from ftwizard.text import plural, size, visible

IDLE_BYTES = 1_000_000_000
"""A desktop and the driver itself take less of a card's memory than this."""
IDLE_SHARE = 0.05
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, NO_PERMISSION, MISMATCH = 9, 12, 4, 18
"""NVML's return codes (nvml.h)."""
THROTTLED = {
    0x08: "hardware slowdown",
    0x20: "too hot (software limit)",
    0x40: "too hot (hardware limit)",
    0x80: "power brake",
}
"""Of NVML's clocks event reasons those that are no part of normal work (nvml.h)."""
PROHIBITED, EXCLUSIVE = 2, 3
NVIDIA = "0x10de"
PROCESSORS = "Small models train on processors; for larger ones use a machine with an NVIDIA GPU."


def look(facts: Facts, driver: Driver, *, root: Path = Path("/")) -> Iterator[Check]:
    """Say which GPUs there are, or why there is none; then the state of each."""
    if not facts.gpus:
        yield no_gpu(facts, driver, dict(questions.seen(facts))["GPU"], root)
        return
    cards = Counter(
        f"{visible(one.name or 'a GPU', 40)}, {size(one.memory) if one.memory else 'memory unknown'}"
        for one in facts.gpus
    )
    seen = "; ".join(f"{count} × {one}" if count > 1 else one for one, count in cards.items())
    version = f"; driver {driver.version}" if driver.version else ""
    cuda = f" (CUDA {'.'.join(map(str, driver.cuda))})" if driver.cuda else ""
    yield ok("GPU", visible(f"{seen}{version}{cuda}"))
    yield from several(driver, os.environ)
    if driver.hung:
        fix = "The driver is in trouble. Look for Xid errors in: sudo dmesg   Then reboot."
        yield warning("GPU state", "the driver does not answer every question", fix)
    for card in driver.cards:
        yield from state(card, in_container=is_container(root))


def no_gpu(facts: Facts, driver: Driver, seen: str, root: Path = Path("/")) -> Check:
    """Say why there is no GPU, and what would make one usable."""
    inside = is_container(root)
    fixes = {
        MISMATCH: "The driver was updated while it ran: reboot this machine"
        + (" (the host of this container)." if inside else "."),
        DRIVER_NOT_LOADED: "Load it: sudo modprobe nvidia   "
        "If that fails, the driver does not fit the kernel: install it again and reboot.",
        NO_PERMISSION: "Let this user open /dev/nvidia*: sudo usermod -aG video,render $USER, "
        "then log in again.",
    }
    if facts.no_gpu and "CUDA_VISIBLE_DEVICES" in facts.no_gpu:
        return warning("GPU", seen, "unset CUDA_VISIBLE_DEVICES")
    if driver.hung or "no answer" in (facts.no_gpu or ""):
        return warning(
            "GPU", seen, "The driver hangs. Look for Xid errors in: sudo dmesg   Then reboot."
        )
    if driver.error in fixes:
        return warning("GPU", seen, fixes[driver.error])
    if "is lost" in (facts.no_gpu or ""):
        return warning("GPU", seen, "A GPU has dropped off the bus: reboot; see sudo dmesg (Xid).")
    if driver.error == LIBRARY_NOT_FOUND and (cards := nvidia_cards(root)):
        found = f"{plural(cards, 'NVIDIA card')} on the bus, but no driver that answers"
        fix = (
            "Start the container with the GPUs: docker run --gpus all … "
            "(the host needs nvidia-container-toolkit)."
            if inside
            else "Install the driver (Ubuntu: sudo ubuntu-drivers install), then reboot."
        )
        return warning("GPU", found, fix)
    return warning("GPU", seen, PROCESSORS)


def nvidia_cards(root: Path = Path("/")) -> int:
    """Return how many NVIDIA display or compute devices are on the PCI bus."""
    count = 0
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            is_nvidia = (device / "vendor").read_text().strip() == NVIDIA
            count += is_nvidia and (device / "class").read_text().startswith("0x03")
        except OSError:
            continue
    return count


def several(driver: Driver, environment: Mapping[str, str]) -> Iterator[Check]:
    """Say which of several GPUs a run takes."""
    there = [card for card in driver.cards if not card.lost]
    if len(there) < 2:
        return
    names = {card.name for card in there}
    found = f"{len(there)}; a run takes one of them (where.gpu, 0 by default)"
    if len(names) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        yield warning(
            "several GPUs",
            f"{found}; CUDA counts the fastest first, nvidia-smi by slot",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        )
        return
    yield ok("several GPUs", found)


def state(card: Card, *, in_container: bool = False) -> Iterator[Check]:
    """Say what of one card is not as it should be; nothing where all is."""
    name = f"GPU {card.index}"
    if card.lost:
        fix = "Reboot; sudo dmesg names the cause (Xid). Until then choose another by where.gpu."
        yield warning(name, "lost: the driver no longer answers for it", fix)
        return
    if card.capability and card.capability < versions.MAXWELL:
        found = (
            f"compute capability {versions.dotted(card.capability)}: no torch of today runs on it"
        )
        yield missing(f"{name} age", found, "Take another GPU (5.0 or newer; 8.0 for bf16).")
    yield from _in_use(name, card, in_container)
    yield from _errors(name, card)
    held = [words for bit, words in THROTTLED.items() if (card.throttle or 0) & bit]
    if held:
        fix = f"Look at cooling and power: nvidia-smi -q -d PERFORMANCE,TEMPERATURE -i {card.index}"
        yield warning(f"{name} clocks", f"held down: {', '.join(held)}", fix)
    if card.mig:
        yield warning(
            f"{name} MIG",
            "split into instances (MIG): CUDA sees one of them, with its share of the memory",
            "Choose one: nvidia-smi -L, then export CUDA_VISIBLE_DEVICES=MIG-…",
        )
    if card.compute_mode == PROHIBITED:
        yield missing(
            f"{name} mode", "computing on it is prohibited", f"sudo nvidia-smi -i {card.index} -c 0"
        )
    if card.persistence is False:
        yield warning(
            f"{name} persistence",
            "off: the driver lets go of an idle card, so every start waits for it",
            "sudo systemctl enable --now nvidia-persistenced"
            + (" (on the host)" if in_container else ""),
        )


def _in_use(name: str, card: Card, in_container: bool) -> Iterator[Check]:
    if not card.used or not card.memory or card.used < max(IDLE_BYTES, IDLE_SHARE * card.memory):
        return
    found = f"{size(card.used)} of {size(card.memory)} in use"
    if card.processes:
        who = [
            f"{one.pid}{'' if in_container else _called(one.pid)}"
            + (f" {size(one.memory)}" if one.memory else "")
            for one in card.processes[:3]
        ]
        host = " of the host" if in_container else ""
        found += f": {'process' if len(who) == 1 else 'processes'}{host} {', '.join(who)}"
        if len(card.processes) > len(who):
            found += f" and {len(card.processes) - len(who)} more"
    fix = "Wait for them or end them (nvidia-smi names them), or choose another GPU by where.gpu."
    alone = card.compute_mode == EXCLUSIVE and card.processes
    if alone:
        yield missing(name, f"{found}; it takes one process alone", fix)
    else:
        yield warning(name, found, fix)


def _called(pid: int) -> str:
    try:
        return f" ({visible(Path(f'/proc/{pid}/comm').read_text().strip(), 20)})"
    except OSError:
        return ""


def _errors(name: str, card: Card) -> Iterator[Check]:
    if card.rows_failed:
        found = "bad memory rows that no spare row is left for"
        yield warning(f"{name} memory", found, "Have the card replaced; do not train on it.")
    elif card.uncorrected or card.rows_pending:
        found = (
            f"{plural(card.uncorrected, 'uncorrectable memory error')} since the driver was loaded"
            if card.uncorrected
            else "bad memory rows wait to be replaced"
        )
        fix = f"Reset it while idle: sudo nvidia-smi -i {card.index} --gpu-reset, or reboot."
        yield warning(f"{name} memory", found, fix)
