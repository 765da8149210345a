"""Download of a data set split into one local file of JSON Lines."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import background, locations
from ftwizard.data.io import arrow
from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import get_free_bytes
from ftwizard.jobs import lock
from ftwizard.jobs.folder import sync_folder
from ftwizard.text import format_bytes, format_count, make_visible

Say = Callable[..., None]
"""Progress callback: ``say(phase, what=…, done=…, total=…, unit=…)``."""
POLL_S = 0.3
BATCH_ROWS = 1000
PATHS_AT_ONCE = 500
_MAX_SHOWN_NAMES = 20


def copies_folder() -> Path:
    """Return the folder of local copies."""
    return locations.cache_folder() / "datasets"


class DatasetSplit(msgspec.Struct, frozen=True, kw_only=True):
    """A fully resolved split of a data set."""

    repo: str
    config: str
    split: str
    commit: str

    @property
    def path(self) -> Path:
        """Return the path of the local copy."""
        repo = self.repo.replace("/", "--")
        name = f"{repo}--{slug(self.config)}--{slug(self.split)}-{self.commit[:8]}.jsonl"
        return copies_folder() / name

    @property
    def description(self) -> str:
        """Return the source in words."""
        config = f", configuration {self.config}" if self.config != "default" else ""
        split = f"split {self.split}, commit {self.commit[:8]}"
        return f"{self.repo} on the Hugging Face Hub{config}, {split}"


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of a copy, and delete partial files from killed downloads."""
    descriptor = lock.take_exclusive(target.with_name(f".{target.name}.lock"), wait=True)
    try:
        for old in target.parent.glob(f".{target.name}.*.part"):
            old.unlink(missing_ok=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def download(builder: Any, split: DatasetSplit, say: Say) -> list[str]:
    """Download the files of a split into the library's cache and return their paths."""
    from huggingface_hub import hf_hub_download

    prefix = f"hf://datasets/{split.repo}@{split.commit}/"
    files = [str(file) for file in builder.config.data_files[split.split]]
    if not all(file.startswith(prefix) for file in files):
        raise ValueError("Data files don't belong to the repository")
    names = [file.removeprefix(prefix) for file in files]
    missing = [name for name in names if not _is_cached(split, name)]
    total = _measure_files(split, missing)
    _check_disk_space(total, split)
    bytes_before = locations.measure_hub_cache("datasets", split.repo)

    def fetch() -> list[str]:
        return [
            hf_hub_download(split.repo, name, revision=split.commit, repo_type="dataset")
            for name in names
        ]

    def report_progress() -> None:
        if total:
            fetched = locations.measure_hub_cache("datasets", split.repo) - bytes_before
            done = min(max(0, fetched), total)
            say("fetching", what=split.repo, done=done, total=total, unit="bytes")

    return background.run_watched(fetch, report_progress, POLL_S)


def _is_cached(split: DatasetSplit, name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(split.repo, name, revision=split.commit, repo_type="dataset")
    return isinstance(path, str)


def _measure_files(split: DatasetSplit, names: list[str]) -> int:
    """Return the total bytes of the named files in the repository."""
    from huggingface_hub import HfApi

    total = 0
    for start in range(0, len(names), PATHS_AT_ONCE):
        infos = HfApi().get_paths_info(
            split.repo,
            names[start : start + PATHS_AT_ONCE],
            revision=split.commit,
            repo_type="dataset",
        )
        total += sum(getattr(info, "size", 0) for info in infos)
    return total


def _check_disk_space(missing: int, split: DatasetSplit) -> None:
    caches = ((locations.hub_cache_folder(), "HF_HOME"), (copies_folder(), "FTWIZARD_CACHE"))
    for cache, variable in caches:
        if missing > (free := get_free_bytes(cache)):
            raise FtwizardError(
                f"{split.repo} needs {format_bytes(missing)}, but only {format_bytes(free)} are free in {cache}.",
                f"Free some disk space, or set {variable} to a folder on a larger disk.",
            )


def write(builder: Any, split: DatasetSplit, say: Say) -> None:
    """Write the rows atomically; raise FtwizardError if there are none."""
    rows = builder.as_streaming_dataset(split=split.split)
    if columns := arrow.find_media_columns(rows.features):
        raise FtwizardError(
            f"{split.repo} has images, audio or other media (column {format_names(columns)}), but only "
            "text is supported.",
            "Choose a text data set, or save its text columns as JSON Lines and name that file.",
        )
    tables = rows.with_format("arrow").iter(batch_size=BATCH_ROWS)
    part = split.path.with_name(f".{split.path.name}.{os.getpid()}.part")
    count = 0
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(part, flags, 0o600), "wb") as file:
            for rows_written, text in arrow.to_json_lines(tables):
                file.write(text)
                count += rows_written
                say("fetching", what=f"rows of {split.repo}", done=count, unit="rows")
            file.flush()
            os.fsync(file.fileno())
        if not count:
            message = f"The split {make_visible(split.split, 60)} of {split.repo} is empty."
            raise FtwizardError(message, "Choose another split or data set.")
        part.replace(split.path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(split.path.parent)


def slug(name: str) -> str:
    """Return ``name`` as part of a file name, with a hash if characters were replaced."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:60]
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def format_names(names: list[str]) -> str:
    """Format names as a short list."""
    shown = ", ".join(make_visible(name, 60) for name in names[:_MAX_SHOWN_NAMES]) or "none"
    more = len(names) - _MAX_SHOWN_NAMES
    return f"{shown} and {format_count(more, 'other')}" if more > 0 else shown
