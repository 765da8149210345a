"""Roofline model for the time of a forward and backward pass on a GPU.

A decoder computed by PyTorch kernel by kernel (roofline: Williams et al. 2009): matmuls are limited
by peak compute, everything else by memory bandwidth, and both by the rate of kernel launches.
Operations and bytes are counted from the model's shape. The efficiencies below are the same for
every model and GPU.
"""

from __future__ import annotations

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.shapes import ModelShape

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
LOGITS = {"full": 32, "tiled": 16}
"""Per logit: computed in 16 bit, cast, normalized; its gradient computed and cast."""
OPTIMIZER = 40
"""Per trained 32-bit weight and step: AdamW reads four values and writes three; plus clipping."""


def pass_seconds(
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
    evaluation. Excludes the optimizer step (``step_seconds``).
    """
    runs = 1 if forward else 2 + setup.checkpointing  # times the weights are read
    moved = 1 if forward else 1 + BACKWARD + setup.checkpointing
    bandwidth = card.bandwidth * 1e9 * STREAM
    multiply = _flops(shape, setup, tokens, attended, forward) / (peak(setup, card) * 1e12 * MATMUL)
    read = _weight_bytes(shape, setup, tokens) * runs / bandwidth
    head = shape.vocabulary * LOGITS[setup.head] * (0.25 if forward else 1)
    move = tokens * (_block_bytes(shape, setup) * moved + head) / bandwidth
    busy = max(multiply, read) + move
    if setup.method == "qlora":
        busy += _in_4_bit(shape) * 2.5 * runs / (card.bandwidth * 1e9 * DEQUANTIZE)
    return max(busy, launch_seconds(shape, setup, forward=forward))


def peak(setup: TrainingSetup, card: GpuSpec) -> float:
    """Return the GPU's peak TFLOPS in the precision of the training."""
    if setup.precision != "fp32":
        return card.tflops
    return card.fp32_tflops or card.tflops / FP32


def launch_seconds(shape: ModelShape, setup: TrainingSetup, *, forward: bool = False) -> float:
    """Return the seconds that the CPU needs to launch the kernels of one pass."""
    runs = 1 if forward else 2 + setup.checkpointing
    return shape.layers * LAUNCH_S[setup.method] * runs / 3


def step_seconds(shape: ModelShape, setup: TrainingSetup, card: GpuSpec) -> float:
    """Return the seconds of one optimizer step (AdamW in 32 bit)."""
    return setup.trained(shape) * OPTIMIZER / (card.bandwidth * 1e9 * STREAM)


def flops_a_token(shape: ModelShape, setup: TrainingSetup, attended: float) -> float:
    """Return the FLOP of one token's forward and backward pass."""
    return _flops(shape, setup, 1.0, attended, forward=False)


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


def _in_4_bit(shape: ModelShape) -> float:
    """Return the number of 4-bit weights with QLoRA: linear modules; fused experts stay in 16 bit."""
    return sum(linear.weights for linear in shape.linears if not linear.fused)
