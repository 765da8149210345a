"""Completion of typed names of files and models, and names for new files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ftwizard import locations, user_paths
from ftwizard.errors import FtwizardError
from ftwizard.screens.draft.drafts import format_path
from ftwizard.text import format_bytes, make_visible

MAX_CHARACTERS = 4096
"""Longer than any path (PATH_MAX): a megabyte pasted by mistake must not be laid out."""
DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
"""Suffixes of data files."""
COMPRESSION_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
Suggest = Callable[[str], Sequence[tuple[str, str, str]]]
"""Maps typed text to (value, display name, note) of each suggestion."""


def build_path_suggester(is_wanted: Callable[[os.DirEntry[str]], bool]) -> Suggest:
    """Build a suggester of folders and of the files that ``is_wanted`` accepts.

    Suggests names that start with the typed text, else names that contain it.
    """

    def suggest(typed: str) -> list[tuple[str, str, str]]:
        head, _, begun = typed.rpartition("/")
        begun = begun.lower()
        matches: list[tuple[bool, bool, str, str, str]] = []
        try:
            folder = user_paths.expand(f"{head}/" if "/" in typed else ".")
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name.lower()
                    if begun not in name or (name.startswith(".") and not begun.startswith(".")):
                        continue
                    value = f"{head}/{entry.name}" if "/" in typed else entry.name
                    with contextlib.suppress(OSError):  # a broken link, or a file just removed
                        if entry.is_dir():
                            row = (True, f"{value}/", f"{entry.name}/", "")
                        elif is_wanted(entry):
                            row = (False, value, entry.name, format_bytes(entry.stat().st_size))
                        else:
                            continue
                        matches.append((name.startswith(begun), *row))
        except (OSError, FtwizardError):  # Enter shows the error
            return []
        first = any(row[0] for row in matches)
        chosen = [row[1:] for row in matches if row[0] or not first]
        return [row[1:] for row in sorted(chosen, key=lambda row: (row[0], row[2]))]

    return suggest


def is_data_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether a file name looks like data, compressed or not."""
    name = entry.name.lower()
    for packed in COMPRESSION_SUFFIXES:
        name = name.removesuffix(packed)
    return name.endswith(DATA_SUFFIXES)


def suggest_prompts(typed: str) -> Sequence[tuple[str, str, str]]:
    """Suggest prompt files: text or data files."""
    return build_path_suggester(
        lambda entry: is_data_file(entry) or entry.name.lower().endswith(".txt")
    )(typed)


def suggest_name(source: str, word: str) -> str:
    """Suggest an unused name for a JSON Lines file made from ``source``: ``rows.fixed.jsonl``.

    The file goes next to its source, or into the working directory if that is a cache.
    """
    stem = Path(source).name
    while (cut := stem.lower()).endswith((*COMPRESSION_SUFFIXES, *DATA_SUFFIXES)):
        stem = stem[: cut.rindex(".")]
    return _find_free_name(source, f"{stem or 'rows'}.{word}", ".jsonl")


def suggest_folder(source: str, name: str) -> str:
    """Suggest an unused folder for what is made with the rows of ``source``, next to them likewise."""
    return _find_free_name(source, name, "")


def _find_free_name(source: str, stem: str, suffix: str) -> str:
    folder = Path(source).parent
    folder = folder if _is_writable(folder) else Path.cwd()
    number = 1
    while True:
        again = f"-{number}" if number > 1 else ""
        made = folder / f"{stem}{again}{suffix}"
        if not user_paths.exists(made):
            return format_path(str(made))
        number += 1


def find_problem(names: Sequence[str]) -> str:
    """Describe why files cannot be written under these names; empty if they can."""
    wholes: list[Path] = []
    for name in names:
        if not name.strip():
            return "Enter a file name."
        try:
            path = user_paths.make_absolute(name.strip())
        except FtwizardError as error:
            return error.text
        if user_paths.exists(path):
            return f"File {make_visible(name, 100)} already exists. Choose another name."
        if not user_paths.is_folder(path.parent):
            return f"Folder {make_visible(str(path.parent), 200)} does not exist."
        if path in wholes:
            return "Give each file a different name."
        wholes.append(path)
    return ""


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and not folder.is_relative_to(locations.cache_folder())
