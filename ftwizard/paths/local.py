"""Training on this machine: what command, in what environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ftwizard import credentials
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.jobs import launch
from ftwizard.machine import is_installed
from ftwizard.plan import Plan
from ftwizard.text import plural

NEEDED = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "genson", "jsonschema",
)  # fmt: skip


def check_installed(plan: Plan) -> None:
    """Raise MissingExtra for the first package that the plan needs and this Python lacks."""
    quantising = ("bitsandbytes",) if plan.recipe.method == "qlora" else ()
    for package in (*NEEDED, *quantising):
        if not is_installed(package):
            raise MissingExtra("local", package)
    for reporter in plan.report_to:
        names = ("tensorboard", "tensorboardX") if reporter == "tensorboard" else (reporter,)
        if not any(is_installed(name) for name in names):
            raise MissingExtra(f"local]' '{names[-1]}", reporter)


def argv(folder: Path) -> list[str]:
    """Return the command that trains what ``folder`` describes."""
    return [*launch.python(), "-m", "ftwizard", "_work", str(folder)]


def environment(plan: Plan, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the training: no secret that it does not need, one GPU."""
    keep = set(credentials.HUGGING_FACE)
    for reporter in plan.report_to:
        keep.update(credentials.REPORTERS[reporter])
    changed = credentials.without_secrets(os.environ if base is None else base, keep)
    # TRL refuses several visible GPUs in one process; a mistaken DataParallel is worse still.
    if "CUDA_VISIBLE_DEVICES" not in changed:
        # The number counts as the driver and the estimate do; CUDA alone begins with the fastest.
        changed["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    changed["CUDA_VISIBLE_DEVICES"] = _one_gpu(plan.where.gpu, changed.get("CUDA_VISIBLE_DEVICES"))
    changed.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Waiting threads of libgomp spin, by default so long that one busy neighbour on two cores made
    # a step 5.5 times as long; with this 1.9 times, and no slower on a quiet machine (measured).
    changed.setdefault("GOMP_SPINCOUNT", "1000")
    changed["HF_HUB_DISABLE_TELEMETRY"] = "1"
    changed["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    changed["PYTHONUNBUFFERED"] = "1"
    return changed


def _one_gpu(wanted: int | None, visible: str | None) -> str:
    """Return the one device for CUDA_VISIBLE_DEVICES; ``wanted`` counts among the visible ones."""
    if visible is None:
        return str(wanted or 0)
    devices = visible.split(",")
    if wanted is None:
        return devices[0]
    if wanted >= len(devices) or not visible:
        raise FtwizardError(
            f"where.gpu is {wanted}, but CUDA_VISIBLE_DEVICES={visible!r} shows "
            f"{plural(len(devices) if visible else 0, 'GPU')}.",
            "They are counted from 0 among those that are visible.",
        )
    return devices[wanted]
