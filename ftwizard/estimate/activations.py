"""Activation memory of one decoder block, from the operations of its forward pass.

Counted operation by operation on the llama block of transformers 5.24 with peft 0.21. Verified
against ``ftwizard.train.memory_ledger``, which counts every tensor (within 3%, see
tests/benchmarks/memory.py).
"""

from __future__ import annotations

import msgspec

from ftwizard.estimate.training_setup import FrameworkOverhead, TrainingSetup
from ftwizard.models.shapes import ModelShape

EAGER = frozenset({"gemma2", "gpt_oss"})
"""Architectures for which transformers 5.24 keeps all attention scores in memory unless told
otherwise: they cap the scores or have sinks, which scaled_dot_product_attention does not support."""
_SINKS = "gpt_oss"
"""Not supported by flash-attn 2 either."""
SOFTMAX = 12
"""Bytes per score while the softmax runs backward: its 32-bit output, the gradients of its output
and its input. Counted by the ledger on a llama block."""
_GATE = {"gpt_oss": 6}
"""Expert-wide tensors that the gate keeps: 3 for SwiGLU (gate, its activation, up); gpt-oss caps
both and also keeps the output of its sigmoid."""
_IN_ORDER = frozenset({"llama4_text"})
"""Architectures that multiply all experts with every token, using torch.bmm."""
_FOUR_NORMS = frozenset({"gemma2", "gemma3", "gemma3_text"})
_INTO_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn"})
_INTO_MLP = frozenset({"gate_proj", "up_proj", "gate_up_proj", "c_fc"})
_MLP = _INTO_MLP | {"down_proj"}


class BlockActivations(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one block in one pass over all tokens of a micro-batch."""

    kept: float
    """Between its forward and its backward pass."""
    working: float
    """Peak on top of that, while its last layer or its backward pass runs."""
    attending: float
    """While its attention runs backward: attention's share of ``kept`` and temporary tensors. 0 unless
    this can exceed the feed-forward part."""
    stream: float
    """The hidden states passed from block to block."""


class _Adapting(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes per element of an adapted layer."""

    copied: int
    """Of each input element, kept in a separate copy; 0 if the adapter shares the layer's input."""
    passing: int
    """Of each input element, in temporary copies while the layer runs."""
    mask: int
    output: int
    """Of each element of the adapter's output."""


def block(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> BlockActivations:
    """Estimate the widest block.

    A norm keeps its 32-bit input; attention keeps queries, keys, values and output (and its mask, if
    rows are padded); the feed-forward part keeps gate, its activation, up and their product.
    """
    each = setup.bytes_each
    hidden, query = shape.hidden, shape.heads * shape.head_dim
    padded, eager = is_padded(setup, stack), keeps_scores(shape, setup)
    keys = query if padded or eager else shape.kv_heads * shape.head_dim
    norms = 4 if shape.model_type in _FOUR_NORMS else 2
    stream = stream_bytes(setup, stack)
    kept: float = norms * 4 * hidden + each * (2 * query + 2 * keys)
    in_attention: float = norms / 2 * 4 * hidden + each * (2 * query + 2 * keys)
    fed: float = 3 * each * shape.intermediate
    if setup.method == "full":
        kept += norms * stream * hidden  # output of the norms, for the gradient of their weights
        kept += each * (5 if stream > each else 2) * hidden
        in_attention += (norms / 2 * stream + 2 * each) * hidden
        fed += each * shape.intermediate
        working: float = 2 * each * shape.intermediate + 2 * stream * hidden
    else:
        adapting = _adapting(shape, setup, stack)
        kept += _for_adapters(shape, setup, adapting, each)
        in_attention += _for_adapters(shape, setup, adapting, each, without=_MLP)
        working = _at_down(shape, setup, adapting, each, stream)
    if shape.experts:
        fed, working = _of_experts(shape, setup, stack, each)
    across, passing = _across(shape, setup, each, padded)
    mask = each if eager else int(padded)
    on_top = mask * setup.length + (0 if eager else passing)
    attending = in_attention + across + passing + 2 * stream * hidden
    return BlockActivations(
        kept=setup.tokens * (kept + fed + across),
        working=setup.tokens * (working + on_top),
        attending=setup.tokens * attending if eager else 0.0,
        stream=setup.tokens * stream * hidden,
    )


def stream_bytes(setup: TrainingSetup, stack: FrameworkOverhead) -> int:
    """Return the bytes per element of the hidden states: those of embeddings and norms."""
    each = setup.bytes_each
    if setup.method == "full":
        return max(each, stack.full_bytes)
    if setup.method == "qlora" and stack.loose_bytes:
        return max(each, stack.loose_bytes)
    return each


def is_padded(setup: TrainingSetup, stack: FrameworkOverhead) -> bool:
    """Return whether attention gets a mask: by default if a batch has at least two rows.

    flash-attn gets the lengths of the rows instead.
    """
    if stack.padded is not None:
        return stack.padded
    return setup.batch_size > 1 and setup.attention != "flash_attention_2"


def keeps_scores(shape: ModelShape, setup: TrainingSetup) -> bool:
    """Return whether attention keeps the scores of all pairs of tokens."""
    if setup.attention == "flash_attention_2":
        return shape.model_type == _SINKS
    return setup.attention == "eager" or shape.model_type in EAGER


def _across(
    shape: ModelShape, setup: TrainingSetup, each: int, padded: bool
) -> tuple[float, float]:
    """Return the bytes per token that grow with the square of the length: kept and temporary.

    With all scores in memory, a block keeps their 32-bit softmax and its 16-bit copy; Gemma 2 also
    their tanh; gpt-oss keeps only the softmax, with scores and sinks as temporary tensors.
    """
    scores = float(shape.heads * setup.length)
    if keeps_scores(shape, setup):
        if shape.model_type == _SINKS:
            return each * scores, 2 * each * scores
        if shape.model_type in EAGER:
            return (2 * each + 4) * scores, (2 * each + 4) * scores
        kept = 4 + (each if each < 4 else 0)
        return kept * scores, (SOFTMAX - kept) * scores
    own = float(each * setup.length) if padded else 0.0
    return own, own


def _of_experts(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, each: int
) -> tuple[float, float]:
    """Return the bytes per token that experts keep, and temporary bytes while they run.

    Each token is copied for each of its experts; their outputs are kept for weighting and then
    reordered. Source: transformers.integrations.moe (grouped_mm), and Llama4TextMoe, whose experts
    autocast multiplies in 16 bit. grouped_mm is not autocast, so 32-bit weights compute in 32 bit.
    """
    in_order = shape.model_type in _IN_ORDER
    full = setup.method == "full"
    if full and stack.autocast and not in_order:
        each = max(each, stack.full_bytes)
    fused = (linear for linear in shape.linears if linear.fused)
    adapted = [linear.name for linear in fused if full or setup.adapts(linear)]
    copies = each * shape.experts * shape.hidden
    kept = _GATE.get(shape.model_type, 3) * each * shape.intermediate + copies
    kept += each * shape.intermediate * ("down_proj" in adapted)
    kept += copies * ("gate_up_proj" in adapted)
    stream = stream_bytes(setup, stack)
    gating = (2 * each) * shape.intermediate + 2 * stream * shape.hidden
    return kept, max(gating, 3 * copies + 5 * stream * shape.hidden)


def _adapting(shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead) -> _Adapting:
    each, dropout = setup.bytes_each, setup.dropout
    if any(linear.fused and setup.adapts(linear) for linear in shape.linears):
        dropout = False  # peft supports none for parameters of experts: ftwizard turns it off
    wide = each == 2 and stack.adapter_bytes == 4
    if wide and stack.autocast:  # cast to 32 bit, dropout, and back to 16 bit for the matmul
        copied, passing = 2, 4 + 4 * dropout
    elif wide:
        copied, passing = 4, 4 * dropout
    else:
        copied, passing = each * dropout, 0
    output = 4 if wide and not stack.autocast else each
    return _Adapting(copied=copied, passing=passing, mask=dropout * stack.mask_bytes, output=output)


def _for_adapters(
    shape: ModelShape,
    setup: TrainingSetup,
    adapting: _Adapting,
    each: int,
    without: frozenset[str] = frozenset(),
) -> float:
    """Return the bytes per token that a block keeps for its adapters, except those ``without``."""
    adapted = [
        linear for linear in shape.linears if setup.adapts(linear) and linear.name not in without
    ]
    total = 0.0
    for linear in adapted:
        if linear.fused:  # the adapter is added to the weights, so no token passes through it
            continue
        times = linear.active / shape.layers
        total += times * adapting.output * setup.rank
        total += times * linear.inputs * (adapting.copied + adapting.mask)
    if adapting.copied:
        return total
    names = {linear.name for linear in adapted}
    total += each * shape.hidden * (bool(names & _INTO_ATTENTION) + bool(names & _INTO_MLP))
    return total + each * shape.intermediate * ("down_proj" in names)


def _at_down(
    shape: ModelShape, setup: TrainingSetup, adapting: _Adapting, each: int, stream: int
) -> float:
    """Return the temporary bytes per token at the largest of three points.

    These are the last layer of the forward (its input and 32-bit copies), the second to last
    (outputs of base and adapter, and their sum), and the first gradients.
    """
    wide = shape.intermediate
    down = setup.targets is None or "down_proj" in setup.targets
    up = setup.targets is None or bool(_INTO_MLP & set(setup.targets))
    copied = adapting.copied if down else 0
    forward: float = (each + (adapting.passing if down else 0)) * wide
    if down and not copied:
        forward = 0.0
    sums = (each + 2 * adapting.output if up else each) * wide
    shared = each if down and not copied else copied
    sums -= (each + shared + (adapting.mask if down else 0)) * wide
    back = 2.0 * each * wide
    # Five hidden states are still referenced by variables of the forward; two gradients of them.
    return max(max(forward, sums) + 5 * stream * shape.hidden, back + 2 * stream * shape.hidden)
