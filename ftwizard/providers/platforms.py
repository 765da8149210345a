"""Lookup of the hosted platforms: the class that speaks to each, with the account of a key."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import cast

from ftwizard import kept_keys
from ftwizard.errors import MissingExtra
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.providers.base import Platform, ProviderError

CLASSES: dict[HostedProvider, tuple[str, str]] = {
    "openai": ("ftwizard.providers.openai.platform", "OpenAIPlatform"),
    "foundry": ("ftwizard.providers.foundry", "FoundryPlatform"),
    "together": ("ftwizard.providers.together.platform", "TogetherPlatform"),
    "mantle": ("ftwizard.providers.mantle", "MantlePlatform"),
    "bedrock": ("ftwizard.providers.bedrock.platform", "BedrockPlatform"),
    "vertex": ("ftwizard.providers.vertex.platform", "VertexPlatform"),
}
"""Module and name of the class that speaks to each platform."""


def get_platform(
    provider: HostedProvider, environment: Mapping[str, str] | None = None
) -> Platform:
    """Return a platform with the account of the key in ``environment`` (default: the process's).

    A key that the user chose to keep is used where the environment has none. Nothing is sent. Raises MissingExtra without the SDK, ProviderError (``key``) without a key.
    """
    platform = PLATFORMS[provider]
    environment = kept_keys.with_kept_keys(
        os.environ if environment is None else environment, provider
    )
    missing = kept_keys.find_missing(provider, environment)
    if missing:
        raise ProviderError(
            "key",
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, so"
            f" {platform.name} cannot be reached.",
            f"Set it in the environment: export {missing[0]}=... (see {platform.key_page}), or enter it"
            " in the wizard, which can keep it.",
            code="no_key",
        )
    module_name, class_name = CLASSES[provider]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != platform.package.partition(".")[0]:
            raise
        raise MissingExtra(provider, platform.package) from None
    factory = getattr(module, class_name)
    return cast(Platform, factory(environment))
