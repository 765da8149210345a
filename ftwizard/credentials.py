"""Secrets stay in the environment of the one command that needs them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WORDS = (
    "KEY", "KEYS", "APIKEY", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASS", "PASSWORD", "PASSWD",
    "PASSPHRASE", "PAT", "CREDENTIAL", "CREDENTIALS", "DSN", "AUTH", "PGPASSWORD", "PGPASSFILE",
)  # fmt: skip
_SECRET = re.compile(rf"(^|_)({'|'.join(_WORDS)})($|_)|DATABASE_URL", re.IGNORECASE)
HUGGING_FACE = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
REPORTERS = {"wandb": ("WANDB_API_KEY",), "trackio": HUGGING_FACE, "tensorboard": ()}


def without_secrets(environment: Mapping[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """Return ``environment`` less every variable whose name says that it is a secret."""
    kept = set(keep)
    return {
        name: value
        for name, value in environment.items()
        if name in kept or not _SECRET.search(name)
    }
