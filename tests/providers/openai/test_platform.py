"""The account of OpenAI: key, address, rights and clock."""

from __future__ import annotations

import pytest

from ftwizard.providers.base import Platform, ProviderError
from ftwizard.providers.openai.platform import OpenAIPlatform
from ftwizard.providers.platforms import get_platform
from tests.providers.openai.script import KEY, allow_checks, make_error, make_plan
from tests.providers.scripted_service import ScriptedService


@pytest.mark.parametrize("key", ["", "  ", "sk-a b", "sk-é", "sk-a\nb"])
def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(ProviderError) as failure:
        get_platform("openai", {"OPENAI_API_KEY": key})

    assert failure.value.kind == "key"
    assert "OPENAI_API_KEY" in failure.value.message


@pytest.mark.parametrize("address", ["ftp://host/v1", "host", "http://[::1/v1", "http://a:b@h:x/"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ProviderError) as failure:
        get_platform("openai", {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": address})

    assert "OPENAI_BASE_URL" in failure.value.message
    assert "a:b" not in failure.value.text


def test_the_endpoint_has_no_secret() -> None:
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://u:secret@127.0.0.1/v1/?a=b"}
    platform: Platform = get_platform("openai", environment)
    assert platform.endpoint == "http://127.0.0.1/v1"


def test_a_key_without_the_right_to_tune_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service)
    service.on("GET /fine_tuning/jobs", make_error(403, None, "Missing scopes: api.fine_tuning"))

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan())

    assert failure.value.kind == "permission"
    assert "fine-tuning" in failure.value.hint


def test_a_wrong_clock_of_this_machine_is_a_caution(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service)
    service.clock_offset_s = -7_200

    assert any(
        "2 h" in caution and "ahead" in caution for caution in platform.check_plan(make_plan())
    )


def test_every_model_is_asked_at_the_same_address(platform: OpenAIPlatform) -> None:
    endpoint = platform.get_endpoint("ft:gpt-4.1-mini::x", make_plan())
    assert endpoint is not None
    assert (endpoint.address, endpoint.key_variable) == (platform.endpoint, "OPENAI_API_KEY")
    assert platform.list_billed() == []
