"""Checks of API keys and logins: where each is, and what uses it. Values are never shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ftwizard.credentials import Credential
from ftwizard.doctor import extras
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.text import make_visible

EXTRA_OF = {"openai": "openai", "azure": "openai", "together": "together", "aws": "bedrock",
            "gcp": "vertex", "huggingface": "local"}  # fmt: skip
"""The extra that uses a service's key."""
ASK_HUB = "hf auth login   (or set HF_TOKEN), after accepting the model's license on its page"
HasExtra = Callable[[str], bool | None]


def run_checks(
    present: tuple[Credential, ...],
    environment: Mapping[str, str] | None = None,
    has_extra: HasExtra = extras.is_installed,
) -> Iterator[Check]:
    """Check the key of each service, and list the services without one."""
    variables = os.environ if environment is None else environment
    services = {credential.service for credential in present}
    for credential in present:
        yield check_key(credential, variables, has_extra)
    if "huggingface" not in services:
        detail = "none: gated models (Llama, Gemma, Mistral) cannot be downloaded"
        yield warning("key: huggingface", detail, ASK_HUB)
    absent = [name for name in EXTRA_OF if name not in services and name != "huggingface"]
    if absent:
        yield ok("keys: none for", ", ".join(absent))
    if variables.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        detail = "HF_HUB_OFFLINE is set: models that are not cached cannot be downloaded"
        yield warning("Hub", detail, "unset HF_HUB_OFFLINE")


def check_key(credential: Credential, environment: Mapping[str, str], has_extra: HasExtra) -> Check:
    """Check where a key is, its problems, and whether the extra that uses it is installed."""
    name, where = f"key: {credential.service}", credential.where
    is_file = where not in environment
    detail = f"{make_visible(where, 80)} {'exists' if is_file else 'is set'}"
    if not is_file and environment[where].strip() != environment[where]:
        # Rarely intended, and services answer only “unauthorized”.
        detail = f"{where} has whitespace around its value"
        return warning(name, detail, f"Set {where} again, without whitespace.")
    if is_file and _is_readable_by_others(where):
        fix = f"chmod 600 {make_visible(where)}"
        return warning(name, f"{detail}, but other users can read it", fix)
    extra = EXTRA_OF[credential.service]
    installed = has_extra(extra)
    if installed is None:
        return ok(name, f"{detail}; no provider uses it yet")
    if not installed:
        return warning(
            name,
            f"{detail}; the extra that uses it is not installed",
            extras.get_install_command(extra),
        )
    return ok(name, f"{detail}; used by the extra {extra}")


def _is_readable_by_others(name: str) -> bool:
    try:
        mode = Path(name).expanduser().stat().st_mode
    except (OSError, RuntimeError, ValueError):
        return False
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))
