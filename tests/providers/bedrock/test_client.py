"""boto3 with an account: whose credentials, which region and address, and how often it asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import client
from ftwizard.providers.bedrock.platform import BedrockPlatform
from ftwizard.providers.platforms import get_platform
from tests.doubles.aws import ACCOUNT, EAST, USER, WEST, AwsFault
from tests.providers.bedrock.conftest import Serve, World
from tests.providers.bedrock.plans import SECRET, make_environment, make_plan


def test_the_caller_is_named_without_a_key(world: World) -> None:
    login = world.platform.find_login()
    assert login is not None
    assert (login.account, login.caller, login.region) == (ACCOUNT, USER, EAST)
    assert login.source == "AWS_ACCESS_KEY_ID in the environment"
    world.platform.identify()
    assert len(world.service.control.list_requests("get_caller_identity")) == 1


def test_wrong_and_expired_credentials_are_those_of_the_key(serve: Serve) -> None:
    world = serve()
    with pytest.raises(ProviderError) as failure:
        world.connect(AWS_SECRET_ACCESS_KEY=SECRET).list_models()
    assert failure.value.kind == "key" and "aws login" in failure.value.hint
    assert SECRET not in failure.value.text

    with pytest.raises(ProviderError) as failure:
        serve(expired=True).platform.find_login()
    assert failure.value.kind == "key"


def test_no_credentials_name_where_they_were_looked_for(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    variables = {
        name: value for name, value in world.service.environment.items() if "_KEY" not in name
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    platform = get_platform("bedrock")
    with pytest.raises(ProviderError) as failure:
        platform.find_login()
    assert (failure.value.kind, failure.value.code) == ("key", "no_key")
    assert "~/.aws/credentials" in failure.value.message and "aws login" in failure.value.hint


def test_refused_keys_of_a_file_are_called_those_of_its_profile(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    keys = "aws_access_key_id = AKIAREFUSED123456789\naws_secret_access_key = refused\n"
    file.write_text(f"[default]\n{keys}")
    for name, value in world.service.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with pytest.raises(ProviderError, match="the credentials of the profile default: "):
        get_platform("bedrock").find_login()


def test_an_unknown_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(ProviderError, match="The profile nowhere is neither") as failure:
        BedrockPlatform({"AWS_PROFILE": "nowhere"})
    assert failure.value.kind == "key"


@pytest.mark.parametrize(
    ("variables", "region", "source"),
    [({"AWS_DEFAULT_REGION": WEST}, WEST, "AWS_DEFAULT_REGION"),
     ({"AWS_REGION": WEST}, WEST, "AWS_REGION"),
     ({"AWS_REGION": WEST, "AWS_DEFAULT_REGION": EAST}, EAST, "AWS_DEFAULT_REGION")],
)  # fmt: skip
def test_the_region_is_of_either_variable(
    variables: dict[str, str], region: str, source: str
) -> None:
    environment = make_environment()
    del environment["AWS_DEFAULT_REGION"]
    platform = BedrockPlatform(environment | variables)
    assert (platform.region, platform.region_source) == (region, source)
    assert platform.get_region(make_plan()) == EAST  # the plan's counts more
    assert platform.chat_address == f"bedrock://{region}"


def test_the_address_of_a_service_counts_more_than_that_of_all() -> None:
    own = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:8"}
    platform = BedrockPlatform(make_environment() | own)
    assert platform.find_address("s3") == "http://127.0.0.1:8"
    assert platform.connect("s3", EAST).meta.endpoint_url == "http://127.0.0.1:8"
    assert platform.find_address("bedrock") == platform.endpoint == "http://127.0.0.1:9"
    ignored = {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert BedrockPlatform(make_environment() | ignored).endpoint == (
        "https://bedrock.us-east-1.amazonaws.com"
    )
    with pytest.raises(ProviderError, match="not a URL"):
        BedrockPlatform(make_environment("ftp://x"))


def test_a_bearer_token_for_other_models_does_not_sign(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-other")
    assert world.connect().list_models()  # the double refuses what is not signed by the account


def test_what_reads_is_repeated_and_what_creates_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ATTEMPTS", 3)
    platform, control = world.connect(), world.service.control
    control.add_fault(AwsFault(on="list_foundation_models", status=500, times=1))
    assert platform.list_models()
    attempts = [request.attempt for request in control.list_requests("list_foundation_models")]
    assert attempts[0] == "attempt=1; max=3" and attempts[1].endswith("attempt=2; max=3")
    assert "ftwizard/" in control.list_requests()[0].agent
    writer = platform.connect("bedrock", EAST, creates=True)
    assert writer.meta.config.retries["total_max_attempts"] == 1


def test_a_page_that_comes_again_ends_a_list(world: World) -> None:
    pages = []

    def list_things(**parameters: str) -> dict[str, object]:
        pages.append(parameters)
        return {"things": [{"n": len(pages)}, "odd"], "nextToken": "same"}

    assert len(list(world.platform.iterate("list", list_things, "things"))) == 2
    with pytest.raises(ProviderError, match="not as Amazon Bedrock does"):
        list(world.platform.iterate("list", lambda **_: {}, "things"))


def test_what_is_not_the_api_is_named(world: World) -> None:
    world.service.control.add_fault(AwsFault(on="list_foundation_models", action="truncate"))
    with pytest.raises(ProviderError) as failure:
        world.platform.list_models()
    assert failure.value.kind == "unreachable"


@pytest.mark.parametrize("proxy", ["http://u:pa55word@127.0.0.1:9", "::::", "ftp://u:pa55word@x"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    platform = BedrockPlatform(make_environment("http://bedrock.invalid"))
    with pytest.raises(ProviderError) as failure:
        platform.find_login()
    assert failure.value.kind == "unreachable" and "HTTPS_PROXY" in failure.value.hint
    assert "pa55word" not in failure.value.text
