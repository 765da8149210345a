"""Time estimates: training from a probe, earlier runs or the GPU's specs, plus the other phases."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.estimate import throughput
from ftwizard.estimate.batching import TrainingPasses
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure, oldest_date, today
from ftwizard.text import format_count

SPREAD = 1.5
"""Range factor, down and up, for a single known run and for computed GPU times: published results
with 1,024 tokens per pass or more stay within it."""
SHORT = 2.0
"""Range factor upward if kernel launches dominate, because that depends on the unknown CPU."""
MIXTURE = 2.5
"""Range factor for mixtures of experts, whose matmuls are small and whose kernels differ widely."""
PROBED = 1.2
"""Range factor for a probe, which measures a few batches of one length."""
CPU = 3.0
"""Range factor for CPUs: caches, memory and libraries matter more than the number of cores."""
CORE_GFLOPS = {"bf16": 55.0, "fp32": 36.0}
"""10⁹ FLOP per second and core. Measured: LoRA of SmolLM2-135M with 4 rows of 62 tokens, on two
AVX-512 cores, 102 tokens/s per core in bf16, 67 in fp32, at 0.54 × 10⁹ FLOP each."""
READ_S = 1e-9
"""Seconds per byte to read weights from disk to GPU: 1 GB/s, typical for an NVMe disk or the page
cache."""
WRITE_S = 2e-9
"""Seconds per byte written and flushed."""
DISKS = 4.0
"""Range factor for disks: a network disk is slower, a warm page cache faster."""
AS_OF = "2026-11"
"""When the measurements in this module were made."""
FIRST_STEPS = "the first steps will show the real speed"
START_S = 25.0
"""Importing the libraries, reading and tokenizing a few thousand rows. Measured: 6.4 s on an idle
machine, up to 70 s on a busy one."""


class RunSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """The speed of an earlier run."""

    run: str
    tokens_per_s: float
    """Over its last steps, including evaluations."""
    as_of: str | None = None
    """Date of its last event."""


class Overheads(msgspec.Struct, frozen=True, kw_only=True):
    """Work of a run besides training steps; sizes in bytes."""

    weights: float
    """Of the base model's files."""
    checkpoint: float
    evaluations: int = 0
    evaluated: float = 0.0
    """Tokens per evaluation, padding included."""
    merged: float = 0.0
    """Of the merged model; 0 if none is written."""


def from_earlier_runs(tokens: float, speeds: Iterable[RunSpeed]) -> Figure | None:
    """Return the seconds of training on ``tokens`` from earlier runs; None without one."""
    usable = [speed for speed in speeds if speed.tokens_per_s > 0]
    if not usable:
        return None
    rates = [speed.tokens_per_s for speed in usable]
    middle = statistics.median(rates)
    fast, slow = max(*rates, middle * SPREAD), min(*rates, middle / SPREAD)
    names = ", ".join(speed.run for speed in usable[-3:])
    short = f"speed of earlier runs of this model here: {names}"
    return Figure(
        value=tokens / middle,
        unit="s",
        low=tokens / fast,
        high=tokens / slow,
        source=f"{short}; loading, merging and comparing are extra",
        short_source=short,
        as_of=oldest_date(speed.as_of for speed in usable) or today(),
    )


def from_measurement(
    tokens: float, tokens_per_s: float, source: str, *, as_of: str | None = None
) -> Figure | None:
    """Return the seconds of training on ``tokens`` at a measured speed; None for speed 0.

    ``source``: what measured it, a probe or the first steps of a run; ``as_of``: its date (None:
    today). ``tokens`` and speed must treat padding alike.
    """
    if not tokens_per_s > 0:
        return None
    return _with_range(
        tokens / tokens_per_s, PROBED, PROBED, f"measured: {source}", as_of=as_of or today()
    )


def from_gpu_spec(
    shape: ModelShape, setup: TrainingSetup, card: GpuSpec | None, work: TrainingPasses
) -> Figure | None:
    """Return the seconds of training on one GPU, computed from its specs.

    None for an unknown GPU. Source: ``throughput``.
    """
    if card is None or not work.passes:
        return None
    pass_s = throughput.pass_seconds(
        shape, setup, card, tokens=work.tokens_per_pass, attended=work.attended
    )
    step = throughput.step_seconds(shape, setup, card)
    seconds = work.passes * pass_s + work.steps * step
    launching = pass_s <= throughput.launch_seconds(shape, setup)
    mixed = any(linear.active < linear.count for linear in shape.linears)
    high = MIXTURE if mixed else SHORT if launching else SPREAD
    return _with_range(
        seconds,
        MIXTURE if mixed else SPREAD,
        high,
        *_describe_gpu_source(setup, card, work, launching),
        as_of=card.as_of,
    )


def _describe_gpu_source(
    setup: TrainingSetup, card: GpuSpec, work: TrainingPasses, launching: bool
) -> tuple[str, str]:
    """Return the short and the full source of a time computed from a GPU's specs."""
    each = f"{format_count(round(work.tokens_per_pass), 'token')} per pass"
    if launching:
        each += ", so few that kernel launches take longer than the computation"
    kind = " in fp32" if setup.precision == "fp32" else ""
    peak = f"{throughput.peak(setup, card):g} TFLOPS{kind}"
    short = f"{card.name}: {peak} and {card.bandwidth:,g} GB/s"
    return short, f"{short} ({card.source}), {each}; {FIRST_STEPS}"


def from_cpu_cores(
    shape: ModelShape, setup: TrainingSetup, work: TrainingPasses, *, cores: int, bf16: bool
) -> Figure | None:
    """Return a very rough time of training on ``cores`` CPU cores, in seconds; None for 0 cores."""
    if cores < 1:
        return None
    kind = "bf16" if bf16 and setup.precision != "fp32" else "fp32"
    flops = throughput.flops_a_token(shape, setup, work.attended)
    seconds = (work.tokens + work.padding) * flops / (cores * CORE_GFLOPS[kind] * 1e9)
    short = (
        f"very rough: {format_count(cores, 'CPU core')} at {CORE_GFLOPS[kind]:g} GFLOPS in {kind}"
    )
    source = f"{short}, measured on two cores with a 135M model; {FIRST_STEPS}"
    return _with_range(seconds, CPU, CPU, short, source)


def estimate_phases(
    training: Figure,
    shape: ModelShape,
    setup: TrainingSetup,
    card: GpuSpec | None,
    work: TrainingPasses,
    around: Overheads,
) -> dict[str, Figure]:
    """Return the seconds by part: ``starting``, ``loading``, ``training``, ``evaluations``,
    ``checkpoints``, ``merging``; parts that do not happen are left out.

    The time of an evaluation per token is training's, times the share of the forward pass, so a
    measured training speed also applies to evaluations.
    """
    by_part = {
        "starting": _with_range(START_S, 4, 3, "libraries and rows; measured: 6 to 70 s"),
        "loading": _with_range(around.weights * READ_S, DISKS, DISKS, "about 1 GB/s"),
        "training": training,
    }
    if around.evaluations and around.evaluated:
        share = _forward_share(shape, setup, card, work)
        tokens = around.evaluations * around.evaluated / (work.tokens + work.padding)
        by_part["evaluations"] = training.scaled(
            share * tokens,
            f"{format_count(around.evaluations, 'evaluation')} of "
            f"{format_count(round(around.evaluated), 'token')}, forward pass only",
        )
    saves = max(1, around.evaluations)
    if around.checkpoint:
        by_part["checkpoints"] = _with_range(
            saves * around.checkpoint * WRITE_S, DISKS, DISKS,
            f"{format_count(saves, 'checkpoint')}, about 0.5 GB/s",
        )  # fmt: skip
    if around.merged:
        seconds = around.weights * READ_S + around.merged * WRITE_S
        by_part["merging"] = _with_range(
            seconds, DISKS, DISKS, "reading the base, writing the merge"
        )
    return by_part


def _forward_share(
    shape: ModelShape, setup: TrainingSetup, card: GpuSpec | None, work: TrainingPasses
) -> float:
    if card is None:
        return 1 / (2 + setup.checkpointing + (setup.method == "full"))
    both, forward = (
        throughput.pass_seconds(
            shape, setup, card, tokens=work.tokens_per_pass, attended=work.attended, forward=one_way
        )
        for one_way in (False, True)
    )
    return forward / both


def sum_phases(parts: Mapping[str, Figure]) -> Figure:
    """Return the total seconds of all parts."""
    return Figure(
        value=sum(part.value for part in parts.values()),
        unit="s",
        low=sum(part.lowest for part in parts.values()),
        high=sum(part.highest for part in parts.values()),
        source=" + ".join(parts),
        as_of=oldest_date(part.as_of for part in parts.values()),
    )


def _with_range(
    value: float, down: float, up: float, short: str, source: str = "", as_of: str = AS_OF
) -> Figure:
    return Figure(
        value=value, unit="s", low=value / down, high=value * up, source=source or short,
        short_source=short if source else msgspec.UNSET, as_of=as_of,
    )  # fmt: skip
