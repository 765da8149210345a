"""Search for models on the Hugging Face Hub.

The only network access of the list of models: nothing waits for it, and without it the list is
complete for what is on this machine.
"""

from __future__ import annotations

import os
import re
import socket
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from ftwizard import background
from ftwizard.hardware.machine import is_installed
from ftwizard.models import hub, model_config, model_folder
from ftwizard.models.model_facts import ModelFacts
from ftwizard.quantity import today

HubState = Literal["not asked", "searching", "searched", "offline", "unreachable", "missing"]
"""Whether the Hub took part in a search; ``missing``: huggingface_hub is not installed."""
HUB_NOTES: dict[HubState, str] = {
    "not asked": "",
    "searching": "searching the Hub …",
    "searched": "",
    "offline": "Hub off (HF_HUB_OFFLINE)",
    "unreachable": "Hub not reachable",
    "missing": "no Hub search: huggingface_hub is not installed",
}
MIN_CHARACTERS = 3
"""Shorter searches match half of the Hub."""
MAX_RESULTS = 20
MAX_CONFIGS = 8
"""Configurations to read for one search; the others are read when a model is chosen."""
TIMEOUT_S = 5.0
CONNECT_S = 2.0
DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_PARAMETERS = 10**14
_FIELDS = ("config", "downloads", "gated", "safetensors", "tags")
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_LICENSE_TAG = "license:"
_CONFIG_KEYS = ("model_type", "quantization_config", "is_decoder")


def search_hub(words: str, timeout_s: float = TIMEOUT_S) -> tuple[tuple[ModelFacts, ...], HubState]:
    """Search the Hub for models with safetensors weights, the most downloaded first.

    Returns the models and how the search went; never raises, and returns after ``timeout_s``.
    """
    if len(words.strip()) < MIN_CHARACTERS:
        return (), "not asked"
    if hub.is_offline():
        return (), "offline"
    if not is_installed("huggingface_hub"):
        return (), "missing"
    try:
        return background.call_with_timeout(
            timeout_s, _search, words.strip(), timeout_s
        ), "searched"
    except Exception:  # noqa: BLE001 (whatever the cause, the Hub gave no answer)
        return (), "unreachable"


def is_reachable(timeout_s: float = CONNECT_S) -> bool:
    """Return whether a connection to the Hub can be opened; unknown behind a proxy, which counts."""
    if hub.is_offline():
        return False
    if urllib.request.getproxies().keys() & {"http", "https", "all"}:
        return True
    try:
        endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)
        port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
        address = endpoint.hostname or "", port
        background.call_with_timeout(
            timeout_s, lambda: socket.create_connection(address, timeout_s).close()
        )
    except (OSError, ValueError):  # TimeoutError is an OSError
        return False
    return True


def fetch_config(name: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Download a Hub model's config.json into ftwizard's cache; return whether it is there.

    Its size, memory and time are then known before anything large is downloaded.
    """
    if hub.is_offline() or not is_installed("huggingface_hub") or not _ID.fullmatch(name):
        return False
    try:
        return background.call_with_timeout(timeout_s, _fetch_config, name, timeout_s)
    except Exception:  # noqa: BLE001 (the next page reports why a model cannot be used)
        return False


def add_configs(
    models: Sequence[ModelFacts], timeout_s: float = TIMEOUT_S
) -> tuple[ModelFacts, ...]:
    """Return the models with the configurations of the first few, so that their memory is known."""
    deadline = time.monotonic() + timeout_s
    added = list(models)
    for index, model in enumerate(models[:MAX_CONFIGS]):
        config = model_config.read_fetched(model.name)
        left = deadline - time.monotonic()
        if config is None and left > 0 and not model.gated and fetch_config(model.name, left):
            config = model_config.read_fetched(model.name)
        if config is not None:
            added[index] = msgspec.structs.replace(model, config=config)
    return tuple(added)


def _search(words: str, timeout_s: float) -> tuple[ModelFacts, ...]:
    """Ask the Hub once: ``HfApi.list_models`` retries for half a minute, has no time limit, and
    prints a warning for each attempt."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils._headers import build_hf_headers

    response = get_session().get(
        f"{constants.ENDPOINT}/api/models",
        params={
            "search": words, "filter": ["transformers", "safetensors"], "sort": "downloads",
            "limit": MAX_RESULTS, "expand": list(_FIELDS),
        },
        headers=build_hf_headers(), timeout=timeout_s,
    )  # fmt: skip
    response.raise_for_status()
    models = (_read_result(result) for result in response.json()[:MAX_RESULTS])
    return tuple(model for model in models if model is not None)


def _fetch_config(name: str, timeout_s: float) -> bool:
    """Ask once, for the reasons of ``_search``; return whether the file is a configuration."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils._headers import build_hf_headers

    response = get_session().get(
        f"{constants.ENDPOINT}/{name}/resolve/main/config.json", headers=build_hf_headers(),
        timeout=timeout_s, follow_redirects=True,
    )  # fmt: skip
    response.raise_for_status()
    return model_config.save_fetched(name, response.content)


def _read_result(result: Any) -> ModelFacts | None:
    """Return the facts in one result, which may hold anything; None without a valid id."""
    if not isinstance(result, Mapping):
        return None
    name, gated = result.get("id"), result.get("gated")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        return None
    total = _read_mapping(result, "safetensors").get("total")
    config = _read_mapping(result, "config")
    return ModelFacts(
        name=name, origin="hub",
        parameters=total if type(total) is int and 0 < total < MAX_PARAMETERS else None,
        license=_find_license(result.get("tags")),
        gated=None if gated is None else bool(gated), chat_template=_has_template(config),
        config={key: config[key] for key in _CONFIG_KEYS if key in config} or None,
        source="the Hugging Face Hub", as_of=today(),
    )  # fmt: skip


def _find_license(tags: object) -> str | None:
    """Return the license among the tags; None without one."""
    for tag in tags if isinstance(tags, list) else []:
        if isinstance(tag, str) and tag.startswith(_LICENSE_TAG):
            return model_folder.clean_license(tag.removeprefix(_LICENSE_TAG))
    return None


def _read_mapping(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = result.get(key)
    return value if isinstance(value, Mapping) else {}


def _has_template(config: Mapping[str, Any]) -> bool | None:
    """Return whether the Hub's summary of the configuration has a chat template; None if absent."""
    if config.get("chat_template_jinja"):
        return True
    tokenizer = config.get("tokenizer_config")
    return bool(tokenizer.get("chat_template")) if isinstance(tokenizer, Mapping) else None
