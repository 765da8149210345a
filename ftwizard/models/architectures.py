"""Readers that derive the layers of each supported architecture from its configuration.

Configurations are untrusted input, so each value is validated when it is read. Source: the classes of transformers 5.24 (``models/<type>/modeling_<type>.py``). A test compares the
counts with its modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.models.shapes import Linear, ModelShape
from ftwizard.text import make_visible

HINT = "Use a causal language model that transformers supports, with a valid config.json."


class ConfigReader:
    """The values of one configuration, each validated when it is read."""

    def __init__(self, config: Mapping[str, object], source: str) -> None:
        self._config = config
        self._source = source

    def count(self, key: str, default: int | None = None, *, maximum: int = 10_000_000) -> int:
        """Return an integer, or ``default`` for a missing key or null.

        Raises FtwizardError unless it is an integer from 1 to ``maximum``.
        """
        value = self._config.get(key)
        if value is None:
            if default is None:
                raise self.error(f"has no {key}")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
            shown = make_visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, not an integer from 1 to {maximum:,}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; raise FtwizardError for anything else."""
        value = self._config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            shown = make_visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, not true or false")
        return value

    def indices(self, key: str, below: int) -> list[int] | None:
        """Return a list of block numbers below ``below``; None if missing. Raises FtwizardError."""
        value = self._config.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            isinstance(index, int) and not isinstance(index, bool) and 0 <= index < below
            for index in value
        ):
            raise self.error(f"has a {key} that is not a list of block numbers below {below}")
        return sorted(set(value))

    def word(self, key: str) -> str | None:
        """Return a short string; None for anything else."""
        value = self._config.get(key)
        return value if isinstance(value, str) and len(value) <= 100 else None

    def part(self, key: str) -> ConfigReader | None:
        """Return the reader of a nested configuration; None if there is none."""
        value = self._config.get(key)
        return ConfigReader(value, self._source) if isinstance(value, Mapping) else None

    def error(self, problem: str) -> FtwizardError:
        """Build the error for a ``problem`` of this configuration."""
        return FtwizardError(
            f"The configuration of {make_visible(self._source, 200)} {problem}.", HINT
        )


# Default values of transformers for architectures whose configuration leaves them out.
#
# Source: the classes of transformers 5.24 (``models/<type>/configuration_<type>.py``).


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults of one architecture."""

    tied: bool = False
    kv_heads: int | None = None
    """None: same as the number of heads."""
    head_dim: int | None = None
    """None: width / heads."""
    heads: int | None = None
    vocabulary: int | None = None
    norms: int = 2
    """Norms of hidden width per block."""
    head_norms: int = 0
    """Norms of head width per block (queries and keys)."""
    qkv_bias: bool | None = None
    """None: taken from ``attention_bias``."""
    output_bias: bool | None = None
    attention_bias: bool = False
    mlp_bias: bool | None = False
    """None: taken from ``mlp_bias``."""
    joined: bool = False
    """Whether query, key and value are one layer, and gate and up are one."""


FAMILIES = {
    "llama": Family(mlp_bias=None),
    "mistral": Family(kv_heads=8, qkv_bias=False, output_bias=False),
    "qwen2": Family(qkv_bias=True, output_bias=False),
    "qwen3": Family(head_dim=128, head_norms=2),
    "qwen3_moe": Family(kv_heads=4, head_dim=128, head_norms=2),
    "gemma": Family(tied=True, head_dim=256),
    "gemma2": Family(tied=True, kv_heads=4, heads=8, head_dim=256, norms=4),
    "gemma3_text": Family(
        tied=True, kv_heads=4, heads=8, head_dim=256, norms=4, head_norms=2, vocabulary=262_208
    ),
    "llama4_text": Family(kv_heads=8, head_dim=128),
    "gpt_oss": Family(kv_heads=8, head_dim=64, attention_bias=True),
    "smollm3": Family(tied=True, kv_heads=4, mlp_bias=None),
    "phi3": Family(qkv_bias=False, output_bias=False, joined=True),
}


# Building blocks of decoders: attention, feed-forward, experts, and the assembled model.
#
# Source of every layer and bias: the classes of transformers 5.24 (``modeling_<type>.py``).

MAX_LAYERS, MAX_HEADS, MAX_EXPERTS = 1_000, 100_000, 10_000


class Decoder(msgspec.Struct, kw_only=True):
    """The dimensions of a decoder, and totals over the layers added so far."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    linears: list[Linear] = []
    others: int = 0
    """Parameters outside linear layers: norms, biases, routers."""
    idle: int = 0
    """Parameters of experts that a token does not pass through."""
    intermediate: int = 0
    experts: int = 0
    """Active experts per block and token."""

    def add(self, name: str, inputs: int, outputs: int, count: int) -> None:
        """Add ``count`` linear layers that every token passes through."""
        self.linears.append(
            Linear(name=name, inputs=inputs, outputs=outputs, count=count, active=count)
        )

    def add_attention(self, config: ConfigReader, family: Family) -> None:
        """Add the attention and the norms of all blocks."""
        own = config.flag("attention_bias", family.attention_bias)
        qkv_bias = own if family.qkv_bias is None else family.qkv_bias
        output_bias = own if family.output_bias is None else family.output_bias
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        if family.joined:
            self.add("qkv_proj", self.hidden, q + 2 * kv, self.layers)
        else:
            self.add("q_proj", self.hidden, q, self.layers)
            self.add("k_proj", self.hidden, kv, self.layers)
            self.add("v_proj", self.hidden, kv, self.layers)
        self.add("o_proj", q, self.hidden, self.layers)
        norms = family.norms * self.hidden + family.head_norms * self.head_dim
        biases = (q + 2 * kv) * qkv_bias + self.hidden * output_bias
        self.others += self.layers * (norms + biases)

    def add_dense(self, config: ConfigReader, family: Family, wide: int, layers: int) -> None:
        """Add the feed-forward parts of ``layers`` blocks."""
        bias = config.flag("mlp_bias", False) if family.mlp_bias is None else family.mlp_bias
        if family.joined:
            self.add("gate_up_proj", self.hidden, 2 * wide, layers)
        else:
            self.add("gate_proj", self.hidden, wide, layers)
            self.add("up_proj", self.hidden, wide, layers)
        self.add("down_proj", wide, self.hidden, layers)
        self.others += layers * (2 * wide + self.hidden) * bias
        self.intermediate = max(self.intermediate, wide)

    def add_experts(
        self, wide: int, experts: int, chosen: int, layers: int, *, computes_all: bool = False
    ) -> None:
        """Add the fused experts of ``layers`` blocks with ``chosen`` active experts per token.

        ``computes_all``: the implementation multiplies each token by all experts anyway.
        """
        computed = experts if computes_all else chosen
        for name, inputs, outputs in (
            ("gate_up_proj", self.hidden, 2 * wide),
            ("down_proj", wide, self.hidden),
        ):
            self.linears.append(
                Linear(
                    name=name,
                    inputs=inputs,
                    outputs=outputs,
                    count=layers * experts,
                    active=layers * chosen,
                    computed=layers * computed if computes_all else None,
                    fused=True,
                )
            )
        self.others += layers * experts * self.hidden  # the router
        self.idle += layers * (experts - chosen) * 3 * self.hidden * wide
        self.intermediate = max(self.intermediate, computed * wide)
        self.experts = computed if layers else 0

    def build(self, model_type: str, source: str) -> ModelShape:
        """Return the model with its embeddings and the last norm."""
        linears = tuple(layer for layer in self.linears if layer.count)
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        within = sum(layer.inputs * layer.outputs * layer.count for layer in linears)
        parameters = within + embeddings + self.hidden + self.others
        return ModelShape(
            model_type=model_type,
            layers=self.layers,
            hidden=self.hidden,
            intermediate=self.intermediate,
            experts=self.experts,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocabulary=self.vocabulary,
            tied=self.tied,
            linears=linears,
            parameters=parameters,
            active=parameters - self.idle,
            covered=not any(layer.fused for layer in linears),
            source=source,
        )


def _read_decoder(config: ConfigReader, family: Family) -> Decoder:
    """Read the dimensions and add the attention.

    Raises FtwizardError if heads are not a multiple of key heads.
    """
    hidden = config.count("hidden_size")
    heads = config.count("num_attention_heads", family.heads, maximum=MAX_HEADS)
    kv_heads = config.count("num_key_value_heads", family.kv_heads or heads, maximum=MAX_HEADS)
    head_dim = config.count("head_dim", family.head_dim or max(hidden // heads, 1))
    if heads % kv_heads:
        raise config.error(f"has {heads} attention heads, not a multiple of {kv_heads} key heads")
    model = Decoder(
        layers=config.count("num_hidden_layers", maximum=MAX_LAYERS),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=config.count("vocab_size", family.vocabulary),
        tied=config.flag("tie_word_embeddings", family.tied),
    )
    model.add_attention(config, family)
    return model


def _read_routing(config: ConfigReader, key: str, experts: int, chosen: int) -> tuple[int, int]:
    """Read the number of experts and of active experts; the last two arguments are defaults."""
    # transformers 5 writes num_local_experts; models on the Hub have num_experts.
    experts = config.count(
        key, config.count("num_local_experts", experts, maximum=MAX_EXPERTS), maximum=MAX_EXPERTS
    )
    chosen = config.count("num_experts_per_tok", chosen, maximum=MAX_EXPERTS)
    if chosen > experts:
        raise config.error(f"chooses {chosen} of {experts} experts")
    return experts, chosen


# Vision towers, which are loaded with a text model but never trained.
#
# Source: the classes of transformers 5.24 (``models/siglip``).


def siglip(config: ConfigReader, wide: int) -> tuple[int, int]:
    """Return the parameters of a SigLIP vision tower, and how many are in linear layers."""
    layers = config.count("num_hidden_layers", 12, maximum=MAX_LAYERS)
    inner = config.count("intermediate_size", 3_072)
    patch, image = config.count("patch_size", 16), config.count("image_size", 224)
    feed_forward, its_biases = 2 * wide * inner, inner + wide
    within = layers * (4 * wide * wide + feed_forward)
    others = layers * (4 * wide + its_biases + 4 * wide)
    others += config.count("num_channels", 3) * patch * patch * wide + wide
    others += (image // patch) ** 2 * wide + 2 * wide
    if config.flag("vision_use_head", True):  # attention pooling
        within += wide * wide + feed_forward
        others += wide + 3 * wide * wide + 4 * wide + 2 * wide + its_biases
    return within + others, within


def list_supported() -> list[str]:
    """Return the supported architectures, by transformers' names."""
    return sorted(READERS)


def _llama_like(model_type: str, config: ConfigReader, source: str) -> ModelShape:
    family = FAMILIES[model_type]
    model = _read_decoder(config, family)
    model.add_dense(config, family, config.count("intermediate_size"), model.layers)
    return model.build(model_type, source)


def _qwen3_moe(model_type: str, config: ConfigReader, source: str) -> ModelShape:
    family = FAMILIES[model_type]
    model = _read_decoder(config, family)
    step = config.count("decoder_sparse_step", 1, maximum=MAX_LAYERS)
    plain = config.indices("mlp_only_layers", model.layers) or []
    sparse = sum(not (i + 1) % step and i not in plain for i in range(model.layers))
    experts, chosen = _read_routing(config, "num_experts", 128, 8)
    if sparse < model.layers:
        wide = config.count("intermediate_size")
        model.add_dense(config, family, wide, model.layers - sparse)
    model.add_experts(config.count("moe_intermediate_size", 768), experts, chosen, sparse)
    return model.build(model_type, source)


def _gpt_oss(model_type: str, config: ConfigReader, source: str) -> ModelShape:
    model = _read_decoder(config, FAMILIES[model_type])
    wide = config.count("intermediate_size")
    experts, chosen = _read_routing(config, "num_local_experts", 128, 4)
    model.add_experts(wide, experts, chosen, model.layers)
    biases = 2 * wide + model.hidden
    # Sinks of the attention, and the biases of the router and of the experts.
    model.others += model.layers * (model.heads + experts * (1 + biases))
    model.idle += model.layers * (experts - chosen) * biases
    return model.build(model_type, source)


def _llama4(model_type: str, config: ConfigReader, source: str) -> ModelShape:
    family = FAMILIES[model_type]
    model = _read_decoder(config, family)
    step = config.count("interleave_moe_layer_step", 1, maximum=MAX_LAYERS)
    which = config.indices("moe_layers", model.layers)
    sparse = len(range(step - 1, model.layers, step)) if which is None else len(which)
    experts, chosen = _read_routing(config, "num_local_experts", 16, 1)
    wide = config.count("intermediate_size")
    # Llama4TextMoe repeats each token for every expert.
    model.add_experts(wide, experts, chosen, sparse, computes_all=True)
    model.intermediate += wide * bool(sparse)
    model.add_dense(config, family, wide, sparse)  # the shared expert of every token
    if sparse < model.layers:
        dense = config.count("intermediate_size_mlp", 16_384)
        model.add_dense(config, family, dense, model.layers - sparse)
    return model.build(model_type, source)


def _gemma3(model_type: str, config: ConfigReader, source: str) -> ModelShape:
    """Return Gemma 3 with its vision tower, which is loaded but never trained."""
    text = config.part("text_config")
    vision = config.part("vision_config") or ConfigReader({}, source)
    if text is None:
        raise config.error("has no text_config")
    shape = _llama_like("gemma3_text", text, source)
    wide = vision.count("hidden_size", 768)
    tower, within = siglip(vision, wide)
    parameters = tower + wide * shape.hidden + wide  # and the projection into the text
    return msgspec.structs.replace(
        shape,
        model_type=model_type,
        parameters=shape.parameters + parameters,
        outside_blocks=within,
    )


def _gpt2(model_type: str, config: ConfigReader, source: str) -> ModelShape:
    hidden = config.count("n_embd", 768)
    layers = config.count("n_layer", 12, maximum=MAX_LAYERS)
    heads = config.count("n_head", 12, maximum=MAX_HEADS)
    inner = config.count("n_inner", 4 * hidden)
    biases, norms = 3 * hidden + hidden + inner + hidden, 4 * hidden
    positions = config.count("n_positions", 1_024) * hidden
    model = Decoder(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=max(hidden // heads, 1),
        vocabulary=config.count("vocab_size", 50_257),
        tied=config.flag("tie_word_embeddings", True),
        others=layers * (biases + norms) + hidden + positions,  # the last norm also has a bias
        intermediate=inner,
    )
    model.add("c_attn", hidden, 3 * hidden, layers)
    model.add("c_proj", hidden, hidden, layers)
    model.add("c_fc", hidden, inner, layers)
    model.add("c_proj", inner, hidden, layers)
    return model.build(model_type, source)


READERS: dict[str, Callable[[str, ConfigReader, str], ModelShape]] = {
    **dict.fromkeys(FAMILIES, _llama_like),
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    "gemma3": _gemma3,
    "gpt2": _gpt2,
}


def build_shape(config: Mapping[str, object], source: str) -> ModelShape:
    """Return the shape of the model that transformers builds from ``config`` (a config.json).

    ``source``: description of its origin. Raises FtwizardError for an unsupported architecture, and
    for an incomplete configuration.
    """
    reader = ConfigReader(config, source)
    model_type = reader.word("model_type")
    if model_type is None:
        raise reader.error("has no model_type")
    inner = reader.part("text_config")
    if model_type == "llama4":  # transformers loads only its text part for training
        model_type, reader = "llama4_text", inner or reader
    build = READERS.get(model_type)
    if build is None:
        raise FtwizardError(
            f"Estimates do not support {make_visible(model_type, 60)} models ({make_visible(source, 200)}).",
            f"Supported: {', '.join(list_supported())}. For others, measure with ftwizard probe.",
        )
    return build(model_type, reader, source)
