"""Provider costs: priced within the answers, with unknown amounts stated."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import provider_advice
from ftwizard.advice.provider_costs import (
    MIN_BILLIONS,
    MODELS,
    ProviderCost,
    compare_costs,
    estimate_provider_costs,
    fill_in_model,
)
from ftwizard.advice.questions import QUESTIONS
from ftwizard.catalog import model_configs
from ftwizard.catalog.prices import packaged
from ftwizard.catalog.providers import ProviderId, catalog
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan.schema import Data, Files, Model, Plan
from ftwizard.pricing import offer_list
from ftwizard.pricing.offer import Offer, PricingQuery, TrainingLoad
from ftwizard.quantity import Figure
from tests.helpers.machines import make_machine

TODAY = datetime.date(2026, 11, 25)
LOAD = TrainingLoad(
    tokens=TokenEstimate(value=1_500_000, low=1_400_000, high=1_600_000), epochs=3, counted="counted",
    rows=5000,
)  # fmt: skip
HOURS = {
    card: Figure(value=2, unit="h", low=1, high=4, source="test") for card, _ in packaged().cards()
}
OFFERS = offer_list.list_offers(LOAD, packaged(), PricingQuery(today=TODAY, hours=HOURS))
_ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        question.id: st.sampled_from([o.id for o in question.options]) for question in QUESTIONS
    },
)


def machine(*gigabytes: int) -> MachineInfo:
    return make_machine(
        *(Gpu(name="Double", memory=gigabyte * 10**9) for gigabyte in gigabytes),
        memory=32 * 10**9,
        cores=4,
        extras=("local",),
    )


def costs(
    facts: MachineInfo, offers: Sequence[Offer] = OFFERS, /, **answers: str
) -> dict[ProviderId, ProviderCost]:
    return {cost.provider: cost for cost in estimate_provider_costs(offers, facts, answers, TODAY)}


@given(gigabytes=st.lists(st.integers(1, 200), max_size=2), answers=_ANSWERS)
def test_providers_are_priced_within_the_answers(
    gigabytes: list[int], answers: dict[str, str]
) -> None:
    facts = machine(*gigabytes)
    result = costs(facts, OFFERS, **answers)
    assert list(result) == [provider.id for provider in catalog().providers]
    by_name = {offer.name: offer for offer in OFFERS if offer.market != "spot" and offer.tunable}
    for verdict in provider_advice.rank_providers(facts, answers, TODAY):
        item = result[verdict.provider]
        assert item.why_not == (verdict.why_not or "") and item.amount and item.details
        assert "None" not in item.details and "$0.00" not in item.amount
        if item.training is None:
            assert item.amount in ("no rent", "not possible", "unknown")
            continue
        offer = by_name[item.name]
        assert item.as_of and item.as_of in item.details
        assert verdict.platform in (None, offer.platform)
        assert answers.get("weights") != "yes" or offer.weights != "no"
        same = [o for o in by_name.values() if o.platform == offer.platform and o.training]
        least = MIN_BILLIONS[_size(answers)]
        assert item.provider == "local" or least or offer == min(same, key=_amount)


def _size(answers: dict[str, str]) -> Any:
    return answers.get("size", "medium")


def _amount(offer: Offer) -> float:
    assert offer.training is not None
    return offer.training.value


def test_large_size_is_priced_with_a_large_model() -> None:
    medium, large = (costs(machine(), size=size)["cloud"] for size in ("medium", "large"))
    assert medium.name == "Together Llama 3.1 8B" and large.name == "Together Llama 3.3 70B"


def test_cloud_answer_selects_the_priced_platform() -> None:
    assert costs(machine(), cloud="gcp")["cloud"].name.startswith("Vertex")
    assert costs(machine(), cloud="aws")["cloud"].name.startswith("Bedrock")
    azure = costs(machine(), cloud="azure")["cloud"]
    assert azure.amount == "unknown" and "per hour of training" in azure.details


def test_local_provider_costs_no_rent_on_own_hardware() -> None:
    assert costs(machine(24))["local"].details == "on the GPU here; excluding power and wear"
    assert "your GPU machine" in costs(machine(), gpu_elsewhere="own")["local"].details
    assert "the CPU here" in costs(machine(), size="tiny")["local"].details
    assert "the CPU here" in costs(machine())["local"].details, "a size that trains here"
    assert costs(machine(8))["local"].details.startswith("on the GPU here")
    stays = costs(machine(), data="stay", size="medium")
    assert stays["local"].amount == "no rent" and "16 GB" in stays["local"].details
    assert {stays[id].amount for id in ("openai", "cloud")} == {"not possible"}


def test_hourly_machine_price_sets_the_local_cost() -> None:
    hour = Figure(value=1.5, unit="USD per hour", source="test")
    others = [offer for offer in OFFERS if offer.card is not None]
    own = next(offer for offer in OFFERS if offer.provider == "local" and offer.card is None)
    priced = msgspec.structs.replace(own, rate=hour, training=usd(3.0), as_of="2026-11-25")
    local = costs(machine(24), [*others, priced])["local"]
    assert (local.amount, local.details) == ("$3.00", "on the GPU here, as of 2026-11-25")
    unknown = msgspec.structs.replace(own, rate=hour)
    local = costs(machine(24), [*others, unknown])["local"]
    assert local.amount == "unknown" and "$1.50 per hour of training" in local.details
    elsewhere = costs(machine(), [*others, priced], gpu_elsewhere="own")["local"]
    assert elsewhere.amount == "no rent", "the price applies to another machine"


def test_rented_gpu_adds_a_setup_cost() -> None:
    rented = costs(machine(), size="medium")["local"]
    assert rented.setup is not None and "; plus $" in rented.details and "spot" not in rented.name


def test_missing_offers_give_an_unknown_price() -> None:
    assert costs(machine(), ())["openai"].details == "training price unknown"
    assert costs(machine(), (), size="medium")["local"].amount == "unknown"


def usd(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value=value, unit="USD", low=low, high=high, source="test")


def test_comparison_states_the_cost_difference() -> None:
    hosted = ProviderCost(provider="openai", name="A", training=usd(3.0, 2.0, 4.0))
    cheaper = ProviderCost(provider="cloud", name="B", training=usd(1.0))
    rented = ProviderCost(provider="local", name="C", training=usd(0.5), setup=usd(4.0))
    own, unknown = (
        ProviderCost(provider="local", own="the GPU here"),
        ProviderCost(provider="cloud"),
    )
    assert compare_costs(hosted, cheaper).endswith(
        "likely $2.00 more ($2.00–4.00 instead of $1.00)."
    )
    assert compare_costs(cheaper, hosted).startswith("Training on this data: likely $2.00 less (")
    assert compare_costs(cheaper, cheaper).startswith("Training on this data: about the same (")
    text = compare_costs(rented, cheaper)
    assert text.endswith(": $0.50, plus $4.00 GPU setup (Cloud-managed: $1.00).")
    assert compare_costs(hosted, own) == "Training on this data: $2.00–4.00 instead of no rent."
    assert compare_costs(unknown, unknown) == ""
    assert compare_costs(ProviderCost(provider="openai", why_not="It leaves."), own) == ""


@pytest.mark.parametrize(("size", "model"), MODELS.items())
def test_size_fills_in_a_model_only_when_none_is_set(size: str, model: str) -> None:
    plan = Plan(data=Data(files=Files(train="rows.jsonl")), model=Model(name=""))
    result = fill_in_model(plan, machine(), {"size": size})
    assert result.model.name == model and result.recipe.method == "qlora"
    assert model_configs.find_config(model) is not None, "its shape must be available offline"
    assert fill_in_model(result, machine(), {"size": "tiny"}) == result


def test_larger_sizes_map_to_larger_models() -> None:
    expected = [model_configs.find_config(model) for model in MODELS.values()]
    counts = [item.parameters for item in expected if item]
    assert all(item < other for item, other in itertools.pairwise(counts))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0001, 0.002, "$0.0001–0.002"), (0.0019, 0.04, "$0.0019–0.04"), (0.01, 0.04, "$0.01–0.04"),
        (0.62, 1.47, "$0.62–1.47"), (0, 0, "$0.00"),
    ],
)  # fmt: skip
def test_amounts_below_a_cent_keep_their_digits(low: float, high: float, words: str) -> None:
    training = Figure(
        value=(low + high) / 2, unit="USD", low=low, high=high, source="test", as_of="2026-11"
    )
    assert ProviderCost(provider="openai", training=training).amount == words


def test_large_model_on_local_data_without_gpu_blocks_every_provider() -> None:
    answers = {"data": "stay", "size": "large"}
    result = provider_advice.recommend(machine(), answers, TODAY)
    assert result.blocked.startswith("No option is possible")
    assert "48 GB" in result.blocked and result.changes
    for change in result.changes:
        assert change.endswith(".")
    for better in ({"size": "tiny"}, {"gpu_elsewhere": "own"}, {"data": "leave"}):
        assert not provider_advice.recommend(machine(), {**answers, **better}, TODAY).blocked
    assert not provider_advice.recommend(machine(80), answers, TODAY).blocked


@given(gigabytes=st.lists(st.integers(1, 200), max_size=2), answers=_ANSWERS)
def test_blocked_recommendation_always_lists_changes(
    gigabytes: list[int], answers: dict[str, str]
) -> None:
    result = provider_advice.recommend(machine(*gigabytes), answers, TODAY)
    possible = [
        provider
        for provider in provider_advice.rank_providers(machine(*gigabytes), answers, TODAY)
        if not provider.why_not
    ]
    assert possible and bool(result.blocked) == bool(result.changes)
    if result.blocked:
        assert [item.provider for item in possible] == ["local"]
