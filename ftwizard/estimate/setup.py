"""How a model is trained, as far as memory and time go by it."""

from __future__ import annotations

from typing import Literal

import msgspec

from ftwizard.plan import Method

Head = Literal["tiled", "full"]
"""How the loss is computed: over tiles of the logits, as TRL does since 1.10, or over all."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """One way to train; what a plan leaves open is decided here."""

    method: Method
    rank: int = 16
    alpha: int | None = None
    """Of an adapter; memory does not go by it, but a change of the rank does. None: not told."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; None: every linear layer of the blocks."""
    batch_size: int = 4
    """Rows, or packed sequences, in one forward pass."""
    accumulation: int = 1
    """Forward passes in one optimizer step."""
    length: int = 1024
    """Tokens of the longest row of a batch: what the others are padded to."""
    checkpointing: bool = True
    head: Head = "tiled"
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"

    @property
    def tokens(self) -> int:
        """Return the tokens of one forward pass, padding included."""
        return self.batch_size * self.length
