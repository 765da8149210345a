"""Keys and sign-ins by name: where each is found, what uses it. No value is ever shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ftwizard.credentials import Credential
from ftwizard.doctor import extras
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.text import visible

EXTRA_OF = {"openai": "openai", "azure": "openai", "together": "together", "aws": "bedrock",
            "gcp": "vertex", "huggingface": "local"}  # fmt: skip
"""The extra that uses a service's key."""
NAMES_A_FILE = ("HF_TOKEN_PATH", "GOOGLE_APPLICATION_CREDENTIALS", "AWS_WEB_IDENTITY_TOKEN_FILE")
ASK_HUB = "hf auth login   (or set HF_TOKEN), after accepting the model's licence on its page"
HasExtra = Callable[[str], bool | None]


def look(
    found: tuple[Credential, ...],
    environment: Mapping[str, str] | None = None,
    has_extra: HasExtra = extras.is_installed,
) -> Iterator[Check]:
    """Say of each service that a key is there for what it is good for, and which have none."""
    chosen = os.environ if environment is None else environment
    there = {one.service for one in found}
    for one in found:
        yield key(one, chosen, has_extra)
    if "huggingface" not in there and (token := _token_file(chosen)):
        yield key(Credential(service="huggingface", where=str(token)), chosen, has_extra)
        there.add("huggingface")
    if "huggingface" not in there:
        nothing = "none: gated models (Llama, Gemma, Mistral) cannot be fetched"
        yield warning("key: huggingface", nothing, ASK_HUB)
    without = [name for name in EXTRA_OF if name not in there and name != "huggingface"]
    if without:
        yield ok("keys: none for", ", ".join(without))
    if chosen.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        said = "HF_HUB_OFFLINE is set: models that are not here yet cannot be fetched"
        yield warning("Hub", said, "unset HF_HUB_OFFLINE")


def key(one: Credential, environment: Mapping[str, str], has_extra: HasExtra) -> Check:
    """Say where a key is, what is odd about it, and whether what uses it is installed."""
    name = f"key: {one.service}"
    is_file = one.where not in environment
    found = f"{visible(one.where, 80)} {'is there' if is_file else 'is set'}"
    if not is_file and one.where in NAMES_A_FILE:
        if not _exists(environment[one.where]):
            fix = f"Set {one.where} to the file, or unset it."
            return warning(name, f"{one.where} names a file that is not there", fix)
    elif not is_file and environment[one.where].strip() != environment[one.where]:
        # Seldom meant, and services answer no more than “unauthorised”.
        said = f"{one.where} has white space around its value"
        return warning(name, said, f"Set {one.where} again, without it.")
    path = one.where if is_file else environment[one.where] if one.where in NAMES_A_FILE else None
    if path and _others_read(path):
        return warning(name, f"{found}, and others may read it", f"chmod 600 {visible(path)}")
    extra = EXTRA_OF[one.service]
    installed = has_extra(extra)
    if installed is None:
        return ok(name, f"{found}; no path of this version uses it yet")
    if not installed:
        return warning(name, f"{found}; the extra that uses it is missing", extras.install(extra))
    return ok(name, f"{found}; used by the extra {extra}")


def _token_file(environment: Mapping[str, str]) -> Path | None:
    """Return the token that ``hf auth login`` left where HF_HOME moved it."""
    folder = environment.get("HF_HOME")
    if not folder:
        return None
    token = Path(folder).expanduser() / "token"
    return token if _exists(str(token)) else None


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _others_read(name: str) -> bool:
    try:
        mode = Path(name).expanduser().stat().st_mode
    except (OSError, RuntimeError, ValueError):
        return False
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))
