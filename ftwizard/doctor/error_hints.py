"""Explanations and fixes for errors of torch, CUDA and bitsandbytes."""

from __future__ import annotations

import re

from ftwizard.doctor.versions import CUDA_12, LOCALLY
from ftwizard.text import make_visible

REBOOT = "Reboot this machine (in a container: its host)."
_LIBRARY = r"(lib[\w+.-]+\.so[\w.]*)"
_TABLE: tuple[tuple[str, str, str], ...] = (
    (
        r"driver on your system is too old|driver version is insufficient",
        "the NVIDIA driver is too old for this build of torch",
        f"Update the driver, or install torch for CUDA 12: {CUDA_12}",
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
        f"Install a build for it: {LOCALLY}",
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
