"""Errors of OpenAI by its real SDK, and what was sent again."""

from __future__ import annotations

import email.utils
import ssl

import httpx2
import openai
import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.fields import describe_clock
from ftwizard.providers.openai import errors
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import JOB, KEY, make_error, make_plan, make_remote
from tests.providers.scripted_service import Reply, ScriptedService


@pytest.mark.parametrize(
    ("status", "code", "text", "kind", "phrase"),
    [
        (401, "invalid_api_key", f"Incorrect API key provided: {KEY}.", "key", "refused the key"),
        (401, None, "You have insufficient permissions. Missing scopes: api.model.read", "permission",
         "is not allowed to create the job"),
        (403, None, "You are not allowed to sample from this model", "permission", "not allowed to create"),
        (403, "training_not_available", "OpenAI is winding down the fine-tuning platform", "closed",
         "2027-01-06"),
        (429, "insufficient_quota", "You exceeded your current quota", "quota", "because of a quota"),
        (400, "exceeded_quota", "over your hard limit", "quota", "because of a quota"),
        (429, "rate_limit_exceeded", "You have too many active fine-tuning jobs", "quota", "jobs"),
        (429, "rate_limit_exceeded", "Rate limit reached for requests", "unreachable", "Too many requests"),
        (400, "model_not_available", "Model gpt-x is not available for fine-tuning", "missing",
         "could not create the job"),
        (404, None, "No such object", "missing", "could not create the job"),
        (400, "invalid_value", "Expected at most 50", "rejected", "parameter: n_epochs"),
        (422, None, "bad", "rejected", "rejected the request"),
        (413, None, "File is too large", "rejected", "too large"),
        (503, None, "The server is overloaded", "unreachable", "error 503"),
    ],
)  # fmt: skip
def test_each_error_has_a_kind_a_cause_and_a_next_step(
    service: ScriptedService, platform: OpenAIPlatform,
    status: int, code: str | None, text: str, kind: str, phrase: str,
) -> None:  # fmt: skip
    service.on("POST /fine_tuning/jobs", make_error(status, code, text, "n_epochs"))

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    error = failure.value
    assert error.kind == kind
    assert phrase in error.message
    assert error.hint
    assert error.may_have_acted == (status >= 500)
    assert service.count("POST /fine_tuning/jobs") == 1


def test_a_closed_service_names_where_the_same_model_lives(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("POST /fine_tuning/jobs", make_error(403, "training_not_available", "winding down"))

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    assert "GPT-4.1-mini at Microsoft Foundry (provider: foundry)" in failure.value.hint
    assert "provider: local" in failure.value.hint
    assert failure.value.candidates == ("foundry", "together", "local")


@pytest.mark.parametrize(
    "echo", [KEY, KEY[:14], f"{KEY[:10]}*****{KEY[-4:]}", f"Bearer {KEY}\n\x1b[31m"]
)
def test_no_error_shows_the_key_or_a_control_character(
    service: ScriptedService, platform: OpenAIPlatform, echo: str
) -> None:
    service.on("GET /models", make_error(401, echo, f"Incorrect API key: {echo}", echo))

    with pytest.raises(ProviderError) as failure:
        platform.list_models()

    shown = repr(failure.value) + failure.value.text + failure.value.code
    assert KEY[:14] not in shown
    assert KEY[-4:] not in shown
    assert failure.value.text.isprintable()


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(lost=True), "connection"),
        (Reply(body=b"<html>proxy", headers={"Content-Type": "text/html"}), "not_json"),
        (Reply(body=b"{bro", headers={"Content-Type": "application/json"}), "not_json"),
        (Reply(body={}), "not_json"),
        (Reply(body=[]), "not_json"),
        (Reply(status=500, body={}), "500"),
    ],
)
def test_a_lost_reply_may_have_created_the_job_and_is_not_sent_again(
    service: ScriptedService, platform: OpenAIPlatform, reply: Reply, code: str
) -> None:
    service.on("POST /fine_tuning/jobs", reply)

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    assert failure.value.may_have_acted
    assert (failure.value.kind, failure.value.code) == ("unreachable", code)
    assert "looks the job up" in failure.value.hint
    assert service.count("POST /fine_tuning/jobs") == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://host.invalid/v1"])
def test_what_was_never_sent_did_not_act(address: str) -> None:
    platform = OpenAIPlatform({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": address})

    with pytest.raises(ProviderError) as failure:
        platform.create_job({"model": "m", "training_file": "f"})

    assert failure.value.kind == "unreachable"
    assert not failure.value.may_have_acted
    assert "OPENAI_BASE_URL" in failure.value.hint


def test_reads_are_tried_again_after_the_time_that_the_service_asks_for(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    limited = Reply(
        status=429, body={"error": {"message": "slow"}}, headers={"retry-after-ms": "5"}
    )
    service.on("GET /fine_tuning/jobs/ftjob-1", limited, limited, JOB)

    assert platform.get_job("ftjob-1").state == "running"
    assert service.count("GET /fine_tuning/jobs/ftjob-1") == 3


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("7", 7), ("-7", 0), ("1e99", 3600), ("inf", 3600), ("nan", None), ("soon", None),
     ("Fri, 31 Dec 2199 00:00:00 GMT", 3600)],
)  # fmt: skip
def test_a_refused_creation_says_how_long_to_wait(
    service: ScriptedService, platform: OpenAIPlatform, header: str, wait_s: float | None
) -> None:
    service.on(
        "POST /fine_tuning/jobs", Reply(status=429, body={}, headers={"Retry-After": header})
    )

    with pytest.raises(ProviderError) as failure:
        platform.create_job({"model": "m", "training_file": "f"})

    assert failure.value.retry_after_s == wait_s


@pytest.mark.parametrize(("code", "phrase"), [(9, "not valid yet"), (10, "has expired")])
def test_a_wrong_clock_is_named(
    platform: OpenAIPlatform, monkeypatch: pytest.MonkeyPatch, code: int, phrase: str
) -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code = code
    request = httpx2.Request("GET", "https://api.openai.com/v1/models")
    connection = openai.APIConnectionError(request=request)
    connection.__cause__ = cause

    error = errors.translate(connection, platform.account, "list the models")

    assert phrase in error.message
    assert "clock" in error.hint


@pytest.mark.parametrize("header", [None, "", "yesterday", email.utils.formatdate(1_000)])
def test_a_clock_is_compared_only_with_a_date(header: str | None) -> None:
    assert describe_clock(header, 1_100) == ""
