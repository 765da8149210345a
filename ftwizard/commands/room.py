"""Room on the disks that a run writes to: what is needed, and what is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ftwizard import machine
from ftwizard.estimate import disk
from ftwizard.figure import Figure


def room(
    needs: dict[str, Figure], runs_folder: Path, cache: Path, parameters: int
) -> dict[str, Any]:
    """Return what is needed and free where the runs are, and for a download elsewhere there, in
    bytes; ``later`` is what exporting a model of so many ``parameters`` would take on top."""
    download = needs.get("download")
    elsewhere = download and not machine.on_one_disk(runs_folder, cache)
    here = [part for part in needs.values() if not (elsewhere and part is download)]
    cache_free = machine.free_bytes(cache) if elsewhere else None
    short = disk.short(
        needs, free=machine.free_bytes(runs_folder), folder=str(runs_folder),
        cache_free=cache_free, cache=str(cache),
    )  # fmt: skip
    return {
        "short": msgspec.to_builtins(short),
        "parts": msgspec.to_builtins(needs),
        "later": msgspec.to_builtins(disk.later(parameters)),
        "needed": round(sum(part.value for part in here)),
        "free": machine.free_bytes(runs_folder),
        "elsewhere": {
            "folder": str(cache),
            "needed": round(download.value),
            "free": cache_free,
        }
        if download and elsewhere
        else None,
    }
