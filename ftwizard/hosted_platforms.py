"""The hosted platforms: their names, SDKs and keys. Importing this imports nothing heavy."""

from __future__ import annotations

from typing import Literal, NamedTuple

HostedProvider = Literal["openai", "foundry", "together"]


class HostedPlatform(NamedTuple):
    """What a person and a program need to know of a platform to reach it."""

    name: str
    """For a person: ``OpenAI``."""
    package: str
    """The official SDK."""
    variables: tuple[str, ...]
    """Environment variables that must be set: the key, then the address where each account has its
    own."""
    address_variable: str
    """Environment variable with the base address."""
    key_page: str
    """Where a person finds the key."""

    @property
    def key_variable(self) -> str:
        return self.variables[0]


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
    ),
    "together": HostedPlatform(
        name="Together",
        package="together",
        variables=("TOGETHER_API_KEY",),
        address_variable="TOGETHER_BASE_URL",
        key_page="https://api.together.ai/settings/api-keys",
    ),
}
