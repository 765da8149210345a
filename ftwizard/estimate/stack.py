"""What a training framework keeps in memory of each thing that it trains, in bytes."""

from __future__ import annotations

from typing import Literal

import msgspec
from packaging.version import InvalidVersion, Version

from ftwizard.estimate.setup import Head

Counter = Literal["allocated", "reserved", "device"]
"""Who counts: torch's tensors, torch's allocator with what it holds back, or the driver, which
also sees the CUDA context."""
TILED_SINCE = Version("1.10.0")
"""TRL's first release that tiles the logits by default.
Source: pull request 5846 of huggingface/trl, May 2026, in 1.10.0.dev0."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """The habits of one framework; the defaults are what ftwizard's own trainer does.

    Source of the defaults: ftwizard.train (base_model, adapter, sft_config), TRL 1.16, peft 0.21
    and transformers 5.24.
    """

    adapter_bytes: int = 4
    """Of each adapter weight; its gradient and both moments have as many."""
    full_bytes: int = 4
    """Of each weight where all are trained: 4 beside autocast, 2 in pure bf16."""
    autocast: bool = True
    """Whether 32-bit weights are cast for each multiplication, which keeps copies."""
    moment_bytes: int | None = None
    """Of both moments of a trained weight; None: AdamW, each as wide as the weight."""
    loose_bytes: int | None = None
    """Of embeddings, output layer and norms beside 4-bit weights; None: as computed in."""
    packed_bytes: float = 0.515869
    """Of each 4-bit weight with its scales. NF4 of 64-blocks with double quantisation: measured
    with bitsandbytes 0.50.2; 0.5625 without."""
    dropout: bool = True
    """Whether what goes into an adapter is thinned out, which keeps a mask."""
    padded: bool | None = None
    """Whether attention gets a mask, for which keys and values are copied to as many heads as
    there are queries; None: where a batch has several rows."""
    logit_bytes: float = 12.0
    """Of each logit where they are all there at once: 32-bit log-softmax 4, its gradient 4, that of
    the cast 4; 2 more where a loop keeps the model's outputs over the backward pass."""
    stranded_bytes: float = 2.0
    """Of each logit that torch's allocator holds back where they are all there: the block of the
    16-bit logits is free, and too small for any of the 32-bit ones that follow."""
    tile: tuple[int, int] = (4_096, 32_768)
    """Tokens and words of a tile of logits (TOKEN_CHUNK_SIZE and _CHUNKED_LOGPROB_CHUNK_SIZE)."""
    fused_optimizer: bool = True
    """Whether the step works in place (adamw_torch_fused) and needs no copies."""
    context_bytes: float = 0.75 * 2**30
    """Of the CUDA context, its kernels and cuBLAS's workspaces: 0.4 to 0.9 GiB since CUDA 11.7
    loads kernels when they are needed; 1,343 MiB before (transformers' documentation of 2022,
    "Methods and tools for efficient training on a single GPU")."""
    counter: Counter = "device"


OURS = Stack()


def head_for(trl_version: str, *, label_smoothing: float = 0.0, own_loss: bool = False) -> Head:
    """Return how TRL of this version computes the loss of supervised fine-tuning.

    It tiles the logits by default since 1.10, unless labels are smoothed or a loss function is
    given. A version that cannot be read counts as an old one: the larger need.
    Source: ``SFTTrainer._compute_loss`` of TRL 1.16.
    """
    if label_smoothing > 0 or own_loss:
        return "full"
    try:
        release = Version(trl_version).release
    except InvalidVersion:
        return "full"
    return "tiled" if release >= TILED_SINCE.release else "full"
