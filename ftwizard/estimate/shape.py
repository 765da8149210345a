"""What of a model decides its memory and time: counts and widths, from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.config_reader import ConfigReader
from ftwizard.text import visible


class Linear(msgspec.Struct, frozen=True, kw_only=True):
    """All linear layers of one name: ``count`` weights of shape (outputs, inputs)."""

    name: str
    """The last part of its module's name: ``q_proj``."""
    inputs: int
    outputs: int
    count: int
    """How many the whole model has: blocks × experts."""
    active: int
    """How many of them one token passes through: fewer than ``count`` where experts are chosen."""
    fused: bool = False
    """Whether the experts are one parameter, as transformers 5 keeps them, not modules."""
    computed: int | None = None
    """How many of them one token is multiplied by, where that is more than it passes through: a
    class may compute all experts for each token, and weigh the others by 0. None: ``active``."""

    @property
    def passes(self) -> int:
        """Return how many of them one token is multiplied by."""
        return self.active if self.computed is None else self.computed


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One causal language model."""

    model_type: str
    """As transformers names it: ``llama``."""
    layers: int
    hidden: int
    intermediate: int
    """Width of the feed-forward part that one token is computed by, chosen experts together."""
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether input and output embeddings are one matrix."""
    linears: tuple[Linear, ...]
    """Of the blocks; without embeddings, the output layer and routers."""
    parameters: int
    """All, embeddings, norms and routers included."""
    experts: int = 0
    """Fused experts of a block that one token is computed by; 0 in a dense model."""
    active: int
    """What one token passes through: equal to ``parameters`` in a dense model."""
    beside: int = 0
    """Weights of linear layers outside the blocks, such as a vision tower's: loaded, and quantised
    like those of the blocks, but no text passes through them."""
    covered: bool
    """Whether the closed form was held against measurements of models of this kind; else against
    the ledger alone, which is surer."""
    source: str
    """Where the configuration comes from, in words."""

    def adapter(self, rank: int, targets: tuple[str, ...] | None = None) -> int:
        """Return the parameters of a LoRA adapter on ``targets`` (None: every linear layer).

        Source: two matrices a layer, rank × inputs and outputs × rank (Hu et al. 2021).
        """
        return sum(
            rank * (one.inputs + one.outputs) * one.count
            for one in self.linears
            if targets is None or one.name in targets
        )


def from_config(config: Mapping[str, object], source: str) -> Shape:
    """Return the shape of the model that transformers builds from ``config`` (a config.json).

    ``source`` says in words where it comes from. Raises FtwizardError for an architecture whose
    layers are not known here, and for a configuration that lacks what decides its size.
    """
    from ftwizard.estimate.architectures import READERS, known

    reader = ConfigReader(config, source)
    model_type = reader.word("model_type")
    if model_type is None:
        raise reader.error("does not say its model_type")
    inner = reader.part("text_config")
    if model_type == "llama4":  # transformers loads its text part alone to train
        model_type, reader = "llama4_text", inner or reader
    build = READERS.get(model_type)
    if build is None:
        raise FtwizardError(
            f"How the layers of a {visible(model_type, 60)} model follow from its configuration "
            f"is not known here ({visible(source, 200)}).",
            f"Known are {', '.join(known())}. For others, measure with ftwizard probe.",
        )
    return build(model_type, reader, source)
