"""Version checks: the driver's CUDA, torch's build, and each card's compute capability."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from ftwizard.doctor.check import Check, missing, ok
from ftwizard.doctor.trial import TorchCard, TorchDevices
from ftwizard.hardware.nvml import NvidiaDriver
from ftwizard.text import make_visible

Version = tuple[int, int]
MIN_DRIVER = {12: "525", 13: "580"}
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


def check_build(driver: NvidiaDriver, build: Build | None) -> Iterator[Check]:
    """Check whether the driver supports torch's CUDA version; nothing without a GPU or torch.

    Within one major version, any driver runs any build (CUDA's minor version compatibility).
    """
    if build is None or not driver.cards:
        return
    if build.cuda is None:
        yield report_cpu_build(build.version, driver)
        return
    detail = f"torch {build.version} is built for CUDA {format_version(build.cuda)}"
    if driver.cuda is None:
        yield ok("CUDA", detail)
        return
    newest = format_version(driver.cuda)
    if build.cuda[0] <= driver.cuda[0]:
        yield ok("CUDA", f"{detail}; the driver supports up to {newest}")
        return
    min_driver = MIN_DRIVER.get(build.cuda[0])
    update = f"Update the driver to {min_driver} or newer" if min_driver else "Update the driver"
    can_downgrade = driver.cuda[0] == 12 and not _get_newest_capability(driver) >= BLACKWELL
    older = f", or install torch for CUDA 12: {CUDA_12}" if can_downgrade else "."
    detail += f"; the driver ({driver.version or 'unknown'}) supports only {newest}"
    yield missing("CUDA", detail, update + older)


def report_cpu_build(version: str, driver: NvidiaDriver) -> Check:
    """Report a torch that cannot use the GPU."""
    detail = f"torch {make_visible(version)} is not built for CUDA: it cannot use the GPU"
    return missing("CUDA", detail, get_build_command(driver))


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
        built = (int(match[2]), int(match[3]))
        same_major = match[1] == "compute" or built[0] == capability[0]
        if built == capability or (match[4] != "a" and same_major and built < capability):
            return True
    return False


def explain_no_kernels(card: TorchCard, devices: TorchDevices) -> Check:
    """Describe a card that torch has no kernels for, and the fix."""
    detail = (
        f"{make_visible(card.name, 40)} has compute capability {format_version(card.capability)}; "
        f"torch {devices.version} supports only {' '.join(devices.archs)}"
    )
    if card.capability < TURING:
        fix = f"The builds for CUDA 12.6 still support it: {CUDA_12}"
    else:
        fix = f"Install a newer torch: pip install -U torch   or see {LOCALLY}"
    return missing("CUDA", detail, fix)
