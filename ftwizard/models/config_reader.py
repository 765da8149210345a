"""Validating reader for model configurations, which are untrusted input."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

HINT = "Use a causal language model that transformers supports, with a valid config.json."


class ConfigReader:
    """The values of one configuration, each validated when it is read."""

    def __init__(self, config: Mapping[str, object], source: str) -> None:
        self._config = config
        self._source = source

    def count(
        self, key: str, default: int | None = None, *, minimum: int = 1, maximum: int = 10_000_000
    ) -> int:
        """Return an integer, or ``default`` for a missing key or null.

        Raises FtwizardError unless it is an integer between ``minimum`` and ``maximum``.
        """
        value = self._config.get(key)
        if value is None:
            if default is None:
                raise self.error(f"has no {key}")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            shown = make_visible(repr(value)[:80], 40)
            raise self.error(f"has {key} {shown}, not an integer from {minimum:,} to {maximum:,}")
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
