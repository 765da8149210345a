"""Version checks: the driver's CUDA, torch's build, and each card's compute capability."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from ftwizard.doctor.check import Check, missing, ok
from ftwizard.hardware.nvml import NvidiaDriver

Version = tuple[int, int]
MIN_DRIVER = {11: "450", 12: "525", 13: "580"}
"""The oldest driver for all builds of a CUDA major version. Source: NVIDIA, CUDA
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
"""The oldest with kernels in any of these builds."""
TURING: Version = (7, 5)
BLACKWELL: Version = (10, 0)
"""The first without kernels in the builds for CUDA 12.6."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """The build of the installed torch, read without importing it."""

    version: str
    cuda: Version | None
    """None for a CPU build, or one for other vendors' cards."""


def read_torch_build(folder: Path | None = None) -> Build | None:
    """Read the build of the torch in ``folder`` (default: the installed one); None without torch.

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
    constant = r"^(__version__|cuda)\b[^=\n]*=\s*'([^'\n]*)'"
    constants = dict(re.findall(constant, text, re.MULTILINE))
    return Build(
        version=constants.get("__version__") or get_version("torch") or "unknown",
        cuda=parse_version(constants.get("cuda", "")),
    )


def get_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def parse_version(version: str | None) -> Version | None:
    """Parse major and minor of ``12.8``; None if there are none."""
    match = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) if match else None


def format_version(version: Version) -> str:
    """Format a version: ``12.8``."""
    return f"{version[0]}.{version[1]}"


def check_build(driver: NvidiaDriver, build: Build | None) -> Check | None:
    """Check whether the driver supports torch's CUDA version; None without a GPU or torch.

    Within one major version, any driver runs any build (CUDA's minor version compatibility).
    """
    if build is None or not driver.cards:
        return None
    if build.cuda is None:
        detail = f"torch {build.version} is not built for CUDA: it cannot use the GPU"
        return missing("CUDA", detail, get_build_command(driver))
    detail = f"torch {build.version} is built for CUDA {format_version(build.cuda)}"
    if driver.cuda is None:
        return ok("CUDA", detail)
    if build.cuda[0] <= driver.cuda[0]:
        return ok("CUDA", f"{detail}; the driver supports up to {format_version(driver.cuda)}")
    min_driver = MIN_DRIVER.get(build.cuda[0])
    update = f"Update the driver to {min_driver} or newer" if min_driver else "Update the driver"
    can_downgrade = driver.cuda[0] == 12 and not _get_newest_capability(driver) >= BLACKWELL
    older = f", or install torch for CUDA 12: {CUDA_12}" if can_downgrade else "."
    return missing(
        "CUDA",
        f"{detail}; the driver ({driver.version or 'unknown'}) supports only {format_version(driver.cuda)}",
        update + older,
    )


def get_build_command(driver: NvidiaDriver) -> str:
    """Return the command for a torch that fits the driver and its cards."""
    has_old_card = any(card.capability and card.capability < TURING for card in driver.cards)
    is_old_driver = driver.cuda is not None and driver.cuda < (13, 0)
    if is_old_driver and _get_newest_capability(driver) >= BLACKWELL:
        return f"Update the driver to {MIN_DRIVER[13]} or newer, then: {CUDA_13}"
    return CUDA_12 if has_old_card or is_old_driver else CUDA_13


def _get_newest_capability(driver: NvidiaDriver) -> Version:
    return max((card.capability for card in driver.cards if card.capability), default=(0, 0))


def has_kernels(capability: Version, archs: Sequence[str]) -> bool:
    """Return whether a build with these architectures runs on a card.

    Machine code (``sm_86``) runs on its major version from its minor version on. PTX
    (``compute_120``) is compiled for anything newer. The suffix ``a`` means exactly that version.
    Source: NVIDIA, CUDA C++ Programming Guide, “Application Compatibility”.
    """
    for arch in archs:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
        if not match:
            continue
        kind, built = match[1], (int(match[2]), int(match[3]))
        if match[4] == "a":
            fits = built == capability
        elif kind == "sm":
            fits = built[0] == capability[0] and built <= capability
        else:
            fits = built <= capability
        if fits:
            return True
    return False


def explain_no_kernels(
    name: str, capability: Version, archs: Sequence[str], build: str
) -> tuple[str, str]:
    """Describe a card that torch has no kernels for, and the fix."""
    detail = (
        f"{name} has compute capability {format_version(capability)}; torch {build} supports only "
        f"{' '.join(archs)}"
    )
    if capability < MAXWELL:
        return detail, "No torch that ftwizard supports works on it: use another GPU."
    if capability < TURING:
        return detail, f"The builds for CUDA 12.6 still support it: {CUDA_12}"
    return detail, f"Install a newer torch: pip install -U torch   or see {LOCALLY}"
