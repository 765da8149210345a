"""Models at OpenAI: which there are, and until when."""

from __future__ import annotations

import datetime

import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.openai.models import UNKNOWN_RIGHT
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import allow_checks, make_page, make_plan
from tests.providers.scripted_service import ScriptedService


def test_the_end_of_the_service_is_said_first(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    day = datetime.date.today() + datetime.timedelta(days=20)
    allow_checks(service, shutdown=str(day))

    cautions = platform.check_plan(make_plan())

    assert "2027-01-06" in cautions[0]
    assert any(f"on {day}, in 20 days" in caution for caution in cautions)


def test_a_model_that_was_shut_down_is_refused_with_alternatives(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service, shutdown="2026-10-23")

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan())

    assert failure.value.kind == "closed"
    assert "provider: foundry" in failure.value.hint


def test_a_model_that_the_account_does_not_have_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /models", {"object": "list", "data": [{"id": "gpt-4o-2024-08-06"}]})

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan())

    assert failure.value.kind == "missing"
    assert "gpt-4.1-mini-2025-04-14" in failure.value.message


def test_a_listing_that_is_not_there_is_a_caution_only(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /fine_tuning/jobs", make_page([]))

    assert any("was not checked" in caution for caution in platform.check_plan(make_plan()))


def test_what_no_request_tells_of_the_end_of_the_service_is_a_caution(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service)

    cautions = platform.check_plan(make_plan())

    position = cautions.index(UNKNOWN_RIGHT)
    assert "Only organizations" in cautions[position - 1]
