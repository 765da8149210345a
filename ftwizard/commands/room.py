"""Room on the disks that a run writes to: what is needed, and what is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ftwizard import machine
from ftwizard.estimate import disk
from ftwizard.figure import Figure, today
from ftwizard.text import visible


def room(
    needs: dict[str, Figure], runs_folder: Path, cache: Path, parameters: int
) -> dict[str, Any]:
    """Return what is needed and free where the runs are, and for a download elsewhere there, as
    figures in bytes; ``later`` is what exporting a model of so many ``parameters`` would take on top."""
    download = needs.get("download")
    elsewhere = download and not machine.on_one_disk(runs_folder, cache)
    free = _free(runs_folder)
    cache_free = _free(cache) if elsewhere else None
    short = disk.short(
        needs, free=round(free.value), folder=str(runs_folder),
        cache_free=round(cache_free.value) if cache_free else None, cache=str(cache),
    )  # fmt: skip
    return {
        "short": msgspec.to_builtins(short),
        "parts": msgspec.to_builtins(needs),
        "later": msgspec.to_builtins(disk.later(parameters)),
        "needed": msgspec.to_builtins(disk.needed(needs, download=not elsewhere)),
        "free": msgspec.to_builtins(free),
        "elsewhere": {
            "folder": str(cache),
            "needed": msgspec.to_builtins(download),
            "free": msgspec.to_builtins(cache_free),
        }
        if elsewhere
        else None,
    }


def _free(folder: Path) -> Figure:
    """Return the bytes that are free where a folder is, or is going to be."""
    return Figure(
        value=machine.free_bytes(folder), unit="bytes", as_of=today(),
        source=f"free on the disk of {visible(str(folder), 300)}",
    )  # fmt: skip
