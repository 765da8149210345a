"""Training on this machine: what command, in what environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ftwizard import credentials
from ftwizard.errors import MissingExtra
from ftwizard.jobs import launch
from ftwizard.machine import is_installed
from ftwizard.plan import Plan

NEEDED = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


def check_installed(plan: Plan) -> None:
    """Raise MissingExtra for the first package that the plan needs and this Python lacks."""
    for package in NEEDED:
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
    if plan.where.gpu is not None:
        changed["CUDA_VISIBLE_DEVICES"] = str(plan.where.gpu)
    elif "CUDA_VISIBLE_DEVICES" not in changed:
        changed["CUDA_VISIBLE_DEVICES"] = "0"
    changed.setdefault("TOKENIZERS_PARALLELISM", "false")
    changed["HF_HUB_DISABLE_TELEMETRY"] = "1"
    changed["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    changed["PYTHONUNBUFFERED"] = "1"
    return changed
