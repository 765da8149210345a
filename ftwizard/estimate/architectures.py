"""Readers that derive the layers of each supported architecture from its configuration.

Source: the classes of transformers 5.24 (``models/<type>/modeling_<type>.py``). A test compares the
counts with its modules.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ftwizard.estimate import blocks, towers
from ftwizard.estimate.config_reader import ConfigReader
from ftwizard.estimate.families import FAMILIES
from ftwizard.estimate.shape import Shape


def known() -> list[str]:
    """Return the supported architectures, by transformers' names."""
    return sorted(READERS)


def _llama_like(model_type: str, config: ConfigReader, source: str) -> Shape:
    family = FAMILIES[model_type]
    w = blocks.widths(config, family)
    wide = config.count("intermediate_size")
    parts = [blocks.attention(config, family, w), blocks.dense(config, family, w, wide, w.layers)]
    return blocks.assemble(model_type, source, w, parts)


def _qwen3_moe(model_type: str, config: ConfigReader, source: str) -> Shape:
    family = FAMILIES[model_type]
    w = blocks.widths(config, family)
    step = config.count("decoder_sparse_step", 1, maximum=blocks.MAX_LAYERS)
    plain = config.indices("mlp_only_layers", w.layers) or []
    sparse = sum(not (i + 1) % step and i not in plain for i in range(w.layers))
    experts, chosen = blocks.routing(config, "num_experts", 128, 8)
    parts = [blocks.attention(config, family, w)]
    if sparse < w.layers:
        wide = config.count("intermediate_size")
        parts.append(blocks.dense(config, family, w, wide, w.layers - sparse))
    wide = config.count("moe_intermediate_size", 768)
    parts.append(blocks.experts(w, wide, experts, chosen, sparse))
    return blocks.assemble(model_type, source, w, parts)


def _gpt_oss(model_type: str, config: ConfigReader, source: str) -> Shape:
    family = FAMILIES[model_type]
    w = blocks.widths(config, family)
    wide = config.count("intermediate_size")
    experts, chosen = blocks.routing(config, "num_local_experts", 128, 4)
    attention = blocks.attention(config, family, w)
    attention.others += w.layers * w.heads  # sinks
    routed = blocks.experts(w, wide, experts, chosen, w.layers)
    biases = 2 * wide + w.hidden
    routed.others += w.layers * experts * (1 + biases)  # the router's bias and the experts'
    routed.idle += w.layers * (experts - chosen) * biases
    return blocks.assemble(model_type, source, w, [attention, routed])


def _llama4(model_type: str, config: ConfigReader, source: str) -> Shape:
    family = FAMILIES[model_type]
    w = blocks.widths(config, family)
    step = config.count("interleave_moe_layer_step", 1, maximum=blocks.MAX_LAYERS)
    which = config.indices("moe_layers", w.layers)
    sparse = len(range(step - 1, w.layers, step)) if which is None else len(which)
    experts, chosen = blocks.routing(config, "num_local_experts", 16, 1)
    wide = config.count("intermediate_size")
    # Llama4TextMoe repeats each token for every expert.
    routed = blocks.experts(w, wide, experts, chosen, sparse, computes_all=True)
    shared = blocks.dense(config, family, w, wide, sparse)  # the shared expert of every token
    routed.intermediate += wide * bool(sparse)
    parts = [blocks.attention(config, family, w), routed, shared]
    if sparse < w.layers:
        dense = config.count("intermediate_size_mlp", 16_384)
        parts.append(blocks.dense(config, family, w, dense, w.layers - sparse))
    return blocks.assemble(model_type, source, w, parts)


def _gemma3(model_type: str, config: ConfigReader, source: str) -> Shape:
    """Return Gemma 3 with its vision tower, which is loaded but never trained."""
    text = config.part("text_config")
    vision = config.part("vision_config") or ConfigReader({}, source)
    if text is None:
        raise config.error("has no text_config")
    shape = _llama_like("gemma3_text", text, source)
    wide = vision.count("hidden_size", 768)
    tower, within = towers.siglip(vision, wide)
    parameters = tower + wide * shape.hidden + wide  # and the projection into the text
    return msgspec.structs.replace(
        shape,
        model_type=model_type,
        parameters=shape.parameters + parameters,
        beside=within,
    )


def _gpt2(model_type: str, config: ConfigReader, source: str) -> Shape:
    hidden = config.count("n_embd", 768)
    layers = config.count("n_layer", 12, maximum=blocks.MAX_LAYERS)
    heads = config.count("n_head", 12, maximum=100_000)
    inner = config.count("n_inner", 4 * hidden)
    w = blocks.Widths(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=max(hidden // heads, 1),
        vocabulary=config.count("vocab_size", 50_257),
        tied=config.flag("tie_word_embeddings", True),
    )
    linears = [
        blocks.linear("c_attn", hidden, 3 * hidden, layers),
        blocks.linear("c_proj", hidden, hidden, layers),
        blocks.linear("c_fc", hidden, inner, layers),
        blocks.linear("c_proj", inner, hidden, layers),
    ]
    biases = 3 * hidden + hidden + inner + hidden
    others = layers * (biases + 4 * hidden) + hidden  # the last norm also has a bias
    others += config.count("n_positions", 1_024) * hidden
    block = blocks.Block(linears=linears, others=others, intermediate=inner)
    return blocks.assemble(model_type, source, w, [block])


READERS: dict[str, Callable[[str, ConfigReader, str], Shape]] = {
    **dict.fromkeys(FAMILIES, _llama_like),
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    "gemma3": _gemma3,
    "gpt2": _gpt2,
}
