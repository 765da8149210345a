"""What is trained on, what is asked, and one offer: a flat row of the table of costs."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from ftwizard.catalog.models import HostedModel, Since, Tuning, Weights
from ftwizard.catalog.paths import PathId
from ftwizard.catalog.prices import Edition, Market
from ftwizard.data.billing import billed
from ftwizard.data.tokens import Estimate
from ftwizard.figure import Day, Figure

CHECK = "check the provider's page"
CARD = "a100-40gb"
"""The article's card."""
_NONE = Estimate(value=0, low=0, high=0)


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What the tuned model is to answer."""

    tokens_in: Decimal
    """Of one request."""
    tokens_out: Decimal
    requests: Decimal | None = None
    """A month; None where only the break-even is asked for."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained on."""

    tokens: Estimate
    """Of one epoch, as the chosen model counts them."""
    epochs: float
    counted: str
    """How they were counted, in words."""
    rows: int | None = None
    by_model: Mapping[str, Estimate] = {}
    """``platform/id`` → tokens of one epoch, where a model's were counted by its own tokenizer."""
    validation: Estimate = _NONE
    """Tokens of the validation file, which Together bills at each evaluation."""
    evaluations: int = 0
    unpacked_length: int | None = None
    """Tokens of the longest row, where rows are not packed."""

    def billed(self, model: HostedModel, method: Tuning) -> Estimate | None:
        """Return the tokens that are billed for all epochs; None where it is not by tokens."""
        tokens = self.by_model.get(f"{model.platform}/{model.id}", self.tokens)
        found = billed(
            model.limits(method), tokens, epochs=self.epochs,
            validation=self.validation, evaluations=self.evaluations, rows=self.rows,
            unpacked_length=self.unpacked_length,
        )  # fmt: skip
        return found.tokens

    @property
    def total(self) -> int:
        """Return the tokens of all epochs."""
        return round(self.tokens.value * self.epochs)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a tuned model. Amounts are in US dollars; None is unknown, or not billed."""

    path: PathId
    platform: str
    """``openai``, ``vertex``, …; ``local`` for a GPU."""
    model: str
    """The platform's model; on a GPU the open model that is trained there."""
    name: str
    card: str | None = None
    market: Market | None = None
    method: Tuning = "supervised"
    training: Figure | None = None
    other: Figure | None = None
    """The training by the other edition, where the two are more than 20 % apart."""
    beside: Mapping[str, Figure] = {}
    """The same of other figures, by their names: ``input``, ``hosting``, ``monthly``, …."""
    rate: Figure | None = None
    """What a unit of training costs."""
    hours: Figure | None = None
    """Of the GPU."""
    too_small: bool = False
    """The model does not fit on the card, or on this machine, while it is trained."""
    serves: bool = True
    """Whether the model's weights may fit there as it answers, in 16 bit."""
    setup: Figure | None = None
    """Setting the instance up, beside the training."""
    input: Figure | None = None
    cached: Figure | None = None
    output: Figure | None = None
    relative: Figure | None = None
    """How far input and output are above the base model's, in %."""
    hosting: Figure | None = None
    storage: Figure | None = None
    weights: Weights
    """Whether they can be taken away."""
    owner: str
    """Who owns the result, in words."""
    recommended: bool = False
    tunable: bool = True
    since: Since | None = None
    """When its first jobs could be created; None where it is not known."""
    until: Day | None = None
    """From this day on no job can be created."""
    ends: Day | None = None
    """On this day the tuned model is shut down."""
    monthly: Figure | None = None
    break_even: Figure | None = None
    """Requests a month from which a GPU of one's own is cheaper."""
    as_of: str | None = None
    """The oldest date among its prices."""
    stale: bool = False
    """That date is over 90 days ago, whoever's price it is."""
    notes: tuple[str, ...] = ()


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run on this machine."""

    hours: Figure | None = None
    """Of the whole run."""
    too_small: bool = False
    """The model does not fit here while it is trained."""
    memory: int | None = None
    """Bytes of the GPU, of the machine without one; None where they are not known."""

    def may_serve(self, weights: float | None) -> bool:
        """Say whether ``weights``, in bytes, may fit as the model answers; True where it is not
        known."""
        return weights is None or self.memory is None or weights <= self.memory


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How the table is to be made."""

    today: datetime.date
    edition: Edition = "current"
    share_data: bool = False
    """The organisation shares its data with OpenAI, for a discount."""
    volume: Volume | None = None
    hours: Mapping[str, Figure] | None = None
    """Hours of training by card; None: the article's rule on its card, ``by_rule``."""
    here: Here = Here()
    too_small: frozenset[str] = frozenset()
    """Cards on which the model does not fit while it is trained."""
    served: float | None = None
    """Bytes of the model's weights in 16 bit, as it answers; None where they are not known."""
    by_rule: bool = True
    """The model is about the size that the article's rule is of (8B)."""
    model: str = "llama-3.1-8b"
    """The open model that is trained on a GPU."""
    serve_on: str = CARD
    """The card, rented on demand, that a break-even is against."""
