"""The real small model, fetched and converted once a test session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ftwizard import models

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


def fetch_smollm2(cache: Path) -> Path:
    """Return the folder of the model; it comes the way that users get it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("FTWIZARD_CACHE", str(cache))
    try:
        return models.fetch(models.locate(SMOLLM2), lambda *_, **__: None)
    finally:
        patch.undo()


def cache_folder(factory: pytest.TempPathFactory) -> Path:
    """Return where the model is kept: ``FTWIZARD_TEST_CACHE``, else new in each session."""
    if kept := os.environ.get("FTWIZARD_TEST_CACHE"):
        return Path(kept)
    return factory.mktemp("cache")
