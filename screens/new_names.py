"""Names for new files that do not exist yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ftwizard import file_names, settings
from ftwizard.errors import FtwizardError
from ftwizard.screens.draft import format_path
from ftwizard.screens.suggestions import COMPRESSION_SUFFIXES, DATA_SUFFIXES
from ftwizard.text import visible

_ENDINGS = (*COMPRESSION_SUFFIXES, *DATA_SUFFIXES)


def suggest_name(source: str, word: str) -> str:
    """Suggest an unused name for a JSON Lines file made from ``source``: ``rows.fixed.jsonl``.

    The file goes next to its source, or into the working directory if that is a cache.
    """
    path = Path(source)
    stem = path.name
    while (cut := stem.lower()).endswith(_ENDINGS):
        stem = stem[: cut.rindex(".")]
    folder = path.parent if _is_writable(path.parent) else Path.cwd()
    number = 1
    while True:
        again = f"-{number}" if number > 1 else ""
        made = folder / f"{stem or 'rows'}.{word}{again}.jsonl"
        if not file_names.exists(made):
            return format_path(str(made))
        number += 1


def find_problem(names: Sequence[str]) -> str:
    """Describe why files cannot be written under these names; empty if they can."""
    wholes: list[Path] = []
    for name in names:
        if not name.strip():
            return "Enter a file name."
        try:
            path = file_names.whole(name.strip())
        except FtwizardError as error:
            return f"{error.message} {error.hint}"
        if file_names.exists(path):
            return f"File {visible(name, 100)} already exists. Choose another name."
        if not file_names.is_folder(path.parent):
            return f"Folder {visible(str(path.parent), 200)} does not exist."
        if path in wholes:
            return "Give each file a different name."
        wholes.append(path)
    return ""


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and not folder.is_relative_to(settings.cache())
