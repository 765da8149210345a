"""The configuration of a model by its name alone: from a folder, the cache, or what is known of it.

Nothing is asked of the Hub and nothing heavy is imported, so that a page can ask at every key.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from ftwizard import file_names, models
from ftwizard.catalog import configs
from ftwizard.errors import FtwizardError
from ftwizard.estimate.shape import Shape, from_config
from ftwizard.text import size, visible

MOST_BYTES = 4_000_000
"""The longest config.json that is read; those of large quantised models have some hundred kB."""
_FILE = "config.json"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,99}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def config(name: str, revision: str | None = None) -> tuple[dict[str, Any], str] | None:
    """Return a model's config.json, and in words where it comes from; None where it is not known.

    ``name``: a folder, or an id on the Hugging Face Hub. Order: the folder; the snapshot of
    ``revision`` (None: of the main branch, else the newest) in the Hugging Face cache, whole or
    not; what the catalogue knows. Raises FtwizardError for a file that cannot be read or is no
    JSON object.
    """
    if not name.strip():
        return None
    if models.is_folder(name):
        folder = file_names.expand(name)
        return _read(folder / _FILE, f"the folder {visible(str(folder), 200)}")
    found = _snapshot(name, revision)
    if found is not None:
        said = f"{visible(name, 200)} in the Hugging Face cache (commit {found.name[:8]})"
        if read := _read(found / _FILE, said):
            return read
    known = configs.known(name)
    if known is None:
        return None
    return known.config, f"{known.name} as known in {known.as_of}: {known.source}"


def shape(name: str, revision: str | None = None) -> Shape | None:
    """Return the shape of a model; None where its configuration is not known.

    Raises FtwizardError as ``config`` does, and for an architecture that is not known.
    """
    found = config(name, revision)
    return from_config(*found) if found is not None else None


def _snapshot(name: str, revision: str | None) -> Path | None:
    """Return the folder of a snapshot in the Hugging Face cache, as its layout has it."""
    if not _REPOSITORY.fullmatch(name):
        return None
    folder = models.hub_cache() / f"models--{name.replace('/', '--')}"
    if commit := _commit(folder, revision or "main"):
        return folder / "snapshots" / commit
    if revision is not None:
        return None
    # A snapshot that was fetched by its commit has no branch that leads to it.
    try:
        there = [one for one in (folder / "snapshots").iterdir() if (one / _FILE).is_file()]
        return max(there, key=lambda one: one.stat().st_mtime, default=None)
    except OSError:
        return None


def _commit(folder: Path, revision: str) -> str | None:
    if _COMMIT.fullmatch(revision):
        return revision
    if not _REVISION.fullmatch(revision) or ".." in revision:
        return None
    try:
        commit = (folder / "refs" / revision).read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _read(path: Path, said: str) -> tuple[dict[str, Any], str] | None:
    """Return the object in a file, None where there is no such file."""
    try:
        there = path.stat()
        if not stat.S_ISREG(there.st_mode):
            raise _broken(said, "is no file")
        if there.st_size > MOST_BYTES:
            raise _broken(said, f"has {size(there.st_size)}, more than any model needs")
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _broken(said, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _broken(said, f"is broken: {visible(str(error), 100)}") from None
    if not isinstance(value, dict):
        raise _broken(said, "holds no JSON object")
    return value, said


def _broken(said: str, what: str) -> FtwizardError:
    return FtwizardError(
        f"The {_FILE} of {said} {what}.",
        "Save the model again with save_pretrained, or remove it from the cache and fetch it again.",
    )
