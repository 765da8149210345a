"""Disk space of a run: needed and free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ftwizard.estimate import disk
from ftwizard.hardware import machine
from ftwizard.quantity import Figure, today
from ftwizard.text import make_visible


def to_document(
    needs: dict[str, Figure], runs_folder: Path, cache: Path, parameters: int
) -> dict[str, Any]:
    """Return needed and free bytes on the disk of the runs, and on that of a download elsewhere.

    ``later``: what exporting a model of ``parameters`` parameters would need in addition.
    """
    download = needs.get("download")
    elsewhere = download and not machine.is_same_disk(runs_folder, cache)
    free = _free_space(runs_folder)
    cache_free = _free_space(cache) if elsewhere else None
    short = disk.find_shortage(
        needs, free=round(free.value), folder=str(runs_folder),
        cache_free=round(cache_free.value) if cache_free else None, cache=str(cache),
    )  # fmt: skip
    return {
        "short": msgspec.to_builtins(short),
        "parts": msgspec.to_builtins(needs),
        "later": msgspec.to_builtins(disk.estimate_later_exports(parameters)),
        "needed": msgspec.to_builtins(disk.sum_parts(needs, download=not elsewhere)),
        "free": msgspec.to_builtins(free),
        "elsewhere": {
            "folder": str(cache),
            "needed": msgspec.to_builtins(download),
            "free": msgspec.to_builtins(cache_free),
        }
        if elsewhere
        else None,
    }


def _free_space(folder: Path) -> Figure:
    """Return the free bytes on the disk of a folder, which need not exist."""
    return Figure(
        value=machine.get_free_bytes(folder), unit="bytes", as_of=today(),
        source=f"free on the disk of {make_visible(str(folder), 300)}",
    )  # fmt: skip
