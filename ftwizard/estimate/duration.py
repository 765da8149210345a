"""Time estimates: training from a probe, earlier runs or the GPU's specs, plus the other phases."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.estimate.activations import keeps_scores
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
EMULATED = 4.0
"""Range factor upward for bf16 on GPUs without it: nothing was measured."""
MIXTURE = 2.5
"""Range factor for mixtures of experts, whose matmuls are small and whose kernels differ widely."""
PROBED = 1.2
"""Range factor for a probe, which measures a few batches of one length."""
CPU = 3.0
"""Range factor for CPUs: caches, memory and libraries matter more than the number of cores."""
CORE_GFLOPS = {"bf16": 75.0, "fp32": 43.0}
"""10⁹ FLOP per second and core, besides what follows. Measured: LoRA of SmolLM2-135M with 4 rows of 62
tokens, on two AVX-512 cores, 102 tokens/s per core in bf16, 67 in fp32, at 0.54 × 10⁹ FLOP each."""
CPU_LOGIT_S = (30e-9, 8e-9)
"""Seconds of a core for a logit, with and without its gradient. Measured: steps of 0.4 s with 150 to 250
tokens, on a model of two narrow layers with 49,152 words, on one core."""
CPU_LAYER_S = 0.5e-3
"""Seconds of Python and of small kernels in a layer's forward pass on a CPU. Measured: SmolLM2-135M, of
30 layers, generates 20 tokens/s in bf16, of which reading the weights takes about half."""
CPU_STEP_S = 0.1
"""Seconds of the trainer in each step on a CPU: batches, clipping, optimizer, records."""
EVALUATION_S = 0.2
"""Seconds of an evaluation besides its forward passes: batches, ranking of rows, records."""
CHECKPOINT_S = 0.25
"""Seconds of a checkpoint besides its weights: a dozen files, flushed."""
READ_S = 1e-9
"""Seconds per byte to read weights from disk to GPU: 1 GB/s, typical for an NVMe disk or the page
cache."""
WRITE_S = 2e-9
"""Seconds per byte written and flushed."""
STATE_BYTES = 12
"""Bytes per trainable parameter in a checkpoint."""
DISKS = 4.0
"""Range factor for disks: a network disk is slower, a warm page cache faster."""
AS_OF = "2026-11"
"""When the measurements in this module were made."""
FIRST_STEPS = "the first steps will show the real speed"
START_S = 25.0
"""Importing the libraries, reading and tokenizing a few thousand rows. Measured: 6.4 s on an idle
machine, up to 70 s on a busy one."""


COMPARISON_SHARE = 0.2
"""Share of ``budget.minutes`` kept for the comparison, which uses as many test rows as fit."""


class RunSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """The speed of an earlier run."""

    run: str
    tokens_per_s: float
    """Over its last steps, including evaluations."""
    as_of: str | None = None
    """Date of its last event."""
    processes: int = 1
    """Processes that trained together."""
    speedup: float | None = None
    """How many times as fast as one process they were, as measured before the first step."""

    @property
    def alone(self) -> RunSpeed | None:
        """Return the speed of one of its processes alone; None if it was not measured."""
        if self.processes == 1:
            return self
        if not self.speedup:
            return None
        rate = self.tokens_per_s / self.speedup
        return msgspec.structs.replace(self, tokens_per_s=rate, processes=1, speedup=None)


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
        value=tokens / middle, unit="s", low=tokens / fast, high=tokens / slow,
        source=f"{short}; loading, merging and comparing are extra", short_source=short,
        as_of=oldest_date(speed.as_of for speed in usable) or today(),
    )  # fmt: skip


def from_probe(
    tokens: float, tokens_per_s: float, as_of: str | None, processes: int = 1
) -> Figure | None:
    """Return the seconds of training on ``tokens`` at a probed speed; None for speed 0.

    Both include padding; ``as_of``: date of the probe; ``processes``: measured together.
    """
    if not tokens_per_s > 0:
        return None
    source = "measured: a probe of this model here"
    source += f", with {processes} processes" if processes > 1 else ""
    return _with_range(tokens / tokens_per_s, PROBED, PROBED, source, as_of=as_of or today())


def from_gpu_spec(
    shape: ModelShape, setup: TrainingSetup, card: GpuSpec | None, work: TrainingPasses
) -> Figure | None:
    """Return the seconds of training on one GPU, computed from its specs.

    None for a GPU of unknown speed.
    """
    if card is None or not (card.tflops and card.bandwidth and work.passes):
        return None
    tokens, attended = work.tokens_per_pass, work.attended
    pass_s = _pass_seconds(shape, setup, card, tokens=tokens, attended=attended)
    pass_s += setup.reference_passes * _pass_seconds(
        shape, setup, card, tokens=tokens, attended=attended, forward=True
    )
    step = setup.trained(shape) * OPTIMIZER / (card.bandwidth * 1e9 * STREAM)
    seconds = work.passes * pass_s + work.steps * step
    launching = pass_s <= _launch_seconds(shape, setup)
    mixed = any(linear.active < linear.count for linear in shape.linears)
    down, up = (MIXTURE, MIXTURE) if mixed else (SPREAD, SHORT if launching else SPREAD)
    if setup.precision == "bf16" and not card.bf16:
        up = max(up, EMULATED)
    each = f"{format_count(round(work.tokens_per_pass), 'token')} per pass"
    if launching:
        each += ", so few that kernel launches take longer than the computation"
    kind = "" if _on_tensor_cores(setup, card) else " in fp32"
    short = f"{card.name}: {_peak(setup, card, card.tflops):g} TFLOPS{kind} and {card.bandwidth:,g} GB/s"
    source = f"{short} ({card.source}), {each}; {FIRST_STEPS}"
    return _with_range(seconds, down, up, short, source, as_of=card.as_of)


def from_cpu_cores(
    shape: ModelShape, setup: TrainingSetup, work: TrainingPasses, *, cores: int, bf16: bool
) -> Figure | None:
    """Return a very rough time of training on ``cores`` CPU cores, in seconds; None for 0 cores."""
    if cores < 1:
        return None
    kind = "bf16" if bf16 and setup.precision != "fp32" else "fp32"
    flops = _flops(shape, setup, 1.0, work.attended, forward=False)
    flops += setup.reference_passes * _flops(shape, setup, 1.0, work.attended, forward=True)
    logits = CPU_LOGIT_S[0] + setup.reference_passes * CPU_LOGIT_S[1]
    each = flops / (CORE_GFLOPS[kind] * 1e9) + shape.vocabulary * logits
    seconds = (work.tokens + work.padding) * each / cores
    runs = 3 + setup.checkpointing + setup.reference_passes  # backward counts twice
    seconds += work.passes * shape.layers * CPU_LAYER_S * runs + work.steps * CPU_STEP_S
    short = (
        f"very rough: {format_count(cores, 'CPU core')} at {CORE_GFLOPS[kind]:g} GFLOPS in {kind}"
    )
    source = f"{short}, measured on two cores with a 135M model; {FIRST_STEPS}"
    return _with_range(seconds, CPU, CPU, short, source)


def estimate_phases(
    training: Figure, shape: ModelShape, setup: TrainingSetup, card: GpuSpec | None,
    work: TrainingPasses, *, evaluations: int, evaluated: float = 0.0, merges: bool = True,
    evaluation: Figure | None = None, samples: Figure | None = None,
) -> dict[str, Figure]:  # fmt: skip
    """Return the seconds by part: ``starting``, ``loading``, ``training``, ``evaluations``,
    ``samples``, ``checkpoints``, ``merging``; parts that do not happen are left out.

    ``evaluated``: tokens per evaluation, padding included. Its time per token is training's, times
    the share of the forward pass, so a measured training speed also applies to evaluations.
    ``evaluation``: seconds of one, where it is known otherwise; ``samples``: of all sample answers.
    """
    weights = 2 * shape.parameters
    by_part = {
        "starting": _with_range(START_S, 4, 3, "libraries and rows; measured: 6 to 70 s"),
        "loading": _with_range(weights * READ_S, DISKS, DISKS, "about 1 GB/s"),
        "training": training,
    }
    if evaluations and evaluation:
        source = f"{format_count(evaluations, 'evaluation')}, {evaluation.source}"
        by_part["evaluations"] = evaluation.scaled(evaluations, source)
    elif evaluations and evaluated:
        share = _forward_share(shape, setup, card, work)
        forward = training.scaled(
            share * evaluations * evaluated / (work.tokens + work.padding),
            f"{format_count(evaluations, 'evaluation')} of "
            f"{format_count(round(evaluated), 'token')}, forward pass only",
        )
        by_part["evaluations"] = _add(forward, evaluations * EVALUATION_S)
    if samples:
        by_part["samples"] = samples
    saves = max(1, evaluations)
    if weights_written := saves * setup.trained(shape) * STATE_BYTES:
        source = f"{format_count(saves, 'checkpoint')}, about 0.5 GB/s"
        seconds = weights_written * WRITE_S + saves * CHECKPOINT_S
        by_part["checkpoints"] = _with_range(seconds, DISKS, DISKS, source)
    if merges or setup.method == "full":
        seconds = weights * (READ_S + WRITE_S)
        by_part["merging"] = _with_range(
            seconds, DISKS, DISKS, "reading the base, writing the merge"
        )
    return by_part


def _add(figure: Figure, seconds: float) -> Figure:
    """Add seconds of unknown exactness, by the range factor of disks, to a figure."""
    return msgspec.structs.replace(
        figure, value=figure.value + seconds, low=figure.lowest + seconds / DISKS,
        high=figure.highest + seconds * DISKS,
    )  # fmt: skip


def _forward_share(
    shape: ModelShape, setup: TrainingSetup, card: GpuSpec | None, work: TrainingPasses
) -> float:
    if card is None or not (card.tflops and card.bandwidth):
        trained = 2 + setup.checkpointing + (setup.method == "full")
        return (1 + setup.reference_passes) / (trained + setup.reference_passes)
    both, forward = (
        _pass_seconds(
            shape, setup, card, tokens=work.tokens_per_pass, attended=work.attended, forward=one_way
        )
        for one_way in (False, True)
    )
    reference = setup.reference_passes * forward
    return (forward + reference) / (both + reference)


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


# Roofline model of a pass: a decoder computed by PyTorch kernel by kernel (roofline: Williams et al.
# 2009). Matmuls are limited by peak compute, everything else by memory bandwidth, and both by the rate
# of kernel launches. Operations and bytes are counted from the model's shape. The efficiencies are the
# same for every model and GPU.

MATMUL = 0.72
"""Share of peak compute in large matmuls: cuBLAS on an A100 reaches 225 of 312 TFLOPS."""
EXPERTS = 0.5
"""Relative efficiency of expert matmuls, which are small: a few tokens each."""
STREAM = 0.8
"""Share of the bandwidth in memory-bound kernels."""
DEQUANTIZE = 0.15
"""Share of the bandwidth in kernels that dequantize 4 bits to 16, layer by layer."""
FP32 = 4.0
"""Minimum slowdown of fp32 matmuls on tensor cores (TF32) compared with 16 bit. GPUs without TF32
have their own peak."""
LAUNCH_S = {"lora": 4.7e-3, "qlora": 9e-3, "full": 4.7e-3}
"""Launch time of a layer's kernels, including recomputed activations: the time left at 256 tokens
per pass of the smallest model (QwenLM/Qwen, README.md#profiling, 1.8B)."""
BACKWARD = 2
"""Bytes moved by a backward pass relative to a forward pass."""
ATTENTION_BACKWARD = 2.5
"""FLOP of attention's backward pass relative to its forward (Dao 2023, FlashAttention-2, section
4.1)."""
# Bytes per token that a block's kernels read and write in 16 bit, per value of the given width:
NORMS = 2 * 34
"""Two RMSNorms in fp32: cast, square, mean, scale, cast back, weight."""
RESIDUAL = 2 * 6
ROTARY = 24
"""Of queries and keys: two products, a rotated half, a sum."""
GATED = 10
"""Activation and product of gate and up."""
LINEAR = 2
"""Read the input, write the output."""
LORA_IN, LORA_OUT = 7, 12
"""Dropout and the first matrix; the second matrix, the scale and the sum with the layer's output."""
SCORES = 24
"""Per attention score, if all are in memory: computed, scaled, masked, normalized in 32 bit, cast."""
LOGITS = {"full": 32, "tiled": 16}
"""Per logit: computed in 16 bit, cast, normalized; its gradient computed and cast."""
OPTIMIZER = 40
"""Per trained 32-bit weight and step: AdamW reads four values and writes three; plus clipping."""


def _pass_seconds(
    shape: ModelShape,
    setup: TrainingSetup,
    card: GpuSpec,
    *,
    tokens: float,
    attended: float,
    forward: bool = False,
) -> float:
    """Return the seconds of one pass over ``tokens`` tokens, padding included.

    ``attended``: tokens that attention spans. ``forward``: without backward pass, as in an
    evaluation. Excludes optimizer steps.
    """
    assert card.tflops and card.bandwidth, "callers leave out GPUs of unknown speed"
    runs = 1 if forward else 2 + setup.checkpointing  # times the weights are read
    moved = 1 if forward else 1 + BACKWARD + setup.checkpointing
    bandwidth = card.bandwidth * 1e9 * STREAM
    multiply = _flops(shape, setup, tokens, attended, forward) / (
        _peak(setup, card, card.tflops) * 1e12 * MATMUL
    )
    read = _weight_bytes(shape, setup, tokens) * runs / bandwidth
    head = shape.vocabulary * LOGITS[setup.head] * (0.25 if forward else 1)
    scores = shape.layers * shape.heads * attended if keeps_scores(shape, setup) else 0.0
    blocks = _block_bytes(shape, setup) + SCORES * scores
    move = tokens * (blocks * moved + head) / bandwidth
    busy = max(multiply, read) + move
    if setup.method == "qlora":
        packed = sum(linear.weights for linear in shape.linears if not linear.fused)
        busy += packed * 2.5 * runs / (card.bandwidth * 1e9 * DEQUANTIZE)
    return max(busy, _launch_seconds(shape, setup, forward=forward))


def _peak(setup: TrainingSetup, card: GpuSpec, tflops: float) -> float:
    """Return the GPU's peak TFLOPS in the precision of the training; ``tflops``: in 16 bit."""
    if _on_tensor_cores(setup, card):
        return tflops
    return card.fp32_tflops or tflops / FP32


def _on_tensor_cores(setup: TrainingSetup, card: GpuSpec) -> bool:
    """Return whether matmuls run on 16-bit tensor cores."""
    return setup.precision == "fp16" or (setup.precision == "bf16" and card.bf16)


def _launch_seconds(shape: ModelShape, setup: TrainingSetup, *, forward: bool = False) -> float:
    """Return the seconds that the CPU needs to launch the kernels of one pass."""
    runs = 1 if forward else 2 + setup.checkpointing
    return shape.layers * LAUNCH_S[setup.method] * runs / 3


def _flops(
    shape: ModelShape, setup: TrainingSetup, tokens: float, attended: float, forward: bool
) -> float:
    """Return the FLOP of a pass: two per weight and run (Kaplan et al. 2020).

    Input gradients are always computed, weight gradients only for trained weights. Experts count
    more, because their matmuls are less efficient.
    """
    full, again = setup.method == "full", int(setup.checkpointing)
    runs, head_runs = (1, 1) if forward else (2 + full + again, 2 + full)
    weights = sum(
        linear.inputs
        * linear.outputs
        * linear.passes
        / (EXPERTS if linear.passes < linear.count else 1)
        for linear in shape.linears
    )
    head = shape.vocabulary * shape.hidden
    causal = 2 * attended * shape.layers * shape.heads * shape.head_dim
    if keeps_scores(shape, setup):
        causal *= 2  # also computes the scores that the mask hides
    attention = causal * (1 if forward else 1 + ATTENTION_BACKWARD + again)
    return tokens * (2 * weights * runs + 2 * head * head_runs + attention)


def _block_bytes(shape: ModelShape, setup: TrainingSetup) -> float:
    """Return the bytes per token that the kernels of all blocks move in a forward pass."""
    per_layer = (
        (NORMS + RESIDUAL) * shape.hidden
        + ROTARY * (shape.heads + shape.kv_heads) * shape.head_dim
        + GATED * shape.intermediate
    )
    moved = float(shape.layers * per_layer)
    for linear in shape.linears:
        moved += LINEAR * (linear.inputs + linear.outputs) * linear.passes
        if setup.method != "full" and setup.adapts(linear):
            moved += (LORA_IN * linear.inputs + LORA_OUT * linear.outputs) * linear.passes
    return moved * (2 if setup.precision == "fp32" else 1)


def _weight_bytes(shape: ModelShape, setup: TrainingSetup, tokens: float) -> float:
    """Return the bytes of weights read per run; for experts, only those that some token uses."""
    each = 8 if setup.method == "full" else 4 if setup.precision == "fp32" else 2
    return each * sum(
        linear.inputs * linear.outputs * min(linear.count, linear.passes * tokens)
        for linear in shape.linears
    )
