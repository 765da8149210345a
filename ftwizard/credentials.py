"""Credentials: which services have one here, and removing secrets from an environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from string import Template
from typing import Literal

import msgspec

_WORDS = (
    "KEY", "KEYS", "APIKEY", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASS", "PASSWORD", "PASSWD",
    "PASSPHRASE", "PAT", "CREDENTIAL", "CREDENTIALS", "DSN", "AUTH", "PGPASSWORD", "PGPASSFILE",
)  # fmt: skip
_SECRET = re.compile(rf"(^|_)({'|'.join(_WORDS)})($|_)|DATABASE_URL", re.IGNORECASE)
HUGGING_FACE = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")

Service = Literal["openai", "together", "huggingface", "aws", "gcp", "azure"]
# Where each service's own tools look for credentials: variables, then files.
_SOURCES: dict[Service, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "openai": (("OPENAI_API_KEY",), ()),
    "together": (("TOGETHER_API_KEY",), ()),
    "huggingface": (HUGGING_FACE, ("$HF_HOME/token", "~/.cache/huggingface/token")),
    "aws": (
        ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("~/.aws/credentials",),
    ),
    "gcp": (
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        ("~/.config/gcloud/application_default_credentials.json",),
    ),
    "azure": (
        ("AZURE_OPENAI_API_KEY", "AZURE_CLIENT_ID"),
        ("~/.azure/msal_token_cache.json", "~/.azure/msal_token_cache.bin"),
    ),
}
REPORTERS = {"wandb": ("WANDB_API_KEY",), "trackio": HUGGING_FACE, "tensorboard": ()}


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A key or a login that was found; never its value."""

    service: Service
    where: str
    """The variable or the file that holds it."""


def find_credentials(environment: Mapping[str, str] | None = None) -> tuple[Credential, ...]:
    """Return the credentials that exist here, without reading them."""
    environment = os.environ if environment is None else environment
    credentials = []
    for service, (variables, paths) in _SOURCES.items():
        sources = [name for name in variables if environment.get(name)]
        files = [Template(path).safe_substitute(environment) for path in paths]
        # Without a home folder or the permission to read it, there are none.
        sources += [name for name in files if os.path.isfile(os.path.expanduser(name))]  # noqa: PTH111, PTH113
        if sources:
            credentials.append(Credential(service=service, where=sources[0]))
    return tuple(credentials)


def get_key_variable(service: Service) -> str:
    """Return the environment variable that usually holds the key of a service."""
    return _SOURCES[service][0][0]


def without_secrets(environment: Mapping[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """Return ``environment`` without variables whose names look like secrets, except ``keep``."""
    kept = set(keep)
    return {
        name: value
        for name, value in environment.items()
        if name in kept or not _SECRET.search(name)
    }
