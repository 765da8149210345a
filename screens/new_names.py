"""Names for files that are to be written: good ones, none of a file that is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ftwizard import file_names, settings
from ftwizard.errors import FtwizardError
from ftwizard.screens.draft import shown_path
from ftwizard.screens.suggestions import PACKED, ROWS
from ftwizard.text import visible

_ENDINGS = (*PACKED, *ROWS)


def free_name(source: str, word: str) -> str:
    """Return a name for a file of JSON Lines made of ``source`` that no file has: ``rows.fixed.jsonl``.

    It stands beside its source, or here where that is kept elsewhere (in a cache).
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
            return shown_path(str(made))
        number += 1


def problem(names: Sequence[str]) -> str:
    """Say why files cannot be written under these names; empty where they can."""
    wholes: list[Path] = []
    for name in names:
        if not name.strip():
            return "Name the file."
        try:
            path = file_names.whole(name.strip())
        except FtwizardError as error:
            return f"{error.message} {error.hint}"
        if file_names.exists(path):
            return f"There is a file {visible(name, 100)} already; nothing is written over."
        if not file_names.is_folder(path.parent):
            return f"There is no folder {visible(str(path.parent), 200)}."
        if path in wholes:
            return "Give each file a name of its own."
        wholes.append(path)
    return ""


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and not folder.is_relative_to(settings.cache())
