"""The lookup of platforms: missing keys and packages, and nothing imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from ftwizard import kept_keys
from ftwizard.errors import USAGE, MissingExtra
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.providers.access import describe_clear_text
from ftwizard.providers.base import ProviderError
from ftwizard.providers.fields import read_retry_after
from ftwizard.providers.platforms import CLASSES, get_platform

WITH_KEY = [name for name, platform in PLATFORMS.items() if platform.variables]
"""Others find their credentials by their SDK, and are tested on their own."""
FULL = {name: "https://host.invalid" for access in PLATFORMS.values() for name in access.variables}


@pytest.mark.parametrize("provider", get_args(HostedProvider))
def test_each_platform_is_made_from_its_variables(provider: HostedProvider) -> None:
    platform = get_platform(provider, FULL)
    assert (platform.id, platform.name) == (provider, PLATFORMS[provider].name)


@pytest.mark.parametrize("provider", WITH_KEY)
def test_missing_variables_are_named(provider: HostedProvider) -> None:
    assert kept_keys.find_missing(provider, {}) == PLATFORMS[provider].variables
    with pytest.raises(ProviderError) as failure:
        get_platform(provider, {PLATFORMS[provider].key_variable: "  "})

    assert failure.value.kind == "key"
    assert PLATFORMS[provider].key_variable in failure.value.message
    assert PLATFORMS[provider].key_page in failure.value.hint


@pytest.mark.parametrize("provider", get_args(HostedProvider))
def test_a_missing_package_names_its_extra(
    provider: HostedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, (module, _) = PLATFORMS[provider], CLASSES[provider]
    for name in list(sys.modules):
        own = (
            access.package,
            f"ftwizard.providers.{access.package}",
            f"ftwizard.providers.{provider}",
        )
        if name.startswith((*(f"{package}." for package in own), module)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, access.package, None)

    with pytest.raises(MissingExtra) as failure:
        get_platform(provider, FULL)

    assert f"ftwizard[{provider}]" in failure.value.hint
    assert failure.value.exit_code == USAGE


def test_the_lookup_imports_no_sdk() -> None:
    code = (
        "import sys; from ftwizard.providers import platforms;"
        " platforms.kept_keys.find_missing('openai', {});"
        " print(sorted({'openai', 'together', 'httpx', 'httpx2', 'boto3', 'botocore', 'google.genai'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("address", "is_clear"),
    [("http://gateway.example/v1", True), ("https://gateway.example/v1", False),
     ("http://127.0.0.1:8080/v1", False), ("http://[::1]:8080/v1", False)],
)  # fmt: skip
def test_an_address_that_is_not_encrypted_is_a_caution(address: str, is_clear: bool) -> None:
    assert bool(describe_clear_text(address)) is is_clear


@pytest.mark.parametrize("provider", WITH_KEY)
@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [("HTTPS_PROXY", "socks5://u:pa55word@127.0.0.1:9", "socksio"),
     ("HTTPS_PROXY", "http://u:pa55:word@127.0.0.1:x", "address of a proxy"),
     ("HTTPS_PROXY", "::::", "address of a proxy"),
     ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE")],
)  # fmt: skip
def test_an_environment_that_the_client_cannot_use_is_named(
    provider: HostedProvider, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ProviderError) as failure:
        get_platform(provider, FULL)
    assert part in failure.value.message and failure.value.hint
    assert "pa55" not in failure.value.text


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7),
        # The platform's clock counts, whatever that of this machine says.
        (
            {
                "date": "Fri, 31 Dec 2199 00:00:00 GMT",
                "retry-after": "Fri, 31 Dec 2199 00:00:09 GMT",
            },
            9,
        ),
        ({"date": "soon", "retry-after": "Fri, 31 Dec 2199 00:00:09 GMT"}, None),
        ({"retry-after": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0),
        ({}, None),
    ],
)
def test_a_platform_names_seconds_or_a_date_to_wait_for(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert read_retry_after(headers) == wait_s
