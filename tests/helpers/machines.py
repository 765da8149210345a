"""Machine descriptions for tests."""

from __future__ import annotations

from typing import Any

from ftwizard.hardware.machine import Gpu, MachineInfo


def make_machine(*gpus: Gpu, **changed: Any) -> MachineInfo:
    """Return a machine with these GPUs, without credentials and extras."""
    fields: dict[str, Any] = {
        "no_gpu": None if gpus else "none", "memory": 16 * 10**9, "cores": 2, "bfloat16_cpu": True,
        "disk_free": 10**11, "credentials": (), "extras": (),
    }  # fmt: skip
    return MachineInfo(gpus=gpus, **{**fields, **changed})
