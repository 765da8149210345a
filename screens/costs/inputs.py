"""Inputs of the cost table: a draft's tokens, its answers, and the prices."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from ftwizard import locations
from ftwizard.advice.provider_costs import MIN_BILLIONS, fill_in_model
from ftwizard.advice.questions import planned_size
from ftwizard.catalog.prices import Edition, PriceRate, Prices, packaged
from ftwizard.catalog.providers import ProviderId, catalog
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import plan_estimate
from ftwizard.estimate.plan_estimate import GpuEstimates
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.pricing import offer_list, user_prices
from ftwizard.pricing.offer import LocalOffer, Offer, PricingQuery, TrainingLoad, Volume
from ftwizard.screens.costs import table
from ftwizard.screens.draft import live_estimate, setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.text import format_epochs, make_visible

DEFAULT_TOKENS_IN, DEFAULT_TOKENS_OUT = Decimal(300), Decimal(150)
"""Tokens of a request and its response if the data shows none."""
MAX_AMOUNT = Decimal(10**12)
AMOUNT_NAMES = ("Requests per month", "Input tokens", "Output tokens")
MEASURED_NOTE = "Token counts are the averages of your data."
ASSUMED_NOTE = "Token counts are typical values: your data does not show them."
_RULE_OF_THUMB_SIZES = (6e9, 10e9)
"""Model sizes that the article's training hours (for 8B) apply to."""
_ZERO_TOKENS = TokenEstimate(value=0, low=0, high=0)
PRIVACY_REASONS = {
    "stay": "your answers keep the data on this machine",
    "own-cloud": "your answers keep the data in your own cloud account",
}
"""Why data cannot be shared with a provider, by the answer to “data”."""


@dataclass(frozen=True)
class Basis:
    """Everything that the cost table depends on."""

    load: TrainingLoad | None
    """None if the tokens are unknown."""
    query: PricingQuery
    usual: Volume
    """Mean tokens of one request, without a number of requests."""
    measured: bool
    """Whether ``usual`` was measured in the data."""
    private: str = ""
    """Why the data cannot be shared for a discount; empty if it can."""
    provider: ProviderId = "local"
    platform: HostedProvider | None = None
    """The recommended provider and platform."""
    own_machine: bool = False
    """Whether "local" means a machine of one's own. Otherwise a GPU is rented. True with a
    GPU here or elsewhere, for a model that trains on the CPU, or if the data must stay."""
    hour: PriceRate | None = None
    """Hourly price of this machine; None if not set."""

    def with_query(self, **changes: Any) -> Basis:
        """Return the basis with a changed query."""
        return replace(self, query=msgspec.structs.replace(self.query, **changes))

    def with_other_edition(self) -> Basis:
        """Return the basis with the other price edition."""
        edition: Edition = "2026-04" if self.query.edition == "current" else "current"
        return self.with_query(edition=edition)

    @property
    def tokens(self) -> str:
        """Describe the tokens that are trained on."""
        load = self.load
        if load is None:
            return "Tokens are not counted yet, so the training cost is unknown"
        about = "" if load.tokens.low == load.tokens.high else "about "
        passes = f"{load.tokens.value:,} × {format_epochs(load.epochs)}"
        return f"{about}{load.total:,} tokens ({passes}), {load.counted}"


def build_basis(draft: Draft, today: datetime.date) -> Basis:
    """Build the basis of a draft's costs: from its estimate, else from its data check."""
    size, plan = draft.parameters, fill_in_model(draft.plan, draft.machine, draft.answers)
    cards = _read_card_estimates(draft) or _estimate_cards(draft, plan, today)
    shape = live_estimate.load_shape(plan.model.name)
    weights = size or (shape.parameters if shape else None)
    query = PricingQuery(
        today=today,
        hours=cards.hours or None,
        too_small=cards.too_small,
        by_qlora=cards.by_qlora,
        served=2.0 * weights if weights else None,
        here=_estimate_local_run(draft, plan),
        by_rule=bool(draft.plan.model.name)
        and plan.recipe.method != "full"
        and (size is None or _RULE_OF_THUMB_SIZES[0] <= size <= _RULE_OF_THUMB_SIZES[1]),
        model=plan.model.name,
    )
    measured = _volume_of_rows(draft)
    return Basis(
        load=_load_from_estimate(draft) or _load_from_check(draft),
        query=query,
        usual=measured or Volume(tokens_in=DEFAULT_TOKENS_IN, tokens_out=DEFAULT_TOKENS_OUT),
        measured=measured is not None,
        private=PRIVACY_REASONS.get(draft.answers.get("data", ""), ""),
        provider=draft.recommended,
        platform=draft.platform,
        own_machine=_has_own_machine(draft, weights),
        hour=draft.hour,
    )


def _has_own_machine(draft: Draft, weights: int | None) -> bool:
    """Tell whether a machine of one's own trains a model; ``weights``: its parameters, if known."""
    answers = draft.answers
    if draft.machine.gpus or answers.get("gpu_elsewhere") == "own" or answers.get("data") == "stay":
        return True
    if weights is None:
        return catalog().need(planned_size(draft.machine, answers)).processors
    return weights < MIN_BILLIONS["small"] * 1e9  # which also trains on the CPU


def _estimate_local_run(draft: Draft, plan: Plan) -> LocalOffer:
    """Estimate a run on this machine: from the draft's estimate, else from its prospect."""
    report = draft.estimate
    if report and report.run:
        return plan_estimate.local_offer(plan, draft.hardware, report.run, report.memory)
    recipe_estimate = live_estimate.estimate_recipe(replace(draft, plan=plan))
    return plan_estimate.local_offer(plan, draft.hardware, recipe_estimate)


def _estimate_cards(draft: Draft, plan: Plan, today: datetime.date) -> GpuEstimates:
    """Estimate the plan's hours by GPU, and the GPUs that it does not fit on. Both are empty if
    model or data are unknown."""
    inputs = plan, live_estimate.get_lengths(draft), live_estimate.load_shape(plan.model.name)
    names = {card for card, _ in load_prices(today)[0].cards()}
    try:
        return plan_estimate.estimate_gpus(*inputs, names)
    except (FtwizardError, ValueError, OverflowError, ZeroDivisionError):
        return GpuEstimates()


def load_prices(today: datetime.date) -> tuple[Prices, FtwizardError | None]:
    """Load the packaged prices, overridden by the user's own. If the user's file has an error,
    return the packaged prices alone and the error."""
    try:
        own = user_prices.from_file(locations.prices_file(), today)
    except FtwizardError as error:
        return packaged(), error
    return packaged().over(own), None


def compute_offers(basis: Basis, prices: Prices) -> list[Offer]:
    """Compute every offer; without tokens the training costs are unknown."""
    prices = prices.at(basis.hour)
    if basis.load is not None:
        return list(offer_list.list_offers(basis.load, prices, basis.query))
    nothing = TrainingLoad(tokens=_ZERO_TOKENS, epochs=1, counted="")
    query = msgspec.structs.replace(basis.query, by_rule=False)
    return [
        msgspec.structs.replace(offer, training=None, other_training=None)
        for offer in offer_list.list_offers(nothing, prices, query)
    ]


def find_recommended(offers: list[Offer], basis: Basis) -> Offer | None:
    """Return the offer to start with on the recommended provider; None if there is none."""
    candidates = [offer for offer in offers if offer.tunable and offer.provider == basis.provider]
    if basis.provider == "local":
        own = [offer for offer in candidates if (offer.card is None) == basis.own_machine]
        key = table.COLUMNS["training"].key
        priced = [offer for offer in own or candidates if offer.training]
        return min(priced, key=key) if priced else next(iter(own or candidates), None)
    if basis.platform:
        candidates = [offer for offer in candidates if offer.platform == basis.platform]
    first = [offer for offer in candidates if offer.recommended]
    return next(iter(first or candidates), None)


def _load_from_estimate(draft: Draft) -> TrainingLoad | None:
    """Return the tokens that ``ftwizard estimate`` counted with the model's tokenizer."""
    report = draft.estimate
    if not report or not report.tokens:
        return None
    epochs = draft.plan.recipe.epochs
    tokens = max(1, round(report.tokens / epochs))
    short_name = draft.plan.model.name.rstrip("/").rpartition("/")[2]
    return TrainingLoad(
        tokens=TokenEstimate(value=tokens, low=tokens, high=tokens),
        epochs=epochs,
        counted=f"counted with {make_visible(short_name, 40)}",
        rows=setting_values.count_trained_rows(draft),
        by_model=report.by_model,
    )


def _read_card_estimates(draft: Draft) -> GpuEstimates | None:
    """Return the hours by GPU from ``ftwizard estimate``; None if it has none."""
    offers = draft.estimate.costs if draft.estimate else []
    hours = {offer.card: offer.hours for offer in offers if offer.card and offer.hours}
    small = frozenset(offer.card for offer in offers if offer.card and offer.too_small)
    quantized = frozenset(
        offer.card for offer in offers if offer.card and "method" in offer.note_codes
    )
    return GpuEstimates(hours, small, quantized) if hours or small else None


def _load_from_check(draft: Draft) -> TrainingLoad | None:
    """Return the tokens that the data check counted, without validation and test shares."""
    counted = draft.checked.tokens if draft.checked else None
    if not counted or not counted.total:
        return None
    left = max(0.0, 1 - draft.plan.validation_share - draft.plan.test_share)
    return TrainingLoad(
        tokens=TokenEstimate(
            value=round(counted.total * left),
            low=math.floor(counted.low * left),
            high=math.ceil(counted.high * left),
        ),
        epochs=draft.plan.recipe.epochs,
        counted=f"counted with {make_visible(counted.encoding, 40)}",
        rows=round(counted.rows * left),
    )  # fmt: skip


def _volume_of_rows(draft: Draft) -> Volume | None:
    """Return the mean tokens of a row's prompt and response; None if unknown."""
    if draft.estimate and (part := draft.estimate.parts.get("train")):
        return _mean_volume(part.tokens, part.trainable_tokens, part.used)
    report = draft.checked
    if report and report.tokens and report.trained_tokens:
        return _mean_volume(report.tokens.total, report.trained_tokens.total, report.tokens.rows)
    return None


def _mean_volume(tokens: int, answers: int, rows: int) -> Volume | None:
    if not (rows and answers and tokens > answers):
        return None
    into = max(1, round((tokens - answers) / rows))
    return Volume(tokens_in=Decimal(into), tokens_out=Decimal(max(1, round(answers / rows))))


def list_amounts(volume: Volume) -> list[tuple[str, str]]:
    """List name and text of each amount of a volume."""
    values = (volume.requests, volume.tokens_in, volume.tokens_out)
    texts = ["" if value is None else f"{value:,f}" for value in values]
    return list(zip(AMOUNT_NAMES, texts, strict=True))


def parse_volume(typed: Sequence[str]) -> Volume:
    """Parse the amounts of a volume; raise ValueError with a message."""
    requests, *tokens = map(parse_amount, AMOUNT_NAMES, typed)
    return Volume(requests=requests, tokens_in=tokens[0], tokens_out=tokens[1])


def parse_amount(name: str, typed: str) -> Decimal:
    """Parse ``10,000``, ``10k`` or ``1.5M``; raise ValueError with a message."""
    text = typed.strip().replace(",", "").replace("_", "").replace(" ", "")
    factor = {"k": 10**3, "m": 10**6, "g": 10**9}.get(text[-1:].lower(), 1)
    try:
        amount = Decimal(text[:-1] if factor > 1 else text) * factor
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= MAX_AMOUNT:
        shown = make_visible(typed.strip(), 24)
        wrong = f"“{shown}” is not a number" if shown else "enter a number"
        raise ValueError(f"{name}: {wrong} from 1 to {MAX_AMOUNT:,f}.")
    return amount
