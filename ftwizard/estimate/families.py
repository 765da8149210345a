"""Default values of transformers for architectures whose configuration leaves them out.

Source: the classes of transformers 5.24 (``models/<type>/configuration_<type>.py``).
"""

from __future__ import annotations

import msgspec


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
