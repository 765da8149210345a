"""Live GPU memory at each moment of a training step, part by part, in bytes.

The peak can occur while the loss is computed, in the backward pass of the last or the first block,
in attention, or in the optimizer step. Each moment is the sum of its live tensors.
"""

from __future__ import annotations

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.activations import block
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
    full = setup.method == "full"
    count = setup.trained(shape)
    if not count:
        raise FtwizardError(
            "The model has none of the layers in recipe.target_modules.",
            f"It has: {', '.join(dict.fromkeys(linear.name for linear in shape.linears))}.",
        )
    wide = 4 if setup.bytes_each == 4 else stack.full_bytes if full else stack.adapter_bytes
    trained = count * wide
    return ResidentBytes(
        weights=trained if full else _frozen_weights(shape, setup, stack),
        adapter=0 if full else trained,
        optimizer=count * (2 * wide if stack.moment_bytes is None else stack.moment_bytes),
        gradients=trained,
        trained=count,
    )


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
    base = {name: getattr(resident, name) for name in ("weights", "adapter", "optimizer")}
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
    in_block = each * sum(linear.weights for linear in shape.linears)
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
    largest = max(linear.weights for linear in fused) / blocks
    return resident.gradients / resident.trained * largest


def _cast(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, resident: ResidentBytes
) -> float:
    """Return the bytes of 16-bit copies of 32-bit weights that autocast keeps during a forward."""
    if not stack.autocast or setup.precision == "fp32":
        return 0.0
    if setup.method != "full":
        return 2.0 * resident.trained if stack.adapter_bytes == 4 else 0.0
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
    tile = each * min(stack.tile[0], tokens) * words
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
