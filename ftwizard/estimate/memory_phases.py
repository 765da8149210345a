"""Live GPU memory at each moment of a training step, part by part, in bytes.

The peak can occur while the loss is computed, in the backward pass of the last or the first block,
in attention, or in the optimizer step. Each moment is the sum of its live tensors.
"""

from __future__ import annotations

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.activations import block, compute_bytes
from ftwizard.estimate.training_setup import FrameworkOverhead, TrainingSetup
from ftwizard.models.shapes import ModelShape

MERGING = 1.4
"""Copies of a block's experts while adapters are added to them: the sum, and the delta of one of two
layers. Counted by the ledger on Qwen3-30B-A3B."""


class ResidentBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Permanent bytes, and the bytes of all gradients."""

    weights: float
    adapter: float
    optimizer: float
    gradients: float
    trained: int


def compute_resident(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead
) -> ResidentBytes:
    """Compute the permanent bytes.

    Raises FtwizardError for target modules that the model does not have.
    """
    each = compute_bytes(setup)
    if setup.method == "full":
        wide = stack.full_bytes if each == 2 else 4
        count = shape.parameters
        return ResidentBytes(
            weights=shape.parameters * wide,
            adapter=0,
            optimizer=count * (2 * wide if stack.moment_bytes is None else stack.moment_bytes),
            gradients=count * wide,
            trained=count,
        )
    count = shape.adapter(setup.rank, setup.targets)
    if not count:
        raise FtwizardError(
            "The model has none of the layers in recipe.target_modules.",
            f"It has: {', '.join(dict.fromkeys(linear.name for linear in shape.linears))}.",
        )
    wide = stack.adapter_bytes if each == 2 else 4
    two = 2 * wide if stack.moment_bytes is None else stack.moment_bytes
    return ResidentBytes(
        weights=_weights(shape, setup, stack, each),
        adapter=count * wide,
        optimizer=count * two,
        gradients=count * wide,
        trained=count,
    )


def _weights(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, each: int) -> float:
    """Return the bytes of the frozen base model of an adapter."""
    if setup.method == "lora":
        return shape.parameters * each
    packed = _packable(shape)
    loose = each if stack.loose_bytes is None else stack.loose_bytes
    fused = sum(
        linear.inputs * linear.outputs * linear.count for linear in shape.linears if linear.fused
    )
    rest = shape.parameters - packed - fused
    return packed * stack.packed_bytes + fused * each + rest * loose


def _packable(shape: ModelShape) -> int:
    """Return the number of weights that bitsandbytes quantizes: linear layers, not fused experts."""
    linears = sum(
        linear.inputs * linear.outputs * linear.count
        for linear in shape.linears
        if not linear.fused
    )
    return linears + shape.outside_blocks


def compute_moments(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, resident: ResidentBytes
) -> dict[str, dict[str, float]]:
    """Return the live bytes by part at each moment that can be the peak."""
    widest = block(shape, setup, stack)
    merged = _merged_experts(shape, setup)
    between = shape.layers * (widest.stream if setup.checkpointing else widest.kept + merged)
    unpacked = _unpacked(shape, setup, stack)
    elsewhere = between  # while attention of the last block runs
    if not setup.checkpointing:
        unpacked -= merged  # the last block's is already included in ``between``
        elsewhere -= widest.kept + merged
    raw = _raw(shape, setup, resident)
    copies = _cast(shape, setup, stack, resident)
    carried = resident.gradients if setup.accumulation > 1 else 0.0
    logits, head, of_head = _logits(shape, setup, stack)
    first, last = _backward(shape, setup, stack, resident)
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
            "activations": widest.kept + widest.working + widest.stream,
            "dequantisation": _unpacked(shape, setup, stack),
        },
        "attention": {
            "gradients": max(carried, of_head),
            "activations": elsewhere + widest.attending if widest.attending else 0.0,
        },
        "step": {
            "gradients": last,
            "activations": 0.0 if stack.fused_optimizer else resident.gradients,
        },
    }
    base = {
        "weights": resident.weights,
        "adapter": resident.adapter,
        "optimizer": resident.optimizer,
    }
    return {name: base | at for name, at in by_moment.items()}


def _backward(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, resident: ResidentBytes
) -> tuple[float, float]:
    """Return the gradient bytes before the first block's backward pass, and at the end.

    Embeddings come last. If they are tied, their gradient is created next to the existing one.
    """
    if setup.method != "full":
        return resident.gradients, resident.gradients
    each = resident.gradients / resident.trained
    embeddings = each * shape.vocabulary * shape.hidden
    in_block = each * sum(linear.inputs * linear.outputs * linear.count for linear in shape.linears)
    first = resident.gradients - in_block / shape.layers - (0 if shape.tied else embeddings)
    return first, resident.gradients + (embeddings if shape.tied else 0)


def _raw(shape: ModelShape, setup: TrainingSetup, resident: ResidentBytes) -> float:
    """Return the bytes of a new gradient of a layer's fused experts, before it is accumulated.

    They are one parameter, the largest one.
    """
    fused = [linear for linear in shape.linears if linear.fused]
    if setup.method != "full" or not fused:
        return 0.0
    blocks = max(1, max(linear.passes for linear in fused) // max(1, shape.experts))
    largest = max(linear.inputs * linear.outputs * linear.count / blocks for linear in fused)
    return resident.gradients / resident.trained * largest


def _cast(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, resident: ResidentBytes
) -> float:
    """Return the bytes of 16-bit copies of 32-bit weights that autocast keeps during a forward."""
    if not stack.autocast or setup.precision == "fp32":
        return 0.0
    if setup.method == "full":  # grouped matmuls of experts are not autocast
        cast = [
            linear for linear in shape.linears if not linear.fused or linear.computed is not None
        ]
        linears = sum(linear.inputs * linear.outputs * linear.count for linear in cast)
        return 2.0 * linears if stack.full_bytes == 4 else 0.0
    return 2.0 * resident.trained if stack.adapter_bytes == 4 else 0.0


def _logits(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead
) -> tuple[float, float, float]:
    """Return the bytes of the logits, and of the output layer's gradient with and after them.

    TRL accumulates that gradient in 32 bit, then casts it to the weight's dtype.
    """
    each, tokens = compute_bytes(setup), setup.tokens
    weight = float(shape.vocabulary * shape.hidden)
    wide = each if each == 4 else stack.full_bytes
    after = wide * weight if setup.method == "full" else 0.0
    if setup.head == "full":
        logits = (stack.logit_bytes + (2 if each == 4 else 0)) * shape.vocabulary * tokens
        if setup.method == "full":  # 16-bit gradients of logits and weight, and the cast gradient
            logits = max(logits, each * shape.vocabulary * tokens + (each + wide) * weight)
        return logits, 0.0, after
    words = min(stack.tile[1], shape.vocabulary)
    tile = each * min(stack.tile[0], tokens) * words
    if setup.method == "full" and wide > each:
        tile += each * words * shape.hidden  # the output layer's rows, cast
    # The hidden states' gradient is also accumulated in 32 bit.
    cast_gradient = weight * (4 + (wide if wide == 2 else 0)) if setup.method == "full" else 0.0
    return tile + 4.0 * shape.hidden * tokens, cast_gradient, after


def _unpacked(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> float:
    """Return the bytes of 16-bit weight copies while a block is computed."""
    each = compute_bytes(setup)
    sizes = [(linear.inputs * linear.outputs, linear) for linear in shape.linears]
    if setup.method == "full":
        if not stack.autocast or each == 4 or stack.full_bytes == 2:
            return 0.0
        return 2.0 * sum(size * linear.count for size, linear in sizes) / shape.layers
    copies = 0.0
    if setup.method == "qlora":  # one layer at a time, dequantized again in backward
        copies = each * max(float(size) for size, linear in sizes if not linear.fused)
    return copies + MERGING * _merged_experts(shape, setup)


def _merged_experts(shape: ModelShape, setup: TrainingSetup) -> float:
    """Return the bytes of a block's fused experts with their adapters merged.

    peft merges all experts in each forward pass, active or not, and the backward pass needs the
    result. Source: peft.tuners.lora.layer.ParamWrapper.
    """
    if setup.method == "full":
        return 0.0
    sizes = [
        linear.inputs * linear.outputs * linear.count / shape.layers
        for linear in shape.linears
        if linear.fused and (setup.targets is None or linear.name in setup.targets)
    ]
    return compute_bytes(setup) * sum(sizes)
