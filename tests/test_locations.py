"""The folders that ftwizard reads and writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ftwizard import locations

HUB_VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"},
        {"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c", "XDG_CACHE_HOME": "/d"},
        {"HF_HOME": "/c", "XDG_CACHE_HOME": "/d"},
        {"XDG_CACHE_HOME": "/d"},
        {"HF_HOME": "~/models"},
        {"HF_HUB_CACHE": "$HF_HOME/other", "HF_HOME": "/c"},
        {"XDG_CACHE_HOME": "$HOME/cache"},
        {"HF_HUB_CACHE": "", "HF_HOME": "/c"},
        {"HF_HOME": ""},
    ],
)
def test_hub_cache_folder_matches_huggingface_hub(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in HUB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert locations.hub_cache_folder() == Path(_read_hub_constant("HF_HUB_CACHE")).absolute()


def _read_hub_constant(name: str) -> str:
    """Return a constant of huggingface_hub for the current environment."""
    spec = importlib.util.find_spec("huggingface_hub.constants")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(getattr(module, name))
