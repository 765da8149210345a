"""Training setup: the settings that determine memory and time."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
from packaging.version import InvalidVersion, Version

from ftwizard.models.shapes import Linear, ModelShape
from ftwizard.plan.schema import Method, Recipe

LossHead = Literal["tiled", "full"]
"""How the loss is computed: over tiles of the logits, as in TRL since 1.10, or over all at once."""
Attention = Literal["sdpa", "eager", "flash_attention_2"]
"""How attention is computed; ``eager`` keeps the scores of all pairs of tokens."""
METHOD_NAMES: dict[Method, str] = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning"}


class TrainingSetup(msgspec.Struct, frozen=True, kw_only=True):
    """A fully resolved training setup, without open settings."""

    method: Method
    rank: int = 16
    alpha: int | None = None
    """Does not affect memory, but changes with the rank. None if unknown."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; None: every linear layer of the blocks."""
    batch_size: int = 4
    """Sequences in one forward pass: rows, packed or not, both answers of each pair, or answers that
    the model wrote."""
    sequences_per_row: int = 1
    """A pair has two."""
    answer_length: int = 0
    """Tokens of ``length`` that the model writes itself, in reinforcement."""
    accumulation: int = 1
    """Forward passes in one optimizer step."""
    length: int = 1024
    """Tokens of the longest row of a batch, to which the others are padded."""
    checkpointing: bool = True
    head: LossHead = "tiled"
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    attention: Attention = "sdpa"
    dropout: bool = True
    """Whether adapters use dropout, which keeps a mask."""
    reference_passes: float = 0.0
    """Forward passes without gradients in each pass: of the reference model of a preference."""
    reference_copy: bool = False
    """Whether the reference is a second model in memory, not the adapter turned off."""

    @property
    def tokens(self) -> int:
        """Return the tokens of one forward pass, padding included."""
        return self.batch_size * self.length

    @property
    def rows(self) -> int:
        """Return the rows in one forward pass: the batch size of the recipe."""
        return self.batch_size // self.sequences_per_row

    @property
    def row_unit(self) -> str:
        """Return what a row of a batch is, in words."""
        if self.answer_length:
            return "answer"
        return "pair" if self.sequences_per_row > 1 else "row"

    @property
    def row_length(self) -> int:
        """Return the tokens of the longest row, without an answer that the model writes itself."""
        return self.length - self.answer_length

    @property
    def bytes_each(self) -> int:
        """Return the bytes per element in the compute precision."""
        return 4 if self.precision == "fp32" else 2

    def adapts(self, linear: Linear) -> bool:
        """Return whether a linear layer of the blocks gets an adapter, if the method trains one."""
        return self.targets is None or linear.name in self.targets

    def trained(self, shape: ModelShape) -> int:
        """Return the number of trained parameters; 0 if the model lacks all ``targets``."""
        return shape.parameters if self.method == "full" else shape.adapter(self.rank, self.targets)


# Memory behavior of a training framework, in bytes.

Counter = Literal["allocated", "reserved", "device"]
"""What is counted: tensors (allocated), torch's allocator including its cache (reserved), or memory
as the driver sees it, including the CUDA context (device)."""
TILED_SINCE = Version("1.10.0")
"""First TRL release that tiles the logits by default.
Source: pull request 5846 of huggingface/trl, May 2026, in 1.10.0.dev0."""


class FrameworkOverhead(msgspec.Struct, frozen=True, kw_only=True):
    """The memory behavior of one framework; the defaults describe ftwizard's trainer.

    Source of the defaults: ftwizard.train (model_loading, adapter, trainer), TRL 1.16, peft 0.21
    and transformers 5.24.
    """

    adapter_bytes: int = 4
    """Per adapter weight; the same for its gradient and for each moment."""
    full_bytes: int = 4
    """Per weight in full fine-tuning: 4 with autocast, 2 in pure bf16."""
    autocast: bool = True
    """Whether 32-bit weights are cast for each matmul, which keeps copies."""
    moment_bytes: int | None = None
    """Per trained weight for both moments; None: AdamW, each as wide as the weight."""
    loose_bytes: int | None = None
    """Per weight of embeddings, output layer and norms of a 4-bit model; None: compute precision."""
    packed_bytes: float = 0.515869
    """Per 4-bit weight with its scales. NF4 with blocks of 64 and double quantization: measured with
    bitsandbytes 0.50.2; 0.5625 without double quantization."""
    padded: bool | None = None
    """Whether attention gets a mask, for which keys and values are copied to all query heads; None:
    if a batch has several rows."""
    logit_bytes: float = 12.0
    """Per logit if all exist at once: 4 for the 32-bit log-softmax, 4 for its gradient, 4 for that
    of the cast; 2 more if a loop keeps the model's outputs during the backward pass."""
    stranded_bytes: float = 2.0
    """Per logit, held back by torch's allocator if all exist at once: the freed block of 16-bit
    logits is too small for the 32-bit blocks that follow."""
    tile: tuple[int, int] = (4_096, 32_768)
    """Tokens × vocabulary of a logits tile (TOKEN_CHUNK_SIZE and _CHUNKED_LOGPROB_CHUNK_SIZE)."""
    mask_bytes: int = 1
    """Per element of a dropout mask: 4 on the CPU."""
    tile_copies: float = 0.0
    """Per logit of a tile, in 32-bit copies: 29 bytes on the CPU, where TRL has no kernel."""
    fused_optimizer: bool = True
    """Whether the optimizer works in place (adamw_torch_fused) without copies."""
    context_bytes: float = 0.75 * 2**30
    """CUDA context, kernels and cuBLAS workspaces: 0.4 to 0.9 GiB since CUDA 11.7 loads kernels
    lazily; 1,343 MiB before (transformers' documentation of 2022, "Methods and tools for efficient
    training on a single GPU")."""
    counter: Counter = "device"


FTWIZARD_OVERHEAD = FrameworkOverhead()


def head_for(trl_version: str | None) -> LossHead:
    """Return how a TRL version computes the loss of supervised fine-tuning; None: the newest.

    Since 1.10 it tiles the logits by default. An invalid version counts as old, which needs more
    memory. Source: ``SFTTrainer._compute_loss`` of TRL 1.16.
    """
    if trl_version is None:
        return "tiled"
    try:
        release = Version(trl_version).release
    except InvalidVersion:
        return "full"
    return "tiled" if release >= TILED_SINCE.release else "full"


# Number of optimizer steps, and the interval between evaluations.

EVALUATION_STEPS = 50
MIN_EVALUATIONS = 6


def total_steps(rows: int, batch_size: int, accumulation: int, epochs: float) -> int:
    """Return the total optimizer steps, counted as in transformers' Trainer."""
    batches = -(-rows // batch_size)
    each_epoch = max(1, -(-batches // accumulation))
    return max(1, math.ceil(each_epoch * epochs))


class StepCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Optimizer steps of one training."""

    total: int
    per_epoch: int
    epochs: float
    """Epochs trained: those of the recipe, or fewer where ``max_steps`` ends it."""


def count_steps(sequences: int, recipe: Recipe, ranks: int = 1) -> StepCounts:
    """Count the steps of a recipe on rows, or packed sequences; ``max_steps`` may end it early.

    ``ranks`` processes that train together take as many rows in a step as one that accumulates
    ``ranks`` times as many passes.
    """
    if recipe.objective == "grpo":
        # TRL leaves out the last prompts of an epoch that do not fill a step.
        per_epoch = max(1, sequences // recipe.count_prompts(ranks)) * recipe.grpo.num_iterations
        total = math.ceil(per_epoch * recipe.epochs)
    else:
        sizes = (sequences, recipe.batch_size, recipe.gradient_accumulation * ranks)
        total, per_epoch = total_steps(*sizes, recipe.epochs), total_steps(*sizes, 1)
    most = recipe.max_steps
    if most is None or most >= total:
        return StepCounts(total=total, per_epoch=per_epoch, epochs=recipe.epochs)
    return StepCounts(total=most, per_epoch=per_epoch, epochs=min(recipe.epochs, most / per_epoch))


def evaluation_steps(total: int) -> int:
    """Return the evaluation interval: 50 steps, or less to get six evaluations."""
    return max(1, min(EVALUATION_STEPS, total // MIN_EVALUATIONS))
