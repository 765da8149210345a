"""Tokenizers by model name, downloaded where missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftwizard.cli.progress import Say
from ftwizard.errors import USAGE, FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.models import hub

if TYPE_CHECKING:
    from ftwizard.train.encoder import Encoder

REQUIRED_PACKAGES = ("torch", "transformers", "trl", "datasets")
"""Packages needed to encode rows."""


def check_installed() -> None:
    """Raise MissingExtra for the first package in ``REQUIRED_PACKAGES`` that is not installed."""
    for package in REQUIRED_PACKAGES:
        if not is_installed(package):
            raise MissingExtra("local", package)


def check_max_length(length: int | None) -> None:
    """Raise FtwizardError for a ``--max-length`` that leaves nothing to train on."""
    if length is not None and length < 2:
        raise FtwizardError(
            "--max-length must be 2 or more.",
            "The first token is never predicted.",
            USAGE,
        )


def download(source: hub.ModelSource, say: Say) -> Path:
    """Download tokenizer and configuration of a model; return their folder.

    Raises FtwizardError where that fails.
    """
    return hub.fetch_tokenizer(
        source, lambda detail, **fields: say("fetching", what=detail, **fields)
    )


def encoder(name: str, say: Say) -> tuple[hub.ModelSource, Encoder]:
    """Return the source of a model, and the encoder that its training uses.

    Raises FtwizardError for a model that is not available or cannot be trained.
    """
    check_installed()
    say("looking for the model")
    source = hub.locate(name)
    base = download(source, say)
    from ftwizard.train.encoder import load_encoder

    return source, load_encoder(base, say)
