"""Selection of GPUs by ``CUDA_VISIBLE_DEVICES``, in the order in which a run counts them."""

from __future__ import annotations

from typing import Any


def select(gpus: list[dict[str, Any]], selection: str) -> list[dict[str, Any]]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` selects, in its order.

    As in CUDA: indices, or unique prefixes of UUIDs; the first invalid entry ends the list. For a
    MIG instance, the driver does not tell the memory here.
    """
    selected: list[dict[str, Any]] = []
    for name in map(str.strip, selection.split(",")):
        if name.startswith("MIG-"):
            selected.append({"name": None, "memory_total": None, "memory_used": None})
            continue
        matches = [gpu for gpu in gpus if _matches(gpu, name)]
        if len(matches) != 1 or matches[0] in selected:
            break
        selected += matches
    return selected


def _matches(gpu: dict[str, Any], name: str) -> bool:
    if name.isdecimal():
        return bool(gpu["index"] == int(name))
    return name.startswith("GPU-") and str(gpu.get("uuid") or "").startswith(name)
