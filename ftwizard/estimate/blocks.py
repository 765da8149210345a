"""Building blocks of decoders: attention, feed-forward, experts, and the assembled model.

Source of every layer and bias: the classes of transformers 5.24 (``modeling_<type>.py``).
"""

from __future__ import annotations

import msgspec

from ftwizard.estimate.config_reader import ConfigReader
from ftwizard.estimate.families import Family
from ftwizard.estimate.shape import Linear, Shape

MAX_LAYERS, MAX_EXPERTS = 1_000, 10_000


class Block(msgspec.Struct, kw_only=True):
    """Totals over all blocks of a model."""

    linears: list[Linear]
    others: int
    """Parameters outside linear layers: norms, biases, routers."""
    idle: int = 0
    """Parameters of experts that a token does not pass through."""
    quantized: int = 0
    """Parameters among ``others`` that are in linear layers outside the blocks."""
    intermediate: int
    experts: int = 0
    """Active experts per block and token."""


class Widths(msgspec.Struct, frozen=True, kw_only=True):
    """Dimensions of a decoder."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool


def widths(config: ConfigReader, family: Family) -> Widths:
    """Read the dimensions; raise FtwizardError if heads are not a multiple of key heads."""
    hidden = config.count("hidden_size")
    heads = config.count("num_attention_heads", family.heads, maximum=100_000)
    kv_heads = config.count("num_key_value_heads", family.kv_heads or heads, maximum=100_000)
    head_dim = config.count("head_dim", family.head_dim or max(hidden // heads, 1))
    if heads % kv_heads:
        raise config.error(f"has {heads} attention heads, not a multiple of {kv_heads} key heads")
    return Widths(
        layers=config.count("num_hidden_layers", maximum=MAX_LAYERS),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=config.count("vocab_size", family.vocabulary),
        tied=config.flag("tie_word_embeddings", family.tied),
    )


def attention(config: ConfigReader, family: Family, w: Widths) -> Block:
    """Return the attention and the norms of all blocks."""
    own = config.flag("attention_bias", family.attention_bias)
    qkv_bias = own if family.qkv_bias is None else family.qkv_bias
    output_bias = own if family.output_bias is None else family.output_bias
    q, kv = w.heads * w.head_dim, w.kv_heads * w.head_dim
    if family.joined:
        linears = [linear("qkv_proj", w.hidden, q + 2 * kv, w.layers)]
    else:
        linears = [
            linear("q_proj", w.hidden, q, w.layers),
            linear("k_proj", w.hidden, kv, w.layers),
            linear("v_proj", w.hidden, kv, w.layers),
        ]
    linears.append(linear("o_proj", q, w.hidden, w.layers))
    per_block = family.norms * w.hidden + family.head_norms * w.head_dim
    per_block += (q + 2 * kv) * qkv_bias + w.hidden * output_bias
    return Block(linears=linears, others=w.layers * per_block, intermediate=0)


def dense(config: ConfigReader, family: Family, w: Widths, wide: int, layers: int) -> Block:
    """Return the feed-forward parts of ``layers`` blocks."""
    bias = config.flag("mlp_bias", False) if family.mlp_bias is None else family.mlp_bias
    if family.joined:
        linears = [linear("gate_up_proj", w.hidden, 2 * wide, layers)]
    else:
        linears = [
            linear("gate_proj", w.hidden, wide, layers),
            linear("up_proj", w.hidden, wide, layers),
        ]
    linears.append(linear("down_proj", wide, w.hidden, layers))
    return Block(linears=linears, others=layers * (2 * wide + w.hidden) * bias, intermediate=wide)


def experts(
    w: Widths, wide: int, experts: int, chosen: int, layers: int, *, computes_all: bool = False
) -> Block:
    """Return the fused experts of ``layers`` blocks with ``chosen`` active experts per token.

    ``computes_all``: the implementation multiplies each token by all experts anyway.
    """
    computed = experts if computes_all else chosen
    linears = [
        Linear(
            name=name,
            inputs=inputs,
            outputs=outputs,
            count=layers * experts,
            active=layers * chosen,
            computed=layers * computed if computes_all else None,
            fused=True,
        )
        for name, inputs, outputs in (
            ("gate_up_proj", w.hidden, 2 * wide),
            ("down_proj", wide, w.hidden),
        )
    ]
    return Block(
        linears=linears,
        others=layers * experts * w.hidden,  # the router
        idle=layers * (experts - chosen) * 3 * w.hidden * wide,
        intermediate=computed * wide,
        experts=computed if layers else 0,
    )


def linear(name: str, inputs: int, outputs: int, count: int) -> Linear:
    """Return ``count`` layers that every token passes through."""
    return Linear(name=name, inputs=inputs, outputs=outputs, count=count, active=count)


def routing(config: ConfigReader, key: str, experts: int, chosen: int) -> tuple[int, int]:
    """Read the number of experts and of active experts; the last two arguments are defaults."""
    # transformers 5 writes num_local_experts; models on the Hub have num_experts.
    experts = config.count(
        key, config.count("num_local_experts", experts, maximum=MAX_EXPERTS), maximum=MAX_EXPERTS
    )
    chosen = config.count("num_experts_per_tok", chosen, maximum=MAX_EXPERTS)
    if chosen > experts:
        raise config.error(f"chooses {chosen} of {experts} experts")
    return experts, chosen


def assemble(model_type: str, source: str, w: Widths, parts: list[Block]) -> Shape:
    """Assemble a model from ``parts``, embeddings and the last norm."""
    linears = tuple(layer for part in parts for layer in part.linears if layer.count)
    embeddings = w.vocabulary * w.hidden * (1 if w.tied else 2)
    within = sum(layer.inputs * layer.outputs * layer.count for layer in linears)
    parameters = within + embeddings + w.hidden + sum(part.others for part in parts)
    return Shape(
        model_type=model_type,
        layers=w.layers,
        hidden=w.hidden,
        intermediate=max(part.intermediate for part in parts),
        experts=max(part.experts for part in parts),
        heads=w.heads,
        kv_heads=w.kv_heads,
        head_dim=w.head_dim,
        vocabulary=w.vocabulary,
        tied=w.tied,
        linears=linears,
        parameters=parameters,
        active=parameters - sum(part.idle for part in parts),
        beside=sum(part.quantized for part in parts),
        covered=not any(layer.fused for layer in linears),
        source=source,
    )
