"""Room on the disk: what a run keeps, part by part, and what to do where it is not there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from ftwizard.estimate.shape import Shape
from ftwizard.figure import Figure, oldest, today
from ftwizard.text import size, visible

Export = Literal["gguf-f16", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m", "gguf-q4_0"]

LATER: tuple[Export, Export] = ("gguf-f16", "gguf-q4_k_m")
"""What the merged model is most often made into."""
TOKENIZER_BYTES = 4_000_000
"""A tokenizer beside each set of weights (SmolLM2: 3.5 MB; vocabularies of 150,000: 11 MB)."""
AS_OF = "2026-11"
"""When the files of runs were last measured against what is worked out here."""
CHECKPOINTS = 3
"""The best and the newest are kept, and a third is there while it is written."""
ADAM_BYTES = 12
"""Of each trained parameter in a checkpoint: weight and two AdamW moments in 32 bit.
Measured: 63 MB for the 4.9 million of SmolLM2-135M at rank 16."""
HALF_BYTES = 2
"""Of each parameter of a model saved in 16 bit."""
MXFP4_BITS = 4.25
"""Of a weight: 4 bits, and 8 that 32 of them share. Source: OCP Microscaling Formats (MX) 1.0; of
gpt-oss-20b it gives 13.8 GB, which is what its files on the Hub have."""
BITS: dict[Export, float] = {
    "gguf-f16": 16.0, "gguf-q8_0": 8.5, "gguf-q6_k": 6.6, "gguf-q5_k_m": 5.7, "gguf-q4_k_m": 4.9,
    "gguf-q4_0": 4.6,
}  # fmt: skip
"""Of each weight in a GGUF file, scales and the finer output layer included. Source: llama.cpp,
tools/quantize/README.md, sizes of Llama 3.1 8B."""
SMALL_MODEL = 1.25
"""Small models weigh up to this many times more: their embeddings are most of them, and finer."""


class Short(msgspec.Struct, frozen=True, kw_only=True):
    """What does not fit, and what to do."""

    message: str
    hint: str
    missing: int
    """Bytes."""


def parts(
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

    ``trained`` and ``parameters`` count the trained and all parameters of the model; ``download``
    is what of it is still to be fetched, in bytes, None where that is not known: then it is
    ``stored``, or 16 bits a parameter.
    """

    def figure(value: float, source: str, as_of: str = AS_OF) -> Figure:
        return Figure(value=value, unit="bytes", source=source, as_of=as_of)

    found: dict[str, Figure] = {}
    if download is None:
        found["download"] = stored or figure(
            parameters * HALF_BYTES, f"{HALF_BYTES} bytes a parameter, as its size is not known"
        )
    elif download:
        found["download"] = figure(download, "files on the Hub that are not in the cache", today())
    one = trained * ADAM_BYTES + TOKENIZER_BYTES
    found["checkpoints"] = figure(
        CHECKPOINTS * one,
        f"{CHECKPOINTS} × ({ADAM_BYTES} bytes a trained parameter: itself and two states of the "
        "optimizer)",
    )
    if adapter:
        found["adapter"] = figure(trained * 4 + TOKENIZER_BYTES, "4 bytes a trained parameter")
    files = tuple(dict.fromkeys(exports))
    if merges or files or not adapter:
        found["merged"] = figure(
            parameters * HALF_BYTES + TOKENIZER_BYTES, f"{HALF_BYTES} bytes a parameter"
        )
    if files:
        found["exports"] = _exports(parameters, files)
    return found


def stored(config: Mapping[str, Any], shape: Shape) -> Figure | None:
    """Return the bytes of a model's files where its ``config`` says that they are quantised in a way
    whose size follows from it; None for all others.

    MXFP4 (gpt-oss) quantises the experts alone.
    """
    how = config.get("quantization_config")
    if not isinstance(how, Mapping) or how.get("quant_method") != "mxfp4":
        return None
    experts = sum(one.inputs * one.outputs * one.count for one in shape.linears if one.fused)
    value = experts * MXFP4_BITS / 8 + (shape.parameters - experts) * HALF_BYTES
    return Figure(as_of=AS_OF, 
        value=round(value), unit="bytes",
        source=f"its configuration: experts in MXFP4, {MXFP4_BITS} bits a weight, the rest in 16 bit",
    )  # fmt: skip


def _exports(parameters: int, files: tuple[Export, ...]) -> Figure:
    """Return the files' bytes, and those of the 16-bit file that smaller ones are made of."""
    made_of: tuple[Export, ...] = () if "gguf-f16" in files else ("gguf-f16",)
    value = sum(parameters * BITS[one] / 8 for one in (*files, *made_of))
    named = ", ".join(f"{one} at {BITS[one]:g} bits a weight" for one in files)
    way = "; and the 16-bit file that they are made of" if made_of else ""
    return Figure(
        value=value, unit="bytes", low=value * 0.97, high=value * SMALL_MODEL, as_of="2025-12",
        source=f"{named}{way} (llama.cpp, quantize)",
    )  # fmt: skip


def later(parameters: int) -> dict[str, Figure]:
    """Return the bytes of a 16-bit file in GGUF, and of one of 4 bits with the 16-bit one that it is
    made of: what an export of the merged model takes, which is no part of a run."""
    return {one: _exports(parameters, (one,)) for one in LATER}


def left(found: Mapping[str, Any]) -> float:
    """Return the bytes that are free beside what a run needs.

    ``found``: the document of the room that there is (``needed``, ``free``, ``short``). Infinite
    where the run itself has no room: that is said then, and nothing of what might come after it.
    """
    if found.get("short"):
        return math.inf
    return float(found["free"]["value"] - found["needed"]["value"])


def later_words(found: Mapping[str, Figure], free: float) -> str:
    """Return ``later`` in words, against the bytes that are free on the disk beside the run."""
    half, four = (found[one].value for one in LATER)
    words = f"on top, if exported to GGUF: {size(half)}; with one of 4 bit {size(four)}"
    if four <= free:
        return words
    return f"{words}: {'the latter is' if half <= free else 'both are'} more than is then free"


def named(parts: Mapping[str, Figure]) -> str:
    """Return the parts in words, without what is fetched: ``checkpoints 7.5 GB, merged 141.1 GB``."""
    return ", ".join(
        f"{name} {size(one.value)}" for name, one in parts.items() if name != "download"
    )


def needed(parts: Mapping[str, Figure], *, download: bool = True) -> Figure:
    """Return the bytes of all parts; without those to fetch where these go to another disk."""
    counted = {name: one for name, one in parts.items() if download or name != "download"}
    return Figure(
        value=round(sum(one.value for one in counted.values())), unit="bytes",
        source=f"the sum of {', '.join(counted)}",
        as_of=oldest(one.as_of for one in counted.values()),
    )  # fmt: skip


def short(
    parts: Mapping[str, Figure],
    *,
    free: int,
    folder: str,
    cache_free: int | None = None,
    cache: str = "",
    written: int = 0,
) -> Short | None:
    """Return what does not fit, and what to do; None where all does.

    ``free`` bytes are where runs are kept, in ``folder``; ``cache_free`` where models are fetched
    to, in ``cache``: None if that is the same disk; ``written`` of a run that goes on are there.
    """
    download = parts.get("download")
    if download and cache_free is not None and download.value > cache_free:
        return Short(
            message=f"The model's files are about {size(download.value)}, and {size(cache_free)} "
            f"are free where {visible(cache)} is.",
            hint="Set HF_HOME to a folder on a larger disk, or take a smaller model.",
            missing=round(download.value) - cache_free,
        )
    here = round(needed(parts, download=cache_free is None).value) - written
    if here <= free:
        return None
    missing, where = here - free, f"where {visible(folder)} is"
    if download and cache_free is None and download.value > free:
        message = (
            f"The model's files alone are about {size(download.value)}, and {size(free)} are free "
            f"{where}."
        )
        return Short(
            message=message,
            hint="Set HF_HOME and FTWIZARD_HOME to folders on a larger disk, or take a smaller model.",
            missing=missing,
        )
    kept = {k: one for k, one in parts.items() if cache_free is None or k != "download"}
    named = ", ".join(f"{name} {size(one.value)}" for name, one in kept.items())
    needs = f"This run needs about {size(here)} ({named})"
    if written:
        needs = (
            f"This run needs about {size(here + written)} ({named}), of which {size(written)} are "
            "there"
        )
    return Short(
        message=f"{needs}, and {size(free)} are free {where}.",
        hint=_instead(parts, missing),
        missing=missing,
    )


def _instead(parts: Mapping[str, Figure], missing: int) -> str:
    """Return the least that one can do without, where that is enough."""
    move = "Free some space, or set FTWIZARD_HOME to a folder on a larger disk"
    exports, merged = (parts[name].value if name in parts else 0 for name in ("exports", "merged"))
    if exports >= missing:
        return f"{move}; without the exports it fits."
    if "adapter" in parts and merged and exports + merged >= missing:
        return f"{move}; with finish.merge: false, the adapter alone, it fits."
    if "adapter" not in parts:
        return f"{move}; or train an adapter (recipe.method: lora), which keeps far less."
    return f"{move}; or take a smaller model."
