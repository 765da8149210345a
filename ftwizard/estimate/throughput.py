"""How long one forward and backward pass takes on a card: what it multiplies and what it moves.

A roofline (Williams et al. 2009) of a decoder that PyTorch computes kernel by kernel: products go
by the card's peak, all that stands between them by its memory's bandwidth, and neither goes faster
than the processor starts kernels. Operations and bytes are counted from the model's shape; the few
shares below are the same for every model and card.
"""

from __future__ import annotations

from ftwizard.catalog.gpus import Card
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Linear, Shape

MATMUL = 0.72
"""Of the peak, in large products: cuBLAS on an A100 multiplies 225 of 312 TFLOPS."""
EXPERTS = 0.5
"""Of that, in products of experts: a few tokens each, so that they are small."""
STREAM = 0.8
"""Of the bandwidth, in kernels that only read and write."""
DEQUANTISE = 0.15
"""Of the bandwidth, in kernels that make 16 bits of 4, layer by layer."""
FP32 = 4.0
"""Times as long as products in 16 bit, at least, are those in fp32 on tensor cores (TF32).
A card that has none of these tells its own peak."""
LAUNCH_S = {"lora": 4.7e-3, "qlora": 9e-3, "full": 4.7e-3}
"""Of a layer's kernels, started one by one, recomputed activations included: what is left at 256
tokens a pass of the smallest model (QwenLM/Qwen, README.md#profiling, 1.8B)."""
BACKWARD = 2
"""A backward pass moves about twice what a forward pass does."""
ATTENTION_BACKWARD = 2.5
"""Times the products of its forward pass (Dao 2023, FlashAttention-2, section 4.1)."""
# Bytes a token that kernels of a block read and write in 16 bit, a value of the given width:
NORMS = 2 * 34
"""Two RMSNorms in fp32: cast, square, mean, scale, cast back, weigh."""
RESIDUAL = 2 * 6
ROTARY = 24
"""Of queries and keys: two products, a half turned round, a sum."""
GATED = 10
"""Activation and product of gate and up."""
LINEAR = 2
"""Read in, write out."""
LORA_IN, LORA_OUT = 7, 12
"""Dropout and the first matrix; the second matrix, the scale and the sum with the layer's own."""
LOGITS = {"full": 32, "tiled": 16}
"""A logit: made in 16 bit, cast, normalised, its gradient made and cast."""
OPTIMISER = 40
"""A trained 32-bit weight, a step: AdamW's four values read, three written, clipping."""


def pass_seconds(
    shape: Shape, setup: Setup, card: Card, *, tokens: float, attended: float, forward: bool = False
) -> float:
    """Return the seconds of one pass over ``tokens`` tokens, padding included.

    ``attended``: tokens that attention runs over. ``forward``: without the backward pass, as in an
    evaluation. The optimizer's step is not in it (``step_seconds``).
    """
    runs = 1 if forward else 2 + setup.checkpointing  # in which weights are read
    moved = 1 if forward else 1 + BACKWARD + setup.checkpointing
    bandwidth = card.bandwidth * 1e9 * STREAM
    multiply = _flops(shape, setup, tokens, attended, forward) / (peak(setup, card) * 1e12 * MATMUL)
    read = _weight_bytes(shape, setup, tokens) * runs / bandwidth
    head = shape.vocabulary * LOGITS[setup.head] * (0.25 if forward else 1)
    move = tokens * (_block_bytes(shape, setup) * moved + head) / bandwidth
    busy = max(multiply, read) + move
    if setup.method == "qlora":
        busy += _in_4_bit(shape) * 2.5 * runs / (card.bandwidth * 1e9 * DEQUANTISE)
    return max(busy, launch_seconds(shape, setup, forward=forward))


def peak(setup: Setup, card: Card) -> float:
    """Return the card's peak in the precision of the training, 10¹² products and sums a second."""
    if setup.precision != "fp32":
        return card.tflops
    return card.fp32_tflops or card.tflops / FP32


def launch_seconds(shape: Shape, setup: Setup, *, forward: bool = False) -> float:
    """Return the seconds that a processor takes to start one pass's kernels."""
    runs = 1 if forward else 2 + setup.checkpointing
    return shape.layers * LAUNCH_S[setup.method] * runs / 3


def step_seconds(shape: Shape, setup: Setup, card: Card) -> float:
    """Return the seconds of one step of the optimizer (AdamW in 32 bit)."""
    trained = shape.parameters if setup.method == "full" else _adapter(shape, setup)
    return trained * OPTIMISER / (card.bandwidth * 1e9 * STREAM)


def flops_a_token(shape: Shape, setup: Setup, attended: float) -> float:
    """Return the products and sums of one token's forward and backward pass."""
    return _flops(shape, setup, 1.0, attended, forward=False)


def _flops(shape: Shape, setup: Setup, tokens: float, attended: float, forward: bool) -> float:
    """Two a weight and run (Kaplan et al. 2020): a gradient of inputs always, of weights if trained.

    Experts count as more, as they take longer than their products.
    """
    full, again = setup.method == "full", int(setup.checkpointing)
    runs, head_runs = (1, 1) if forward else (2 + full + again, 2 + full)
    weights = sum(
        one.inputs * one.outputs * one.passes / (EXPERTS if _is_expert(one) else 1)
        for one in shape.linears
    )
    head = shape.vocabulary * shape.hidden
    causal = 2 * attended * shape.layers * shape.heads * shape.head_dim
    attention = causal * (1 if forward else 1 + ATTENTION_BACKWARD + again)
    return tokens * (2 * weights * runs + 2 * head * head_runs + attention)


def _block_bytes(shape: Shape, setup: Setup) -> float:
    """Return the bytes that the kernels of all blocks move for a token, in a forward pass."""
    per_layer = (
        (NORMS + RESIDUAL) * shape.hidden
        + ROTARY * (shape.heads + shape.kv_heads) * shape.head_dim
        + GATED * shape.intermediate
    )
    moved = float(shape.layers * per_layer)
    for one in shape.linears:
        moved += LINEAR * (one.inputs + one.outputs) * one.passes
        if setup.method != "full" and (setup.targets is None or one.name in setup.targets):
            moved += (LORA_IN * one.inputs + LORA_OUT * one.outputs) * one.passes
    return moved * (2 if setup.precision == "fp32" else 1)


def _weight_bytes(shape: Shape, setup: Setup, tokens: float) -> float:
    """Return the bytes of weights that one run reads; of experts, those that some token chose."""
    each = 8 if setup.method == "full" else 4 if setup.precision == "fp32" else 2
    return each * sum(
        one.inputs * one.outputs * min(one.count, one.passes * tokens) for one in shape.linears
    )


def _in_4_bit(shape: Shape) -> float:
    """Return the weights that QLoRA keeps in 4 bit: those of modules; fused experts stay in 16."""
    return sum(one.inputs * one.outputs * one.count for one in shape.linears if not one.fused)


def _is_expert(one: Linear) -> bool:
    return one.passes < one.count


def _adapter(shape: Shape, setup: Setup) -> int:
    return shape.adapter(setup.rank, setup.targets)
