"""Training setup: the settings that determine memory and time."""

from __future__ import annotations

from typing import Literal

import msgspec

from ftwizard.plan import Method

Head = Literal["tiled", "full"]
"""How the loss is computed: over tiles of the logits, as in TRL since 1.10, or over all at once."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A fully resolved training setup, without open settings."""

    method: Method
    rank: int = 16
    alpha: int | None = None
    """Does not affect memory, but changes with the rank. None if unknown."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; None: every linear layer of the blocks."""
    batch_size: int = 4
    """Rows, or packed sequences, in one forward pass."""
    accumulation: int = 1
    """Forward passes in one optimizer step."""
    length: int = 1024
    """Tokens of the longest row of a batch, to which the others are padded."""
    checkpointing: bool = True
    head: Head = "tiled"
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"

    @property
    def tokens(self) -> int:
        """Return the tokens of one forward pass, padding included."""
        return self.batch_size * self.length
