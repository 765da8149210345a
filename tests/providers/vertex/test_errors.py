"""Errors of Google's SDKs: kinds, causes and next steps."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import google.api_core.exceptions
import google.auth.exceptions
import httpx2
import pytest
import requests
from google.genai.errors import APIError, ClientError, ServerError

from ftwizard.providers.base import ProviderError
from ftwizard.providers.vertex.errors import Account, translate
from ftwizard.providers.vertex.platform import VertexPlatform
from tests.providers.vertex.world import MakeWorld, World, refused

LOGIN: Any = google.auth.exceptions
STORAGE: Any = google.api_core.exceptions
INFO = "type.googleapis.com/google.rpc.ErrorInfo"
REQUEST = httpx2.Request("POST", "https://us-central1-aiplatform.googleapis.com/v1beta1/x")


def make_error(
    code: int, status: str, text: str, reason: str = "", metadata: dict[str, str] | None = None
) -> APIError:
    details = [{"@type": INFO, "reason": reason, "metadata": metadata or {}}] if reason else []
    body = {"error": {"code": code, "message": text, "status": status, "details": details}}
    return (ServerError if code >= 500 else ClientError)(code, body)


def convert(error: BaseException, *, creates: bool = False) -> ProviderError:
    converted = translate(error, Account(), "create the job", creates=creates)
    assert converted.hint
    return converted


def test_a_file_of_credentials_counts_more_than_a_login() -> None:
    refused_login = LOGIN.RefreshError("invalid_grant: Token has been expired or revoked.", {})
    hint = translate(refused_login, Account(has_file=True), "log in").hint
    assert "unset" in hint and hint.endswith("gcloud auth application-default login")
    assert translate(refused_login, Account(), "log in").hint.startswith("Log in again")


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (make_error(401, "UNAUTHENTICATED", "No.", "ACCESS_TOKEN_EXPIRED"), "key", "auth application-default login"),
        (make_error(403, "PERMISSION_DENIED", "Off.", "SERVICE_DISABLED"), "permission", "services enable"),
        (make_error(403, "PERMISSION_DENIED", "No.", "IAM_PERMISSION_DENIED"), "permission", "roles/aiplatform.user"),
        (make_error(403, "PERMISSION_DENIED", "No.", "CONSUMER_INVALID"), "permission", "GOOGLE_CLOUD_PROJECT"),
        (make_error(403, "PERMISSION_DENIED", "No.", "USER_PROJECT_DENIED"), "permission", "set-quota-project"),
        (make_error(403, "PERMISSION_DENIED", "No.", "BILLING_DISABLED"), "quota", "billing"),
        (make_error(404, "NOT_FOUND", "Endpoint `1` not found."), "missing", "vertex.location"),
        (make_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded"), "unreachable", "Too many requests"),
        (make_error(400, "FAILED_PRECONDITION", "Not in this region."), "rejected", "not every location"),
        (make_error(400, "FAILED_PRECONDITION", "User location is not supported."), "permission", "location"),
        (make_error(409, "ABORTED", "Conflict."), "rejected", "Correct it"),
        (make_error(503, "UNAVAILABLE", "Down."), "unreachable", "error 503"),
        (make_error(501, "UNIMPLEMENTED", "No."), "missing", "Check the id"),
    ],
)  # fmt: skip
def test_an_answer_has_a_kind_and_a_next_step(error: APIError, kind: str, word: str) -> None:
    converted = convert(error)
    assert converted.kind == kind
    assert word in converted.text
    assert not converted.may_have_acted


@pytest.mark.parametrize(
    ("code", "acted"), [(400, False), (403, False), (408, True), (429, False), (499, True), (500, True)]
)  # fmt: skip
def test_what_may_have_been_created(code: int, acted: bool) -> None:
    assert convert(make_error(code, "X", "x"), creates=True).may_have_acted is acted


def test_a_quota_of_jobs_is_no_rate_limit() -> None:
    quota = make_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for concurrent jobs.")
    rate = make_error(
        429, "RESOURCE_EXHAUSTED", "Slow.", "RATE_LIMIT_EXCEEDED", {"quota_unit": "1/min/{project}"}
    )
    assert convert(quota, creates=True).kind == "quota"
    assert convert(rate, creates=True).kind == "unreachable"


def test_field_errors_are_shown_without_their_paths() -> None:
    text = "List of found errors:\t1.Field: a.b; Message: Row 3 is bad.\t2.Field: c; Message: Row 4 too.\t"
    converted = convert(make_error(400, "INVALID_ARGUMENT", text))
    assert "Row 3 is bad; Row 4 too." in converted.message
    assert "Field" not in converted.message


def test_a_page_of_a_proxy_is_not_shown() -> None:
    converted = convert(ServerError(502, {"message": "<html>secret page</html>", "status": "Bad"}))
    assert "html" not in converted.text


def test_tokens_and_hostile_characters_are_not_shown() -> None:
    text = "Bad ya29.c.abcDEF0123456789 and eyJhbGciOiJSUzI1NiIsInR5cCI6.x.y \x1b[31mred\x1b[0m"
    converted = convert(make_error(400, "INVALID_ARGUMENT", text))
    assert "ya29" not in converted.text
    assert "eyJ" not in converted.text
    assert "\x1b" not in converted.text


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (LOGIN.DefaultCredentialsError("Your default credentials were not found. To set up"), "key", "No Google credentials"),
        (LOGIN.DefaultCredentialsError("File /x was not found."), "key", "File /x was not found"),
        (LOGIN.RefreshError("invalid_grant: Token has been expired or revoked.", {}), "key", "Log in again"),
        (LOGIN.RefreshError("invalid_grant: Invalid JWT Signature.", {}), "key", "new key file"),
        (LOGIN.RefreshError("invalid_grant: Invalid JWT: Check your iat and exp values", {}), "key", "clock"),
        (LOGIN.RefreshError("internal_failure", {}, retryable=True), "unreachable", "login"),
        (LOGIN.ReauthFailError("Reauthentication is needed."), "key", "application-default login"),
        (LOGIN.TransportError("no route"), "unreachable", "network"),
    ],
)  # fmt: skip
def test_a_login_that_fails(error: BaseException, kind: str, word: str) -> None:
    converted = convert(error, creates=True)
    assert converted.kind == kind
    assert word in converted.text
    assert not converted.may_have_acted


@pytest.mark.parametrize(
    ("error", "acted"),
    [
        (httpx2.ConnectError("refused", request=REQUEST), False),
        (httpx2.ConnectTimeout("slow", request=REQUEST), False),
        (httpx2.PoolTimeout("busy", request=REQUEST), False),
        (httpx2.ReadTimeout("slow", request=REQUEST), True),
        (httpx2.ReadError("reset", request=REQUEST), True),
        (httpx2.RemoteProtocolError("gone", request=REQUEST), True),
        (requests.exceptions.ConnectionError("reset"), True),
        (ValueError("not JSON"), True),
    ],
)
def test_a_connection_that_breaks(error: BaseException, acted: bool) -> None:
    converted = convert(error, creates=True)
    assert converted.kind == "unreachable"
    assert converted.may_have_acted is acted


def test_a_certificate_that_has_expired_blames_the_clock() -> None:
    cause = ssl.SSLCertVerificationError("expired")
    cause.verify_code = 10
    error = httpx2.ConnectError("TLS", request=REQUEST)
    error.__cause__ = cause
    converted = convert(error)
    assert converted.code == "clock"
    assert "has expired" in converted.message


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (STORAGE.Forbidden("GET https://x/b: No access."), "permission", "roles/storage.objectUser"),
        (STORAGE.NotFound("GET https://x/b: The specified bucket does not exist."), "missing", "vertex.bucket"),
        (STORAGE.Unauthorized("GET https://x/b: No."), "key", "Log in again"),
        (STORAGE.TooManyRequests("GET https://x/b: Slow."), "unreachable", "Too many"),
        (STORAGE.ServiceUnavailable("GET https://x/b: Down."), "unreachable", "Cloud Storage"),
        (STORAGE.RetryError("gave up", STORAGE.GatewayTimeout("x")), "unreachable", "error 504"),
    ],
)  # fmt: skip
def test_errors_of_the_bucket(error: BaseException, kind: str, word: str) -> None:
    converted = convert(error)
    assert converted.kind == kind
    assert word in converted.text
    assert "https://x/b" not in converted.text


@pytest.mark.parametrize(
    ("login", "kind", "word"),
    [
        ("revoked", "key", "Log in again"),
        ("no key", "key", "new key file"),
        ("clock", "key", "clock"),
    ],
)
def test_a_login_that_google_refuses(
    make_world: MakeWorld, login: str, kind: str, word: str
) -> None:
    world = make_world(login=login)
    for call in (world.platform.list_models, world.platform.find_login):
        with refused(kind, word):
            call()


def test_an_expired_token_is_replaced(world: World) -> None:
    _, status = world.create()
    world.control.expire_tokens()
    assert world.platform.get_job(status.id).id == status.id
    assert world.count("token") == 2
    world.control.expire_tokens()
    world.control.change(login="revoked")
    with refused("key", "Log in again"):
        world.platform.get_job(status.id)


@pytest.mark.parametrize(
    ("scenario", "kind", "word"),
    [
        ({"is_enabled": False}, "permission", "services enable"),
        ({"has_billing": False}, "quota", "billing"),
        ({"denied": ("aiplatform.tuningJobs.list",)}, "permission", "roles/aiplatform.user"),
        ({"project": "another"}, "permission", "GOOGLE_CLOUD_PROJECT"),
    ],
)
def test_a_project_that_cannot_train(
    make_world: MakeWorld, scenario: dict[str, Any], kind: str, word: str
) -> None:
    world = make_world(**scenario)
    world.environment["GOOGLE_CLOUD_PROJECT"] = "demo-project"
    with refused(kind, word):
        VertexPlatform(world.environment).check_plan(world.make_plan())


def test_a_proxy_that_answers_for_google(world: World) -> None:
    _, status = world.create()
    world.fail_next("get_job", status=200, body="<html>proxy</html>", times=9)
    with refused("unreachable", "not as the API of Vertex AI", code="not_json"):
        world.platform.get_job(status.id)


def test_an_emulator_without_a_double_is_refused() -> None:
    with refused("rejected", "unset STORAGE_EMULATOR_HOST", code="emulator"):
        VertexPlatform({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"})
    with refused("unreachable", "GOOGLE_VERTEX_BASE_URL", code="address"):
        VertexPlatform({"GOOGLE_VERTEX_BASE_URL": "127.0.0.1"})


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "directory"), (b"\xff\xfe{", "not a valid json"), (b"[]", "it has none")],
)
def test_a_file_that_has_no_credentials(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "key.json"
    path.mkdir() if content is None else path.write_bytes(content)
    platform = VertexPlatform({"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    with refused("key", word, "auth application-default login", code="bad_credentials"):
        platform.find_login()


def test_without_credentials(tmp_path: Any) -> None:
    platform = VertexPlatform({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")})
    with refused("key", "auth application-default login", code="bad_credentials"):
        platform.list_models()
    (tmp_path / "bad.json").write_text("{")
    platform = VertexPlatform({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "bad.json")})
    with refused("key", "not a valid json"):
        platform.list_models()
