"""Checks from the events of the trial: what works, what does not, and how to fix it.

Errors of torch, CUDA and bitsandbytes are explained by a table of their messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.trial import Crashed, Failed, Started, Succeeded, TrialEvent
from ftwizard.hardware.nvml import NvidiaDriver
from ftwizard.text import make_visible

REBOOT = "Reboot this machine (in a container: its host)."
_LIBRARY = r"(lib[\w+.-]+\.so[\w.]*)"
_TABLE: tuple[tuple[str, str, str], ...] = (
    (
        r"driver on your system is too old|driver version is insufficient",
        "the NVIDIA driver is too old for this build of torch",
        f"Update the driver, or install torch for CUDA 12: {versions.CUDA_12}",
    ),
    (
        r"Found no NVIDIA driver|no CUDA-capable device|Error 100\b",
        "CUDA finds no driver or no GPU",
        "Run nvidia-smi; in a container: docker run --gpus all …",
    ),
    (
        r"Error 802\b|system not yet initialized",
        "the NVSwitch fabric is not running (CUDA error 802)",
        "sudo systemctl start nvidia-fabricmanager   (its version must match the driver)",
    ),
    (
        r"Error 804\b|forward compatibility was attempted",
        "the container's libcuda is too new for the host's driver (CUDA error 804)",
        "Update the host's driver, or remove /usr/local/cuda/compat from LD_LIBRARY_PATH.",
    ),
    (
        r"Error 101\b|invalid device ordinal",
        "CUDA_VISIBLE_DEVICES names a GPU that does not exist",
        "unset CUDA_VISIBLE_DEVICES, or name a GPU that nvidia-smi -L lists",
    ),
    (
        r"Error 999\b|CUDA unknown error",
        "CUDA does not start (error 999), often because of nvidia_uvm after sleep",
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm   If that fails, reboot.",
    ),
    (
        r"no kernel image|named symbol not found",
        "it was not built for this GPU's compute capability",
        f"Install a build for it: {versions.LOCALLY}",
    ),
    (
        r"out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        "no free memory on the GPU",
        "Stop what uses it (nvidia-smi lists it), or set where.gpu to another GPU.",
    ),
    (
        r"(GLIBC(?:XX)?_[\d.]+)['’`]? not found",
        "this system's C library is too old for it ({0} is missing)",
        "Use a newer system or container (Ubuntu 22.04 or newer).",
    ),
    (
        r"torchvision::nms|torchaudio|torchvision",
        "torchvision or torchaudio was built for another torch",
        "pip uninstall torchvision torchaudio   (training on text needs neither)",
    ),
    (
        r"Failed to find C compiler|Python\.h",
        "Triton needs a C compiler and Python's headers",
        "sudo apt install build-essential python3-dev",
    ),
    (
        rf"{_LIBRARY}: cannot open shared object file",
        "the library {0} is missing",
        "pip install --force-reinstall torch bitsandbytes   (torch's wheel includes CUDA's libraries)",
    ),
    (
        r"undefined symbol",
        "it was built for another version of torch",
        "Reinstall it for the installed torch: pip install --force-reinstall --no-cache-dir",
    ),
    (
        r"(?:CUDA|ROCm)(?: VERSION MISMATCH| binary not found)|No compatible (?:CUDA|ROCm) binary",
        "it has no binary for torch's CUDA version",
        "pip install -U bitsandbytes",
    ),
    (
        r"not available in CPU-only version|compiled without|was not compiled with",
        "it was built for the CPU only",
        "pip install --force-reinstall bitsandbytes   (on a machine with the GPU driver)",
    ),
    (
        r"(?:ImportError: cannot import name|ModuleNotFoundError: No module named) '([\w.]+)'",
        "it cannot find {0}: incompatible package versions",
        "pip install -U 'ftwizard[local]'",
    ),
    (
        r"No space left on device",
        "the disk is full",
        "Free disk space for TMPDIR and this Python.",
    ),
)  # fmt: skip
"""A pattern of an error, its meaning, and the fix. Numbers are those of the CUDA runtime (cudaError,
driver_types.h)."""
SIGNALS = {
    "SIGILL": (
        "it needs instructions that this CPU lacks",
        "Use a machine whose CPU has AVX2, or build it here.",
    ),
    "SIGBUS": (
        "its mapped memory is gone (/dev/shm or the disk is full)",
        "Check the free space of /dev/shm and TMPDIR; docker run --shm-size=8g …",
    ),
    "SIGKILL": (
        "something killed it, often because memory ran out",
        "Look for “Out of memory”: sudo dmesg",
    ),
}
REINSTALL = "Reinstall it: pip install --force-reinstall 'ftwizard[local]'"


def to_checks(event: TrialEvent, driver: NvidiaDriver) -> Iterator[Check]:
    """Yield the checks that follow from an event of the trial."""
    if isinstance(event, Started):
        return
    if isinstance(event, Crashed):
        yield _explain_death(event)
    elif isinstance(event, Failed):
        yield _explain_failure(event)
    elif event.trial == "devices":
        yield from check_devices(event, driver)
    else:
        yield from _describe_success(event)


def get_check_name(trial: str) -> str:
    """Return the name of a trial's check: ``step: GPU 0`` for ``step cuda:0``."""
    kind, _, device = trial.partition(" ")
    kinds = {"4bit": "4-bit", "flash": "flash-attn", "devices": "CUDA", "": "trial"}
    where = "CPU" if device == "cpu" else device.replace("cuda:", "GPU ")
    label = kinds.get(kind, kind)
    return f"{label}: {where}" if where and kind in ("step", "4bit", "flash") else label


def check_devices(event: Succeeded, driver: NvidiaDriver) -> Iterator[Check]:
    """Compare torch's devices with the driver's, and each card with torch's kernels."""
    facts = event.facts
    version, build = str(facts.get("version")), versions.parse_version(facts.get("cuda"))
    if not facts.get("available"):
        if driver.cards:
            yield _explain_no_device(facts, driver, version)
        return
    driver_version = f"driver {driver.version}, " if driver.version else ""
    platform = f"CUDA {versions.format_version(build)}" if build else "CUDA"
    problems = []
    for card in facts.get("cards") or []:
        capability = (int(card["capability"][0]), int(card["capability"][1]))
        archs = [str(arch) for arch in facts.get("archs") or []]
        if build and archs and not versions.has_kernels(capability, archs):
            card_name = make_visible(str(card["name"]), 40)
            problems.append(versions.explain_no_kernels(card_name, capability, archs, version))
    if problems:
        yield missing("CUDA", *problems[0])
        return
    count = len(facts.get("cards") or [])
    fewer = f", {count} of {len(driver.cards)} GPUs" if 0 < count < len(driver.cards) else ""
    yield ok("CUDA", f"works: {driver_version}torch {make_visible(version)} for {platform}{fewer}")


def _explain_no_device(facts: dict[str, object], driver: NvidiaDriver, version: str) -> Check:
    if not facts.get("cuda"):
        detail = f"torch {make_visible(version)} is not built for CUDA: it cannot use the GPU"
        return missing("CUDA", detail, versions.get_build_command(driver))
    errors = facts.get("why")
    error = " ".join(map(str, errors)) if isinstance(errors, list) else ""
    meaning, fix = explain_error(error) if error else ("no reason given", "")
    detail = f"torch sees no GPU, but the driver lists one: {meaning}"
    return missing("CUDA", detail, fix or f"Run nvidia-smi, then see {versions.LOCALLY}")


def _describe_success(event: Succeeded) -> Iterator[Check]:
    kind = event.trial.partition(" ")[0]
    took, dtype = f"{event.seconds:.1f} s", event.facts.get("dtype")
    descriptions = {
        "step": f"forward, backward and optimizer in {dtype}, {took}",
        "4bit": f"gradient through an NF4 layer of bitsandbytes in {dtype}, {took}",
        "flash": f"works, {took}",
        "libraries": f"transformers, peft and trl import, {took}",
    }
    if kind in descriptions:
        yield ok(get_check_name(event.trial), descriptions[kind])


def _explain_failure(event: Failed) -> Check:
    kind = event.trial.partition(" ")[0]
    meaning, fix = explain_error(event.error)
    detail = f"{make_visible(event.doing)} failed: {meaning}"
    return _report(event.trial, detail, fix or _get_default_fix(kind))


def _explain_death(event: Crashed) -> Check:
    kind = event.trial.partition(" ")[0]
    meaning, fix = SIGNALS.get(event.signal, ("", ""))
    if event.out_of_memory:
        meaning, fix = "", "Add memory to this machine or container, or close other programs."
    elif event.hung and ("GPU" in get_check_name(event.trial) or kind == "devices"):
        fix = "Look for Xid errors: sudo dmesg   Then reboot."
    elif event.hung:
        fix = "Try again when the disk and the CPU are less busy."
    if event.stuck:
        meaning = "it cannot be killed: the driver hangs"
        fix = REBOOT
    last = f"; last output: {event.log}" if event.log and not event.hung else ""
    detail = (
        f"while {make_visible(event.doing)}, {event.how}{f': {meaning}' if meaning else ''}{last}"
    )
    return _report(event.trial, detail, fix or _get_default_fix(kind))


def _report(trial: str, detail: str, fix: str) -> Check:
    """Return a failed check; 4-bit on the CPU is optional, so only a warning."""
    is_optional = trial == "4bit cpu"
    return (warning if is_optional else missing)(get_check_name(trial), detail, fix)


def _get_default_fix(kind: str) -> str:
    if kind in ("4bit", "bitsandbytes"):
        return "pip install -U bitsandbytes   Diagnose it: python -m bitsandbytes"
    if kind == "flash":
        return "pip uninstall flash-attn, or recipe.attention: sdpa in the plan"
    return REINSTALL


def explain_error(error: str) -> tuple[str, str]:
    """Return the meaning of an error and the fix; for an unknown error, its message."""
    for pattern, meaning, fix in _TABLE:
        if match := re.search(pattern, error):
            return meaning.format(*map(make_visible, match.groups())), fix
    return make_visible(get_first_line(error), 200), ""


def get_first_line(error: str) -> str:
    """Return the first line of an error; after a bare exception name, also the second."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return "no error message"
    first = lines[0]
    if re.fullmatch(r"\w+(Error|Exception):?", first) and len(lines) > 1:
        return f"{first.rstrip(':')}: {lines[1]}"
    return first
