"""The packaged tables say only what is dated and sourced, in words that fit a terminal."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from ftwizard.catalog.providers import Fact, Factor, Size, catalog
from ftwizard.catalog.sourced import Sourced


def sourced(value: object) -> Iterator[Sourced]:
    """Walk through every dated statement."""
    if isinstance(value, Sourced):
        yield value
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from sourced(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from sourced(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from sourced(one)


EVERYTHING = list(sourced(catalog()))


@pytest.mark.parametrize("one", EVERYTHING, ids=str)
def test_everything_has_its_date_and_its_source(one: Sourced) -> None:
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", one.as_of)
    assert len(one.source) > 10 and one.source not in catalog().sources


def test_every_source_is_used() -> None:
    assert set(catalog().sources.values()) == {one.source for one in EVERYTHING}


def test_the_six_factors_of_every_provider_in_edition_2026_04_and_now() -> None:
    assert tuple(catalog().factors) == get_args(Factor)
    for provider in catalog().providers:
        for factor in catalog().factors:
            claims = provider.claims(factor)
            assert claims and "2026-04" in [one.as_of for one in claims], (provider.id, factor)
            assert [one.as_of for one in claims] == sorted(
                (one.as_of for one in claims), reverse=True
            )


@pytest.mark.parametrize(
    ("provider", "price"),
    [("openai", "$0.80–3.00 per million tokens"), ("local", "$0.50–2.00 per hour (a spot GPU)")],
)
def test_training_cost_at_a_glance_is_the_articles_and_a_newer_one(
    provider: str, price: str
) -> None:
    claims = next(one for one in catalog().providers if one.id == provider).claims("cost")
    assert [one.statement for one in claims if one.as_of == "2026-04"] == [price]
    assert claims[0].as_of > "2026-04"


def test_an_old_price_of_a_provider_is_marked_and_words_do_not_grow_old() -> None:
    today = datetime.date(2026, 11, 25)
    old, new = catalog().provider("openai").claims("cost")[::-1]
    assert (old.date(today), new.date(today)) == ("2026-04!", "2026-09")
    assert new.date(datetime.date(2027, 1, 1)) == "2026-09!"
    assert catalog().provider("openai").claims("setup")[0].date(today) == "2026-04"


def test_what_is_special_of_each_platform_is_sourced() -> None:
    said = {
        one.id: " ".join(c.statement for c in one.special)
        for one in catalog().provider("cloud").platforms
    }
    assert "66%" in said["bedrock"] and "distillation" in said["foundry"]
    assert "Widest selection" in said["together"] and "Gemini" in said["vertex"]
    claims = catalog().platform("bedrock").special
    assert {one.as_of for one in claims} == {"2026-04", "2025-12"}


def test_platforms_differ_where_they_do() -> None:
    cloud = catalog().provider("cloud")
    assert "goes to" in cloud.claims("data", "together")[0].text.lower()
    assert not any("VPC" in one.text for one in cloud.claims("data", "together")[1:])
    assert "VPC" in cloud.claims("data", "bedrock")[-1].text
    assert cloud.claims("setup", "together") == cloud.claims("setup")
    assert {one.id for one in cloud.platforms} == {"vertex", "bedrock", "foundry", "together"}


def test_what_is_not_known_is_never_0() -> None:
    for one in EVERYTHING:
        if isinstance(one, Fact):
            assert one.statement and "$0 " not in one.statement
            assert one.low is None or one.low > 0
            assert one.high is None or (one.low is not None and one.high >= one.low)
            assert bool(one.unit) == (one.low is not None)


def test_only_what_ftwizard_starts_is_called_available() -> None:
    assert [provider.id for provider in catalog().providers if provider.available] == ["local"]
    for provider in catalog().providers:
        assert provider.available or provider.unavailable


def test_sizes_need_more_the_larger_they_are() -> None:
    assert tuple(one.size for one in catalog().needs) == get_args(Size)
    memory = [one.gpu_memory for one in catalog().needs]
    assert memory == sorted(memory)
    assert (catalog().need("medium").gpu_memory, catalog().need("large").gpu_memory) == (16, 48)


def test_openai_s_ends() -> None:
    ends = {(one.what, str(one.date)) for one in catalog().lifecycles if one.provider == "openai"}
    assert ends == {
        ("newcomers", "2026-05-07"), ("inactive", "2026-07-02"), ("jobs", "2027-01-06"),
        ("models", "2026-10-23"), ("models", "2027-01-14"),
    }  # fmt: skip


def test_texts_are_short_and_plain() -> None:
    for provider in catalog().providers:
        assert len(provider.name) <= 22 and len(provider.unavailable) <= 80
    for one in EVERYTHING:
        text = one.statement if isinstance(one, Fact) else getattr(one, "text", "")
        assert len(text) <= 90 and text.isprintable(), text
