"""Checks from the events of the trial: what works, what does not, and how to fix it.

Errors of torch, CUDA and bitsandbytes are explained by a table of their messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.doctor import versions
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.trial import Crashed, Failed, Succeeded, TorchDevices
from ftwizard.hardware.nvml import NvidiaDriver
from ftwizard.text import make_visible

REBOOT = "Reboot this machine (in a container: its host)."
_LIBRARY = r"(lib[\w+.-]+\.so[\w.]*)"
_TABLE: tuple[tuple[str, str, str], ...] = (
    (r"driver on your system is too old|driver version is insufficient",
     "the NVIDIA driver is too old for this build of torch",
     f"Update the driver, or install torch for CUDA 12: {versions.CUDA_12}"),
    (r"Found no NVIDIA driver|no CUDA-capable device|Error 100\b",
     "CUDA finds no driver or no GPU",
     "Run nvidia-smi; in a container: docker run --gpus all …"),
    (r"Error 802\b|system not yet initialized",
     "the NVSwitch fabric is not running (CUDA error 802)",
     "sudo systemctl start nvidia-fabricmanager   (its version must match the driver)"),
    (r"Error 804\b|forward compatibility was attempted",
     "the container's libcuda is too new for the host's driver (CUDA error 804)",
     "Update the host's driver, or remove /usr/local/cuda/compat from LD_LIBRARY_PATH."),
    (r"Error 999\b|CUDA unknown error",
     "CUDA does not start (error 999), often because of nvidia_uvm after sleep",
     "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm   If that fails, reboot."),
    (r"no kernel image|named symbol not found",
     "it was not built for this GPU's compute capability",
     f"Install a build for it: {versions.LOCALLY}"),
    (r"out of memory|CUBLAS_STATUS_ALLOC_FAILED",
     "no free memory on the GPU",
     "Stop what uses it (nvidia-smi lists it), or set where.gpu to another GPU."),
    (r"torchvision::nms|torchaudio|torchvision",
     "torchvision or torchaudio was built for another torch",
     "pip uninstall torchvision torchaudio   (training on text needs neither)"),
    (rf"{_LIBRARY}: cannot open shared object file",
     "the library {0} is missing",
     "pip install --force-reinstall torch bitsandbytes   (torch's wheel includes CUDA's libraries)"),
    (r"undefined symbol",
     "it was built for another version of torch",
     "Reinstall it for the installed torch: pip install --force-reinstall --no-cache-dir"),
    (r"(?:CUDA|ROCm)(?: VERSION MISMATCH| binary not found)|No compatible (?:CUDA|ROCm) binary",
     "it has no binary for torch's CUDA version",
     "pip install -U bitsandbytes"),
    (r"not available in CPU-only version|compiled without|was not compiled with",
     "it was built for the CPU only",
     "pip install --force-reinstall bitsandbytes   (on a machine with the GPU driver)"),
    (r"(?:ImportError: cannot import name|ModuleNotFoundError: No module named) '([\w.]+)'",
     "it cannot find {0}: incompatible package versions",
     "pip install -U 'ftwizard[local]'"),
)  # fmt: skip
"""A pattern of an error, its meaning, and the fix. Numbers are those of the CUDA runtime (cudaError,
driver_types.h)."""
SIGNALS = {
    "SIGILL": ("it needs instructions that this CPU lacks",
               "Use a machine whose CPU has AVX2, or build it here."),
    "SIGBUS": ("its mapped memory is gone (/dev/shm or the disk is full)",
               "Check the free space of /dev/shm and TMPDIR; docker run --shm-size=8g …"),
    "SIGKILL": ("something killed it, often because memory ran out",
                "Look for “Out of memory”: sudo dmesg"),
}  # fmt: skip
"""By the signal that ended the child: its meaning, and the fix."""
REINSTALL = "Reinstall it: pip install --force-reinstall 'ftwizard[local]'"
_FIX_BITSANDBYTES = "pip install -U bitsandbytes   Diagnose it: python -m bitsandbytes"
DEFAULT_FIXES = {
    "4bit": _FIX_BITSANDBYTES,
    "bitsandbytes": _FIX_BITSANDBYTES,
    "flash": "pip uninstall flash-attn, or recipe.attention: sdpa in the plan",
}
"""By the kind of trial."""


def to_checks(event: Succeeded | Failed | Crashed, driver: NvidiaDriver) -> Iterator[Check]:
    """Yield the checks that follow from an event of the trial."""
    if isinstance(event, Crashed):
        yield _explain_death(event)
    elif isinstance(event, Failed):
        meaning, fix = explain_error(event.error)
        yield _report(event.trial, f"{make_visible(event.doing)} failed: {meaning}", fix)
    elif event.devices:
        yield from check_devices(event.devices, driver)
    else:
        yield from _describe_success(event)


def get_check_name(trial: str) -> str:
    """Return the name of a trial's check: ``step: GPU 0`` for ``step cuda:0``."""
    kind, _, device = trial.partition(" ")
    kinds = {"4bit": "4-bit", "flash": "flash-attn", "devices": "CUDA", "": "trial"}
    label = kinds.get(kind, kind)
    where = "CPU" if device == "cpu" else device.replace("cuda:", "GPU ")
    return f"{label}: {where}" if where else label


def check_devices(devices: TorchDevices, driver: NvidiaDriver) -> Iterator[Check]:
    """Compare torch's devices with the driver's, and each card with torch's kernels."""
    version, build = make_visible(devices.version), versions.parse_version(devices.cuda)
    if not devices.available:
        if driver.cards:
            yield _explain_no_device(devices, driver)
        return
    for card in devices.cards:
        if build and devices.archs and not versions.has_kernels(card.capability, devices.archs):
            yield versions.explain_no_kernels(card, devices)
            return
    driver_version = f"driver {driver.version}, " if driver.version else ""
    platform = f"CUDA {versions.format_version(build)}" if build else "CUDA"
    count = len(devices.cards)
    fewer = f", {count} of {len(driver.cards)} GPUs" if 0 < count < len(driver.cards) else ""
    yield ok("CUDA", f"works: {driver_version}torch {version} for {platform}{fewer}")


def _explain_no_device(devices: TorchDevices, driver: NvidiaDriver) -> Check:
    if not devices.cuda:
        return versions.report_cpu_build(devices.version, driver)
    meaning, fix = explain_error(devices.why) if devices.why else ("no reason given", "")
    detail = f"torch sees no GPU, but the driver lists one: {meaning}"
    return missing("CUDA", detail, fix or f"Run nvidia-smi, then see {versions.LOCALLY}")


def _describe_success(event: Succeeded) -> Iterator[Check]:
    descriptions = {
        "step": f"forward, backward and optimizer in {event.dtype}",
        "4bit": f"gradient through an NF4 layer of bitsandbytes in {event.dtype}",
        "flash": "works",
        "libraries": "transformers, peft and trl import",
    }
    if description := descriptions.get(event.trial.partition(" ")[0]):
        yield ok(get_check_name(event.trial), f"{description}, {event.seconds:.1f} s")


def _explain_death(event: Crashed) -> Check:
    meaning, fix = SIGNALS.get(event.signal, ("", ""))
    if event.stuck:
        meaning, fix = "it cannot be killed: the driver hangs", REBOOT
    elif event.out_of_memory:
        meaning, fix = "", "Add memory to this machine or container, or close other programs."
    elif event.hung and ("cuda" in event.trial or event.trial == "devices"):
        fix = "Look for Xid errors: sudo dmesg   Then reboot."
    elif event.hung:
        fix = "Try again when the disk and the CPU are less busy."
    last = f"; last output: {event.log}" if event.log and not event.hung else ""
    meaning = f": {meaning}" if meaning else ""
    detail = f"while {make_visible(event.doing)}, {event.how}{meaning}{last}"
    return _report(event.trial, detail, fix)


def _report(trial: str, detail: str, fix: str) -> Check:
    """Return a failed check; 4-bit on the CPU is optional, so only a warning."""
    report = warning if trial == "4bit cpu" else missing
    fix = fix or DEFAULT_FIXES.get(trial.partition(" ")[0], REINSTALL)
    return report(get_check_name(trial), detail, fix)


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
