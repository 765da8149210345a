"""GPU specifications from datasheets: memory, compute and bandwidth."""

from __future__ import annotations

import functools
import re

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset
from ftwizard.text import find_similar

AMPERE = 8.0
"""Lowest compute capability with bf16 and with flash-attn 2 (its README)."""

_GLUED = re.compile(r"(\b(?:rtx|gtx|tesla|geforce)(?=a?\d|pro)|pro(?=\d)|\d(?=(?:ti|super)\b))")
_SIZE = re.compile(r"\b(\d{1,3})\s*gi?b\b")
"""Gigabytes in a name: ``80GB``, ``80 GB``."""
_SIZE_ALONE = re.compile(r"(?P<size>\d{1,4}(?:\.\d{1,3})?)\s*(?P<unit>gi?b?)", re.IGNORECASE)
MAX_GB = 1024
MIB = 2**20
_GENERIC = re.compile(
    r"nvidia|geforce|tesla|quadro|rtx|sxm\d?|pcie|hbm\d?e?|gddr\d?x?|tensor|core|gpu|card|generation|"
    r"server|workstation|edition"
)
"""Words in GPU names that do not identify a model."""
_VARIANTS = frozenset(("mig", "laptop", "mobile", "max", "d", "ti", "super", "grid"))
"""Words in names of GPU slices and of variants with another speed: such a card is another one."""
_SIZE_TOLERANCE = 0.12
"""Largest relative difference between a size and the one as sold; beyond it, the GPU is another
one. Drivers report up to 7.5% more (GiB for GB) and 5% less."""


class GpuSpec(Sourced, frozen=True, kw_only=True):
    """One GPU model; ``source`` is the vendor's datasheet."""

    name: str
    words: tuple[str, ...]
    """All must occur in the driver's name."""
    memory: float
    """GB (10⁹ bytes), as sold."""
    driver_memory: int | None = None
    """MiB as nvidia-smi prints it: the memory available to programs; None if no log was seen."""
    size_of_host: bool = False
    """Whether the size in the driver's name is the CPU's memory."""
    tflops: float | None = None
    """Peak in bf16 (fp16 if the GPU has no bf16) with fp32 accumulation, without sparsity; TFLOPS.
    None for laptop GPUs, whose clock depends on the laptop, and where nothing is published."""
    fp32_tflops: float | None = None
    """The same in fp32 for GPUs without TF32; None for GPUs with TF32."""
    bandwidth: float | None = None
    """Of its memory, GB/s; None if unknown."""
    capability: float
    """CUDA compute capability."""

    @property
    def usable(self) -> int:
        """Return the bytes that its driver reports, which is less than the same number of GiB."""
        return self.driver_memory * MIB if self.driver_memory else round(self.memory * 1e9)

    @property
    def key(self) -> str:
        """Return the name as used in prices: ``rtx-a6000``, ``v100-sxm-32gb``."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.name.lower().removeprefix("geforce ")).strip("-")
        return plain.replace("-gb", "gb")

    @property
    def bf16(self) -> bool:
        """Return whether it supports bf16."""
        return self.capability >= AMPERE

    @property
    def flash(self) -> bool:
        """Return whether flash-attn 2 runs on it."""
        return self.capability >= AMPERE


class UnsupportedGpu(msgspec.Struct, frozen=True, kw_only=True):
    """GPUs of a vendor that ftwizard does not train on."""

    vendor: str
    pattern: str
    """Regular expression that their names match."""


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    cards: tuple[GpuSpec, ...]
    unsupported: tuple[UnsupportedGpu, ...] = ()


@functools.cache
def _table() -> _Table:
    return load_asset("gpu_specs.toml", _Table)


def cards() -> tuple[GpuSpec, ...]:
    """Return every GPU of the catalog, more specific ones first."""
    return _table().cards


def find_unsupported(name: str) -> str | None:
    """Return the vendor of a GPU that ftwizard does not train on: ``AMD`` for ``MI300X``."""
    return next(
        (gpu.vendor for gpu in _table().unsupported if re.search(gpu.pattern, name.lower())), None
    )


def parse_memory_size(text: str) -> int | None:
    """Parse a size alone (``8 GB``, ``8GB``, ``7.5 GiB``) into bytes; None for anything else.

    ``GB`` is 10⁹ bytes, so that a card sold with 8 GB never has less.
    """
    match = _SIZE_ALONE.fullmatch(text.strip())
    if match is None:
        return None
    unit = 2**30 if match["unit"].lower() == "gib" else 10**9
    size = float(match["size"]) * unit
    return round(size) if 10**9 <= size <= MAX_GB * 2**30 else None


def find_gpu(nvml_name: str | None, memory: int | None = None) -> GpuSpec | None:
    """Look up a GPU by the driver's name (``NVIDIA A100-SXM4-80GB``) or a typed name (``a100 40 gb``,
    ``rtx4090``); None if it is not in the catalog.

    ``memory``: bytes, if the driver reports them. It, or a size in the name, distinguishes GPUs with
    the same words; an unknown size (``A100-SXM-64GB``) matches none. MIG slices, laptop GPUs, Max-Q
    and other chips (4090 D, 3090 Ti) match none either, because their speed is unknown.
    """
    name = _GLUED.sub(r"\1 ", (nvml_name or "").lower())
    words = re.findall(r"[a-z]+\d*[a-z]*|\d+[a-z]*", name)
    variants = _VARIANTS & set(words)
    matches = [spec for spec in cards() if variants <= set(spec.words) <= set(words)]
    if not matches:
        return None
    alike = [spec for spec in matches if spec.words == matches[0].words]
    size_match = None if matches[0].size_of_host else _SIZE.search(name)
    size = memory / 1e9 if memory else float(size_match[1]) if size_match else None
    if not size:
        return alike[0]
    near = min(alike, key=lambda spec: abs(spec.memory - size))
    return near if abs(near.memory - size) <= _SIZE_TOLERANCE * near.memory else None


def find_typed_gpu(name: str) -> GpuSpec | None:
    """Look up a typed name as ``find_gpu`` does, but return None if it has unrecognized words."""
    matched = find_gpu(name)
    if matched is None:
        return None
    text = _GLUED.sub(r"\1 ", _SIZE.sub(" ", name.lower()))
    own = {*matched.words, *re.findall(r"\w+", matched.name.lower())}
    others = set(re.findall(r"[\w.]+", text)) - own
    return matched if all(map(_GENERIC.fullmatch, others)) else None


def describe_known() -> str:
    """Describe which GPUs are in the catalog, in one line."""
    return (
        "Known are NVIDIA's B200, H200, H100, A100, L40S, L4, A10, V100, T4, RTX A2000 to A6000, "
        "RTX Ada and GeForce RTX 20 to 50, also in laptops (“RTX 4070 Laptop”)."
    )


def nearest_gpu(name: str) -> str | None:
    """Return the GPU name in the catalog that is nearest to a typed one."""
    names = {spec.name.lower().removeprefix("geforce "): spec.name for spec in cards()}
    return names.get(find_similar(name.strip().lower(), names) or "")
