"""The document ``environment.json`` of a run: the hardware and the versions that it trained with."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec
import psutil

from ftwizard import __version__
from ftwizard.hardware import machine
from ftwizard.hardware.nvml import NoGpuError
from ftwizard.jobs.folder import JobFolder, read_json, write_json

FILE = "environment.json"
LIBRARIES = (
    "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers",
    "safetensors", "flash-attn", "kernels",
)  # fmt: skip
"""Packages whose versions can change what a training computes."""


class UsedGpu(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None
    memory: int | None
    """Bytes; None if unknown."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """``environment.json``: of the newest attempt that trained. It names no host and no user."""

    ftwizard: str
    python: str
    system: str
    """Operating system and processor architecture: ``Linux x86_64``."""
    packages: dict[str, str]
    """Versions by package, of those in ``LIBRARIES`` that are installed."""
    gpus: list[UsedGpu]
    """GPUs that the training could use, the one it used first; empty on a CPU."""
    cpu: str
    """Model of the processor; empty if unknown."""
    cores: int
    """CPU cores that the training could use."""
    memory: int
    """Bytes of CPU memory."""


def record_environment(folder: JobFolder) -> None:
    """Write the environment of this process. Raises OSError."""
    write_json(folder.path / FILE, observe_environment())


def read_environment(folder: JobFolder) -> Environment | None:
    """Read the environment of a run; None if it is unreadable."""
    return read_json(folder.path / FILE, Environment)


def observe_environment() -> Environment:
    """Return the environment of this process; a GPU driver that hangs counts as no GPU."""
    try:
        gpus = [UsedGpu(name=gpu.name, memory=gpu.memory) for gpu in machine.list_gpus()]
    except NoGpuError:
        gpus = []
    return Environment(
        ftwizard=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages=read_versions(LIBRARIES),
        gpus=gpus,
        cpu=_read_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory=psutil.virtual_memory().total,
    )


def read_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _read_processor() -> str:
    """Return the name of the processor from ``/proc/cpuinfo``; empty where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )
