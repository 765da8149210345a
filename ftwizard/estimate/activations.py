"""What one block of a decoder keeps for its backward pass, from the operations of its forward.

Counted operation by operation on the llama block of transformers 5.24 with peft 0.21, and held
against ``ftwizard.train.ledger``, which counts every tensor (within 3 %, see
tests/benchmarks/memory.py).
"""

from __future__ import annotations

import msgspec

from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.estimate.stack import Stack

EAGER = frozenset({"gemma2", "gpt_oss"})
"""Architectures whose attention transformers 5.24 computes with all scores in memory: they cap the
scores or have sinks, which scaled_dot_product_attention cannot."""
_GATE = {"gpt_oss": 6}
"""Tensors as wide as the experts that their gate keeps: 3 for SwiGLU (gate, its activation, up);
gpt-oss caps both, and keeps what its sigmoid gives as well."""
_IN_ORDER = frozenset({"llama4_text"})
"""Architectures whose experts are multiplied with every token, by torch.bmm."""
_FOUR_NORMS = frozenset({"gemma2", "gemma3", "gemma3_text"})
_INTO_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn"})
_INTO_MLP = frozenset({"gate_proj", "up_proj", "gate_up_proj", "c_fc"})


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one block in one pass over all tokens of a micro-batch."""

    kept: float
    """Between its forward and its backward pass."""
    working: float
    """On top while its last layer or its backward pass runs, at the most."""
    attending: float
    """While its attention runs, forward or backward: of ``kept`` what attention keeps, and what is
    on top. Only where that can be more than at the feed-forward part; else 0."""
    stream: float
    """The hidden states that go from block to block."""


class _Adapting(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of each element that goes into an adapted layer."""

    copied: int
    """Kept in a copy of its own; 0: the adapter shares what the layer itself is given."""
    passing: int
    """In copies that live while the layer runs."""
    mask: int
    given: int
    """Of each element that the adapter gives."""


def block(shape: Shape, setup: Setup, stack: Stack) -> Block:
    """Return what the widest block keeps.

    A norm keeps its input in 32 bit; attention its queries, keys, values and output (and its mask,
    where rows are padded); the feed-forward part gate, its activation, up and their product.
    """
    each = compute_bytes(setup)
    hidden, query = shape.hidden, shape.heads * shape.head_dim
    padded = is_padded(setup, stack)
    keys = query if padded else shape.kv_heads * shape.head_dim
    norms = 4 if shape.model_type in _FOUR_NORMS else 2
    stream = stream_bytes(setup, stack)
    kept: float = norms * 4 * hidden + each * (2 * query + 2 * keys)
    fed: float = 3 * each * shape.intermediate
    if setup.method == "full":
        kept += norms * stream * hidden  # what a norm gives, for the gradient of its weight
        kept += each * (5 if stream > each else 2) * hidden
        fed += each * shape.intermediate
        working: float = 2 * each * shape.intermediate + 2 * stream * hidden
    else:
        adapting = _adapting(stack, each)
        kept += _for_adapters(shape, setup, adapting, each)
        working = _at_down(shape, setup, adapting, each, stream)
    if shape.experts:
        fed, working = _of_experts(shape, setup, stack, each)
    across, passing = _across(shape, setup, each, padded)
    on_top = padded * setup.length + (0 if shape.model_type in EAGER else passing)
    attending = kept + across + passing + 2 * stream * hidden
    return Block(
        kept=setup.tokens * (kept + fed + across),
        working=setup.tokens * (working + on_top),
        attending=setup.tokens * attending if shape.model_type in EAGER else 0.0,
        stream=setup.tokens * stream * hidden,
    )


def compute_bytes(setup: Setup) -> int:
    """Return the bytes of an element in the precision that is computed in."""
    return 4 if setup.precision == "fp32" else 2


def stream_bytes(setup: Setup, stack: Stack) -> int:
    """Return the bytes of an element of the hidden states: those of embeddings and norms."""
    each = compute_bytes(setup)
    if setup.method == "full":
        return max(each, stack.full_bytes)
    if setup.method == "qlora" and stack.loose_bytes:
        return max(each, stack.loose_bytes)
    return each


def is_padded(setup: Setup, stack: Stack) -> bool:
    """Say whether attention gets a mask: as soon as a batch has two rows, if nobody says else."""
    return setup.batch_size > 1 if stack.padded is None else stack.padded


def _across(shape: Shape, setup: Setup, each: int, padded: bool) -> tuple[float, float]:
    """Return bytes a token of what grows with the square of the length: kept, and on top.

    Where all scores are in memory: Gemma 2 keeps their tanh, their softmax in 32 bit and its copy;
    gpt-oss the softmax alone, with the scores and the sinks beside them on top.
    """
    scores = float(shape.heads * setup.length)
    if shape.model_type == "gpt_oss":
        return each * scores, 2 * each * scores
    if shape.model_type in EAGER:
        return (2 * each + 4) * scores, (2 * each + 4) * scores
    own = float(each * setup.length) if padded else 0.0
    return own, own


def _of_experts(shape: Shape, setup: Setup, stack: Stack, each: int) -> tuple[float, float]:
    """Return bytes a token that experts keep, and what is on top while they run.

    Each token is copied for each of its experts; what they give is kept to be weighed, and then
    put in order. Source: transformers.integrations.moe (grouped_mm), and Llama4TextMoe, whose
    experts are multiplied in 16 bit by autocast; grouped_mm is not, so that 32-bit weights compute
    in 32 bit.
    """
    in_order = shape.model_type in _IN_ORDER
    full = setup.method == "full"
    if full and stack.autocast and not in_order:
        each = max(each, stack.full_bytes)
    adapted = [
        one.name
        for one in shape.linears
        if one.fused and (full or setup.targets is None or one.name in setup.targets)
    ]
    copies = each * shape.experts * shape.hidden
    kept = _GATE.get(shape.model_type, 3) * each * shape.intermediate + copies
    kept += each * shape.intermediate * ("down_proj" in adapted)
    kept += copies * ("gate_up_proj" in adapted)
    stream = stream_bytes(setup, stack)
    gating = (2 * each) * shape.intermediate + 2 * stream * shape.hidden
    return kept, max(gating, 3 * copies + 5 * stream * shape.hidden)


def _adapting(stack: Stack, each: int) -> _Adapting:
    wide = each == 2 and stack.adapter_bytes == 4
    if wide and stack.autocast:  # to 32 bit, thinned out, and back to 16 bit to be multiplied
        copied, passing = 2, 4 + 4 * stack.dropout
    elif wide:
        copied, passing = 4, 4 * stack.dropout
    else:
        copied, passing = each * stack.dropout, 0
    given = 4 if wide and not stack.autocast else each
    return _Adapting(copied=copied, passing=passing, mask=int(stack.dropout), given=given)


def _for_adapters(shape: Shape, setup: Setup, adapting: _Adapting, each: int) -> float:
    """Return bytes a token that a block keeps for its adapters."""
    adapted = [one for one in shape.linears if setup.targets is None or one.name in setup.targets]
    found = 0.0
    for one in adapted:
        if one.fused:  # their changes are added to the weights, and no token passes an adapter
            continue
        times = one.active / shape.layers
        found += times * adapting.given * setup.rank
        found += times * one.inputs * (adapting.copied + adapting.mask)
    if adapting.copied:
        return found
    names = {one.name for one in adapted}
    found += each * shape.hidden * (bool(names & _INTO_ATTENTION) + bool(names & _INTO_MLP))
    return found + each * shape.intermediate * ("down_proj" in names)


def _at_down(shape: Shape, setup: Setup, adapting: _Adapting, each: int, stream: int) -> float:
    """Return bytes a token on top of what is kept, at the fullest of three places.

    The last layer of the forward (its input, and what of it passes through 32 bit), the second
    to last (what base and adapter give, and their sum), and the first gradients.
    """
    wide = shape.intermediate
    down = setup.targets is None or "down_proj" in setup.targets
    up = setup.targets is None or bool(_INTO_MLP & set(setup.targets))
    copied = adapting.copied if down else 0
    forward: float = (each + (adapting.passing if down else 0)) * wide
    if down and not copied:
        forward = 0.0
    sums = (each + 2 * adapting.given if up else each) * wide
    shared = each if down and not copied else copied
    sums -= (each + shared + (adapting.mask if down else 0)) * wide
    back = 2.0 * each * wide
    # Hidden states that variables of the forward still name: five; two gradients of them.
    return max(max(forward, sums) + 5 * stream * shape.hidden, back + 2 * stream * shape.hidden)
