"""The hosted platforms: their names, SDKs and keys. Importing this imports nothing heavy."""

from __future__ import annotations

from typing import Literal, NamedTuple

HostedProvider = Literal["openai", "foundry", "together", "bedrock", "mantle", "vertex"]


Serving = Literal["at_once", "free_deployment", "hourly_deployment", "own_deployment", "never"]
"""How a tuned model is served. ``at_once``: when the job has ended; ``free_deployment``: once
ftwizard has deployed it, which costs nothing while nobody asks it; ``hourly_deployment``: the same, billed
by the hour; ``own_deployment``: once the user has deployed it; ``never``: not without capacity that ftwizard
does not buy, or not at all."""


class HostedPlatform(NamedTuple):
    """What a person and a program need to know of a platform to reach it."""

    name: str
    """For a person: ``OpenAI``."""
    package: str
    """The official SDK."""
    variables: tuple[str, ...]
    """Environment variables that must be set: the key, then the address where each account has its
    own. Empty where the SDK finds the credentials by itself."""
    address_variable: str
    """Environment variable with the base address."""
    key_page: str
    """Where a person finds the key, or reads how to log in."""
    login: str = ""
    """Command that logs in, where there is no key."""
    credentials: tuple[str, ...] = ()
    """Environment variables in which the SDK may find credentials: its follower keeps them."""

    losses: str = ""
    """Where its losses are, if not at its API while a job runs: ``in its console only``."""
    serving: Serving = "at_once"
    """How its tuned models are served, apart from those that the catalog says it never serves."""
    bills_models: bool = False
    """Whether a tuned model is billed for as long as it is kept, also while nobody asks it."""

    @property
    def key_variable(self) -> str:
        """Return the variable with the key; empty where the SDK finds the credentials by itself."""
        return self.variables[0] if self.variables else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the variables that a process which asks the platform needs."""
        return (*self.variables, *self.credentials)


PLATFORMS: dict[HostedProvider, HostedPlatform] = {
    "openai": HostedPlatform(
        name="OpenAI",
        package="openai",
        variables=("OPENAI_API_KEY",),
        address_variable="OPENAI_BASE_URL",
        key_page="https://platform.openai.com/api-keys",
    ),
    "foundry": HostedPlatform(
        name="Microsoft Foundry",
        package="openai",
        variables=("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        address_variable="AZURE_OPENAI_ENDPOINT",
        key_page="https://ai.azure.com",
        serving="own_deployment",
    ),
    "together": HostedPlatform(
        name="Together",
        package="together",
        variables=("TOGETHER_API_KEY",),
        address_variable="TOGETHER_BASE_URL",
        key_page="https://api.together.ai/settings/api-keys",
        serving="hourly_deployment",
    ),
    "bedrock": HostedPlatform(
        name="Amazon Bedrock",
        package="boto3",
        variables=(),
        address_variable="AWS_ENDPOINT_URL",
        key_page="https://docs.aws.amazon.com/cli/latest/userguide/cli-chap-configure.html",
        login="aws login",
        losses="when the job has ended",
        serving="free_deployment",
        bills_models=True,
        credentials=(
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_SECURITY_TOKEN",
            "AWS_CREDENTIAL_EXPIRATION",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
    ),
    "mantle": HostedPlatform(
        name="Bedrock open weights",
        package="openai",
        variables=("AWS_BEARER_TOKEN_BEDROCK",),
        address_variable="AWS_BEDROCK_BASE_URL",
        key_page="https://console.aws.amazon.com/bedrock/home#/api-keys",
    ),
    "vertex": HostedPlatform(
        name="Vertex AI",
        package="google.genai",
        variables=(),
        address_variable="GOOGLE_VERTEX_BASE_URL",
        key_page="https://cloud.google.com/docs/authentication/set-up-adc-local-dev-environment",
        login="gcloud auth application-default login",
        losses="in its console only",
        credentials=("GOOGLE_APPLICATION_CREDENTIALS",),
    ),
}
