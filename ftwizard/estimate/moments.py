"""Live GPU memory at each moment of a training step, part by part, in bytes.

The peak can occur while the loss is computed, in the backward pass of the last or the first block,
in attention, or in the optimizer step. Each moment is the sum of its live tensors.
"""

from __future__ import annotations

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.activations import block, compute_bytes
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.estimate.stack import Stack

MERGING = 1.4
"""Copies of a block's experts while adapters are added to them: the sum, and the delta of one of two
layers. Counted by the ledger on Qwen3-30B-A3B."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Permanent bytes, and the bytes of all gradients."""

    weights: float
    adapter: float
    optimizer: float
    gradients: float
    trained: int


def hold(shape: Shape, setup: Setup, stack: Stack) -> Held:
    """Compute the permanent bytes.

    Raises FtwizardError for target modules that the model does not have.
    """
    each = compute_bytes(setup)
    if setup.method == "full":
        wide = stack.full_bytes if each == 2 else 4
        count = shape.parameters
        return Held(
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
            f"It has: {', '.join(dict.fromkeys(one.name for one in shape.linears))}.",
        )
    wide = stack.adapter_bytes if each == 2 else 4
    two = 2 * wide if stack.moment_bytes is None else stack.moment_bytes
    return Held(
        weights=_weights(shape, setup, stack, each),
        adapter=count * wide,
        optimizer=count * two,
        gradients=count * wide,
        trained=count,
    )


def _weights(shape: Shape, setup: Setup, stack: Stack, each: int) -> float:
    """Return the bytes of the frozen base model of an adapter."""
    if setup.method == "lora":
        return shape.parameters * each
    packed = _packable(shape)
    loose = each if stack.loose_bytes is None else stack.loose_bytes
    fused = sum(one.inputs * one.outputs * one.count for one in shape.linears if one.fused)
    rest = shape.parameters - packed - fused
    return packed * stack.packed_bytes + fused * each + rest * loose


def _packable(shape: Shape) -> int:
    """Return the number of weights that bitsandbytes quantizes: linear layers, not fused experts."""
    linears = sum(one.inputs * one.outputs * one.count for one in shape.linears if not one.fused)
    return linears + shape.beside


def moments(shape: Shape, setup: Setup, stack: Stack, held: Held) -> dict[str, dict[str, float]]:
    """Return the live bytes by part at each moment that can be the peak."""
    one = block(shape, setup, stack)
    merged = _merged_experts(shape, setup)
    between = shape.layers * (one.stream if setup.checkpointing else one.kept + merged)
    unpacked = _unpacked(shape, setup, stack)
    elsewhere = between  # while attention of the last block runs
    if not setup.checkpointing:
        unpacked -= merged  # the last block's is already included in ``between``
        elsewhere -= one.kept + merged
    raw = _raw(shape, setup, held)
    copies = _cast(shape, setup, stack, held)
    carried = held.gradients if setup.accumulation > 1 else 0.0
    logits, head, of_head = _logits(shape, setup, stack)
    first, last = _backward(shape, setup, stack, held)
    # The last norm keeps its 32-bit input; its output goes into the loss.
    ending = 4.0 * shape.hidden * setup.tokens + one.stream
    found = {
        "loss": {
            "gradients": carried + head,
            "activations": between + ending + copies,
            "logits": logits,
        },
        "backward": {
            "gradients": max(carried, of_head) + raw,
            "activations": between + one.working + (one.kept if setup.checkpointing else copies),
            "dequantisation": unpacked,
        },
        "end of backward": {
            "gradients": max(carried, first) + raw,
            "activations": one.kept + one.working + one.stream,
            "dequantisation": _unpacked(shape, setup, stack),
        },
        "attention": {
            "gradients": max(carried, of_head),
            "activations": elsewhere + one.attending if one.attending else 0.0,
        },
        "step": {
            "gradients": last,
            "activations": 0.0 if stack.fused_optimizer else held.gradients,
        },
    }
    base = {"weights": held.weights, "adapter": held.adapter, "optimizer": held.optimizer}
    return {name: base | at for name, at in found.items()}


def _backward(shape: Shape, setup: Setup, stack: Stack, held: Held) -> tuple[float, float]:
    """Return the gradient bytes before the first block's backward pass, and at the end.

    Embeddings come last. If they are tied, their gradient is created next to the existing one.
    """
    if setup.method != "full":
        return held.gradients, held.gradients
    each = held.gradients / held.trained
    embeddings = each * shape.vocabulary * shape.hidden
    in_block = each * sum(one.inputs * one.outputs * one.count for one in shape.linears)
    first = held.gradients - in_block / shape.layers - (0 if shape.tied else embeddings)
    return first, held.gradients + (embeddings if shape.tied else 0)


def _raw(shape: Shape, setup: Setup, held: Held) -> float:
    """Return the bytes of a new gradient of a layer's fused experts, before it is accumulated.

    They are one parameter, the largest one.
    """
    fused = [one for one in shape.linears if one.fused]
    if setup.method != "full" or not fused:
        return 0.0
    blocks = max(1, max(one.passes for one in fused) // max(1, shape.experts))
    largest = max(one.inputs * one.outputs * one.count / blocks for one in fused)
    return held.gradients / held.trained * largest


def _cast(shape: Shape, setup: Setup, stack: Stack, held: Held) -> float:
    """Return the bytes of 16-bit copies of 32-bit weights that autocast keeps during a forward."""
    if not stack.autocast or setup.precision == "fp32":
        return 0.0
    if setup.method == "full":  # grouped matmuls of experts are not autocast
        cast = [one for one in shape.linears if not one.fused or one.computed is not None]
        linears = sum(one.inputs * one.outputs * one.count for one in cast)
        return 2.0 * linears if stack.full_bytes == 4 else 0.0
    return 2.0 * held.trained if stack.adapter_bytes == 4 else 0.0


def _logits(shape: Shape, setup: Setup, stack: Stack) -> tuple[float, float, float]:
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
    beside = weight * (4 + (wide if wide == 2 else 0)) if setup.method == "full" else 0.0
    return tile + 4.0 * shape.hidden * tokens, beside, after


def _unpacked(shape: Shape, setup: Setup, stack: Stack) -> float:
    """Return the bytes of 16-bit weight copies while a block is computed."""
    each = compute_bytes(setup)
    sizes = [(one.inputs * one.outputs, one) for one in shape.linears]
    if setup.method == "full":
        if not stack.autocast or each == 4 or stack.full_bytes == 2:
            return 0.0
        return 2.0 * sum(size * one.count for size, one in sizes) / shape.layers
    found = 0.0
    if setup.method == "qlora":  # one layer at a time, dequantized again in backward
        found = each * max(float(size) for size, one in sizes if not one.fused)
    return found + MERGING * _merged_experts(shape, setup)


def _merged_experts(shape: Shape, setup: Setup) -> float:
    """Return the bytes of a block's fused experts with their adapters merged.

    peft merges all experts in each forward pass, active or not, and the backward pass needs the
    result. Source: peft.tuners.lora.layer.ParamWrapper.
    """
    if setup.method == "full":
        return 0.0
    sizes = [
        one.inputs * one.outputs * one.count / shape.layers
        for one in shape.linears
        if one.fused and (setup.targets is None or one.name in setup.targets)
    ]
    return compute_bytes(setup) * sum(sizes)
