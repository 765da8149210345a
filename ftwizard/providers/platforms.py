"""Lookup of the hosted platforms: the variables with their keys, and the class that speaks to each."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import cast

import msgspec

from ftwizard import kept_keys
from ftwizard.errors import MissingExtra
from ftwizard.kept_keys import VARIABLES
from ftwizard.plan.schema import HostedProvider
from ftwizard.providers.base import Platform, ProviderError


class PlatformAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How a platform is reached."""

    name: str
    """For a person: ``OpenAI``."""
    package: str
    """The official SDK."""
    variables: tuple[str, ...]
    """Environment variables that must be set: the key, and the address where there is no other."""
    address_variable: str
    """Environment variable with the base address."""
    key_page: str
    """Where a person finds the key."""
    module: str
    class_name: str

    @property
    def key_variable(self) -> str:
        return self.variables[0]


ACCESS: dict[HostedProvider, PlatformAccess] = {
    "openai": PlatformAccess(
        name="OpenAI", package="openai", variables=VARIABLES["openai"],
        address_variable="OPENAI_BASE_URL", key_page="https://platform.openai.com/api-keys",
        module="ftwizard.providers.openai.platform", class_name="OpenAIPlatform",
    ),
    "foundry": PlatformAccess(
        name="Microsoft Foundry", package="openai",
        variables=VARIABLES["foundry"],
        address_variable="AZURE_OPENAI_ENDPOINT", key_page="https://ai.azure.com",
        module="ftwizard.providers.foundry", class_name="FoundryPlatform",
    ),
    "together": PlatformAccess(
        name="Together", package="together", variables=VARIABLES["together"],
        address_variable="TOGETHER_BASE_URL",
        key_page="https://api.together.ai/settings/api-keys",
        module="ftwizard.providers.together.platform", class_name="TogetherPlatform",
    ),
}  # fmt: skip


def find_missing_variables(
    provider: HostedProvider, environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return the environment variables that the platform needs and that are not set."""
    environment = os.environ if environment is None else environment
    return tuple(
        name for name in ACCESS[provider].variables if not environment.get(name, "").strip()
    )


def get_platform(
    provider: HostedProvider, environment: Mapping[str, str] | None = None
) -> Platform:
    """Return a platform with the account of the key in ``environment`` (default: the process's).

    A key that the user chose to keep is used where the environment has none. Nothing is sent. Raises MissingExtra without the SDK, ProviderError (``key``) without a key.
    """
    access = ACCESS[provider]
    environment = kept_keys.with_kept_keys(
        os.environ if environment is None else environment, provider
    )
    missing = find_missing_variables(provider, environment)
    if missing:
        raise ProviderError(
            "key",
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, so"
            f" {access.name} cannot be reached.",
            f"Set it in the environment: export {missing[0]}=... (see {access.key_page}), or enter it"
            " in the wizard, which can keep it.",
            code="no_key",
        )
    try:
        module = importlib.import_module(access.module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != access.package:
            raise
        raise MissingExtra(provider, access.package) from None
    factory = getattr(module, access.class_name)
    return cast(Platform, factory(environment))
