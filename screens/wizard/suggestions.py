"""Completion of typed names: files, folders and models."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from ftwizard import user_paths
from ftwizard.errors import FtwizardError
from ftwizard.models.hub import find_known_models
from ftwizard.text import format_bytes

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


def suggest_models(typed: str) -> list[tuple[str, str, str]]:
    """Suggest local and known models, or folders once a path is typed."""
    if typed.startswith((".", "~", "/")):
        return list(build_path_suggester(lambda _: False)(typed))
    return [
        (name, name, note) for name, note in find_known_models() if typed.lower() in name.lower()
    ]
