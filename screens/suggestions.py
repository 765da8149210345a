"""What may be meant by what was typed: files, folders, models."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from ftwizard import file_names
from ftwizard.errors import FtwizardError
from ftwizard.models import known
from ftwizard.text import size

MAX_CHARACTERS = 4096
"""Longer than any path (PATH_MAX): a megabyte pasted by mistake must not be laid out."""
ROWS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
"""How names of files of rows end."""
PACKED = (".gz", ".zst", ".bz2", ".xz")
Suggest = Callable[[str], Sequence[tuple[str, str, str]]]
"""What was typed → (value, shown name, note) of each suggestion."""


def paths(is_wanted: Callable[[os.DirEntry[str]], bool]) -> Suggest:
    """Return a suggester of folders and of the files that are wanted.

    Names that begin with what was typed; where none does, those that hold it.
    """

    def suggest(typed: str) -> list[tuple[str, str, str]]:
        head, _, begun = typed.rpartition("/")
        begun = begun.lower()
        found: list[tuple[bool, bool, str, str, str]] = []
        try:
            folder = file_names.expand(f"{head}/" if "/" in typed else ".")
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name.lower()
                    if begun not in name or (name.startswith(".") and not begun.startswith(".")):
                        continue
                    value = f"{head}/{entry.name}" if "/" in typed else entry.name
                    with contextlib.suppress(OSError):  # a link to nowhere, or a file just removed
                        if entry.is_dir():
                            row = (True, f"{value}/", f"{entry.name}/", "")
                        elif is_wanted(entry):
                            row = (False, value, entry.name, size(entry.stat().st_size))
                        else:
                            continue
                        found.append((name.startswith(begun), *row))
        except (OSError, FtwizardError):  # there is nothing to suggest; Enter says why
            return []
        first = any(row[0] for row in found)
        chosen = [row[1:] for row in found if row[0] or not first]
        return [row[1:] for row in sorted(chosen, key=lambda row: (row[0], row[2]))]

    return suggest


def is_data(entry: os.DirEntry[str]) -> bool:
    """Say whether a file's name looks like rows, also packed."""
    name = entry.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.endswith(ROWS)


def prompts(typed: str) -> Sequence[tuple[str, str, str]]:
    """Suggest files of prompts: one on each line, or rows."""
    return paths(lambda entry: is_data(entry) or entry.name.lower().endswith(".txt"))(typed)


def models(typed: str) -> list[tuple[str, str, str]]:
    """Suggest models that are here or known; folders once a path is begun."""
    if typed.startswith((".", "~", "/")):
        return list(paths(lambda _: False)(typed))
    return [(name, name, note) for name, note in known() if typed.lower() in name.lower()]
