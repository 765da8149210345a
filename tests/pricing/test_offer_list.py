"""Offers and their costs: the article's figures, exact sums, sources and dates."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.prices import Edition, PriceRate, Prices, packaged
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.pricing import cost_report, gpu_costs, monthly, offer_list, user_prices
from ftwizard.pricing.offer import LocalOffer, Offer, PricingQuery, TrainingLoad, Volume
from ftwizard.pricing.offer_list import SortKey, list_offers, sort_offers
from ftwizard.quantity import Figure

TODAY = datetime.date(2026, 11, 25)
EDITIONS = pytest.mark.parametrize("edition", get_args(Edition))
TOKENS = st.integers(1, 10**11)


def load(tokens: int = 1_500_000, epochs: float = 3.0, **more: Any) -> TrainingLoad:
    exact = TokenEstimate(value=tokens, low=tokens, high=tokens)
    return TrainingLoad(tokens=exact, epochs=epochs, counted="counted", **more)


def table(
    training: TrainingLoad | None = None, edition: Edition = "current", prices: Prices | None = None,
    **asked: Any,
) -> dict[str, Offer]:  # fmt: skip
    ask = PricingQuery(today=TODAY, edition=edition, **asked)
    return {
        offer.name: offer for offer in list_offers(training or load(), prices or packaged(), ask)
    }


def cents(figure: Figure | None) -> Decimal | None:
    return None if figure is None else Decimal(str(figure.value))


def test_offers_match_the_articles_example_to_the_cent() -> None:
    result = table(edition="2026-04")
    assert {name: cents(item.training) for name, item in result.items() if item.training} == {
        "OpenAI GPT-4.1": Decimal("13.5"), "OpenAI GPT-4.1-mini": Decimal("3.6"),
        "OpenAI GPT-4o": Decimal("112.5"), "A100 40 GB spot": Decimal("3.0"),
        "A100 40 GB on demand": Decimal("7.0"), "Together Llama 3.3 8B": Decimal("20.25"),
        **dict.fromkeys(
            ("Together Llama 3.3 70B", "Together Mistral 7B", "Together Llama 4 Scout",
             "Together Llama 4 Maverick"), Decimal("20.25"),
        ),
    }  # fmt: skip
    flash = result["Vertex Gemini 2.5 Flash"]
    assert flash.training is None and any("check the provider's page" in n for n in flash.notes)
    assert result["A100 40 GB spot"].hours and result["A100 40 GB spot"].hours.value == 2
    assert result["OpenAI GPT-4.1"].relative and result["OpenAI GPT-4.1"].relative.value == 50
    for name in ("OpenAI GPT-4.1", "OpenAI GPT-4.1-mini", "OpenAI GPT-4o"):
        training = result[name].training
        assert training and training.low is None and training.high is None


def test_current_price_includes_the_articles_price_when_far_apart() -> None:
    item = table()["OpenAI GPT-4.1"]
    assert item.training and item.other_training
    assert (item.training.value, item.training.low, item.training.high) == (112.5, 13.5, 112.5)
    assert (item.training.as_of, item.other_training.value, item.other_training.as_of) == (
        "2026-09",
        13.5,
        "2026-04",
    )
    assert table()["OpenAI GPT-4o"].other_training is None


@pytest.mark.parametrize("name", ["Together Llama 4 Scout", "Together Llama 4 Maverick"])
def test_llama_4_at_together_has_the_range_of_the_newer_price_list(name: str) -> None:
    item = table()[name]
    assert item.training and item.other_training and item.rate
    assert (item.rate.lowest, item.rate.highest) == (2.9, 100), (
        "above 70B, up to the highest listed"
    )
    assert item.training.lowest == pytest.approx(4.5 * 2.9) and item.training.as_of == "2026-05-08"
    assert item.training.lowest < item.other_training.value < item.training.highest
    assert item.other_training.as_of == "2026-04"
    article = table(edition="2026-04")[name].training
    assert article and article.value == 20.25 and article.low is None


def figures(value: object) -> Iterator[Figure]:
    if isinstance(value, Figure):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from figures(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from figures(item)


@EDITIONS
def test_every_amount_has_a_source_and_a_date(edition: Edition) -> None:
    volume = Volume(tokens_in=Decimal(500), tokens_out=Decimal(100), requests=Decimal(10_000))
    result = table(edition=edition, volume=volume, share_data=True)
    recorded = 0
    for item in result.values():
        for name in item.__struct_fields__:
            assert not isinstance(getattr(item, name), float | Decimal), (item.name, name)
        for figure in figures(item):
            recorded += 1
            assert figure.source and figure.as_of, (item.name, figure)
            assert figure.unit == "%" or figure.value > 0, "unknown is None, never 0"
            if figure.low is not None and figure.high is not None:
                assert figure.low <= figure.value <= figure.high
        assert item.owner
    assert recorded > 30


@given(tokens=TOKENS, epochs=st.sampled_from([0.5, 1.0, 3.0, 4.0]))
def test_training_cost_is_exactly_tokens_times_price(tokens: int, epochs: float) -> None:
    result = table(load(tokens, epochs))
    whole = Decimal(round(tokens * epochs))
    for name, usd in (("OpenAI GPT-4.1", "25"), ("Vertex Llama 3.1 8B", "0.67")):
        training = result[name].training
        assert training and training.value == float(whole * Decimal(usd) / 1_000_000)


@given(parts=st.lists(TOKENS, min_size=1, max_size=6), usd=st.decimals("0.01", "30", places=2))
def test_cost_of_a_file_equals_sum_of_its_parts(parts: list[int], usd: Decimal) -> None:
    prices = packaged().over(user_prices.parse_options([f"openai/gpt-4.1/training={usd}"], TODAY))

    def amount(tokens: int) -> Decimal:
        training = table(load(tokens, 1.0), prices=prices)["OpenAI GPT-4.1"].training
        assert training is not None
        return Decimal(str(training.value))

    whole = amount(sum(parts))
    assert abs(sum(map(amount, parts)) - whole) <= whole * Decimal("1e-14") * len(parts)


def test_token_range_of_a_model_gives_a_cost_range() -> None:
    other = TokenEstimate(value=2_000_000, low=1_000_000, high=3_000_000)
    item = table(load(by_model={"vertex/llama-3.1-8b": other}))["Vertex Llama 3.1 8B"]
    assert item.training
    assert (item.training.low, item.training.value, item.training.high) == (2.01, 4.02, 6.03)


def test_together_bills_evaluations_and_unpacked_rows() -> None:
    look = TokenEstimate(value=100_000, low=100_000, high=100_000)
    for more, tokens in (
        ({"validation": look, "evaluations": 5}, 5_000_000),
        ({"rows": 5_000, "unpacked_length": 1_000}, 15_000_000),
    ):
        training = table(load(**more))["Together Llama 3.1 8B"].training
        assert training and Decimal(str(training.value)) == tokens * Decimal("0.48") / 1_000_000


def test_known_hours_replace_the_rule_of_thumb() -> None:
    hours = Figure(value=0.5, unit="h", low=0.4, high=0.8, source="measured", as_of="2026-11-25")
    result = table(hours={"rtx-4090": hours})
    item = result["RTX 4090 24 GB on demand"]
    assert item.hours == hours and item.training
    assert (item.training.low, item.training.value, item.training.high) == (0.116, 0.185, 0.352)
    assert result["A100 40 GB spot"].training is None and result["A100 40 GB spot"].rate
    assert all(item.hours is None for item in table(by_rule=False).values())


def test_gpu_offers_are_marked_when_too_small() -> None:
    volume = Volume(tokens_in=Decimal(200), tokens_out=Decimal(100), requests=Decimal(1000))
    small = frozenset({"a100-40gb", "rtx-4090"})
    result = {
        (item.card, item.market): item
        for item in table(hours={}, too_small=small, served=141e9, volume=volume).values()
    }
    gpu_offers = [item for item in result.values() if item.card]
    assert {item.card for item in gpu_offers if item.too_small} == small
    assert all((gpu_costs.TOO_SMALL in item.notes) == item.too_small for item in gpu_offers)
    assert all(item.monthly is None for item in gpu_offers), "no GPU here has 141 GB"
    assert not any(item.serves for item in gpu_offers)


def test_gpu_offers_say_when_their_method_is_not_the_plan_s() -> None:
    small, quantized = frozenset({"rtx-4090"}), frozenset({"rtx-4090", "h100-80gb"})
    offers = [
        item for item in table(hours={}, too_small=small, by_qlora=quantized).values() if item.card
    ]
    named = {item.card for item in offers if "method" in item.note_codes}
    assert named == {"h100-80gb"}, "one that does not fit at all says only that"


def test_local_offer_has_no_costs_when_too_small() -> None:
    hours = Figure(value=65, unit="h", source="worked out", as_of="2026-11")
    volume = Volume(tokens_in=Decimal(200), tokens_out=Decimal(100), requests=Decimal(1000))
    dollar = PriceRate(
        usd=Decimal(1), unit="hour", source="own", as_of="2026-11", confidence="high"
    )
    asked = PricingQuery(
        today=TODAY, volume=volume, served=141e9,
        here=LocalOffer(hours=hours, too_small=True, memory=16 * 10**9),
    )  # fmt: skip
    for prices in (packaged(), packaged().at(dollar)):
        own = next(
            o
            for o in offer_list.list_offers(load(), prices, asked)
            if o.name == gpu_costs.THIS_MACHINE
        )
        assert own.too_small and own.training is own.hours is own.monthly is None
        assert gpu_costs.TOO_SMALL_HERE in own.notes
    asked = msgspec.structs.replace(asked, here=LocalOffer(hours=hours, memory=10**12))
    own = next(
        o
        for o in offer_list.list_offers(load(), packaged().at(dollar), asked)
        if o.name == gpu_costs.THIS_MACHINE
    )
    assert own.training and own.monthly and own.serves and not own.too_small


def test_no_break_even_when_gpu_cannot_hold_the_model() -> None:
    volume = Volume(tokens_in=Decimal(200), tokens_out=Decimal(100), requests=Decimal(1000))
    asked = PricingQuery(today=TODAY, volume=volume, serve_on="a100-40gb", served=16e9)
    assert not monthly.explain_cannot_serve(asked)
    assert any(offer.break_even for offer in offer_list.list_offers(load(), packaged(), asked))
    asked = msgspec.structs.replace(asked, served=141e9)
    assert "141.0 GB" in monthly.explain_cannot_serve(asked)
    assert not any(offer.break_even for offer in offer_list.list_offers(load(), packaged(), asked))


def test_setup_cost_is_separate_from_training() -> None:
    item = table(edition="2026-04")["A100 40 GB spot"]
    assert item.setup and item.training and "assumed" in item.setup.source
    assert (item.setup.low, item.setup.value, item.setup.high) == (0.5, 1.5, 4.0)


def test_old_prices_are_stale_including_user_prices() -> None:
    result = table()
    assert result["Together Llama 3.1 8B"].stale and not result["OpenAI GPT-4.1"].stale
    prices = packaged().over(user_prices.parse_options(["together/llama-3.1-8b/training=1"], TODAY))
    item = table(prices=prices)["Together Llama 3.1 8B"]
    assert (
        not item.stale
        and item.training
        and item.training.value == 4.5
        and item.other_training is None
    )
    old = [
        msgspec.structs.replace(price, as_of="2026-01")
        for text in ("together/llama-3.1-8b/training=1", "any/a100-40gb/gpu=1.2")
        for price in user_prices.parse_options([text], TODAY)
    ]
    result = table(prices=packaged().over(old))
    assert result["Together Llama 3.1 8B"].stale and result["A100 40 GB on demand"].stale


@EDITIONS
def test_gpu_offers_include_costs_of_the_other_edition(edition: Edition) -> None:
    volume = Volume(tokens_in=Decimal(500), tokens_out=Decimal(100), requests=Decimal(10_000))
    result = table(edition=edition, volume=volume)
    item, hosted = result["A100 40 GB on demand"], result["OpenAI GPT-4.1"]
    amounts = {"current": Decimal("2.74"), "2026-04": Decimal("3.50")}
    other = next(usd for name, usd in amounts.items() if name != edition)
    assert cents(item.hosting) == amounts[edition] and cents(item.other_edition["hosting"]) == other
    assert (
        cents(item.other_edition["monthly"]) == other * 730
        and cents(item.other_edition["setup"]) == other
    )
    assert hosted.break_even and "monthly" not in hosted.other_edition, (
        "input and output are the same"
    )
    other_break_even = hosted.other_edition["break_even"]
    ratio = hosted.break_even.value / other_break_even.value
    assert ratio == pytest.approx(float(amounts[edition] / other), rel=1e-4)
    for name, offer in result.items():
        for key, figure in offer.other_edition.items():
            shown = getattr(offer, key)
            assert shown.as_of != figure.as_of and shown.unit == figure.unit, (name, key)


def test_notes_include_the_articles_budget_and_batch_sharing() -> None:
    for edition in get_args(Edition):
        notes = table(edition=edition)["A100 40 GB on demand"].notes
        assert any("$3–6 for the training itself" in note for note in notes)
    sharing = cost_report.describe_sharing(packaged(), PricingQuery(today=TODAY))
    assert "applies to standard and batch" in sharing


def test_first_note_gives_start_and_end_of_tuning() -> None:
    result = table()
    since, notes = result["OpenAI GPT-4o"].since, result["OpenAI GPT-4o"].notes
    assert since and since.date == "2024-08-20"
    assert (
        notes[0].startswith("Available since 2024-08-20 (OpenAI")
        and "no new jobs from 2027" in notes[0]
    )
    assert result["OpenAI GPT-4.1"].since is None
    assert result["OpenAI GPT-4.1"].notes[0].startswith("No new jobs from")


def test_first_note_gives_the_end_of_tuning() -> None:
    item = table()["OpenAI GPT-4.1-nano"]
    assert not item.tunable and item.notes[0].startswith("Since 2026-10-23")
    item = table()["OpenAI GPT-4.1"]
    assert item.tunable and item.ends and str(item.ends.date) == "2027-01-14"
    assert "2027-01-06" in item.notes[0]


def test_every_date_has_a_source_and_a_month() -> None:
    ended = 0
    for item in table().values():
        days = [day for day in (item.until, item.ends) if day is not None]
        assert all(day.source and re.fullmatch(r"20\d\d-\d\d", day.as_of) for day in days)
        for note in item.notes:
            if note.startswith(("Since", "No new jobs", "The tuned model shuts")):
                assert re.search(r"\([^()]+, as of 20\d\d-\d\d\)", note), note
                ended += 1
    assert ended > 5


def test_data_sharing_halves_only_openai_token_prices() -> None:
    plain, shared = table(), table(share_data=True)
    for name, item in plain.items():
        other = shared[name]
        assert (other.training, other.hosting) == (item.training, item.hosting)
        for kind in ("input", "cached", "output"):
            before, after = getattr(item, kind), getattr(other, kind)
            if before is None or item.platform != "openai":
                assert after == before
            else:
                assert after.value * 2 == before.value and "sharing" in after.source


def test_data_sharing_lowers_price_relative_to_undiscounted_base() -> None:
    for name, before, after in (("GPT-4.1", 50, -25), ("GPT-4.1-mini", 100, 0)):
        plain, shared = (table(share_data=on)[f"OpenAI {name}"].relative for on in (False, True))
        assert plain and shared and (plain.value, shared.value) == (before, after)
        assert "without discounts" in shared.source


def test_data_sharing_note_names_the_organization_setting() -> None:
    for shares in (False, True):
        query = PricingQuery(today=TODAY, share_data=shares)
        sharing = cost_report.describe_sharing(packaged(), query)
        assert "organization setting" in sharing and "50%" in sharing
    query = PricingQuery(today=TODAY)
    sharing = cost_report.describe_sharing(packaged(), query, confidential=True)
    assert "confidential" in sharing and "50%" not in sharing


# --------------------------------------------------------------------------------- monthly costs


@given(
    requests=st.integers(1, 10**9), into=st.integers(1, 100_000), out=st.integers(1, 100_000)
)  # fmt: skip
def test_hosted_and_gpu_costs_match_at_break_even(requests: int, into: int, out: int) -> None:
    volume = Volume(
        tokens_in=Decimal(into), tokens_out=Decimal(out), requests=Decimal(requests)
    )  # fmt: skip
    item = table(volume=volume)["OpenAI GPT-4.1"]
    assert item.monthly and item.break_even
    each = (Decimal(into) * 3 + Decimal(out) * 12) / 1_000_000
    assert item.monthly.value == float(each * requests)
    gpu = Decimal("2.74") * monthly.HOURS
    turn = Decimal(str(item.break_even.value))
    assert (turn - 1) * each < gpu <= turn * each
    assert item.break_even.low and item.break_even.high
    assert item.break_even.low <= item.break_even.value <= item.break_even.high


def test_monthly_cost_includes_hourly_hosting() -> None:
    own = ["foundry/gpt-4.1/input=3", "foundry/gpt-4.1/output=12"]
    prices = packaged().over(user_prices.parse_options(own, TODAY))
    volume = Volume(tokens_in=Decimal(1000), tokens_out=Decimal(0), requests=Decimal(1000))
    item = table(prices=prices, volume=volume)["Foundry GPT-4.1"]
    assert cents(item.monthly) == Decimal("1.70") * 730 + 3
    dear = user_prices.parse_options([*own, "foundry/gpt-4.1/hosting=9"], TODAY)
    item = table(prices=packaged().over(dear), volume=volume)["Foundry GPT-4.1"]
    assert item.break_even is None, "the GPU is cheaper from the first request on"


def test_monthly_cost_is_unknown_without_prices() -> None:
    volume = Volume(tokens_in=Decimal(1), tokens_out=Decimal(1), requests=Decimal(1))
    item = table(volume=volume)["Vertex Llama 3.1 8B"]
    assert item.monthly is None and item.break_even is None


@pytest.mark.parametrize("key", get_args(SortKey))
def test_sorting_puts_unknown_values_last_and_keeps_all(key: SortKey) -> None:
    volume = Volume(tokens_in=Decimal(500), tokens_out=Decimal(100), requests=Decimal(100))
    result = tuple(table(volume=volume).values())
    ordered = sort_offers(result, key)
    assert sorted(item.name for item in ordered) == sorted(item.name for item in result)
    if key not in ("provider", "name"):
        values = [f.value if (f := getattr(item, key)) else float("inf") for item in ordered]
        assert values == sorted(values) and values[0] < float("inf")


def test_offer_to_try_first_is_one_that_can_be_started() -> None:
    hours = {card: in_hours(2) for card in ("a100-40gb", "rtx-4090", "h100-80gb")}
    here = LocalOffer(hours=in_hours(5))
    assert name_first(hours=hours, here=here) == "This machine"
    assert (
        name_first(hours=hours, here=LocalOffer(hours=in_hours(300))) == "RTX 4090 24 GB on demand"
    )
    assert name_first(hours=hours, here=LocalOffer(too_small=True)) == "RTX 4090 24 GB on demand"
    small = frozenset({"rtx-4090", "a100-40gb", "a100-80gb", "h100-80gb"})
    assert name_first(hours={}, here=LocalOffer(too_small=True), too_small=small) is None
    assert name_first(hours={}, here=here) == "This machine"


def name_first(**asked: Any) -> str | None:
    offer = offer_list.find_first(table(**asked).values())
    return offer.name if offer else None


def in_hours(value: float) -> Figure:
    return Figure(value=value, unit="h", source="test")
