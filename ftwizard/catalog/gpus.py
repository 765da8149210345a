"""Graphics cards: how much they hold, how fast they multiply and move, as their maker says."""

from __future__ import annotations

import difflib
import functools
import re

import msgspec

from ftwizard.catalog.sourced import Sourced, asset

AMPERE = 8.0
"""The first compute capability with bf16, and the first that flash-attn 2 runs on (its README)."""

_GLUED = re.compile(r"\b(rtx|gtx|tesla|geforce)(?=\d)")
_SIZE = re.compile(r"\b(\d{2,3})\s*gi?b\b")
"""The gigabytes that a name tells: ``80GB``, ``80 GB``."""
MIB = 2**20
_BESIDE = re.compile(
    r"nvidia|geforce|tesla|quadro|rtx|sxm\d?|pcie|hbm\d?e?|gddr\d?x?|tensor|core|gpu|card|generation|"
    r"server|workstation|edition"
)
"""Words in names of cards that tell none apart from others."""
_OTHERS = frozenset(("mig", "laptop", "mobile", "max", "d", "ti", "super", "grid"))
"""Words of names of slices and of slower or faster cards than the one that the rest names."""
_SIZE_WITHIN = 0.12
"""A size that differs by more than this share from what a card is sold with is another card's:
drivers report up to 7.5 % more (GiB for GB) and 5 % less."""


class Card(Sourced, frozen=True, kw_only=True):
    """One kind of card; ``source`` is the maker's datasheet."""

    name: str
    words: tuple[str, ...]
    """All stand in the driver's name of it."""
    memory: float
    """GB (10⁹ bytes), as it is sold."""
    driver_memory: int
    """MiB, as nvidia-smi prints them: what the driver gives to programs."""
    size_of_host: bool = False
    """The size in the driver's name is that of the processor's memory."""
    tflops: float
    """Peak of bf16 products, or fp16 without bf16, summed in fp32 and without sparsity: 10¹² a
    second."""
    fp32_tflops: float | None = None
    """The same of fp32 products where no tensor core multiplies them (no TF32); None where one does."""
    bandwidth: float
    """Of its memory, GB a second."""
    capability: float
    """CUDA compute capability."""

    @property
    def usable(self) -> int:
        """Return the bytes that its driver reports: fewer than it is sold with."""
        return self.driver_memory * MIB

    @property
    def key(self) -> str:
        """Return the name as prices have it: ``rtx-a6000``, ``v100-sxm-32gb``."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.name.lower().removeprefix("geforce ")).strip("-")
        return plain.replace("-gb", "gb")

    @property
    def bf16(self) -> bool:
        """Say whether it multiplies bf16."""
        return self.capability >= AMPERE

    @property
    def flash(self) -> bool:
        """Say whether flash-attn 2 runs on it."""
        return self.capability >= AMPERE


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    cards: tuple[Card, ...]


@functools.cache
def cards() -> tuple[Card, ...]:
    """Return every card that is known, more specific words first."""
    return asset("gpus.toml", _Table).cards


def card(nvml_name: str | None, memory: int | None = None) -> Card | None:
    """Return the card of a driver's name, such as ``NVIDIA A100-SXM4-80GB``, or of a name as it is
    typed: ``a100 40 gb``, ``rtx4090``; None if not known.

    ``memory``: bytes, where the driver tells them. By it, or by a size in the name, cards of the
    same words are told apart, and one of another size (``A100-SXM-64GB``) is none of these. Nor is a
    slice of a card (MIG), or one of a laptop, with less power (Max-Q) or another chip (4090 D,
    3090 Ti): they are slower or faster by nobody knows how much.
    """
    name = _GLUED.sub(r"\1 ", (nvml_name or "").lower())
    words = re.findall(r"[a-z]+\d*[a-z]*|\d+[a-z]*", name)
    if _OTHERS & set(words):
        return None
    found = [one for one in cards() if set(one.words) <= set(words)]
    if not found:
        return None
    alike = [one for one in found if one.words == found[0].words]
    told = None if found[0].size_of_host else _SIZE.search(name)
    size = memory / 1e9 if memory else float(told[1]) if told else None
    if not size:
        return alike[0]
    near = min(alike, key=lambda one: abs(one.memory - size))
    return near if abs(near.memory - size) <= _SIZE_WITHIN * near.memory else None


def typed(name: str) -> Card | None:
    """Return the card that a person names, as ``card`` does; None too where words are left over."""
    found = card(name)
    if found is None:
        return None
    text = _GLUED.sub(r"\1 ", _SIZE.sub(" ", name.lower()))
    own = {*found.words, *re.findall(r"\w+", found.name.lower())}
    left = [one for one in re.findall(r"[\w.]+", text) if one not in own]
    return None if any(not _BESIDE.fullmatch(one) for one in left) else found


def nearest(name: str) -> str | None:
    """Return the known card's name that is most like this one, as it is typed."""
    known = {one.name.lower().removeprefix("geforce "): one.name for one in cards()}
    near = difflib.get_close_matches(name.strip().lower(), known, 1)
    return known[near[0]] if near else None
