"""Inputs of the cost table, and one offer, a flat row of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from ftwizard.catalog.hosted_models import Availability, HostedModel, Tuning, Weights
from ftwizard.catalog.prices import Edition, Market
from ftwizard.catalog.providers import ProviderId
from ftwizard.data.tokens.billing import compute_bill
from ftwizard.data.tokens.stats import NO_TOKENS, TokenEstimate
from ftwizard.quantity import EndDate, Figure

NoteCode = Literal[
    "end", "caution", "advice", "price-unknown", "amount-unknown", "price", "hosting", "budget",
    "spot", "no-hour-price", "too-small", "hours-unknown", "method",
]  # fmt: skip
CHECK_PRICE = "check the provider's page"
ARTICLE_GPU = "a100-40gb"
"""The article's GPU."""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """The inference volume of the tuned model."""

    tokens_in: Decimal
    """Per request."""
    tokens_out: Decimal
    requests: Decimal | None = None
    """Per month; None if only the break-even is needed."""


class TrainingLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The training data as a billing quantity."""

    tokens: TokenEstimate
    """Of one epoch, counted for the chosen model."""
    epochs: float
    counted: str
    """Description of how they were counted."""
    rows: int | None = None
    by_model: Mapping[str, TokenEstimate] = {}
    """``platform/id`` → tokens of one epoch, if counted with the model's own tokenizer."""
    validation: TokenEstimate = NO_TOKENS
    """Tokens of the validation file, which Together bills at each evaluation."""
    evaluations: int = 0
    unpacked_length: int | None = None
    """Tokens of the longest row, if rows are not packed."""

    def billed(self, model: HostedModel, method: Tuning) -> TokenEstimate | None:
        """Return the billed tokens of all epochs; None if billing is not by tokens."""
        tokens = self.by_model.get(f"{model.platform}/{model.id}", self.tokens)
        bill = compute_bill(
            model.limits(method), tokens, epochs=self.epochs,
            validation=self.validation, evaluations=self.evaluations, rows=self.rows,
            unpacked_length=self.unpacked_length,
        )  # fmt: skip
        return bill.tokens

    @property
    def total(self) -> int:
        """Return the tokens of all epochs."""
        return round(self.tokens.value * self.epochs)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One offer for a tuned model. Amounts are in US dollars; None is unknown, or not billed."""

    provider: ProviderId
    platform: str
    """``openai``, ``vertex``, …; ``local`` for a GPU."""
    model: str
    """The platform's model; on a GPU, the open model trained there."""
    name: str
    card: str | None = None
    market: Market | None = None
    method: Tuning = "supervised"
    training: Figure | None = None
    other_training: Figure | None = msgspec.field(default=None, name="other")
    """Training by the other edition's price, if the two differ by more than 20%."""
    other_edition: Mapping[str, Figure] = msgspec.field(default_factory=dict, name="beside")
    """The same for other figures by name: ``input``, ``hosting``, ``monthly``, …."""
    rate: Figure | None = None
    """Price per unit of training."""
    hours: Figure | None = None
    """GPU hours."""
    too_small: bool = False
    """The model does not fit there during training."""
    serves: bool = True
    """Whether the 16-bit weights may fit there for inference."""
    setup: Figure | None = None
    """Instance setup, in addition to training."""
    input: Figure | None = None
    cached: Figure | None = None
    output: Figure | None = None
    relative: Figure | None = None
    """How much more input and output cost than the base model's, in percent."""
    hosting: Figure | None = None
    storage: Figure | None = None
    weights: Weights
    """Whether they can be downloaded."""
    owner: str
    """Description of who owns the result."""
    recommended: bool = False
    tunable: bool = True
    since: Availability | None = None
    """When the first jobs could be created; None if unknown."""
    until: EndDate | None = None
    """First day without new jobs."""
    ends: EndDate | None = None
    """The day the tuned model is shut down."""
    monthly: Figure | None = None
    break_even: Figure | None = None
    """Requests per month above which a rented GPU is cheaper."""
    as_of: str | None = None
    """The oldest date among its prices."""
    stale: bool = False
    """Whether a price is over 90 days old."""
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()
    """What each note is about."""

    @property
    def coded_notes(self) -> tuple[tuple[NoteCode, str], ...]:
        """Return the notes, each with its code."""
        return tuple(zip(self.note_codes, self.notes, strict=True))

    def with_notes(self, coded: Iterable[tuple[NoteCode, str]]) -> Offer:
        """Return the offer with notes."""
        codes, notes = zip(*coded, strict=True) if (coded := tuple(coded)) else ((), ())
        return msgspec.structs.replace(self, notes=notes, note_codes=codes)


class LocalOffer(msgspec.Struct, frozen=True, kw_only=True):
    """Estimates for a run on this machine."""

    hours: Figure | None = None
    """Of the whole run."""
    too_small: bool = False
    """The model does not fit here during training."""
    memory: int | None = None
    """Bytes of the GPU, else of the machine; None if unknown."""

    def may_serve(self, weights: float | None) -> bool:
        """Return whether ``weights``, in bytes, may fit for inference; True if unknown."""
        return weights is None or self.memory is None or weights <= self.memory


class PricingQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the cost table."""

    today: datetime.date
    edition: Edition = "current"
    share_data: bool = False
    """Whether the organization shares its data with OpenAI, for a discount."""
    volume: Volume | None = None
    hours: Mapping[str, Figure] | None = None
    """Training hours by GPU; None: the article's rule on its GPU, if ``by_rule``."""
    here: LocalOffer = LocalOffer()
    too_small: frozenset[str] = frozenset()
    """GPUs on which the model does not fit during training."""
    by_qlora: frozenset[str] = frozenset()
    """GPUs whose hours are those of QLoRA, as the plan's LoRA does not fit there."""
    served: float | None = None
    """Bytes of the 16-bit weights for inference; None if unknown."""
    by_rule: bool = True
    """Whether the model has about the size of the article's rule (8B)."""
    model: str = "llama-3.1-8b"
    """The open model trained on a GPU."""
    serve_on: str = ARTICLE_GPU
    """The GPU, rented on demand, for the break-even."""
