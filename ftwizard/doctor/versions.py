"""Which versions fit together: the driver's CUDA, torch's build, the card's compute capability."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from ftwizard.doctor.check import Check, missing, ok
from ftwizard.doctor.driver import Driver

Version = tuple[int, int]
LEAST_DRIVER = {11: "450", 12: "525", 13: "580"}
"""By CUDA's major version: the oldest driver that runs all of its builds. Source: NVIDIA, CUDA
Compatibility, “Minor Version Compatibility”, table 1."""
LOCALLY = "https://pytorch.org/get-started/locally/"
CUDA_12 = (
    "pip install --force-reinstall 'torch<2.15' --index-url https://download.pytorch.org/whl/cu126"
)
"""The last builds for CUDA 12, and the only ones for cards before Turing (7.5): PyTorch 2.15 has
none. Source: pytorch/pytorch issues 172352 and 190385."""
CUDA_13 = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130"
"""Since PyTorch 2.9."""
MAXWELL: Version = (5, 0)
"""The oldest that any of these builds has kernels for."""
TURING: Version = (7, 5)
BLACKWELL: Version = (10, 0)
"""The first that the builds for CUDA 12.6 have no kernels for."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What the installed torch was built for, read without importing it."""

    version: str
    cuda: Version | None
    """None of a build for processors, or for other makers' cards."""
    other: str = ""
    """``ROCm`` or ``XPU`` where it was built for one of these."""


def torch_build(folder: Path | None = None) -> Build | None:
    """Return what the torch in ``folder`` (default: the one installed) was built for, or None.

    Source: the constants of ``torch/version.py``, which its build writes.
    """
    if folder is None:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent
    try:
        text = (folder / "version.py").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    constant = r"^(__version__|cuda|hip|rocm|xpu)\b[^=\n]*=\s*'([^'\n]*)'"
    said = dict(re.findall(constant, text, re.MULTILINE))
    other = "ROCm" if said.get("hip") or said.get("rocm") else "XPU" if said.get("xpu") else ""
    return Build(
        version=said.get("__version__") or installed("torch") or "unknown",
        cuda=pair(said.get("cuda", "")),
        other=other,
    )


def installed(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def pair(version: str | None) -> Version | None:
    """Return major and minor of ``12.8``; None where there are none."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None


def dotted(version: Version) -> str:
    """Return ``12.8``."""
    return f"{version[0]}.{version[1]}"


def build_fits(driver: Driver, build: Build | None) -> Check | None:
    """Say whether the driver runs the CUDA that torch was built for; None without a GPU or torch.

    Within one major version any driver of it runs any build (CUDA's minor version compatibility).
    """
    if build is None or not driver.cards:
        return None
    if build.cuda is None:
        what = f"built for {build.other}" if build.other else "a build for processors"
        found = f"torch {build.version} is {what}: it cannot use the GPU"
        return missing("CUDA", found, build_for(driver))
    said = f"torch {build.version} is built for CUDA {dotted(build.cuda)}"
    if driver.cuda is None:
        return ok("CUDA", said)
    if build.cuda[0] <= driver.cuda[0]:
        return ok("CUDA", f"{said}, the driver runs up to {dotted(driver.cuda)}")
    least = LEAST_DRIVER.get(build.cuda[0])
    update = f"Update the driver to {least} or newer" if least else "Update the driver"
    other_way = driver.cuda[0] == 12 and not _newest(driver) >= BLACKWELL
    older = f", or install torch for CUDA 12: {CUDA_12}" if other_way else "."
    return missing(
        "CUDA",
        f"{said}, the driver ({driver.version or 'unknown'}) runs {dotted(driver.cuda)} at most",
        update + older,
    )


def bitsandbytes_fits(
    driver: Driver, build: Build | None, folder: Path | None = None
) -> Check | None:
    """Return what is wrong with a bitsandbytes that has no binary for torch's CUDA; else None.

    It takes one of the same major version (its cextension.py).
    """
    if build is None or build.cuda is None or not driver.cards:
        return None
    if folder is None:
        spec = importlib.util.find_spec("bitsandbytes")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent
    there = sorted(
        (int(found[1]), int(found[2]))
        for file in folder.glob("libbitsandbytes_cuda*.so")
        if (found := re.fullmatch(r"libbitsandbytes_cuda(\d\d)(\d)", file.stem))
    )
    if not there or any(one[0] == build.cuda[0] for one in there):
        return None
    lacks = (
        f"{installed('bitsandbytes')} has binaries for CUDA {', '.join(map(dotted, there))}, none "
        f"for CUDA {build.cuda[0]}, which torch {build.version} is built for"
    )
    return missing("bitsandbytes", lacks, "pip install -U bitsandbytes")


def build_for(driver: Driver) -> str:
    """Return how to install a torch that the driver and its cards can run."""
    old = any(card.capability and card.capability < TURING for card in driver.cards)
    behind = driver.cuda is not None and driver.cuda < (13, 0)
    if behind and _newest(driver) >= BLACKWELL:
        return f"Update the driver to {LEAST_DRIVER[13]} or newer, then: {CUDA_13}"
    return CUDA_12 if old or behind else CUDA_13


def _newest(driver: Driver) -> Version:
    return max((card.capability for card in driver.cards if card.capability), default=(0, 0))


def has_kernels(capability: Version, archs: Sequence[str]) -> bool:
    """Say whether a build with these architectures runs on a card.

    Machine code (``sm_86``) runs on its own major version from its minor on; PTX (``compute_120``)
    is compiled on the spot for anything newer; the suffix ``a`` ties to exactly that card.
    Source: NVIDIA, CUDA C++ Programming Guide, “Application Compatibility”.
    """
    for arch in archs:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
        if not found:
            continue
        kind, built = found[1], (int(found[2]), int(found[3]))
        if found[4] == "a":
            fits = built == capability
        elif kind == "sm":
            fits = built[0] == capability[0] and built <= capability
        else:
            fits = built <= capability
        if fits:
            return True
    return False


def no_kernels(name: str, capability: Version, archs: Sequence[str], build: str) -> tuple[str, str]:
    """Return what is wrong with a card that torch has no kernels for, and what to do."""
    found = (
        f"{name} has compute capability {dotted(capability)}; torch {build} has kernels for "
        f"{' '.join(archs)}"
    )
    if capability < MAXWELL:
        return found, "No torch that ftwizard can use has any: take another GPU."
    if capability < TURING:
        return found, f"The builds for CUDA 12.6 still know it: {CUDA_12}"
    return found, f"Install a newer torch: pip install -U torch   or see {LOCALLY}"
