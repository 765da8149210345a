"""Hosted models: methods and end dates per platform, and models that cannot be fine-tuned."""

from __future__ import annotations

import datetime
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog import hosted_models
from ftwizard.catalog.hosted_models import (
    HostedModel,
    check_deprecation,
    check_refused,
    find_model,
    list_hosted_models,
)
from ftwizard.catalog.providers import catalog
from ftwizard.cli.cost_inputs import check_model
from ftwizard.errors import FtwizardError
from ftwizard.hosted_platforms import HostedProvider

HOSTED_MODELS = list_hosted_models()
WEIGHTS = {
    "openai": {"no"},
    "bedrock": {"no"},
    "mantle": {"no"},
    "foundry": {"no", "unknown"},
    "vertex": {"no", "yes"},
    "together": {"yes"},
}
"""Whether the tuned weights of a platform's models can be downloaded."""
APRIL, NOW, LATE = (datetime.date(*day) for day in ((2026, 4, 15), (2026, 11, 25), (2027, 1, 6)))


def model(name: str, platform: HostedProvider = "openai") -> HostedModel:
    model = find_model(name, platform)
    assert model is not None
    return model


def test_edition_2026_04_lists_six_openai_models() -> None:
    openai = [model for model in list_hosted_models("2026-04") if model.platform == "openai"]
    assert [item.id for item in openai] == [
        "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4o", "gpt-4o-mini", "o4-mini",
    ]  # fmt: skip
    assert [item.id for item in openai if item.recommended] == ["gpt-4.1-mini"]
    assert "mini is not good enough" in model("gpt-4.1").advice
    assert model("o4-mini").methods == ("reinforcement",)
    assert all(check_deprecation(item, APRIL).tunable for item in openai)


def test_openai_models_close_in_stages() -> None:
    openai = [entry for entry in HOSTED_MODELS if entry.platform == "openai"]
    now = {item.id for item in openai if check_deprecation(item, NOW).tunable}
    assert now == {"gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini"}
    assert not any(check_deprecation(item, LATE).tunable for item in openai)
    deprecation = check_deprecation(model("gpt-4.1"), NOW)
    assert deprecation.until and deprecation.ends
    assert (
        str(deprecation.until.date) == "2027-01-06" and str(deprecation.ends.date) == "2027-01-14"
    )
    assert len(deprecation.cautions) == 2 and deprecation.until.as_of and deprecation.ends.source
    assert "Foundry" in check_deprecation(model("gpt-4.1-nano"), NOW).why_not
    assert check_deprecation(model("gpt-4.1", "foundry"), LATE).tunable, "only OpenAI closes"


@given(days=st.lists(st.dates(datetime.date(2026, 1, 1), datetime.date(2028, 1, 1)), min_size=2))
def test_ended_models_never_become_tunable_again(days: list[datetime.date]) -> None:
    for entry in HOSTED_MODELS:
        alive = [check_deprecation(entry, day).tunable for day in sorted(days)]
        assert alive == sorted(alive, reverse=True)
        ends = check_deprecation(entry, days[0])
        assert ends.until is None or ends.ends is None or ends.until <= ends.ends
        assert bool(ends.why_not) != ends.tunable


def test_end_dates_are_defined_only_in_lifecycles() -> None:
    """Reject end dates in hosted_models.toml: the lifecycles are their only source."""
    text = files("ftwizard").joinpath("assets", "hosted_models.toml").read_text("utf-8")
    text = text[: text.index("[sources]")]
    lines = [line for line in text.splitlines() if re.search(r"\b20\d\d-\d\d(-\d\d)?\b", line)]
    allowed = r"as_of = |api = |since = |advice = |editions = |#"
    assert [line for line in lines if not re.match(allowed, line)] == []
    ended = {name for lifecycle in catalog().lifecycles for name in lifecycle.models}
    assert ended <= {entry.id for entry in HOSTED_MODELS}


@pytest.mark.parametrize("entry", HOSTED_MODELS, ids=lambda item: f"{item.platform}/{item.id}")
def test_every_model_has_methods_limits_and_a_source(entry: HostedModel) -> None:
    assert entry.methods and entry.editions and len(entry.source) > 10
    method = {"sft": "supervised", "dpo": "preference", "rft": "reinforcement"}
    for tuning in entry.methods:
        assert method[entry.limits(tuning).method] == tuning
        rules = "bedrock" if entry.platform == "mantle" else entry.platform
        assert entry.targets[tuning].startswith(rules)
    assert entry.weights() in WEIGHTS[entry.platform]
    assert find_model(f"{entry.platform}/{entry.id}") == entry


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("gpt-4.1", "openai/gpt-4.1"), ("ft:gpt-4.1-mini-2025-04-14", "openai/gpt-4.1-mini"),
        ("GPT-4o-2024-08-06", "openai/gpt-4o"), ("foundry/gpt-4.1", "foundry/gpt-4.1"),
        ("amazon.nova-lite-v1:0:300k", "bedrock/nova-lite"), ("gemini-2.5-flash", "vertex/gemini-2.5-flash"),
        ("meta/llama3-3@llama-3.3-70b-instruct", "vertex/llama-3.3-70b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", "together/llama-3.1-8b"),
        ("gpt-4", None), ("owner/name", None), ("", None),
    ],
)  # fmt: skip
def test_find_model_accepts_every_alias(name: str, which: str | None) -> None:
    model = find_model(name)
    assert (model and f"{model.platform}/{model.id}") == which


@pytest.mark.parametrize(
    "name", ["gpt-5.4", "GPT-5.4-mini", "openai/gpt-5.4", "gpt-5.4-2026-03-05"]
)
def test_inference_only_models_are_refused_with_an_alternative(name: str) -> None:
    with pytest.raises(FtwizardError) as error:
        check_refused(name, NOW)
    assert "inference only" in error.value.message and error.value.exit_code == 1
    assert "gpt-4.1-mini" in error.value.hint and "2027-01-06" in error.value.hint
    with pytest.raises(FtwizardError) as error:
        check_refused(name, LATE)
    assert "Foundry" in error.value.hint and "Use gpt-4.1-mini" not in error.value.hint


@pytest.mark.parametrize("name", ["gpt-4.1", "gpt-5.40", "gpt-5", "owner/gpt-5.4", ""])
def test_tunable_and_unknown_models_are_not_refused(name: str) -> None:
    check_refused(name, NOW)


def test_nearest_model_suggests_close_names_only() -> None:
    assert hosted_models.nearest_model("gpt-4.1-mni") == "gpt-4.1-mini"
    assert hosted_models.nearest_model("zzz") is None


def test_start_date_is_set_only_where_announced() -> None:
    days = {
        f"{entry.platform}/{entry.id}": check_deprecation(entry, NOW).since
        for entry in HOSTED_MODELS
    }
    result = days["openai/gpt-4o"], days["mantle/gpt-oss-20b"]
    assert [item and item.date for item in result] == ["2024-08-20", "2026-02"]
    assert days["openai/gpt-4.1"] is None, "no date was announced"
    for entry in HOSTED_MODELS:
        if entry.since:
            assert len(entry.since.source) > 10
            ends = [
                end
                for end in (check_deprecation(entry, NOW).until, check_deprecation(entry, NOW).ends)
                if end
            ]
            assert all(entry.since.date < str(end.date) for end in ends)


def test_article_models_of_together_and_bedrock_are_listed() -> None:
    for name in ("together/llama-4-scout", "together/llama-4-maverick", "together/mistral-7b",
                 "bedrock/llama-3.2-1b", "bedrock/llama-3.2-90b"):  # fmt: skip
        model = find_model(name)
        assert model and model.editions == ("2026-04", "current") and model.api


@pytest.mark.parametrize(
    ("name", "max_tokens"),
    [
        ("bedrock/llama-3.2-90b", 10_000),
        ("bedrock/llama-3.2-11b", 16_000),
        ("vertex/llama-4-scout", 2_048),
    ],
)
def test_limit_of_tokens_is_that_of_the_model_where_it_is_lower(name: str, max_tokens: int) -> None:
    model = find_model(name)
    assert model and model.limits("supervised").max_tokens == max_tokens


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", None),
        ("together/llama-4-scout", "together"),
        ("meta/llama4@llama-4-scout-17b-16e-instruct", "vertex"),
        ("gpt-4.1-mini", "openai"),
    ],
)
def test_hub_name_means_the_open_model_not_a_hosted_one(name: str, meant: str | None) -> None:
    model = check_model(name)
    assert (model.platform if model else None) == meant
