"""Errors of torch, CUDA and bitsandbytes in plain words, with what to do about each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ftwizard.doctor.versions import CUDA_12, LOCALLY
from ftwizard.text import visible

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
        "CUDA finds no driver or no card",
        "Look at nvidia-smi; in a container: docker run --gpus all …",
    ),
    (
        r"Error 802\b|system not yet initialized",
        "the NVSwitch fabric is not up (CUDA error 802)",
        "sudo systemctl start nvidia-fabricmanager   (its version must be the driver's)",
    ),
    (
        r"Error 803\b|unsupported display driver",
        "libcuda and the kernel's driver are of different versions (CUDA error 803)",
        f"Take CUDA's compat folder out of LD_LIBRARY_PATH, or: {REBOOT}",
    ),
    (
        r"Error 804\b|forward compatibility was attempted",
        "the container brings a newer libcuda than this card's driver allows (CUDA error 804)",
        "Update the host's driver, or take /usr/local/cuda/compat out of LD_LIBRARY_PATH.",
    ),
    (
        r"Error 101\b|invalid device ordinal",
        "CUDA_VISIBLE_DEVICES names a GPU that is not there",
        "unset CUDA_VISIBLE_DEVICES, or name one that nvidia-smi -L lists",
    ),
    (
        r"Error 999\b|CUDA unknown error",
        "CUDA does not start (error 999); often the module nvidia_uvm, after sleep",
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm   If that fails, reboot.",
    ),
    (
        r"busy or unavailable",
        "the card is taken by another process that has it alone",
        "nvidia-smi names the process; or share the card: sudo nvidia-smi -c 0",
    ),
    (
        r"uncorrectable ECC|Unrecoverable|hardware error",
        "the card has an uncorrectable memory error",
        "Reset it while idle: sudo nvidia-smi --gpu-reset, or reboot; replace it if that returns.",
    ),
    (
        r"no kernel image|named symbol not found",
        "it was not built for this card's compute capability",
        f"Install a build that was: {LOCALLY}",
    ),
    (
        r"out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        "there is no free memory left on the card",
        "End what uses it (nvidia-smi names it), or choose another GPU by where.gpu.",
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
        "Triton finds no C compiler, or not Python's headers",
        "sudo apt install build-essential python3-dev",
    ),
    (
        r"undefined symbol: \w*nvJitLink",
        "an older CUDA library comes first in LD_LIBRARY_PATH",
        "unset LD_LIBRARY_PATH: torch brings the CUDA libraries that it needs",
    ),
    (
        rf"{_LIBRARY}: cannot open shared object file",
        "the library {0} is missing",
        "pip install --force-reinstall torch bitsandbytes   (torch's wheel brings CUDA's libraries)",
    ),
    (
        r"undefined symbol",
        "it was built for another version of torch",
        "Install it again, for the torch that is here: pip install --force-reinstall --no-cache-dir",
    ),
    (
        r"(?:CUDA|ROCm)(?: VERSION MISMATCH| binary not found)|No compatible (?:CUDA|ROCm) binary",
        "it has no binary for the CUDA that torch was built for",
        "pip install -U bitsandbytes",
    ),
    (
        r"not available in CPU-only version|compiled without|was not compiled with",
        "it was built for processors only",
        "pip install --force-reinstall bitsandbytes   (on a machine with its driver)",
    ),
    (
        r"_ARRAY_API|compiled using NumPy|numpy\.core\.multiarray",
        "it and NumPy do not fit together",
        "pip install -U 'ftwizard[local]'",
    ),
    (
        r"(?:ImportError: cannot import name|ModuleNotFoundError: No module named) '([\w.]+)'",
        "it does not find {0}: packages of different ages",
        "pip install -U 'ftwizard[local]'",
    ),
    (
        r"No space left on device",
        "the disk is full",
        "Free some space where TMPDIR and this Python are.",
    ),
)  # fmt: skip
"""What an error says (a pattern), what it means, what to do. The numbers are those of CUDA's
runtime (cudaError, driver_types.h)."""
SIGNALS = {
    "SIGILL": (
        "it needs instructions that these processors lack",
        "Use a machine whose processors have AVX2, or build it here.",
    ),
    "SIGBUS": (
        "memory that it mapped was not there (a full /dev/shm or disk)",
        "Look at the free space of /dev/shm and TMPDIR; docker run --shm-size=8g …",
    ),
    "SIGKILL": (
        "something killed it; often that is a lack of memory",
        "Look for “Out of memory” in: sudo dmesg",
    ),
}


def plain(error: str, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return what an error means and what to do; its own last words where it is not known."""
    chosen = os.environ if environment is None else environment
    if "bitsandbytes" in error.lower() or "binary" in error:
        for name in ("BNB_CUDA_VERSION", "BNB_ROCM_VERSION"):
            if chosen.get(name):
                return f"{name} is set and asks for another binary", f"unset {name}"
    for pattern, meaning, fix in _TABLE:
        if found := re.search(pattern, error):
            return meaning.format(*map(visible, found.groups())), fix
    return visible(own_words(error), 200), ""


def own_words(error: str) -> str:
    """Return the line of an error that says most: its first, without the exception's bare name."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    first = lines[0]
    if re.fullmatch(r"\w+(Error|Exception):?", first) and len(lines) > 1:
        return f"{first.rstrip(':')}: {lines[1]}"
    return first
