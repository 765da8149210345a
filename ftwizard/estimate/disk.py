"""Disk space of a run, part by part, and fixes if it does not suffice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.hardware import machine
from ftwizard.models.shapes import ModelShape
from ftwizard.plan import export_forms
from ftwizard.quantity import Figure, oldest_date, today
from ftwizard.text import format_bytes, make_visible

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
EXPORT_BITS = {"gguf-f16": 16.0, "gguf-q4_k_m": 4.9}
"""Per weight in the most common exports of a merged model, including scales and the more precise
output layer. Source: llama.cpp, tools/quantize/README.md, sizes of Llama 3.1 8B."""
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
    download, elsewhere, here = needs.get("download"), None, needs
    if download and not machine.is_same_disk(runs_folder, cache):
        elsewhere = CacheSpace(folder=str(cache), needed=download, free=_free_space(cache))
        here = _without_download(needs)
    free = _free_space(runs_folder)
    short = find_shortage(
        needs, free=round(free.value), folder=str(runs_folder),
        cache_free=round(elsewhere.free.value) if elsewhere else None, cache=str(cache),
    )  # fmt: skip
    return DiskReport(
        short=short, parts=needs, later=estimate_later_exports(parameters), needed=sum_parts(here),
        free=free, elsewhere=elsewhere,
    )  # fmt: skip


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
    exports: Iterable[str] = (),
) -> dict[str, Figure]:
    """Return bytes by part: ``download``, ``checkpoints``, ``adapter``, ``merged``, ``export``.

    ``trained`` and ``parameters`` count the trainable and all parameters; ``download``: bytes still
    to download, or None if unknown, which then defaults to ``stored``, else 16 bits per parameter.
    """

    def figure(value: float, source: str, as_of: str = AS_OF) -> Figure:
        return Figure(value=value, unit="bytes", source=source, as_of=as_of)

    by_part: dict[str, Figure] = {}
    each = f"{HALF_BYTES} bytes per parameter"
    if download is None:
        unknown = figure(parameters * HALF_BYTES, f"{each}, because its size is unknown")
        by_part["download"] = stored or unknown
    elif download:
        by_part["download"] = figure(download, "files on the Hub that are not cached yet", today())
    by_part["checkpoints"] = figure(
        CHECKPOINTS * (trained * ADAM_BYTES + TOKENIZER_BYTES),
        f"{CHECKPOINTS} × ({ADAM_BYTES} bytes per trainable parameter: weight and two optimizer "
        "states)",
    )
    if adapter:
        by_part["adapter"] = figure(
            trained * 4 + TOKENIZER_BYTES, "4 bytes per trainable parameter"
        )
    if merges or not adapter:
        by_part["merged"] = figure(parameters * HALF_BYTES + TOKENIZER_BYTES, each)
    if bits := export_forms.sum_bits(exports):
        by_part["export"] = figure(
            parameters * bits / 8, f"{bits:g} bits per parameter: {', '.join(exports)}"
        )
    return by_part


def estimate_file_size(config: Mapping[str, Any], shape: ModelShape) -> Figure | None:
    """Return the file size of a quantized model if ``config`` determines it; None for all others.

    Only MXFP4 (gpt-oss) is supported, which quantizes only the experts.
    """
    how = config.get("quantization_config")
    if not isinstance(how, Mapping) or how.get("quant_method") != "mxfp4":
        return None
    experts = sum(linear.weights for linear in shape.linears if linear.fused)
    value = experts * MXFP4_BITS / 8 + (shape.parameters - experts) * HALF_BYTES
    return Figure(
        value=round(value), unit="bytes", as_of=AS_OF,
        source=f"its configuration: experts in MXFP4, {MXFP4_BITS} bits per weight, the rest 16-bit",
    )  # fmt: skip


def estimate_later_exports(parameters: int) -> dict[str, Figure]:
    """Return the bytes of a later GGUF export: 16-bit, and 4-bit with its 16-bit source file."""
    exports, before, made_from = {}, 0.0, ""
    for name, bits in EXPORT_BITS.items():
        value = parameters * bits / 8 + before
        exports[name] = Figure(
            value=value, unit="bytes", low=value * 0.97, high=value * SMALL_MODEL, as_of="2025-12",
            source=f"{name} at {bits:g} bits per weight{made_from} (llama.cpp, quantize)",
        )  # fmt: skip
        before, made_from = value, "; plus the 16-bit file they are made from"
    return exports


def describe_later_exports(later_parts: Mapping[str, Figure], free: float) -> str:
    """Describe ``later`` exports, compared with the bytes that stay free after the run."""
    half, four = (later_parts[export].value for export in EXPORT_BITS)
    words = f"a GGUF file, made with other tools: {format_bytes(half)} more; with a 4-bit file {format_bytes(four)}"
    if four <= free:
        return words
    return f"{words} ({'the latter exceeds' if half <= free else 'both exceed'} the free space)"


def format_parts(parts: Mapping[str, Figure]) -> str:
    """Format the parts without the download: ``checkpoints 7.5 GB, merged 141.1 GB``."""
    return _name_parts(_without_download(parts))


def _name_parts(parts: Mapping[str, Figure]) -> str:
    return ", ".join(f"{name} {format_bytes(part.value)}" for name, part in parts.items())


def _without_download(parts: Mapping[str, Figure]) -> dict[str, Figure]:
    return {name: part for name, part in parts.items() if name != "download"}


def sum_parts(parts: Mapping[str, Figure]) -> Figure:
    """Return the bytes of all parts."""
    return Figure(
        value=round(sum(part.value for part in parts.values())), unit="bytes",
        source=f"sum of {', '.join(parts)}",
        as_of=oldest_date(part.as_of for part in parts.values()),
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
    here = parts if cache_free is None else _without_download(parts)
    total = round(sum_parts(here).value)
    missing = total - written - free
    if missing <= 0:
        return None
    only = f"but only {format_bytes(free)} are free at {make_visible(folder)}."
    if "download" in here and here["download"].value > free:
        size = format_bytes(here["download"].value)
        return DiskShortage(
            message=f"The model's files alone need about {size}, {only}",
            hint="Set HF_HOME and FTWIZARD_HOME to folders on a larger disk, or choose a smaller model.",
            missing=missing,
        )
    needs = f"This run needs about {format_bytes(total)} ({_name_parts(here)})"
    if written:
        needs += f" and has written {format_bytes(written)}"
    return DiskShortage(
        message=f"{needs}, {only}", hint=_suggest_fix(parts, missing), missing=missing
    )


def _suggest_fix(parts: Mapping[str, Figure], missing: int) -> str:
    """Suggest the smallest thing to leave out, if that is enough."""
    move = "Free some space, or set FTWIZARD_HOME to a folder on a larger disk"
    if "adapter" not in parts:
        return f"{move}. Or train an adapter (recipe.method: lora), which needs far less space."
    if "export" in parts and parts["export"].value >= missing:
        return f"{move}. It fits without finish.export."
    if "merged" in parts and "export" not in parts and parts["merged"].value >= missing:
        return f"{move}. It fits with finish.merge: false (adapter only)."
    return f"{move}. Or choose a smaller model."
