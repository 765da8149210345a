"""Shapes of models with published training times, from their configurations."""

from __future__ import annotations

from ftwizard.models.shapes import Linear, ModelShape


def decoder(
    *,
    layers: int,
    hidden: int,
    intermediate: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    head_dim: int = 128,
    tied: bool = False,
    experts: int = 1,
    chosen: int = 1,
) -> ModelShape:
    """Return a Llama-like decoder; ``intermediate`` is the width of one expert."""
    wide, narrow = heads * head_dim, kv_heads * head_dim
    names = {
        "q_proj": (hidden, wide), "k_proj": (hidden, narrow), "v_proj": (hidden, narrow),
        "o_proj": (wide, hidden), "gate_proj": (hidden, intermediate),
        "up_proj": (hidden, intermediate), "down_proj": (intermediate, hidden),
    }  # fmt: skip
    linears = tuple(
        Linear(
            name=name,
            inputs=inputs,
            outputs=outputs,
            count=layers * (experts if name in ("gate_proj", "up_proj", "down_proj") else 1),
            active=layers * (chosen if name in ("gate_proj", "up_proj", "down_proj") else 1),
            fused=experts > 1 and name in ("gate_proj", "up_proj", "down_proj"),
        )
        for name, (inputs, outputs) in names.items()
    )
    around = vocabulary * hidden * (1 if tied else 2) + (2 * layers + 1) * hidden
    weights, active = (
        sum(linear.inputs * linear.outputs * getattr(linear, field) for linear in linears)
        for field in ("count", "active")
    )
    return ModelShape(
        model_type="llama", layers=layers, hidden=hidden, intermediate=intermediate * chosen,
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, vocabulary=vocabulary, tied=tied,
        linears=linears, parameters=weights + around, active=active + around, covered=True,
        source="its published configuration",
    )  # fmt: skip


PUBLISHED = {
    "qwen-1.8b": decoder(
        layers=24, hidden=2048, intermediate=5504, heads=16, kv_heads=16, vocabulary=151936
    ),
    "qwen-7b": decoder(
        layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=151936
    ),
    "qwen-14b": decoder(
        layers=40, hidden=5120, intermediate=13696, heads=40, kv_heads=40, vocabulary=152064
    ),
    "qwen-72b": decoder(
        layers=80, hidden=8192, intermediate=24576, heads=64, kv_heads=64, vocabulary=152064
    ),
    "llama-2-7b": decoder(
        layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, vocabulary=32000
    ),
    "llama-2-70b": decoder(
        layers=80, hidden=8192, intermediate=28672, heads=64, kv_heads=8, vocabulary=32000
    ),
    "mistral-7b": decoder(
        layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocabulary=32000
    ),
    "llama-3.1-8b": decoder(
        layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocabulary=128256
    ),
    "llama-3.1-70b": decoder(
        layers=80, hidden=8192, intermediate=28672, heads=64, kv_heads=8, vocabulary=128256
    ),
    "llama-3.2-3b": decoder(
        layers=28, hidden=3072, intermediate=8192, heads=24, kv_heads=8, vocabulary=128256,
        tied=True,
    ),
    "llama-3.2-1b": decoder(
        layers=16, hidden=2048, intermediate=8192, heads=32, kv_heads=8, head_dim=64,
        vocabulary=128256, tied=True,
    ),
    "smollm2-135m": decoder(
        layers=30, hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64,
        vocabulary=49152, tied=True,
    ),
    "qwen3-30b-a3b": decoder(
        layers=48, hidden=2048, intermediate=768, heads=32, kv_heads=4, vocabulary=151936,
        experts=128, chosen=8,
    ),
}  # fmt: skip
"""Shapes by lowercase name. Qwen's first series has one module for queries, keys and values."""
