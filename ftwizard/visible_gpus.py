"""Which GPUs ``CUDA_VISIBLE_DEVICES`` shows, and in which order a run then counts them."""

from __future__ import annotations

from typing import Any


def chosen(there: list[dict[str, Any]], shown: str) -> list[dict[str, Any]]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` shows, in its order.

    As CUDA reads it: numbers, or UUIDs as far as they tell one GPU from the others; the first that
    is neither ends the list. Of a part of a GPU (MIG) the driver tells no memory here.
    """
    found: list[dict[str, Any]] = []
    for name in map(str.strip, shown.split(",")):
        if name.startswith("MIG-"):
            found.append({"name": None, "memory_total": None, "memory_used": None})
            continue
        alike = [one for one in there if _is_called(one, name)]
        if len(alike) != 1 or alike[0] in found:
            break
        found += alike
    return found


def _is_called(one: dict[str, Any], name: str) -> bool:
    if name.isdecimal():
        return bool(one["index"] == int(name))
    return name.startswith("GPU-") and str(one.get("uuid") or "").startswith(name)
