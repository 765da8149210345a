"""Disk space of a run, part by part, and fixes if it does not suffice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.hardware import machine
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure, oldest_date, today
from ftwizard.text import format_bytes, make_visible

Export = Literal["gguf-f16", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m", "gguf-q4_0"]

LATER: tuple[Export, Export] = ("gguf-f16", "gguf-q4_k_m")
"""The most common exports of a merged model."""
TOKENIZER_BYTES = 4_000_000
"""A tokenizer is saved with each set of weights (SmolLM2: 3.5 MB; vocabularies of 150,000: 11 MB)."""
AS_OF = "2026-11"
"""When these estimates were last compared with the files of real runs."""
CHECKPOINTS = 3
"""The best and the newest are kept; a third exists while it is written."""
ADAM_BYTES = 12
"""Per trainable parameter in a checkpoint: weight and two AdamW moments in 32 bit.
Measured: 63 MB for the 4.9 million of SmolLM2-135M at rank 16."""
HALF_BYTES = 2
"""Per parameter of a model saved in 16 bit."""
MXFP4_BITS = 4.25
"""Per weight: 4 bits plus 8 bits shared by 32 weights. Source: OCP Microscaling Formats (MX) 1.0;
gives 13.8 GB for gpt-oss-20b, the size of its files on the Hub."""
BITS: dict[Export, float] = {
    "gguf-f16": 16.0, "gguf-q8_0": 8.5, "gguf-q6_k": 6.6, "gguf-q5_k_m": 5.7, "gguf-q4_k_m": 4.9,
    "gguf-q4_0": 4.6,
}  # fmt: skip
"""Per weight in a GGUF file, including scales and the more precise output layer. Source: llama.cpp,
tools/quantize/README.md, sizes of Llama 3.1 8B."""
SMALL_MODEL = 1.25
"""Size factor for small models, which consist mostly of embeddings, stored with more precision."""


class DiskShortage(msgspec.Struct, frozen=True, kw_only=True):
    """A shortage of disk space and how to fix it."""

    message: str
    hint: str
    missing: int
    """Bytes."""


class CacheSpace(msgspec.Struct, frozen=True, kw_only=True):
    """A download to another disk than that of the runs."""

    folder: str
    needed: Figure
    free: Figure


class DiskReport(msgspec.Struct, frozen=True, kw_only=True):
    """Disk space of a run: needed and free."""

    short: DiskShortage | None
    parts: dict[str, Figure]
    later: dict[str, Figure]
    """What exporting the model would need in addition."""
    needed: Figure
    """On the disk of the runs."""
    free: Figure
    elsewhere: CacheSpace | None
    """The download, if it goes to another disk."""

    @property
    def free_after_run(self) -> float:
        """Return the bytes that stay free after the run.

        Infinite if the run itself does not fit, so that only that shortage is reported.
        """
        return math.inf if self.short else self.free.value - self.needed.value


def check_space(
    needs: dict[str, Figure], runs_folder: Path, cache: Path, parameters: int
) -> DiskReport:
    """Compare needed with free bytes on the disk of the runs, and on that of a download elsewhere.

    ``parameters``: of the model, to estimate later exports.
    """
    download = needs.get("download")
    is_elsewhere = download is not None and not machine.is_same_disk(runs_folder, cache)
    free = _free_space(runs_folder)
    elsewhere = None
    if download and is_elsewhere:
        elsewhere = CacheSpace(folder=str(cache), needed=download, free=_free_space(cache))
    short = find_shortage(
        needs, free=round(free.value), folder=str(runs_folder),
        cache_free=round(elsewhere.free.value) if elsewhere else None, cache=str(cache),
    )  # fmt: skip
    return DiskReport(
        short=short,
        parts=needs,
        later=estimate_later_exports(parameters),
        needed=sum_parts(needs, download=not elsewhere),
        free=free,
        elsewhere=elsewhere,
    )


def _free_space(folder: Path) -> Figure:
    """Return the free bytes on the disk of a folder, which need not exist."""
    return Figure(
        value=machine.get_free_bytes(folder), unit="bytes", as_of=today(),
        source=f"free on the disk of {make_visible(str(folder), 300)}",
    )  # fmt: skip


def estimate_parts(
    *,
    trained: int,
    parameters: int,
    adapter: bool,
    merges: bool,
    download: int | None = 0,
    stored: Figure | None = None,
    exports: Iterable[Export] = (),
) -> dict[str, Figure]:
    """Return bytes by part: ``download``, ``checkpoints``, ``adapter``, ``merged``, ``exports``.

    ``trained`` and ``parameters`` count the trainable and all parameters; ``download``: bytes still
    to download, or None if unknown, which then defaults to ``stored``, else 16 bits per parameter.
    """

    def figure(value: float, source: str, as_of: str = AS_OF) -> Figure:
        return Figure(value=value, unit="bytes", source=source, as_of=as_of)

    by_part: dict[str, Figure] = {}
    if download is None:
        by_part["download"] = stored or figure(
            parameters * HALF_BYTES,
            f"{HALF_BYTES} bytes per parameter, because its size is unknown",
        )
    elif download:
        by_part["download"] = figure(download, "files on the Hub that are not cached yet", today())
    checkpoint = trained * ADAM_BYTES + TOKENIZER_BYTES
    by_part["checkpoints"] = figure(
        CHECKPOINTS * checkpoint,
        f"{CHECKPOINTS} × ({ADAM_BYTES} bytes per trainable parameter: weight and two optimizer "
        "states)",
    )
    if adapter:
        by_part["adapter"] = figure(
            trained * 4 + TOKENIZER_BYTES, "4 bytes per trainable parameter"
        )
    files = tuple(dict.fromkeys(exports))
    if merges or files or not adapter:
        by_part["merged"] = figure(
            parameters * HALF_BYTES + TOKENIZER_BYTES, f"{HALF_BYTES} bytes per parameter"
        )
    if files:
        by_part["exports"] = _exports(parameters, files)
    return by_part


def estimate_file_size(config: Mapping[str, Any], shape: ModelShape) -> Figure | None:
    """Return the file size of a quantized model if ``config`` determines it; None for all others.

    Only MXFP4 (gpt-oss) is supported, which quantizes only the experts.
    """
    how = config.get("quantization_config")
    if not isinstance(how, Mapping) or how.get("quant_method") != "mxfp4":
        return None
    experts = sum(
        linear.inputs * linear.outputs * linear.count for linear in shape.linears if linear.fused
    )
    value = experts * MXFP4_BITS / 8 + (shape.parameters - experts) * HALF_BYTES
    return Figure(
        value=round(value), unit="bytes", as_of=AS_OF,
        source=f"its configuration: experts in MXFP4, {MXFP4_BITS} bits per weight, the rest 16-bit",
    )  # fmt: skip


def _exports(parameters: int, files: tuple[Export, ...]) -> Figure:
    """Return the bytes of the files, and of the 16-bit file that smaller ones are made from."""
    made_of: tuple[Export, ...] = () if "gguf-f16" in files else ("gguf-f16",)
    value = sum(parameters * BITS[export] / 8 for export in (*files, *made_of))
    named = ", ".join(f"{export} at {BITS[export]:g} bits per weight" for export in files)
    source_file = "; plus the 16-bit file they are made from" if made_of else ""
    return Figure(
        value=value, unit="bytes", low=value * 0.97, high=value * SMALL_MODEL, as_of="2025-12",
        source=f"{named}{source_file} (llama.cpp, quantize)",
    )  # fmt: skip


def estimate_later_exports(parameters: int) -> dict[str, Figure]:
    """Return the bytes of a later GGUF export: 16-bit, and 4-bit with its 16-bit source file."""
    return {export: _exports(parameters, (export,)) for export in LATER}


def describe_later_exports(later_parts: Mapping[str, Figure], free: float) -> str:
    """Describe ``later`` exports, compared with the bytes that stay free after the run."""
    half, four = (later_parts[export].value for export in LATER)
    words = f"GGUF export: {format_bytes(half)} more; with a 4-bit file {format_bytes(four)}"
    if four <= free:
        return words
    return f"{words} ({'the latter exceeds' if half <= free else 'both exceed'} the free space)"


def format_parts(parts: Mapping[str, Figure]) -> str:
    """Format the parts without the download: ``checkpoints 7.5 GB, merged 141.1 GB``."""
    return ", ".join(
        f"{name} {format_bytes(part.value)}" for name, part in parts.items() if name != "download"
    )


def sum_parts(parts: Mapping[str, Figure], *, download: bool = True) -> Figure:
    """Return the bytes of all parts, without the download if that goes to another disk."""
    counted = {name: part for name, part in parts.items() if download or name != "download"}
    return Figure(
        value=round(sum(part.value for part in counted.values())), unit="bytes",
        source=f"sum of {', '.join(counted)}",
        as_of=oldest_date(part.as_of for part in counted.values()),
    )  # fmt: skip


def find_shortage(
    parts: Mapping[str, Figure],
    *,
    free: int,
    folder: str,
    cache_free: int | None = None,
    cache: str = "",
    written: int = 0,
) -> DiskShortage | None:
    """Return the shortage of disk space; None if everything fits.

    ``free``: bytes on the disk of ``folder``, where runs are stored; ``cache_free``: bytes on the
    disk of ``cache``, for model downloads, None if it is the same disk; ``written``: bytes that a
    resumed run has already written.
    """
    download = parts.get("download")
    if download and cache_free is not None and download.value > cache_free:
        return DiskShortage(
            message=f"The model's files need about {format_bytes(download.value)}, but only "
            f"{format_bytes(cache_free)} are free at {make_visible(cache)}.",
            hint="Set HF_HOME to a folder on a larger disk, or choose a smaller model.",
            missing=round(download.value) - cache_free,
        )
    here = round(sum_parts(parts, download=cache_free is None).value) - written
    if here <= free:
        return None
    missing, where = here - free, f"at {make_visible(folder)}"
    if download and cache_free is None and download.value > free:
        message = (
            f"The model's files alone need about {format_bytes(download.value)}, but only {format_bytes(free)} are "
            f"free {where}."
        )
        return DiskShortage(
            message=message,
            hint="Set HF_HOME and FTWIZARD_HOME to folders on a larger disk, or choose a smaller model.",
            missing=missing,
        )
    kept = {k: part for k, part in parts.items() if cache_free is None or k != "download"}
    named = ", ".join(f"{name} {format_bytes(part.value)}" for name, part in kept.items())
    needs = f"This run needs about {format_bytes(here)} ({named})"
    if written:
        needs = f"This run needs about {format_bytes(here + written)} ({named}) and has written {format_bytes(written)}"
    return DiskShortage(
        message=f"{needs}, but only {format_bytes(free)} are free {where}.",
        hint=_suggest_fix(parts, missing),
        missing=missing,
    )


def _suggest_fix(parts: Mapping[str, Figure], missing: int) -> str:
    """Suggest the smallest thing to leave out, if that is enough."""
    move = "Free some space, or set FTWIZARD_HOME to a folder on a larger disk"
    exports, merged = (parts[name].value if name in parts else 0 for name in ("exports", "merged"))
    if exports >= missing:
        return f"{move}. It fits without the exports."
    if "adapter" in parts and merged and exports + merged >= missing:
        return f"{move}. It fits with finish.merge: false (adapter only)."
    if "adapter" not in parts:
        return f"{move}. Or train an adapter (recipe.method: lora), which needs far less space."
    return f"{move}. Or choose a smaller model."
