"""Data sets on the Hugging Face Hub: one split, fetched once and kept as a file of JSON Lines.

A plan then names that file, not the Hub: a run that is resumed or repeated must read the rows it
began with, whatever the Hub has by then and whether it can be reached. The file's name says which
data set, configuration, split and commit it was made from.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from ftwizard import file_names, settings
from ftwizard.data import hub_id, hub_trouble
from ftwizard.data.hub_copy import Say, Split, download, folder, held, listed, slug, write
from ftwizard.data.hub_id import HubId
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.machine import is_installed
from ftwizard.text import age, visible

TIMEOUT_S = 5.0
READ = ("json", "parquet", "arrow", "csv", "text", "cache")
"""The library's readers that are let at a repository: those of tables and text. Others unpack
archives, open pictures or need packages of their own."""


def locate(name: str, say: Say) -> tuple[Path, str | None]:
    """Return the file that ``name`` means, and where it is from if that is the Hub.

    Raises FtwizardError, with what to do, when a data set cannot be had or no file can be called so.
    """
    asked = hub_id.parse(name)
    if asked is None:
        return file_names.expand(name), None
    return fetch(asked, say)


def fetch(asked: HubId, say: Say) -> tuple[Path, str]:
    """Return a split of a data set as a file, fetched if need be, and where it is from in words.

    The file is kept in the user's cache. No program of a repository is ever run. Without the Hub,
    the newest copy there is serves: our own, else what the library has in its cache. Raises
    MissingExtra, or FtwizardError with what is in the way and what to do.
    """
    _prepare()
    say("fetching", what=asked.repo)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' remarks are for programmers
        try:
            repo, commit = _head(asked.repo)
        except _Away as error:
            return _kept(asked, error.reason, say)
        try:
            return _from_hub(asked, repo, commit, say)
        except Exception as error:
            raise hub_trouble.trouble(error, asked.repo) from error


class _Away(Exception):
    """The Hub cannot be asked at the moment."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _prepare() -> None:
    """See that the library is there, and keep it from talking and counting."""
    for package in ("datasets", "huggingface_hub"):
        if not is_installed(package):
            raise MissingExtra("local", package)
    for name, value in (
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"), ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"), ("HF_UPDATE_DOWNLOAD_COUNTS", "0"),
        ("DATASETS_VERBOSITY", "critical"), ("HF_HUB_VERBOSITY", "critical"),
    ):  # fmt: skip
        os.environ.setdefault(name, value)  # read when they are first imported


def _head(repo: str) -> tuple[str, str]:
    """Ask the Hub for a data set's present name and newest commit; raise _Away or FtwizardError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().dataset_info(repo, timeout=TIMEOUT_S)
    except Exception as error:
        if hub_trouble.away(error):
            raise _Away(error) from error
        if hub_trouble.status_of(error) or isinstance(error, HFValidationError):
            raise hub_trouble.trouble(error, repo) from error
        raise _Away(error) from error  # something in between answers instead, in another language
    return info.id, str(info.sha)


def _from_hub(asked: HubId, repo: str, commit: str, say: Say) -> tuple[Path, str]:
    settings.private_folder(folder())
    # A cache of its own, empty: on any trouble the library would quietly serve an older commit.
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as empty:
        builder = _builder(asked, repo, commit, empty)
        found = _split(asked, builder, repo, commit)
        with held(found.path):
            if not found.path.exists():
                files = download(builder, found, say)
                builder.config.data_files = {found.split: files}
                write(builder, found, say)
    return found.path, found.said


def _builder(asked: HubId, repo: str, commit: str | None, cache: str | None) -> Any:
    """Return what the library knows of a configuration, before any row is fetched."""
    import datasets

    try:
        found = datasets.load_dataset_builder(repo, asked.config, revision=commit, cache_dir=cache)
    except ValueError as error:
        _refuse_config(asked, repo, commit, error)
    if found.name not in READ:
        raise FtwizardError(
            f"{repo} holds files that no text is read from ({visible(found.name, 40)}).",
            "Data sets of JSON, Parquet, Arrow, CSV and text files are read.",
        )
    return found


def _refuse_config(asked: HubId, repo: str, commit: str | None, error: Exception) -> NoReturn:
    """Say which configurations there are, if it was about that; else raise the error again."""
    import datasets

    if commit is None or ("BuilderConfig" not in str(error) and "onfig name" not in str(error)):
        raise error
    names = datasets.get_dataset_config_names(repo, revision=commit)
    hint = f"Name one, for example: ftwizard check {repo}/{names[0] if names else 'CONFIG'}"
    if asked.config is None:
        raise FtwizardError(
            f"{repo} has several configurations and no default: {listed(names)}.", visible(hint)
        ) from error
    raise FtwizardError(
        f"{repo} has no configuration “{visible(asked.config, 60)}”; it has: {listed(names)}.",
        visible(hint),
    ) from error


def _split(asked: HubId, builder: Any, repo: str, commit: str) -> Split:
    """Settle the split; raise FtwizardError naming those there are."""
    names = [str(name) for name in builder.config.data_files or builder.info.splits or ()]
    if asked.split not in names:
        base = repo if asked.config is None else f"{repo}/{asked.config}"
        hint = f"ftwizard check {base}:{names[0] if names else 'SPLIT'}"
        raise FtwizardError(
            f"{repo} has no split “{visible(asked.split, 60)}”; it has: {listed(names)}.",
            visible(f"Name one, for example: {hint}"),
        )
    return Split(repo=repo, config=str(builder.config.name), split=asked.split, commit=commit)


def _kept(asked: HubId, reason: Exception, say: Say) -> tuple[Path, str]:
    """Return the newest copy of a split, as the Hub cannot be asked."""
    config = slug(asked.config) if asked.config else "*"
    repo = asked.repo.replace("/", "--")
    pattern = f"{repo}--{config}--{slug(asked.split)}-????????.jsonl"
    copies = sorted(folder().glob(pattern), key=lambda path: path.stat().st_mtime)
    configs = {path.name.removeprefix(f"{repo}--").rpartition("--")[0] for path in copies}
    why = hub_trouble.away(reason) or "the Hub cannot be reached"
    if len(configs) > 1:
        raise FtwizardError(
            f"{asked.repo} is here in several configurations ({listed(sorted(configs))}), and "
            f"{why}.",
            f"Name one, for example: ftwizard check {asked.repo}/{min(configs)}",
        )
    if copies:
        made = age(time.time() - copies[-1].stat().st_mtime)
        return copies[-1], f"{asked.repo}, the copy fetched {made} ago, as {why}"
    return _from_library_cache(asked, reason, why, say)


def _from_library_cache(asked: HubId, reason: Exception, why: str, say: Say) -> tuple[Path, str]:
    """Take the split out of what the library prepared here earlier."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True  # it would ask once more, and wait
    try:
        builder = _builder(asked, asked.repo, None, None)
    except FtwizardError:
        raise
    except Exception as error:
        if "in the cache" in str(error) or "onfig" in str(error):
            raise hub_trouble.trouble(error, asked.repo) from error
        raise hub_trouble.not_here(reason, asked.repo) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    try:
        settings.private_folder(folder())
        found = _split(asked, builder, asked.repo, re.sub(r"\W", "_", str(builder.hash)))
        with held(found.path):
            if not found.path.exists():
                write(builder, found, say)
    except Exception as error:
        raise hub_trouble.trouble(error, asked.repo) from error
    return found.path, f"{found.said}, out of the library's cache, as {why}"
