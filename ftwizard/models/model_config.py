"""Model configurations by name, from a folder, the Hugging Face cache or the catalog.

Without network access or heavy imports, so that a screen can call this on every key press.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
from pathlib import Path
from typing import Any

from ftwizard import locations, user_paths
from ftwizard.catalog import model_configs
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import write_whole
from ftwizard.models import hub, model_folder
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape
from ftwizard.text import format_bytes, make_visible

MAX_BYTES = 4_000_000
"""Size limit of a config.json; those of large quantized models have some hundred kB."""
_FILE = "config.json"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,99}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_config(name: str, revision: str | None = None) -> tuple[dict[str, Any], str] | None:
    """Return a model's config.json and a description of its origin; None if it is unknown.

    ``name`` is a folder or a Hub ID. Order: the folder; the snapshot of ``revision`` in the
    Hugging Face cache, complete or not (None: the main branch, else the newest); the catalog; a
    configuration that was fetched from the Hub before.
    Raises FtwizardError if the file cannot be read or is not a JSON object.
    """
    if not name.strip():
        return None
    if hub.is_folder(name):
        folder = user_paths.expand(name)
        return _read(folder / _FILE, f"the folder {make_visible(str(folder), 200)}")
    snapshot = find_snapshot(name, revision)
    if snapshot is not None:
        origin = f"{make_visible(name, 200)} in the Hugging Face cache (commit {snapshot.name[:8]})"
        if cached := _read(snapshot / _FILE, origin):
            return cached
    entry = model_configs.find_config(name)
    if entry is None:
        fetched = read_fetched(name)
        return (fetched, f"{make_visible(name, 200)} on the Hugging Face Hub") if fetched else None
    return entry.config, f"{entry.name} as of {entry.as_of}: {entry.source}"


def read_shape(name: str, revision: str | None = None) -> ModelShape | None:
    """Return the shape of a model; None if its configuration is unknown.

    Raises FtwizardError as ``config`` does, and for an unknown architecture.
    """
    result = read_config(name, revision)
    return build_shape(*result) if result is not None else None


def count_parameters(name: str) -> int | None:
    """Return the number of parameters of a model; None if it is unknown."""
    try:
        shape = read_shape(name)
    except FtwizardError:
        return None
    return shape.parameters if shape else None


def read_fetched(name: str) -> dict[str, Any] | None:
    """Return the configuration that ``save_fetched`` kept for a Hub id; None without one."""
    path = _fetched_path(name)
    return model_folder.read_json(path) if path is not None else None


def save_fetched(name: str, content: bytes) -> bool:
    """Keep a Hub model's config.json in ftwizard's cache; return whether it is a configuration."""
    path = _fetched_path(name)
    if path is None or len(content) > MAX_BYTES:
        return False
    try:
        if not isinstance(json.loads(content), dict):
            return False
        locations.create_private_folder(path.parent)
        write_whole(path, content)
    except (OSError, ValueError, RecursionError, FtwizardError):
        return False
    return True


def _fetched_path(name: str) -> Path | None:
    if not _REPOSITORY.fullmatch(name) or ".." in name:
        return None
    return locations.cache_folder() / "configs" / f"{name.replace('/', '--')}.json"


def find_snapshot(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a snapshot in the Hugging Face cache, complete or not."""
    if not _REPOSITORY.fullmatch(name):
        return None
    folder = locations.hub_cache_folder() / f"models--{name.replace('/', '--')}"
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit) and _REVISION.fullmatch(commit) and ".." not in commit:
        with contextlib.suppress(OSError, ValueError):
            commit = (folder / "refs" / commit).read_text("ascii").strip()
    if _COMMIT.fullmatch(commit):
        return folder / "snapshots" / commit
    if revision is not None:
        return None
    # No branch points to a snapshot that was downloaded by commit.
    try:
        snapshots = [path for path in (folder / "snapshots").iterdir() if (path / _FILE).is_file()]
        return max(snapshots, key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None


def _read(path: Path, origin: str) -> tuple[dict[str, Any], str] | None:
    """Return the object in a file and its origin, None if there is no such file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _read_error(origin, "is not a file")
        if status.st_size > MAX_BYTES:
            raise _read_error(
                origin, f"is {format_bytes(status.st_size)}, more than any model needs"
            )
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _read_error(origin, f"could not be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _read_error(origin, f"is broken: {make_visible(str(error), 100)}") from None
    if not isinstance(value, dict):
        raise _read_error(origin, "is not a JSON object")
    return value, origin


def _read_error(origin: str, problem: str) -> FtwizardError:
    return FtwizardError(
        f"{_FILE} of {origin} {problem}.",
        "Save the model again with save_pretrained, or delete it from the cache and download it "
        "again.",
    )
