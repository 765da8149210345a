"""Memory during training, part by part, computed from counts and widths.

The peak is the fullest of several moments: while the loss is computed, in the backward pass of the
last or the first block, in attention, or in the optimizer step. On one GPU, on several that share a
model, or on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.activations import block, stream_bytes
from ftwizard.estimate.training_setup import FTWIZARD_OVERHEAD, FrameworkOverhead, TrainingSetup
from ftwizard.models.shapes import ModelShape
from ftwizard.quantity import Figure

GIB = 2**30
AS_OF = "2026-11"
"""When the estimate was last compared with published peaks and the ledger's counts."""
SLACK = 0.02
"""Share that torch's allocator adds to tensors by rounding blocks and segments."""
LOW, HIGH = 0.9, 1.21
"""Range factors. Uncounted memory (fragments, workspaces, copies of libraries) adds more often than
shorter rows save."""
_SOURCES = {
    "weights": "parameters × bytes each",
    "gathered": "whole copies of sharded layers: embeddings, output layer and two blocks",
    "adapter": "rank × (inputs + outputs) of each adapted layer",
    "gradients": "same precision as the trained weights",
    "optimizer": "two AdamW moments per trainable parameter",
    "activations": "block inputs plus one block's activations (all blocks without checkpointing)",
    "logits": "vocabulary × tokens scored at once",
    "dequantisation": "16-bit copies of the current layer",
    "context": "CUDA context and memory cached by torch's allocator",
}
PARTS = tuple(_SOURCES)
"""In the order of a stacked bar; they add up to the peak. Only a sharded model has ``gathered``."""
SHARDED = ("weights", "adapter", "gradients", "optimizer")
"""Parts that FSDP divides among the processes."""
SURE = ("weights", "adapter", "optimizer")
"""Permanent tensors of exactly known size."""
SHARDED_RANGE = (0.85, 1.3)
"""Range factors: wider than for one GPU, because nothing was measured here."""
MAX_CARDS = 8
"""GPUs in one machine."""
_GATHERED = 2
"""Number of gathered blocks: the current and the next one."""
CPU_LIBRARIES = (0.3e9, 0.5e9, 1.0e9)
"""Bytes of torch and related libraries: low, likely, high. Measured: 0.5."""
CPU_TILE_COPIES = 29.0
"""Bytes per logit of a tile besides the tile: seven 32-bit copies and a mask while its gradient is
computed. Source: ``_backward_tile`` of TRL 1.16 (trl/kernels/chunked_logprob.py)."""
CPU_TIMES = (0.95, 1.1, 1.5)
"""Ratio of used memory to the sum of tensors (low, likely, high), for temporary copies of kernels
and the allocator's cache. Measured with LoRA of SmolLM2-135M: 1.05 to 1.12, in fp32 with 1 row of 768
tokens (sdpa 3.39 GB, without dropout 2.64, eager 4.13 and 3.36) and 2 of 512, in bf16 with 4 of 174."""


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one GPU at its peak; figures in bytes."""

    parts: dict[str, Figure]
    """By name, in the order of ``PARTS``; their values add up to the peak's."""
    peak: Figure
    moment: str
    """When the peak occurs: ``loss``, ``backward``, ``end of backward``, ``attention`` or ``step``."""
    trained: int
    """Trainable parameters."""

    @property
    def sure(self) -> float:
        """Return the bytes needed for any rows: the lower bound of every range."""
        return sum(self.parts[name].value for name in SURE)


class Sharded(msgspec.Struct, frozen=True, kw_only=True):
    """The fewest GPUs that fit a sharded model."""

    cards: int
    memory: MemoryEstimate
    """Per GPU."""


def estimate_memory(
    shape: ModelShape,
    setup: TrainingSetup,
    *,
    gpus: int = 1,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> MemoryEstimate:
    """Estimate the memory of each of ``gpus`` GPUs, each with the whole model.

    Raises FtwizardError for target modules that the model does not have.
    """
    moments = _compute_moments(shape, setup, stack)
    if gpus > 1:  # DistributedDataParallel: gradient buckets in addition to the gradients
        for at in moments.values():
            at["gradients"] += _gradient_bytes(shape, setup, stack)
    stranded = 0.0
    if setup.head == "full" and setup.bytes_each == 2:
        stranded = stack.stranded_bytes * shape.vocabulary * setup.tokens
    moment = _find_peak(moments)
    return from_parts(
        moments[moment], moment=moment, trained=setup.trained(shape), stack=stack, stranded=stranded
    )


def _find_peak(moments: Mapping[str, Mapping[str, float]]) -> str:
    return max(moments, key=lambda moment: sum(moments[moment].values()))


def estimate_sharded(
    shape: ModelShape,
    setup: TrainingSetup,
    cards: int,
    *,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
) -> MemoryEstimate:
    """Estimate the memory of each of ``cards`` GPUs that share a model and process different rows.

    Full fine-tuning is overestimated in 16 bit, in which the gathered layers are half as wide.
    Nothing was measured on GPUs. Source: PyTorch's FSDP documentation (FULL_SHARD: parameters,
    gradients and optimizer states are divided; each unit is gathered before its forward and backward
    pass, together with the next one; embeddings, last norm and output layer form one unit that stays
    gathered). Raises FtwizardError for target modules that the model does not have.
    """
    moments = _compute_moments(shape, setup, stack)
    alone = moments["step"]
    root = stream_bytes(setup, stack) * shape.vocabulary * shape.hidden
    root *= 1 if shape.tied else 2
    per_block = max(0.0, alone["weights"] + alone["adapter"] - root) / shape.layers
    for name, at in moments.items():
        for part in SHARDED:
            at[part] /= cards
        if name != "step":
            at["gathered"] = root + _GATHERED * per_block
            at["gradients"] += _gradient_bytes(shape, setup, stack) / shape.layers
    moment = _find_peak(moments)
    return from_parts(
        moments[moment], moment=moment, trained=setup.trained(shape), stack=stack, spread=SHARDED_RANGE,
        source=f"rough, sharded over {cards} GPUs (FSDP), computed from the model's configuration",
    )  # fmt: skip


class Group(NamedTuple):
    """The processes that train together."""

    size: int = 1
    sharded: bool = False
    """Whether they share the model, by FSDP; else each has the whole one."""


ALONE = Group()


def estimate_each(shape: ModelShape, setup: TrainingSetup, group: Group = ALONE) -> MemoryEstimate:
    """Estimate the memory of the GPU of each process of a group.

    Raises FtwizardError for target modules that the model does not have.
    """
    if group.sharded and group.size > 1:
        return estimate_sharded(shape, setup, group.size)
    return estimate_memory(shape, setup, gpus=group.size)


def find_fewest_gpus(shape: ModelShape, setup: TrainingSetup, free: float) -> Sharded | None:
    """Return the fewest GPUs with ``free`` bytes each that surely fit it; None if 8 do not."""
    for cards in range(2, MAX_CARDS + 1):
        memory = estimate_sharded(shape, setup, cards)
        if memory.peak.highest <= free:
            return Sharded(cards=cards, memory=memory)
    return None


def estimate_cpu_memory(
    shape: ModelShape, setup: TrainingSetup, group: Group = ALONE
) -> MemoryEstimate:
    """Estimate the memory of each process of a group that trains on the CPU, in bytes, with a wide
    range: little is published.

    Raises FtwizardError for target modules that the model does not have.
    """
    stack = msgspec.structs.replace(
        FTWIZARD_OVERHEAD, counter="allocated", mask_bytes=4, tile_copies=CPU_TILE_COPIES
    )
    if group.sharded and group.size > 1:
        memory = estimate_sharded(shape, setup, group.size, stack=stack)
    else:
        memory = estimate_memory(shape, setup, gpus=group.size, stack=stack)
    tensors = memory.peak.value
    low, value, high = (
        times * tensors + more for times, more in zip(CPU_TIMES, CPU_LIBRARIES, strict=True)
    )
    low = max(low, memory.sure + CPU_LIBRARIES[0])
    around = "kernel copies, allocator cache, libraries"
    context = Figure(
        value=value - tensors, unit="bytes", low=low - tensors, high=high - tensors,
        source=around, as_of=AS_OF,
    )  # fmt: skip
    peak = Figure(
        value=value, unit="bytes", low=low, high=high,
        source=f"very rough estimate, {memory.peak.source}; plus {around}", as_of=AS_OF,
    )  # fmt: skip
    return msgspec.structs.replace(memory, parts=memory.parts | {"context": context}, peak=peak)


def from_parts(
    alive: Mapping[str, float],
    *,
    moment: str,
    trained: int,
    stack: FrameworkOverhead = FTWIZARD_OVERHEAD,
    stranded: float = 0.0,
    spread: tuple[float, float] = (LOW, HIGH),
    source: str = "computed from the model's configuration",
) -> MemoryEstimate:
    """Build the memory from the bytes of live tensors by part at the peak, ``alive``.

    ``stranded``: bytes that the allocator additionally holds back; ``spread``: range factors; the
    range never starts below the permanent tensors.
    """
    context, allocated = 0.0, sum(alive.values())
    if stack.counter != "allocated":
        context = SLACK * allocated + stranded
        context += stack.context_bytes if stack.counter == "device" else 0.0
    sizes = {**alive, "context": context}
    parts = {
        name: Figure(value=sizes.get(name, 0.0), unit="bytes", source=_SOURCES[name], as_of=AS_OF)
        for name in PARTS
        if name != "gathered" or name in sizes
    }
    total = allocated + context
    peak = Figure(
        value=total, unit="bytes", high=spread[1] * total,
        low=max(spread[0] * total, sum(parts[name].value for name in SURE)),
        source=f"{source}, at the peak ({moment})", as_of=AS_OF,
    )  # fmt: skip
    return MemoryEstimate(parts=parts, peak=peak, moment=moment, trained=trained)


MERGING = 1.4
"""Copies of a block's experts while adapters are added to them: the sum, and the delta of one of two
layers. Counted by the ledger on Qwen3-30B-A3B."""


def _compute_resident(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead
) -> dict[str, float]:
    """Compute the permanent bytes by part.

    Raises FtwizardError for target modules that the model does not have.
    """
    full, count = setup.method == "full", setup.trained(shape)
    if not count:
        raise FtwizardError(
            "The model has none of the layers in recipe.target_modules.",
            f"It has: {', '.join(dict.fromkeys(linear.name for linear in shape.linears))}.",
        )
    wide = _trained_bytes(setup, stack)
    moments = 2 * wide if stack.moment_bytes is None else stack.moment_bytes
    return {
        "weights": count * wide * (1 + setup.reference_copy)
        if full
        else _frozen_weights(shape, setup, stack),
        "adapter": 0 if full else count * wide,
        "optimizer": count * moments,
    }


def _trained_bytes(setup: TrainingSetup, stack: FrameworkOverhead) -> int:
    """Return the bytes of a trained weight, and of its gradient."""
    if setup.bytes_each == 4:
        return 4
    return stack.full_bytes if setup.method == "full" else stack.adapter_bytes


def _gradient_bytes(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> int:
    return setup.trained(shape) * _trained_bytes(setup, stack)


def _frozen_weights(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> float:
    """Return the bytes of the frozen base model of an adapter.

    bitsandbytes quantizes linear layers, but not fused experts.
    """
    each = setup.bytes_each
    if setup.method == "lora":
        return shape.parameters * each
    loose = each if stack.loose_bytes is None else stack.loose_bytes
    fused = sum(linear.weights for linear in shape.linears if linear.fused)
    packed = sum(linear.weights for linear in shape.linears) - fused + shape.outside_blocks
    rest = shape.parameters - packed - fused
    return packed * stack.packed_bytes + fused * each + rest * loose


def _compute_moments(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead
) -> dict[str, dict[str, float]]:
    """Return the live bytes by part at each moment that can be the peak.

    Raises FtwizardError for target modules that the model does not have.
    """
    base, gradients = _compute_resident(shape, setup, stack), _gradient_bytes(shape, setup, stack)
    widest = block(shape, setup, stack)
    merged = _merged_experts(shape, setup)
    between = shape.layers * (widest.stream if setup.checkpointing else widest.kept + merged)
    unpacked = _unpacked(shape, setup, stack)
    elsewhere = between  # while attention of the last block runs
    if not setup.checkpointing:
        unpacked -= merged  # the last block's is already included in ``between``
        elsewhere -= widest.kept + merged
    raw = _raw(shape, setup, stack)
    copies = _cast(shape, setup, stack)
    carried = gradients if setup.accumulation > 1 else 0.0
    logits, head, of_head = _logits(shape, setup, stack)
    first, last = _backward(shape, setup, stack)
    # The last norm keeps its 32-bit input; its output goes into the loss.
    ending = 4.0 * shape.hidden * setup.tokens + widest.stream
    by_moment = {
        "loss": {
            "gradients": carried + head,
            "activations": between + ending + copies,
            "logits": logits,
        },
        "backward": {
            "gradients": max(carried, of_head) + raw,
            "activations": between
            + widest.working
            + (widest.kept if setup.checkpointing else copies),
            "dequantisation": unpacked,
        },
        "end of backward": {
            "gradients": max(carried, first) + raw,
            "activations": max(widest.kept + widest.working, widest.attending) + widest.stream,
            "dequantisation": _unpacked(shape, setup, stack),
        },
        "attention": {
            "gradients": max(carried, of_head),
            "activations": elsewhere + widest.attending if widest.attending else 0.0,
        },
        "step": {
            "gradients": last,
            "activations": 0.0 if stack.fused_optimizer else gradients,
        },
    }
    return {name: base | at for name, at in by_moment.items()}


def _backward(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead
) -> tuple[float, float]:
    """Return the gradient bytes before the first block's backward pass, and at the end.

    Embeddings come last. If they are tied, their gradient is created next to the existing one.
    """
    gradients = _gradient_bytes(shape, setup, stack)
    if setup.method != "full":
        return gradients, gradients
    each = _trained_bytes(setup, stack)
    embeddings = each * shape.vocabulary * shape.hidden
    in_block = each * sum(linear.weights for linear in shape.linears)
    first = gradients - in_block / shape.layers - (0 if shape.tied else embeddings)
    return first, gradients + (embeddings if shape.tied else 0)


def _raw(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> float:
    """Return the bytes of a new gradient of a layer's fused experts, before it is accumulated.

    They are one parameter, the largest one.
    """
    fused = [linear for linear in shape.linears if linear.fused]
    if setup.method != "full" or not fused:
        return 0.0
    blocks = max(1, max(linear.passes for linear in fused) // max(1, shape.experts))
    largest = max(linear.weights for linear in fused) / blocks
    return _trained_bytes(setup, stack) * largest


def _cast(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> float:
    """Return the bytes of 16-bit copies of 32-bit weights that autocast keeps during a forward."""
    if not stack.autocast or setup.precision == "fp32":
        return 0.0
    if setup.method != "full":
        return 2.0 * setup.trained(shape) if stack.adapter_bytes == 4 else 0.0
    # Grouped matmuls of experts are not autocast.
    cast = (linear for linear in shape.linears if not linear.fused or linear.computed is not None)
    return 2.0 * sum(linear.weights for linear in cast) if stack.full_bytes == 4 else 0.0


def _logits(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead
) -> tuple[float, float, float]:
    """Return the bytes of the logits, and of the output layer's gradient with and after them.

    TRL accumulates that gradient in 32 bit, then casts it to the weight's dtype.
    """
    each, tokens = setup.bytes_each, setup.tokens
    weight = float(shape.vocabulary * shape.hidden)
    wide = each if each == 4 else stack.full_bytes
    after = wide * weight if setup.method == "full" else 0.0
    if setup.head == "full":
        logits = (stack.logit_bytes + (2 if each == 4 else 0)) * shape.vocabulary * tokens
        if setup.method == "full":  # 16-bit gradients of logits and weight, and the cast gradient
            logits = max(logits, each * shape.vocabulary * tokens + (each + wide) * weight)
        return logits, 0.0, after
    words = min(stack.tile[1], shape.vocabulary)
    tile = (each + stack.tile_copies) * min(stack.tile[0], tokens) * words
    if setup.method == "full" and wide > each:
        tile += each * words * shape.hidden  # the output layer's rows, cast
    # The hidden states' gradient is also accumulated in 32 bit.
    cast_gradient = weight * (4 + (wide if wide == 2 else 0)) if setup.method == "full" else 0.0
    return tile + 4.0 * shape.hidden * tokens, cast_gradient, after


def _unpacked(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> float:
    """Return the bytes of 16-bit weight copies while a block is computed."""
    each = setup.bytes_each
    if setup.method == "full":
        if not stack.autocast or each == 4 or stack.full_bytes == 2:
            return 0.0
        return 2.0 * sum(linear.weights for linear in shape.linears) / shape.layers
    copies = 0.0
    if setup.method == "qlora":  # one layer at a time, dequantized again in backward
        sizes = (linear.inputs * linear.outputs for linear in shape.linears if not linear.fused)
        copies = each * float(max(sizes))
    return copies + MERGING * _merged_experts(shape, setup)


def _merged_experts(shape: ModelShape, setup: TrainingSetup) -> float:
    """Return the bytes of a block's fused experts with their adapters merged.

    peft merges all experts in each forward pass, active or not, and the backward pass needs the
    result. Source: peft.tuners.lora.layer.ParamWrapper.
    """
    if setup.method == "full":
        return 0.0
    fused = (linear for linear in shape.linears if linear.fused and setup.adapts(linear))
    return setup.bytes_each * sum(linear.weights for linear in fused) / shape.layers
