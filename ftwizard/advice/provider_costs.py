"""Cost per provider: the cheapest offer that the answers allow, with a description."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence

import msgspec

from ftwizard.advice.provider_advice import ProviderScore, rank_providers
from ftwizard.advice.questions import (
    Answers,
    complete_answers,
    fits_here,
    planned_size,
    wanted_size,
)
from ftwizard.catalog.hosted_models import Tuning, list_hosted_models
from ftwizard.catalog.providers import ProviderId, Size, catalog
from ftwizard.hardware.machine import MachineInfo
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.pricing.money import UNKNOWN, format_price, format_unit_price
from ftwizard.pricing.offer import Offer
from ftwizard.quantity import Figure
from ftwizard.text import format_dollars

MODELS: dict[Size, str] = {
    "tiny": "meta-llama/Llama-3.2-1B-Instruct",
    "small": "meta-llama/Llama-3.2-3B-Instruct",
    "medium": "meta-llama/Llama-3.1-8B-Instruct",
    "large": "meta-llama/Llama-3.3-70B-Instruct",
}
"""Models that represent a size until a model is chosen; their shapes are in the catalog."""
MIN_BILLIONS: dict[Size, float] = {"tiny": 0, "small": 2, "medium": 6, "large": 50}
"""Minimum parameters, in billions, of an open model that counts as this size."""
NO_RENT, NOT_POSSIBLE = "no rent", "not possible"
ELSEWHERE = "your GPU machine"
_CLOSE = 0.005
"""US dollars; smaller differences count as equal."""


class ProviderCost(msgspec.Struct, frozen=True, kw_only=True):
    """Training cost at one provider, in US dollars."""

    provider: ProviderId
    why_not: str = ""
    """The answer that rules it out; empty if it is possible."""
    name: str = ""
    """Of the cheapest offer; empty if no price is known."""
    own: str = ""
    """Description of the user's own machine; empty if it is rented or hosted."""
    needs: str = ""
    """What that machine lacks; empty if nothing."""
    training: Figure | None = None
    """None if unknown or, on the user's own machine without a ``rate``, free."""
    setup: Figure | None = None
    """Cost of setting up a rented GPU; None for everything else."""
    rate: Figure | None = None
    """Price per unit of training, if ``training`` is unknown."""
    owner: str = ""
    """Who owns the weights."""
    as_of: str | None = None
    stale: bool = False
    """Whether ``as_of`` is over 90 days ago."""

    @property
    def amount(self) -> str:
        """Format the amount: ``$0.62–1.47``, ``no rent``, ``unknown``."""
        if self.why_not:
            return NOT_POSSIBLE
        is_free = self.own and self.training is None and self.rate is None
        return NO_RENT if is_free else format_price(self.training)

    @property
    def details(self) -> str:
        """Describe the amount: the offer, its date, and extra costs."""
        if self.why_not:
            return self.why_not
        if self.own:
            if self.training is None:
                rest = self._rate if self.rate else "excluding power and wear"
                return f"on {self.own}{self.needs}; {rest}"
            return f"on {self.own}{self.needs}{f', as of {self.as_of}' if self.as_of else ''}"
        if self.training is None:
            return self._rate
        setup = f"; plus {format_dollars(self.setup.value)} setup" if self.setup else ""
        return f"{self.name}, as of {self.as_of}{', over 90 days ago' if self.stale else ''}{setup}"

    @property
    def _rate(self) -> str:
        if self.rate is None:
            return "training price unknown"
        return f"{format_unit_price(self.rate)} of training; amount unknown"


def fill_in_model(plan: Plan, facts: MachineInfo, answers: Answers) -> Plan:
    """Return the plan, with QLoRA and a model of the planned size if it names no model.

    GPU hours cannot be estimated without a model.
    """
    if plan.model.name:
        return plan
    model = msgspec.structs.replace(plan.model, name=MODELS[planned_size(facts, answers)])
    recipe = msgspec.structs.replace(plan.recipe, method="qlora")
    return msgspec.structs.replace(plan, model=model, recipe=recipe)


def estimate_provider_costs(
    offers: Sequence[Offer],
    facts: MachineInfo,
    answers: Answers,
    today: datetime.date,
    tuning: Tuning | None = None,
) -> tuple[ProviderCost, ...]:
    """Return the cost at each provider, in catalog order; ``offers``: for the rows.

    ``tuning``: the only one that the rows are for; None for any.

    Spot instances, services that the answers rule out, and smaller models than asked for do not
    count.
    """
    complete = complete_answers(facts, answers)
    complete["size"] = planned_size(facts, answers)
    scores = {score.provider: score for score in rank_providers(facts, answers, today, tuning)}
    return tuple(
        _cost(scores[provider.id], offers, facts, complete) for provider in catalog().providers
    )


def _cost(
    verdict: ProviderScore, offers: Sequence[Offer], facts: MachineInfo, answers: Answers
) -> ProviderCost:
    if verdict.why_not:
        return ProviderCost(provider=verdict.provider, why_not=verdict.why_not)
    there = [
        offer
        for offer in offers
        if offer.provider == verdict.provider and offer.tunable and offer.market != "spot"
    ]
    if verdict.provider == "local":
        return _local(there, facts, answers)
    least = MIN_BILLIONS[wanted_size(answers)]
    there = [offer for offer in there if _is_allowed(offer, verdict.platform, answers)]
    large = [
        offer for offer in there if (_sizes().get((offer.platform, offer.model)) or least) >= least
    ]
    return _from_cheapest(verdict.provider, large, there)


def _local(offers: Sequence[Offer], facts: MachineInfo, answers: Answers) -> ProviderCost:
    """Return the user's own machine if it is enough or the only choice, else the cheapest rental."""
    need, own, needs = catalog().need(wanted_size(answers)), "", ""
    if fits_here(facts, answers):
        own = "the GPU here"
    elif answers.get("gpu_elsewhere") == "own":
        own = ELSEWHERE
    elif need.processors:
        own = "the CPU here"
    elif answers.get("data") == "stay":
        own, needs = "this machine", f", once it has a GPU with about {need.memory_text}"
    here = next((offer for offer in offers if offer.card is None), None)
    if own and here and own != ELSEWHERE:
        return ProviderCost(
            provider="local", own=own, needs=needs, name=here.name, training=here.training,
            rate=here.rate, owner=here.owner, as_of=here.as_of,
        )  # fmt: skip
    if own:
        return ProviderCost(
            provider="local", own=own, needs=needs, owner=here.owner if here else ""
        )
    rented = [offer for offer in offers if offer.card is not None]
    return _from_cheapest("local", rented)


def _from_cheapest(
    provider: ProviderId, offers: Sequence[Offer], all_offers: Sequence[Offer] = ()
) -> ProviderCost:
    """Return the cost of the offer with the lowest likely amount; the first one on a tie.

    If none has one, the lowest price per unit of training, if need be of ``all_offers``.
    """
    priced = [(offer.training.value, offer) for offer in offers if offer.training is not None]
    if not priced:
        rates = [offer.rate for offer in offers or all_offers if offer.rate is not None]
        rate = min(rates, key=lambda rate: (rate.unit, rate.value), default=None)
        return ProviderCost(provider=provider, rate=rate)
    offer = min(priced, key=lambda pair: pair[0])[1]
    return ProviderCost(
        provider=provider, name=offer.name, training=offer.training, setup=offer.setup,
        owner=offer.owner, as_of=offer.as_of, stale=offer.stale,
    )  # fmt: skip


def _is_allowed(offer: Offer, platform: HostedProvider | None, answers: Answers) -> bool:
    if answers.get("weights") == "yes" and offer.weights == "no":
        return False
    if offer.provider != "cloud":
        return True
    if platform is not None:
        return offer.platform == platform
    services = catalog().provider("cloud").platforms
    service = next(service for service in services if service.id == offer.platform)
    return answers.get("data") != "own-cloud" or service.own_account


@functools.cache
def _sizes() -> dict[tuple[str, str], float | None]:
    """Return the billions of parameters of hosted models; None if not published."""
    return {(model.platform, model.id): model.billions for model in list_hosted_models()}


def compare_costs(chosen: ProviderCost, recommended: ProviderCost) -> str:
    """Compare the training cost of a chosen provider with the recommended one.

    Empty if neither has a price.
    """
    if chosen.why_not or (chosen.amount, recommended.amount) == (UNKNOWN, UNKNOWN):
        return ""
    amounts = f"{chosen.amount} instead of {recommended.amount}"
    cost, baseline = _likely(chosen), _likely(recommended)
    if cost is None or baseline is None:
        return f"Training on this data: {amounts}."
    apart = cost - baseline
    difference = (
        "about the same"
        if abs(apart) < _CLOSE
        else f"likely {format_dollars(abs(apart))} {'more' if apart > 0 else 'less'}"
    )
    if chosen.setup or recommended.setup:
        name = catalog().provider(recommended.provider).name
        return f"Training on this data: {_add_setup(chosen)} ({name}: {_add_setup(recommended)})."
    return f"Training on this data: {difference} ({amounts})."


def _add_setup(cost: ProviderCost) -> str:
    """Format the amount, and what the setup of a GPU adds to it."""
    return (
        f"{cost.amount}, plus {format_dollars(cost.setup.value)} GPU setup"
        if cost.setup
        else cost.amount
    )


def _likely(cost: ProviderCost) -> float | None:
    """Return the likely amount including setup; None if unknown."""
    if cost.training is None:
        return None
    return cost.training.value + (cost.setup.value if cost.setup else 0.0)
