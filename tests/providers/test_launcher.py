"""The environment of a follower: what its platform's SDK logs in with, and no other secret."""

from __future__ import annotations

import pytest

from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.providers import launcher
from tests.providers.test_cost import make_plan

PLACES = {
    "HOME": "/home/ann", "AWS_PROFILE": "work", "AWS_CONFIG_FILE": "/etc/aws", "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-west-2", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ROLE_ARN": "a",
    "CLOUDSDK_CONFIG": "/etc/gcloud", "GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "us-central1",
    "GOOGLE_CLOUD_QUOTA_PROJECT": "q", "GOOGLE_VERTEX_BASE_URL": "http://127.0.0.1:9",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9", "NO_GCE_CHECK": "true",
}  # fmt: skip
"""Where the SDKs look for credentials, and whom they ask; none of it is a secret."""


@pytest.mark.parametrize("provider", ["bedrock", "vertex"])
def test_a_follower_gets_the_whole_chain_of_its_sdk_and_no_other_key(
    provider: HostedProvider,
) -> None:
    secrets = {name: "x" for each in PLATFORMS.values() for name in each.secrets}
    environment = launcher.build_environment(make_plan(provider, "m"), {**PLACES, **secrets})
    own = set(PLATFORMS[provider].secrets)
    assert own and own <= environment.keys() and PLACES.items() <= environment.items()
    address = {"AZURE_OPENAI_ENDPOINT"}  # is no secret
    assert environment.keys() & secrets.keys() == own | address
