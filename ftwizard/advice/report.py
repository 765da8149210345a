"""The document of advice: the providers for this machine, data and answers, with reasons."""

from __future__ import annotations

import datetime
import math
from typing import get_args

import msgspec

from ftwizard.advice import evidence, provider_advice, questions, recipe_advice
from ftwizard.advice.evidence import Evidence, FineTuningWarning
from ftwizard.advice.provider_advice import ProviderScore, Recommendation, rule_out
from ftwizard.advice.provider_costs import ProviderCost, estimate_provider_costs, fill_in_model
from ftwizard.advice.questions import Answers, Question
from ftwizard.advice.recipe_rules import AdvisedValue
from ftwizard.catalog.providers import Catalog, ProviderId, catalog
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.estimate import plan_estimate
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models import model_config
from ftwizard.plan.schema import Data, Files, Method, Model, Plan
from ftwizard.pricing import offer_list, user_prices
from ftwizard.pricing.offer import PricingQuery, TrainingLoad


class DataAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """What the data itself suggests."""

    evidence: Evidence
    changing_share: float
    warning: FineTuningWarning | None = msgspec.field(name="raised")
    recipe: list[AdvisedValue]
    costs: dict[ProviderId, ProviderCost]
    """Of providers that are possible."""


class AdviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``advise``."""

    date: datetime.date
    machine: MachineInfo
    answers: dict[str, str]
    questions: tuple[Question, ...]
    """Those that are still open."""
    recommendation: Recommendation
    verdicts: list[ProviderScore]
    data: DataAdvice | None
    catalog: Catalog


def build_report(
    facts: MachineInfo, answers: Answers, data: Evidence | None, today: datetime.date
) -> AdviceReport:
    """Compare the providers; ``data``: evidence from a data check, if there is one.

    Raises FtwizardError (wrong usage) for an unknown question or answer.
    """
    complete = questions.complete_answers(facts, answers)
    tuning = data.tuning if data else None
    recommended = provider_advice.recommend(facts, answers, today, tuning)
    return AdviceReport(
        date=today,
        machine=facts,
        answers=complete,
        questions=questions.open_questions(facts, answers),
        recommendation=recommended,
        verdicts=[
            rule_out(score, recommended.blocked)
            if recommended.blocked and score.provider == recommended.provider
            else score
            for score in provider_advice.rank_providers(facts, answers, today, tuning)
        ],
        data=advise_on_data(data, facts, complete, today) if data else None,
        catalog=msgspec.structs.replace(catalog(), sources={}),
    )


def advise_on_data(
    data_evidence: Evidence, facts: MachineInfo, answers: Answers, today: datetime.date
) -> DataAdvice:
    """Return costs by provider and a recipe for the data."""
    costs = cost_by_provider(data_evidence, facts, answers, today)
    return DataAdvice(
        evidence=data_evidence,
        changing_share=data_evidence.changing_share,
        warning=evidence.warn_of_facts(data_evidence),
        recipe=advise_recipe(data_evidence, facts),
        costs={cost.provider: cost for cost in costs if not cost.why_not},
    )


def cost_by_provider(
    data_evidence: Evidence, facts: MachineInfo, answers: Answers, today: datetime.date
) -> tuple[ProviderCost, ...]:
    """Return the training cost on each provider, from its cheapest known offer.

    With the defaults of a plan: 10% validation, 10% test, 3 epochs. GPU hours are those of a known
    model of the answered size. Empty where no tokens were counted.
    """
    plan = fill_in_model(
        Plan(data=Data(files=Files(train=data_evidence.path)), model=Model(name="")), facts, answers
    )
    load = _to_load(data_evidence, plan)
    if load is None:
        return ()
    prices = user_prices.load_prices([], today)
    shape, spread = model_config.read_shape(plan.model.name), data_evidence.lengths
    lengths = spread.split(data_evidence.usable, plan) if spread else {}
    cards = {card for card, _ in prices.cards()}
    gpus = plan_estimate.estimate_gpus(plan, lengths, shape, cards)
    query = PricingQuery(
        today=today,
        model=plan.model.name,
        hours=gpus.hours or None,
        too_small=gpus.too_small,
        by_qlora=gpus.by_qlora,
        here=plan_estimate.local_offer(
            plan, facts, plan_estimate.estimate_plan(plan, lengths, shape, facts)
        ),
        by_rule=False,
    )
    offers = offer_list.list_offers(load, prices, query)
    return estimate_provider_costs(offers, facts, answers, today, data_evidence.tuning)


def _to_load(data_evidence: Evidence, plan: Plan) -> TrainingLoad | None:
    tokens = data_evidence.tokens
    if tokens is None or not data_evidence.usable:
        return None
    left = 1 - plan.validation_share - plan.test_share
    return TrainingLoad(
        tokens=TokenEstimate(
            value=max(1, round(tokens.value * left)),
            low=math.floor(tokens.lowest * left),
            high=math.ceil(tokens.highest * left),
        ),
        epochs=plan.recipe.epochs,
        counted=tokens.source,
        rows=round(data_evidence.usable * left),
    )


def advise_recipe(data_evidence: Evidence, facts: MachineInfo) -> list[AdvisedValue]:
    """Return a recipe for this machine, before a model is chosen."""
    method_setting = recipe_advice.advise_method(None, facts)
    method: Method = next(name for name in get_args(Method) if name == method_setting.value)
    named = recipe_advice.advise(
        method, None, data_evidence.usable or None, facts, lengths=data_evidence.lengths
    )
    return [method_setting, *named, recipe_advice.advise_report_to()]
