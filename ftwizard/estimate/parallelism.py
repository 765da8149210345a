"""Several processes that train together: the choice between DDP and FSDP, and their speed.

DDP holds the whole model on each GPU, and sends only gradients. FSDP divides the model, and gathers
each layer when it is computed: it takes less memory and more communication.

The speed is a range. At best, N GPUs are N times as fast as one: what they send is sent while they
compute. At worst, they wait for all of it, over a slow link.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.memory import MemoryEstimate, estimate_memory, estimate_sharded
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure
from ftwizard.text import format_byte_range, format_bytes

Mode = Literal["ddp", "fsdp"]
MODE_NAMES: dict[Mode, str] = {"ddp": "DDP", "fsdp": "FSDP"}


class ParallelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """How several processes train together."""

    mode: Mode
    reason: str
    """A sentence."""


class ParallelEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What several processes need together; what is unknown is None."""

    processes: int
    nodes: int
    """Machines that they are on."""
    mode: Mode
    reason: str
    """Why this mode: a sentence."""
    on_gpu: bool
    """Whether each has a GPU; else they share the CPU of their machine."""
    memory: Figure | None = None
    """Bytes of all together, at the peak of each."""
    gathered: Figure | None = None
    """Bytes of whole copies that each holds of layers that are sharded; None if nothing is."""
    speedup: Figure | None = None
    """How many times as fast as one process they are."""
    cost_each: Figure | None = None
    """US dollars of the whole run for each process."""


def choose_for_plan(
    plan: Plan,
    *,
    shape: ModelShape | None,
    setup: TrainingSetup,
    free_bytes: float | None,
    on_gpu: bool,
) -> ParallelChoice | None:
    """Return how the plan's processes train together, as ``choose_parallel`` does; None for one.

    ``on_gpu``: whether they have GPUs, whose memory may be unknown.
    """
    if plan.ranks == 1:
        return None
    requested = plan.where.parallel
    if requested == "auto" and plan.recipe.objective != "sft":
        reason = "Preferences and rewards train with DDP only."
        return ParallelChoice(mode="ddp", reason=reason)
    if requested == "auto" and on_gpu and free_bytes is None:
        reason = "The GPU's memory is unknown here, so DDP is assumed."
        return ParallelChoice(mode="ddp", reason=reason)
    return choose_parallel(
        requested, shape=shape, setup=setup, processes=plan.ranks, free_bytes=free_bytes
    )


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
        return ParallelChoice(
            mode="ddp",
            reason="No GPU memory is known here, so each process has the whole model; where.parallel: fsdp divides it.",
        )
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


class Link(NamedTuple):
    """Bytes per second that each process sends, and receives, to the others."""

    likely: float
    slow: float
    names: tuple[str, str]


ONE_MACHINE = Link(20e9, 5e9, ("PCIe 4.0 x16", "PCIe 3.0 x8 or without peer-to-peer"))
"""PCI Express 4.0 x16 transfers 31.5 GB/s each way, 3.0 x8 7.9 GB/s, of which programs reach about two
thirds. NVLink is 5 to 20 times as fast."""
NETWORK = Link(10e9, 1e9, ("a 100 Gbit/s network", "10 Gbit/s Ethernet"))
"""100 and 10 Gbit/s are 12.5 and 1.25 GB/s."""
MEMORY = Link(1e9, 0.2e9, ("shared memory", "a busy machine"))
"""Processes on the CPU of one machine (gloo over loopback): assumed."""


def choose_link(*, nodes: int, on_gpu: bool) -> Link:
    """Return the slowest link between the processes."""
    return NETWORK if nodes > 1 else ONE_MACHINE if on_gpu else MEMORY


def count_exchanged(
    shape: ModelShape,
    setup: TrainingSetup,
    mode: Mode,
    processes: int,
    *,
    steps: int,
    passes: float,
) -> float:
    """Return the bytes that each process sends in a training of ``steps`` steps, and as many passes
    of its own.

    DDP: an all-reduce of the gradients in each step, 2 (N - 1) / N of their size (Patarasuk and Yuan
    2009). FSDP: in each pass the weights are gathered twice, and the gradients reduced, each
    (N - 1) / N of their size (Rajbhandari et al. 2020, ZeRO, section 7). Raises FtwizardError for
    target modules that the model does not have.
    """
    others = (processes - 1) / processes
    memory = estimate_memory(shape, setup)
    gradients = 4.0 * memory.trained  # trained weights are kept in 32 bit
    if mode == "ddp":
        return steps * 2 * others * gradients
    weights = memory.parts["weights"].value + memory.parts["adapter"].value
    return passes * others * (2 * weights + gradients)


def scale_time(
    ideal: Figure, alone: float, exchanged: float, link: Link, *, wait: float, processes: int
) -> tuple[Figure, Figure]:
    """Return the seconds of several processes, and how many times as fast as one they are.

    ``ideal``: their seconds if none ever waits; ``alone``: of one process; ``exchanged``: bytes;
    ``wait``: factor by which the longest batch of a step takes longer than the average one.
    """
    likely = ideal.value * wait + exchanged / link.likely
    slowest = ideal.highest * wait + exchanged / link.slow
    worst = ideal.value * wait + exchanged / link.slow
    range_ = f"from ideal to waiting for the exchange over {link.names[1]}"
    name = f"{processes} processes, {range_}"
    time = Figure(
        value=likely, unit="s", low=ideal.lowest, high=slowest,
        source=f"{ideal.source}; {name}", short_source=f"{ideal.brief_source}; {processes} processes",
        as_of=ideal.as_of,
    )  # fmt: skip
    speedup = Figure(
        value=alone / likely, unit="times", low=alone / worst, high=alone / ideal.value,
        source=f"computed: {range_}; likely over {link.names[0]}", as_of=ideal.as_of,
    )  # fmt: skip
    return time, speedup


def add_exchange(time: Figure, exchanged: float, link: Link) -> Figure:
    """Return the seconds of several processes with what they send: ``exchanged`` bytes each."""
    return Figure(
        value=time.value + exchanged / link.likely, unit="s", low=time.lowest,
        high=time.highest + exchanged / link.slow, as_of=time.as_of,
        source=f"{time.source}; exchange over {link.names[0]} to {link.names[1]}",
        short_source=time.brief_source,
    )  # fmt: skip


def find_wait(padding: float, padding_together: float, accumulation: int) -> float:
    """Return the factor by which the slowest of several processes takes longer in each step.

    ``padding``: share of padding in all batches; ``padding_together``: if each batch was padded to
    the longest row of all processes. Over the passes of a step, differences average out.
    """
    excess = (1 - padding) / (1 - padding_together) - 1
    return 1 + max(0.0, excess) / math.sqrt(accumulation)
