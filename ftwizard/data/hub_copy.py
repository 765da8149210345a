"""A split of a data set as one file: brought here, written whole, kept under a name that says all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import settings
from ftwizard.data import arrow_rows
from ftwizard.errors import FtwizardError
from ftwizard.jobs import lock
from ftwizard.jobs.folder import sync_folder
from ftwizard.machine import free_bytes
from ftwizard.text import plural, size, visible

Say = Callable[..., None]
"""Called as ``say(phase, what=…, done=…, total=…, unit=…)``."""
POLL_S = 0.3
BATCH_ROWS = 1000
PATHS_AT_ONCE = 500
_SHOWN_NAMES = 20


def folder() -> Path:
    """Return where copies are kept."""
    return settings.cache() / "datasets"


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """What is fetched, with nothing left open."""

    repo: str
    config: str
    split: str
    commit: str

    @property
    def path(self) -> Path:
        repo = self.repo.replace("/", "--")
        name = f"{repo}--{slug(self.config)}--{slug(self.split)}-{self.commit[:8]}.jsonl"
        return folder() / name

    @property
    def said(self) -> str:
        config = f", configuration {self.config}" if self.config != "default" else ""
        split = f"split {self.split}, commit {self.commit[:8]}"
        return f"{self.repo} on the Hugging Face Hub{config}, {split}"


@contextlib.contextmanager
def held(target: Path) -> Iterator[None]:
    """Hold a copy's lock; what a killed fetch has left of it is cleared away."""
    held = lock.take_exclusive(target.with_name(f".{target.name}.lock"), wait=True)
    try:
        for old in target.parent.glob(f".{target.name}.*.part"):
            old.unlink(missing_ok=True)
        yield
    finally:
        if held is not None:
            os.close(held)


def download(builder: Any, found: Split, say: Say) -> list[str]:
    """Bring the files of a split into the library's cache; return where they are."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_CACHE

    prefix = f"hf://datasets/{found.repo}@{found.commit}/"
    files = [str(file) for file in builder.config.data_files[found.split]]
    if not all(file.startswith(prefix) for file in files):
        raise ValueError("Data files don't belong to the repository")
    names = [file.removeprefix(prefix) for file in files]
    missing = [name for name in names if not _is_cached(found, name)]
    total = _size(found, missing)
    _check_room(total, found)
    blobs = Path(HF_HUB_CACHE) / f"datasets--{found.repo.replace('/', '--')}" / "blobs"
    began = _bytes(blobs)

    def bring() -> list[str]:
        return [
            hf_hub_download(found.repo, name, revision=found.commit, repo_type="dataset")
            for name in names
        ]

    def look() -> None:
        if total:
            done = min(max(0, _bytes(blobs) - began), total)
            say("fetching", what=found.repo, done=done, total=total, unit="bytes")

    return _watched(bring, look)


def _is_cached(found: Split, name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(found.repo, name, revision=found.commit, repo_type="dataset")
    return isinstance(path, str)


def _size(found: Split, names: list[str]) -> int:
    """Return how many bytes files of the repository have."""
    from huggingface_hub import HfApi

    total = 0
    for start in range(0, len(names), PATHS_AT_ONCE):
        infos = HfApi().get_paths_info(
            found.repo,
            names[start : start + PATHS_AT_ONCE],
            revision=found.commit,
            repo_type="dataset",
        )
        total += sum(getattr(info, "size", 0) for info in infos)
    return total


def _watched(work: Callable[[], list[str]], look: Callable[[], None]) -> list[str]:
    """Do ``work`` in a thread, so that a stop need not wait for gigabytes; ``look`` meanwhile."""
    arrived: queue.Queue[list[str] | Exception] = queue.Queue()

    def run() -> None:
        try:
            arrived.put(work())
        except Exception as error:  # noqa: BLE001 (raised by the other thread)
            arrived.put(error)

    threading.Thread(target=run, daemon=True).start()
    while True:
        look()
        with contextlib.suppress(queue.Empty):
            got = arrived.get(timeout=POLL_S)
            break
    if isinstance(got, Exception):
        raise got
    return got


def _check_room(missing: int, found: Split) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    for place, variable in ((Path(HF_HUB_CACHE), "HF_HOME"), (folder(), "FTWIZARD_CACHE")):
        if missing > (free := free_bytes(place)):
            raise FtwizardError(
                f"{found.repo} needs {size(missing)}, and {size(free)} are free at {place}.",
                f"Free some space, or set {variable} to a folder on a larger disk.",
            )


def write(builder: Any, found: Split, say: Say) -> None:
    """Write the rows down, whole or not at all. Raises FtwizardError where there are none."""
    rows = builder.as_streaming_dataset(split=found.split)
    if columns := arrow_rows.media(rows.features):
        raise FtwizardError(
            f"{found.repo} holds pictures, sound or the like (column {listed(columns)}); only "
            "text is trained on.",
            "Choose a data set of text, or save the text columns as JSON Lines and name the file.",
        )
    tables = rows.with_format("arrow").iter(batch_size=BATCH_ROWS)
    part = found.path.with_name(f".{found.path.name}.{os.getpid()}.part")
    count = 0
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(part, flags, 0o600), "wb") as file:
            for rows_written, text in arrow_rows.lines(tables):
                file.write(text)
                count += rows_written
                say("fetching", what=f"rows of {found.repo}", done=count, unit="rows")
            file.flush()
            os.fsync(file.fileno())
        if not count:
            raise FtwizardError(
                f"The split {visible(found.split, 60)} of {found.repo} is empty.",
                "Choose another split or data set.",
            )
        part.replace(found.path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(found.path.parent)


def slug(name: str) -> str:
    """Return ``name`` as part of a file's name; a changed one keeps apart from its likes."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:60]
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def listed(names: list[str]) -> str:
    shown = ", ".join(visible(name, 60) for name in names[:_SHOWN_NAMES]) or "none"
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {plural(more, 'other')}" if more > 0 else shown


def _bytes(blobs: Path) -> int:
    """Return how much of a repository is in the library's cache, unfinished files included."""
    try:
        return sum(path.stat().st_size for path in blobs.iterdir())
    except OSError:
        return 0
