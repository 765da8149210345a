"""Data files and Hub datasets used lately: a small list in the home folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ftwizard import locations, user_paths
from ftwizard.data.documents import DataReport
from ftwizard.data.format_names import FORMAT_NAMES
from ftwizard.data.hub import ids
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import write_whole
from ftwizard.screens.draft.drafts import format_path
from ftwizard.screens.draft.suggestions import build_path_suggester, is_data_file
from ftwizard.text import format_age, format_count

MAX_FILES = 8
MAX_BYTES = 64_000
"""Largest list that is read: ours is far smaller."""
_suggest_here = build_path_suggester(is_data_file)


class RecentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read and checked."""

    name: str
    """Absolute path, or Hub id as typed."""
    rows: int
    format: str | None
    used: float
    """Unix time of the last check, in seconds."""

    @property
    def exists(self) -> bool:
        """Whether the file is still there; a dataset on the Hub is assumed to be."""
        return ids.parse(self.name) is not None or user_paths.exists(Path(self.name))

    def describe(self) -> str:
        """Describe rows, format and age on a line."""
        formats = (words for name, words in FORMAT_NAMES.items() if name == self.format)
        age = format_age(time.time() - self.used)
        return ", ".join(
            filter(None, (format_count(self.rows, "row"), next(formats, ""), f"used {age} ago"))
        )


def list_recent() -> list[RecentFile]:
    """List the files used lately, most recent first; a damaged list counts as empty."""
    try:
        with open(_path(), "rb") as file:
            files = msgspec.json.decode(file.read(MAX_BYTES), type=list[RecentFile])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, FtwizardError):
        return []
    return sorted(files, key=lambda file: -file.used)[:MAX_FILES]


def remember(name: str, report: DataReport) -> None:
    """Put a file or Hub id on top of the list. A list that cannot be written is not needed."""
    used = RecentFile(name=name, rows=report.rows, format=report.format, used=time.time())
    _write([used, *(file for file in list_recent() if file.name != name)])


def forget(name: str) -> None:
    """Remove a file from the list; the file itself is not touched."""
    _write([file for file in list_recent() if file.name != name])


def is_recent(name: str) -> bool:
    """Tell whether a suggestion, as ``suggest_data`` shows it, is of the list."""
    return any(format_path(file.name) == name for file in list_recent())


def suggest_data(typed: str) -> Sequence[tuple[str, str, str]]:
    """Suggest the files used lately while nothing is typed, then files by name.

    A file that is gone is left out, but stays on the list: its disk may come back.
    """
    if typed.strip():
        return _suggest_here(typed)
    recent = [_suggest_again(file) for file in list_recent() if file.exists]
    values = {value for value, _, _ in recent}
    return [*recent, *(row for row in _suggest_here(typed) if row[0] not in values)]


def _suggest_again(file: RecentFile) -> tuple[str, str, str]:
    """Return a suggestion with the name before the folder: a long path would be cut at its name."""
    value, about = format_path(file.name), file.describe()
    if value != file.name or ids.parse(file.name):
        return value, value, about
    path = Path(file.name)
    return value, path.name, f"{about}, in {path.parent}"


def _path() -> Path:
    return locations.home_folder() / "recent.json"


def _write(files: list[RecentFile]) -> None:
    try:
        path = _path()
        locations.create_private_folder(path.parent)
        write_whole(path, msgspec.json.encode(files[:MAX_FILES]))
    except (OSError, FtwizardError, UnicodeEncodeError):  # or a name that is not text
        return
