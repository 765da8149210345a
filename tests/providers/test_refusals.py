"""What a platform would refuse is refused before anything is created: cause, next step, exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai._base_client
import pytest
import together._base_client

from ftwizard import hosted_platforms
from ftwizard.errors import DECLINED, FAILED, USAGE, FtwizardError
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs.worker import EarlyEnd
from ftwizard.providers import account
from ftwizard.providers.base import ProviderError
from tests.doubles.aws import WEST, WEST_BUCKET
from tests.doubles.openai_service import REASONING_MODEL
from tests.doubles.vertex_service import BUCKET, Bucket
from tests.helpers.followed_jobs import (
    create_run,
    make_settings,
    quick_aws,
    quick_vertex,
    run_follower,
)
from tests.helpers.hosted_doubles import PLATFORMS, HostedDouble, serve_double

pytestmark = pytest.mark.timeout(60)
KEYS = {
    provider: platform.key_variable
    for provider, platform in hosted_platforms.PLATFORMS.items()
    if platform.key_variable
}
"""Without the platforms whose SDK finds a login by itself."""
ADDRESSES = {
    provider: platform.address_variable for provider, platform in hosted_platforms.PLATFORMS.items()
}
FIRST_CALLS = {"bedrock": "identity"}
"""What tells whether a key is accepted, where that is not the list of jobs."""
Refuse = Callable[..., FtwizardError]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr("ftwizard.providers.submit.LOOK_PAUSES_S", (0.0, 0.01))
    monkeypatch.setattr("ftwizard.providers.submit.LATE_PAUSES_S", ())
    quick_aws(monkeypatch)
    quick_vertex(monkeypatch)
    for sdk in (openai._base_client, together._base_client):
        for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
            monkeypatch.setattr(sdk, name, 0.001)


@pytest.fixture(params=PLATFORMS)
def provider(request: pytest.FixtureRequest) -> HostedProvider:
    chosen: HostedProvider = request.param
    return chosen


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Start a plan, assert that it is refused and that nothing was created; return the error."""

    def start(
        provider: HostedProvider,
        environment: dict[str, str] | None = None,
        scenario: dict[str, Any] | None = None,
        **plan: Any,
    ) -> FtwizardError:
        with serve_double(provider, **(scenario or {})) as double:
            for name, value in {**double.environment, **(environment or {})}.items():
                monkeypatch.setenv(name, value)
            with pytest.raises(FtwizardError) as error:
                create_run(tmp_path, provider, **plan)
            assert double.list_jobs() == double.list_files() == []
        runs = tmp_path / "home" / "runs"
        assert not runs.exists() or not list(runs.iterdir())
        assert error.value.message.endswith(".") and error.value.hint
        assert double.key not in error.value.text
        return error.value

    return start


@pytest.mark.parametrize("provider", KEYS, indirect=True)
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "is not set"),
        ("wrong-000000000000", ""),
        ("has a space", "spaces or line breaks"),
        ("two\nlines", "spaces or line breaks"),
        ("sk-schlüssel", "spaces or line breaks"),
    ],
)
def test_a_key_that_cannot_be_used(
    refuse: Refuse, provider: HostedProvider, key: str, words: str
) -> None:
    error = refuse(provider, {KEYS[provider]: key})
    assert error.exit_code == FAILED
    assert KEYS[provider] in error.message and words in error.message
    assert not key or key not in error.text


@pytest.mark.parametrize(
    ("scenario", "path", "words", "step"),
    [
        ({}, "none.json", "was not found", "gcloud auth application-default login"),
        ({"login": "revoked"}, None, "expired or revoked", "gcloud auth application-default login"),
        ({"login": "no key"}, None, "Invalid JWT Signature", "Create a new key file"),
    ],
)
def test_a_login_at_google_that_cannot_be_used(
    refuse: Refuse,
    tmp_path: Path,
    scenario: dict[str, Any],
    path: str | None,
    words: str,
    step: str,
) -> None:
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / path)} if path else {}
    error = refuse("vertex", environment, scenario)
    assert isinstance(error, ProviderError) and error.kind == "key"
    assert words in error.message and step in error.hint


@pytest.mark.parametrize(
    ("environment", "scenario", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong/0123456789abcdefghij"}, {}, "refused the credentials"),
        ({"AWS_ACCESS_KEY_ID": "AKIAWRONG0123456789"}, {}, "refused the credentials"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, {}, "no credentials for AWS"),
        ({"AWS_PROFILE": "nobody"}, {}, "The profile nobody"),
        ({}, {"expired": True}, "expired"),
    ],
)
def test_credentials_of_aws_that_cannot_be_used(
    refuse: Refuse, environment: dict[str, str], scenario: dict[str, Any], words: str
) -> None:
    error = refuse("bedrock", environment, scenario)
    assert isinstance(error, ProviderError) and error.kind == "key"
    assert words in error.message and "aws " in error.hint
    secrets = filter(None, (environment.get(f"AWS_{name}") for name in ("SECRET_ACCESS_KEY",)))
    assert not any(secret in error.text for secret in secrets)


def test_an_address_where_nobody_answers(refuse: Refuse, provider: HostedProvider) -> None:
    error = refuse(provider, {ADDRESSES[provider]: "http://127.0.0.1:9"})
    assert "reached" in error.message and ADDRESSES[provider] in error.hint


def test_an_address_that_is_none(refuse: Refuse, provider: HostedProvider) -> None:
    error = refuse(provider, {ADDRESSES[provider]: "no address"})
    assert ADDRESSES[provider] in error.message


def test_a_model_that_the_platform_does_not_have(refuse: Refuse, provider: HostedProvider) -> None:
    error = refuse(provider, model="nobody/no-such-model")
    assert "nobody/no-such-model" in error.message and "fine-tune" in error.hint


def test_a_polling_interval_that_is_no_number(
    refuse: Refuse, provider: HostedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refuse(provider, {"FTWIZARD_POLL_S": "abc"})
    assert error.exit_code == USAGE and "abc" in error.message


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"rows": 6}, "at least 10"),
        ({"model": "gpt-5.4"}, "cannot be fine-tuned"),
        ({"together": {"n_epochs": 2}}, "together is set"),
        ({"openai": {"n_epochs": 99}}, "openai.n_epochs is 99"),
        ({"openai": {"suffix": "x" * 100}}, "100 characters"),
        ({"openai": {"method": "reinforcement"}, "model": REASONING_MODEL.id}, "grader is missing"),
    ],
)
def test_a_plan_that_openai_would_refuse(refuse: Refuse, plan: dict[str, Any], words: str) -> None:
    error = refuse("openai", **plan)
    assert words in error.message and error.exit_code == FAILED


@pytest.mark.parametrize(
    ("plan", "scenario", "words"),
    [
        ({"vertex": {}}, {}, "vertex.bucket is missing"),
        ({"vertex": {"bucket": "gs://mine/rows"}}, {}, "vertex.bucket is not the name"),
        ({"vertex": make_settings("vertex", epoch_count=999)}, {}, "vertex.epoch_count is 999"),
        ({"vertex": make_settings("vertex", adapter_size=32)}, {}, "vertex.adapter_size is 32"),
        ({"vertex": make_settings("vertex", location="global")}, {}, "global"),
        ({"model": "qwen3-8b", "vertex": make_settings("vertex", learning_rate_multiplier=2.0)}, {},
         "vertex.learning_rate_multiplier is set"),
        ({"model": "gemini-2.5-pro"}, {}, "does not offer gemini-2.5-pro any more"),
        ({}, {"buckets": {}}, "There is no bucket"),
        ({}, {"buckets": {BUCKET: Bucket(permissions=())}}, "may not write and read objects"),
        ({}, {"is_enabled": False}, "Vertex AI API has not been used"),
        ({}, {"has_billing": False}, "requires billing"),
        ({}, {"denied": ("aiplatform.tuningJobs.list",)}, "may not list the jobs"),
    ],
)  # fmt: skip
def test_a_plan_that_vertex_would_refuse(
    refuse: Refuse, plan: dict[str, Any], scenario: dict[str, Any], words: str
) -> None:
    assert words in refuse("vertex", scenario=scenario, **plan).message


@pytest.mark.parametrize(
    ("settings", "scenario", "words"),
    [
        ({"bucket": None}, {}, "bedrock.bucket is missing"),
        ({"bucket": "s3://mine/rows"}, {}, "bedrock.bucket is not the name"),
        ({"bucket": "nobodys-rows"}, {}, "There is no bucket nobodys-rows"),
        ({"bucket": WEST_BUCKET}, {}, "is in us-west-2, but the job runs in us-east-1"),
        ({"bucket": "of-others"}, {"foreign_buckets": {"of-others": "999999999999"}},
         "belongs to another account"),
        ({}, {"denied": ("s3:ListBucket",)}, "AWS denies access"),
        ({"role": None}, {}, "bedrock.role is missing"),
        ({"role": "nobody"}, {}, "has no role nobody"),
        ({"role": "arn:aws:iam::999999999999:role/x"}, {}, "The role is of account 999999999999"),
        ({}, {"role_service": "lambda.amazonaws.com"}, "does not trust the jobs of Bedrock"),
        ({}, {"role_actions": ("s3:PutObject", "s3:ListBucket")}, "may not s3:GetObject"),
        ({"region": "us-west-2"}, {}, "Amazon Nova Lite is trained in us-east-1"),
        ({"epochCount": 9}, {}, "Amazon Nova Lite takes 1 to 5"),
        ({"grader": "arn:aws:lambda:us-east-1:123456789012:function:score"}, {}, "is set, but"),
    ],
)  # fmt: skip
def test_settings_that_bedrock_would_refuse(
    refuse: Refuse, settings: dict[str, Any], scenario: dict[str, Any], words: str
) -> None:
    own = make_settings("bedrock", **settings)
    assert words in refuse("bedrock", scenario=scenario, bedrock=own).message


@pytest.mark.parametrize(
    ("plan", "environment", "words"),
    [
        ({"rows": 6}, {}, "needs at least 8"),
        ({"rows": 60, "model": "llama-3.3-70b", "bedrock": make_settings("bedrock", region=WEST)}, {},
         "needs at least 100 for training and validation together"),
        ({"bedrock": make_settings("bedrock", region="")}, {"AWS_DEFAULT_REGION": ""}, "No region"),
        ({"model": "amazon.nova-canvas-v1:0"}, {}, "does not tune it"),
    ],
)  # fmt: skip
def test_a_plan_that_bedrock_would_refuse(
    refuse: Refuse, plan: dict[str, Any], environment: dict[str, str], words: str
) -> None:
    assert words in refuse("bedrock", environment, **plan).message


def test_too_many_epochs(refuse: Refuse) -> None:
    assert refuse("together", together={"n_epochs": 99}).exit_code == DECLINED


@pytest.mark.parametrize(
    ("provider", "status", "code"),
    [
        *((provider, 401, "invalid_api_key") for provider in PLATFORMS),
        # A missing right is known to Bedrock only by what it refuses: a role, a bucket, the job.
        *((provider, 403, "forbidden") for provider in PLATFORMS if provider != "bedrock"),
    ],
)
def test_a_key_without_the_right_to_tune_uploads_nothing(
    provider: HostedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
) -> None:
    with serve_double(provider) as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        double.answer(FIRST_CALLS.get(provider, "list jobs"), status, code, "Too bad")
        with pytest.raises(ProviderError) as error:
            create_run(tmp_path, provider)
        assert error.value.kind == ("key" if status == 401 else "permission") and error.value.hint
        assert double.list_files() == []
        report = account.inspect_account(provider)
        assert not report.ready and report.error == error.value.message


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "training_not_available", "closing"),
        (429, "insufficient_quota", "quota"),
        (403, "forbidden", "not allowed to"),
        (400, "model_not_available", "could not create the job"),
    ],
)
def test_a_creation_that_is_refused_creates_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    with serve_double("openai") as double:
        end = create_and_follow(double, tmp_path, monkeypatch, status, code)
        assert words in end.message and end.message.endswith("No job was created.") and end.hint


@pytest.mark.parametrize(("status", "code"), [(402, "insufficient_balance"), (403, "forbidden")])
def test_a_creation_that_together_refuses_creates_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    with serve_double("together") as double:
        end = create_and_follow(double, tmp_path, monkeypatch, status, code)
        assert "Too bad" in end.message and end.message.endswith("No job was created.")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (429, "", "because of a quota"),
        (403, "iam_permission_denied", "may not"),
        (400, "", "rejected"),
    ],
)
def test_a_creation_that_vertex_refuses_creates_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    with serve_double("vertex") as double:
        end = create_and_follow(double, tmp_path, monkeypatch, status, code)
        assert words in end.message and end.message.endswith("No job was created.") and end.hint


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ServiceQuotaExceededException", "because of a quota"),
        (403, "AccessDeniedException", "does not allow this account to"),
        (400, "ValidationException", "rejected the request to create the job"),
    ],
)
def test_a_creation_that_bedrock_refuses_creates_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    with serve_double("bedrock") as double:
        end = create_and_follow(double, tmp_path, monkeypatch, status, code)
        assert words in end.message and end.message.endswith("No job was created.") and end.hint


def create_and_follow(
    double: HostedDouble, root: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> EarlyEnd:
    for name, value in double.environment.items():
        monkeypatch.setenv(name, value)
    double.answer("create", status, code, "Too bad")
    end = run_follower(create_run(root, double.provider))
    assert isinstance(end, EarlyEnd) and end.end_reason == "refused"
    assert double.list_jobs() == []
    return end
