"""Model shape: the counts and widths that determine memory and time."""

from __future__ import annotations

import msgspec


class Linear(msgspec.Struct, frozen=True, kw_only=True):
    """All linear layers of one name: ``count`` weights of shape (outputs, inputs)."""

    name: str
    """The last part of the module name: ``q_proj``."""
    inputs: int
    outputs: int
    count: int
    """Number in the whole model: blocks × experts."""
    active: int
    """Number that one token passes through: below ``count`` for mixtures of experts."""
    fused: bool = False
    """Whether the experts are one parameter, as in transformers 5, instead of modules."""
    computed: int | None = None
    """Number that one token is multiplied by, if above ``active``: an implementation may compute all
    experts and weight inactive ones with 0. None: ``active``."""

    @property
    def weights(self) -> int:
        """Return the number of weights in the whole model."""
        return self.inputs * self.outputs * self.count

    @property
    def passes(self) -> int:
        """Return the number that one token is multiplied by."""
        return self.active if self.computed is None else self.computed


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """One causal language model."""

    model_type: str
    """As in transformers: ``llama``."""
    layers: int
    hidden: int
    intermediate: int
    """Feed-forward width per token, active experts added up."""
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether input and output embeddings are shared."""
    linears: tuple[Linear, ...]
    """Of the blocks; without embeddings, output layer and routers."""
    parameters: int
    """All, including embeddings, norms and routers."""
    experts: int = 0
    """Active fused experts per block and token; 0 in a dense model."""
    active: int
    """Active parameters per token; equal to ``parameters`` in a dense model."""
    outside_blocks: int = 0
    """Linear weights outside the blocks, such as a vision tower's: loaded and quantized, but not
    used for text."""
    covered: bool
    """Whether the closed form was verified with measurements of such models; otherwise it was
    compared with the ledger only."""
    source: str
    """Description of where the configuration comes from."""

    def adapter(self, rank: int, targets: tuple[str, ...] | None = None) -> int:
        """Return the parameters of a LoRA adapter on ``targets`` (None: every linear layer).

        Source: two matrices per layer, rank × inputs and outputs × rank (Hu et al. 2021).
        """
        return sum(
            rank * (linear.inputs + linear.outputs) * linear.count
            for linear in self.linears
            if targets is None or linear.name in targets
        )
