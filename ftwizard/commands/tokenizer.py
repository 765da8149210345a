"""The tokenizer of a model that is named, fetched where it is not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftwizard import models
from ftwizard.commands.progress import Say
from ftwizard.errors import MissingExtra
from ftwizard.machine import is_installed

if TYPE_CHECKING:
    from ftwizard.train.tokenise import Encoder

NEEDED = ("torch", "transformers", "trl", "datasets")
"""Packages that rows are encoded with."""


def check_installed() -> None:
    """Raise MissingExtra for the first package that encoding needs and this Python lacks."""
    for package in NEEDED:
        if not is_installed(package):
            raise MissingExtra("local", package)


def fetch(name: str, revision: str | None, say: Say) -> tuple[models.Source, Path]:
    """Return where a model comes from, and a folder with its tokenizer and configuration.

    Raises FtwizardError for a model that is not to be had.
    """
    say("looking", what="for the model")
    source = models.locate(name, revision)
    return source, fetched(source, say)


def fetched(source: models.Source, say: Say) -> Path:
    """Return a folder with the tokenizer and configuration of a model that was found.

    Raises FtwizardError where they cannot be fetched.
    """

    def report(what: str | None, **fields: object) -> None:
        say("fetching", what=what, **fields)

    return models.fetch_tokenizer(source, report)


def encoder(name: str, say: Say) -> tuple[models.Source, Encoder]:
    """Return where a model comes from, and what encodes rows as its training does.

    Raises FtwizardError for a model that is not to be had or cannot be trained.
    """
    check_installed()
    source, base = fetch(name, None, say)
    from ftwizard.train import mask

    return source, mask.load(base, say)
