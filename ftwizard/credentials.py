"""Credentials: which services have one here, and removing secrets from an environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from string import Template
from typing import Literal

import msgspec

_PARTS = (
    "TOKEN(?!IZ)",  # not TOKENIZERS_PARALLELISM
    "(?<!BY)(?<!COM)PASS(?!IVE|ENGER|THR|ES|ING|AGE)",  # not ACCELERATE_BYPASS_DEVICE_MAP
    "SECRET", "CREDENTIAL", "WEBHOOK", "HOOK_URL", "COOKIE", "API_?KEY", "ACCESS_?KEY", "PRIVATE_?KEY",
    "DATABASE_URL", "CONNECTION_?STR", "CONN_?STR", "^NPM_CONFIG_", "^GIT_CONFIG_(PARAMETERS|VALUE_)",
    "(?<=_)PWD",  # not PWD
)  # fmt: skip
"""Patterns anywhere in a name."""
_WORDS = ("KEYS?", "PAT", "DSN", "AUTH", "JWT", "BEARER", "OTP")
"""Patterns between underscores: KEY is part of KEYBOARD, too."""
_SECRET = re.compile(rf"{'|'.join(_PARTS)}|(^|_)({'|'.join(_WORDS)})\d*($|_)", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_HARMLESS = re.compile(
    "HF_HUB_DISABLE_IMPLICIT_TOKEN|HF_ENDPOINT|(?:all|ftp|https?)_proxy", re.IGNORECASE
)
"""Names that look like secrets but are none, and addresses without which nothing can be downloaded."""
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
        (
            "$CLOUDSDK_CONFIG/application_default_credentials.json",
            "~/.config/gcloud/application_default_credentials.json",
        ),
    ),
    "azure": (
        ("AZURE_OPENAI_API_KEY", "AZURE_CLIENT_ID"),
        ("~/.azure/msal_token_cache.json", "~/.azure/msal_token_cache.bin"),
    ),
}
REPORTERS = {
    "wandb": ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"),
    "trackio": HUGGING_FACE,
    "tensorboard": (),
}


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


def without_secrets(environment: Mapping[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """Return ``environment`` without secrets, except ``keep``.

    They are recognized by the variable's name, and by an address with a password in its value.
    """
    kept = set(keep)
    return {
        name: value
        for name, value in environment.items()
        if name in kept or not _is_secret(name, value)
    }


def _is_secret(name: str, value: str) -> bool:
    if _HARMLESS.fullmatch(name):
        return False
    return bool(_SECRET.search(name) or _PASSWORD_IN_URL.search(value))
