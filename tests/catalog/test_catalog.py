"""Provider catalog: dated and sourced statements, short enough for a terminal."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from ftwizard.catalog.providers import Fact, Factor, Size, catalog
from ftwizard.catalog.sourced import Sourced


def list_statements(value: object) -> Iterator[Sourced]:
    """Yield every dated statement in nested objects."""
    if isinstance(value, Sourced):
        yield value
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from list_statements(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from list_statements(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from list_statements(item)


STATEMENTS = list(list_statements(catalog()))


@pytest.mark.parametrize("entry", STATEMENTS, ids=str)
def test_every_statement_has_a_date_and_a_source(entry: Sourced) -> None:
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", entry.as_of)
    assert len(entry.source) > 10 and entry.source not in catalog().sources


def test_every_source_is_used() -> None:
    assert set(catalog().sources.values()) == {item.source for item in STATEMENTS}


def test_every_provider_has_claims_for_all_six_factors() -> None:
    assert tuple(catalog().factors) == get_args(Factor)
    for provider in catalog().providers:
        for factor in catalog().factors:
            claims = provider.claims(factor)
            assert claims and "2026-04" in [claim.as_of for claim in claims], (provider.id, factor)
            assert [claim.as_of for claim in claims] == sorted(
                (claim.as_of for claim in claims), reverse=True
            )


@pytest.mark.parametrize(
    ("provider", "price"),
    [("openai", "$0.80–3.00 per million tokens"), ("local", "$0.50–2.00 per hour (a spot GPU)")],
)
def test_training_cost_keeps_the_article_price_and_a_newer_one(provider: str, price: str) -> None:
    claims = next(item for item in catalog().providers if item.id == provider).claims("cost")
    assert [claim.statement for claim in claims if claim.as_of == "2026-04"] == [price]
    assert claims[0].as_of > "2026-04"


def test_stale_prices_are_marked_but_statements_are_not() -> None:
    today = datetime.date(2026, 11, 25)
    old, new = catalog().provider("openai").claims("cost")[::-1]
    assert (old.date(today), new.date(today)) == ("2026-04!", "2026-09")
    assert new.date(datetime.date(2027, 1, 1)) == "2026-09!"
    assert catalog().provider("openai").claims("setup")[0].date(today) == "2026-04"


def test_platform_specialties_are_stated_and_dated() -> None:
    text = {
        platform.id: " ".join(c.statement for c in platform.special)
        for platform in catalog().provider("cloud").platforms
    }
    assert "66%" in text["bedrock"] and "distillation" in text["foundry"]
    assert "Widest selection" in text["together"] and "Gemini" in text["vertex"]
    claims = catalog().platform("bedrock").special
    assert {claim.as_of for claim in claims} == {"2026-04", "2025-12"}


def test_data_claims_differ_between_platforms() -> None:
    cloud = catalog().provider("cloud")
    assert "goes to" in cloud.claims("data", "together")[0].text.lower()
    assert not any("VPC" in claim.text for claim in cloud.claims("data", "together")[1:])
    assert "VPC" in cloud.claims("data", "bedrock")[-1].text
    assert cloud.claims("setup", "together") == cloud.claims("setup")
    assert {platform.id for platform in cloud.platforms} == {
        "vertex",
        "bedrock",
        "mantle",
        "foundry",
        "together",
    }


def test_facts_never_state_a_zero_amount() -> None:
    for item in STATEMENTS:
        if isinstance(item, Fact):
            assert item.statement and "$0 " not in item.statement
            assert item.low is None or item.low > 0
            assert item.high is None or (item.low is not None and item.high >= item.low)
            assert bool(item.unit) == (item.low is not None)


def test_gpu_memory_need_grows_with_model_size() -> None:
    assert tuple(need.size for need in catalog().needs) == get_args(Size)
    memory = [need.gpu_memory for need in catalog().needs]
    assert memory == sorted(memory)
    assert (catalog().need("medium").gpu_memory, catalog().need("large").gpu_memory) == (16, 48)


def test_openai_lifecycles_list_every_end_date() -> None:
    ends = {
        (lifecycle.what, str(lifecycle.date))
        for lifecycle in catalog().lifecycles
        if lifecycle.provider == "openai"
    }
    assert ends == {
        ("newcomers", "2026-05-07"), ("inactive", "2026-07-02"), ("jobs", "2027-01-06"),
        ("models", "2026-10-23"), ("models", "2027-01-14"),
    }  # fmt: skip


def test_catalog_texts_are_short_and_printable() -> None:
    for provider in catalog().providers:
        assert len(provider.name) <= 22
    for item in STATEMENTS:
        text = item.statement if isinstance(item, Fact) else getattr(item, "text", "")
        assert len(text) <= 90 and text.isprintable(), text
