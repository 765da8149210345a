"""The document of an estimate: what a plan needs and costs, before training."""

from __future__ import annotations

from typing import Literal

import msgspec

from ftwizard.catalog.prices import PriceRate
from ftwizard.estimate.article import RuleOfThumb
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.disk import DiskReport
from ftwizard.estimate.gpu_fit import Fit
from ftwizard.estimate.longest_rows import LongestRows
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.plan.schema import Recipe, RiskName
from ftwizard.pricing.cost_report import CostReport
from ftwizard.quantity import Figure

WarningCode = Literal[
    "rate-from-another-size",
    "rate-too-high",
    "rate-too-low",
    "many-epochs",
    "no-validation",
    "missing-modules",
    "beyond-positions",
    "other-runs",
    "emulated-bf16",
]


class RecipeWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A warning before training."""

    code: WarningCode
    message: str
    allow: RiskName | None = None
    """The name that the user must allow explicitly; None if the warning is enough."""


class PartReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one part's rows after encoding."""

    rows: int
    """Rows read."""
    used: int = msgspec.field(name="kept")
    """Rows that are trained on."""
    truncated: int = msgspec.field(name="cut")
    """Rows truncated to the max length."""
    lines_without_loss: list[int] = msgspec.field(name="lost")
    """Lines of rows with no trainable tokens, which are left out."""
    tokens: int
    trainable_tokens: int = msgspec.field(name="trained")
    longest_row: int = msgspec.field(name="longest")
    """Tokens of the longest row before truncation."""
    dropped: dict[str, int] = {}
    """What the chat template leaves out: ``reasoning``, ``tools`` …, and of how many rows."""
    too_long: list[int] = []
    """Lines of prompts of reinforcement that exceed the max length, which are left out."""
    equal_pairs: list[int] = []
    """Lines of pairs whose answers have the same tokens, which are left out."""


class EstimatedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The model of an estimate; the fields of a ``ModelSource`` if it was found."""

    name: str = ""
    description: str = msgspec.field(name="said")
    why: str = ""
    """Why only its configuration was read; empty if it was found."""
    kind: str | None = None
    fingerprint: str | None = None
    commit: str | None = None
    revision: str | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The device to train on."""

    name: str
    memory: int | None
    """Bytes; None if unknown."""
    gpu: bool


class HourPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Hourly prices of the machine."""

    price: Figure | None = None
    """The user's own; None if not set."""
    rental: Figure | None = None
    """Rental price of such a GPU, as a guide only."""


class EstimateReport(CostReport, frozen=True, kw_only=True):
    """An estimate; what is unknown is None."""

    model: EstimatedModel
    recipe: Recipe | None = None
    parameters: int
    trained: int
    """Trainable parameters."""
    parts: dict[str, PartReport]
    """``train``, ``validation``, ``test``, ``mix``; empty if no rows were encoded."""
    available: dict[str, int] = msgspec.field(default_factory=dict)
    """Rows before ``data.max_rows``, of the parts that it makes smaller."""
    mix_short: str | None = None
    """Message if there are fewer general rows than the plan asks for."""
    sequences: int | None = None
    """Rows of the training file, or packed sequences."""
    steps: int = 0
    steps_per_epoch: int = 0
    epochs: float | None = None
    """Epochs trained; fewer than the recipe's where ``recipe.max_steps`` ends it. None if unknown."""
    minutes: float | None = None
    """``budget.minutes``, in which the run finishes; None without a limit."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 without validation data."""
    adapted: list[str] | None = None
    """Modules that get an adapter; empty for a full fine-tune."""
    lengths: dict[str, LengthDistribution | None] | None = None
    """Lengths of the encoded rows, truncated as in the plan."""
    disk: DiskReport | None = None
    time: Figure | None = None
    queued: bool = False
    """Whether the run first waits in a queue, so that its end is unknown."""
    memory: MemoryEstimate | None = None
    uncounted: str | None = None
    """Why the memory could not be counted."""
    one_gpu: str | None = None
    """Which of several GPUs is used, or what is assumed about the node of a Slurm job."""
    here: Device | None = None
    room: int | None = None
    """Bytes available on the device."""
    refused: str | None = None
    """Why training refuses the model, or a setting on this machine."""
    fit: Fit | None = None
    longest_rows: tuple[LongestRows, ...] = ()
    """The longest rows that fit the device; empty if unknown."""
    article: RuleOfThumb | None = None
    run: RecipeEstimate | None = msgspec.field(default=None, name="follows")
    hour: HourPrices = HourPrices()
    probe: CachedProbe | None = None
    warnings: list[RecipeWarning] = msgspec.field(default_factory=list)
    epochs_because: str | None = None
    """Which earlier run supports more epochs than advised."""
    measured: Figure | None = None
    """Peak memory measured by a probe of this plan."""

    @property
    def exact_lengths(self) -> dict[str, LengthDistribution | None] | None:
        """Return the row lengths by part.

        None if no rows were encoded, or some were truncated, because their real length is unknown.
        """
        if not self.lengths or any(part.truncated for part in self.parts.values()):
            return None
        return self.lengths

    def with_price(self, rate: PriceRate | None) -> EstimateReport:
        """Return the report at another hourly price of the machine."""
        if run := self.run:
            run = run.with_price(rate)
        hour = msgspec.structs.replace(self.hour, price=rate.figure() if rate else None)
        return msgspec.structs.replace(self, hour=hour, run=run)
