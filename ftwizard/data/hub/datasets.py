"""Data sets on the Hugging Face Hub: one split, downloaded once and kept as JSON Lines.

A plan then names that file, not the Hub, so that a resumed or repeated run reads the same rows even
if the Hub has changed or is unreachable. The file name gives data set, configuration, split and
commit.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from ftwizard import locations, user_paths
from ftwizard.data.hub import errors, ids
from ftwizard.data.hub.download import (
    DatasetSplit,
    Say,
    copies_folder,
    download,
    format_names,
    locked,
    slug,
    write,
)
from ftwizard.data.hub.ids import HubId
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.text import format_age, make_visible

TIMEOUT_S = 5.0
ALLOWED_BUILDERS = ("json", "parquet", "arrow", "csv", "text", "cache")
"""Builders of ``datasets`` that are allowed: those for tables and text. Others unpack archives, open
images or need further packages."""


def locate(name: str, say: Say) -> tuple[Path, str | None]:
    """Return the file that ``name`` refers to, and a description of its source if that is the Hub.

    Raises FtwizardError if a data set is unavailable or the file name is invalid.
    """
    dataset_id = ids.parse(name)
    if dataset_id is None:
        return user_paths.expand(name), None
    return fetch(dataset_id, say)


def fetch(dataset_id: HubId, say: Say) -> tuple[Path, str]:
    """Return a split of a data set as a file, downloaded if needed, and a description of its source.

    The file is kept in the user's cache. Code from a repository is never run. If the Hub is
    unreachable, the newest local copy is used, else the library's cache. Raises MissingExtra or
    FtwizardError.
    """
    _prepare()
    say("fetching", what=dataset_id.repo)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # library warnings are meant for developers
        try:
            repo, commit = _resolve_repo(dataset_id.repo)
        except _Unreachable as error:
            return _find_copy(dataset_id, error.reason, say)
        try:
            return _from_hub(dataset_id, repo, commit, say)
        except Exception as error:
            raise errors.to_error(error, dataset_id.repo) from error


class _Unreachable(Exception):
    """The Hub is unreachable at the moment."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _prepare() -> None:
    """Check that the libraries are installed, and turn off their output and telemetry."""
    for package in ("datasets", "huggingface_hub"):
        if not is_installed(package):
            raise MissingExtra("local", package)
    for name, value in (
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"), ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"), ("HF_UPDATE_DOWNLOAD_COUNTS", "0"),
        ("DATASETS_VERBOSITY", "critical"), ("HF_HUB_VERBOSITY", "critical"),
    ):  # fmt: skip
        os.environ.setdefault(name, value)  # read at their first import


def _resolve_repo(repo: str) -> tuple[str, str]:
    """Get a data set's current name and newest commit; raise _Unreachable or FtwizardError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().dataset_info(repo, timeout=TIMEOUT_S)
    except Exception as error:
        if errors.why_unreachable(error):
            raise _Unreachable(error) from error
        if errors.get_status(error) or isinstance(error, HFValidationError):
            raise errors.to_error(error, repo) from error
        raise _Unreachable(error) from error  # a proxy or captive portal answered instead
    return info.id, str(info.sha)


def _from_hub(dataset_id: HubId, repo: str, commit: str, say: Say) -> tuple[Path, str]:
    locations.create_private_folder(copies_folder())
    # An empty cache, because on errors the library would silently use an older commit.
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as empty:
        builder = _load_builder(dataset_id, repo, commit, empty)
        split = _resolve_split(dataset_id, builder, repo, commit)
        with locked(split.path):
            if not split.path.exists():
                files = download(builder, split, say)
                builder.config.data_files = {split.split: files}
                write(builder, split, say)
    return split.path, split.description


def _load_builder(dataset_id: HubId, repo: str, commit: str | None, cache: str | None) -> Any:
    """Return the library's builder of a configuration, before any rows are downloaded."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(
            repo, dataset_id.config, revision=commit, cache_dir=cache
        )
    except ValueError as error:
        _raise_config_error(dataset_id, repo, commit, error)
    if builder.name not in ALLOWED_BUILDERS:
        message = f"{repo} has files of an unsupported type ({make_visible(builder.name, 40)})."
        hint = "Choose a data set of JSON, Parquet, Arrow, CSV or text files."
        raise FtwizardError(message, hint)
    return builder


def _raise_config_error(
    dataset_id: HubId, repo: str, commit: str | None, error: Exception
) -> NoReturn:
    """Raise an error that lists the configurations, or the original error if it is unrelated."""
    import datasets

    if commit is None or ("BuilderConfig" not in str(error) and "onfig name" not in str(error)):
        raise error
    names = datasets.get_dataset_config_names(repo, revision=commit)
    hint = f"Name one, for example: ftwizard check {repo}/{names[0] if names else 'CONFIG'}"
    if dataset_id.config is None:
        message = f"{repo} has several configurations and no default: {format_names(names)}."
        raise FtwizardError(message, make_visible(hint)) from error
    raise FtwizardError(
        f"{repo} has no configuration “{make_visible(dataset_id.config, 60)}”; it has: {format_names(names)}.",
        make_visible(hint),
    ) from error


def _resolve_split(dataset_id: HubId, builder: Any, repo: str, commit: str) -> DatasetSplit:
    """Resolve the split; raise FtwizardError listing those that exist."""
    names = [str(name) for name in builder.config.data_files or builder.info.splits or ()]
    if dataset_id.split not in names:
        base = repo if dataset_id.config is None else f"{repo}/{dataset_id.config}"
        hint = f"ftwizard check {base}:{names[0] if names else 'SPLIT'}"
        raise FtwizardError(
            f"{repo} has no split “{make_visible(dataset_id.split, 60)}”; it has: {format_names(names)}.",
            make_visible(f"Name one, for example: {hint}"),
        )
    return DatasetSplit(
        repo=repo, config=str(builder.config.name), split=dataset_id.split, commit=commit
    )


def _find_copy(dataset_id: HubId, reason: Exception, say: Say) -> tuple[Path, str]:
    """Return the newest local copy of a split, as the Hub is unreachable."""
    config = slug(dataset_id.config) if dataset_id.config else "*"
    repo = dataset_id.repo.replace("/", "--")
    pattern = f"{repo}--{config}--{slug(dataset_id.split)}-????????.jsonl"
    copies = sorted(copies_folder().glob(pattern), key=lambda path: path.stat().st_mtime)
    configs = {path.name.removeprefix(f"{repo}--").rpartition("--")[0] for path in copies}
    why = errors.why_unreachable(reason) or "the Hub is unreachable"
    if len(configs) > 1:
        raise FtwizardError(
            f"{dataset_id.repo} has several downloaded configurations ({format_names(sorted(configs))}), and {why}.",
            f"Name one, for example: ftwizard check {dataset_id.repo}/{min(configs)}",
        )
    if copies:
        downloaded = format_age(time.time() - copies[-1].stat().st_mtime)
        return copies[-1], f"{dataset_id.repo}, copy downloaded {downloaded} ago, as {why}"
    return _from_library_cache(dataset_id, reason, why, say)


def _from_library_cache(
    dataset_id: HubId, reason: Exception, why: str, say: Say
) -> tuple[Path, str]:
    """Read the split from the library's own cache."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True  # it would try again, and wait
    try:
        builder = _load_builder(dataset_id, dataset_id.repo, None, None)
    except FtwizardError:
        raise
    except Exception as error:
        if "in the cache" in str(error) or "onfig" in str(error):
            raise errors.to_error(error, dataset_id.repo) from error
        raise errors.not_available(reason, dataset_id.repo) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    try:
        locations.create_private_folder(copies_folder())
        split = _resolve_split(
            dataset_id, builder, dataset_id.repo, re.sub(r"\W", "_", str(builder.hash))
        )
        with locked(split.path):
            if not split.path.exists():
                write(builder, split, say)
    except Exception as error:
        raise errors.to_error(error, dataset_id.repo) from error
    return split.path, f"{split.description}, from the library's cache, as {why}"
