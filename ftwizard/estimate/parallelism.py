"""Choice between DDP and FSDP for several processes that train together, with its reason.

DDP holds the whole model on each GPU, and sends only gradients. FSDP divides the model, and gathers
each layer when it is computed: it takes less memory and more communication.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.memory import MemoryEstimate, estimate_memory, estimate_sharded
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.text import format_byte_range, format_bytes

Mode = Literal["ddp", "fsdp"]
MODE_NAMES: dict[Mode, str] = {"ddp": "DDP", "fsdp": "FSDP"}


class ParallelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """How several processes train together."""

    mode: Mode
    reason: str
    """A sentence."""


def choose_parallel(
    requested: Literal["auto", "ddp", "fsdp"],
    *,
    shape: ModelShape | None,
    setup: TrainingSetup,
    processes: int,
    free_bytes: float | None,
) -> ParallelChoice:
    """Return the mode that the plan requests, or for ``auto`` the one that the memory asks for.

    ``shape``: None if the model's memory is unknown; ``setup``: of one process; ``processes``: in
    all; ``free_bytes``: of the smallest of their GPUs, None without GPUs or if it is not reported.
    """
    if requested != "auto":
        return ParallelChoice(mode=requested, reason="Set in the plan (where.parallel).")
    if free_bytes is None:
        return ParallelChoice(mode="ddp", reason="There is no GPU whose memory could be too small.")
    if setup.precision == "fp16":
        return ParallelChoice(mode="ddp", reason="FSDP does not support fp16 here.")
    memory = _estimate_whole(shape, setup, processes)
    if shape is None or memory is None:
        return ParallelChoice(mode="ddp", reason="The memory of this model cannot be estimated.")
    whole = f"the whole model needs {_format_peak(memory)} on each GPU"
    free = f"{format_bytes(free_bytes)} free"
    if memory.peak.highest <= free_bytes:
        return ParallelChoice(mode="ddp", reason=f"It fits: {whole}, with {free}.")
    sharded = estimate_sharded(shape, setup, processes)
    over = f"sharded over {processes} GPUs, {_format_peak(sharded)}"
    if sharded.peak.value >= memory.peak.value:
        return ParallelChoice(mode="ddp", reason=f"Sharding saves no memory: {whole}; {over}.")
    verdict = "may not fit" if memory.peak.value <= free_bytes else "does not fit"
    text = f"One GPU {verdict}: {whole}, with {free}; {over}."
    if sharded.peak.value > free_bytes:
        text += " Even so, it probably runs out of memory."
    return ParallelChoice(mode="fsdp", reason=text)


def _estimate_whole(
    shape: ModelShape | None, setup: TrainingSetup, processes: int
) -> MemoryEstimate | None:
    """Return the memory of a GPU that holds the whole model; None if it cannot be estimated."""
    if shape is None:
        return None
    try:
        return estimate_memory(shape, setup, gpus=processes)
    except FtwizardError:  # it lacks the requested target modules
        return None


def _format_peak(memory: MemoryEstimate) -> str:
    return format_byte_range(memory.peak.lowest, memory.peak.highest)
