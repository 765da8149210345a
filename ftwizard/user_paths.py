"""Paths typed by the user: expanded, made absolute, and checked."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.text import find_similar, format_bytes, make_visible

_MAX_SHOWN = 100
MAX_ENTRIES = 10_000
"""Entries of a folder among which a mistyped name is looked for."""


def expand(name: str) -> Path:
    """Return the path that ``name`` means, with ``~`` and ``~user`` expanded.

    The path need not exist. Raises FtwizardError for an unknown user, an invalid character, and a
    name longer than the file system allows.
    """
    path = _expanded(name)
    _refuse_impossible(path, name)
    return path


def make_absolute(name: str, folder: Path | None = None) -> Path:
    """Return the absolute path that ``name`` means, relative to ``folder`` (default: the current one).

    ``.`` and ``..`` are resolved. Raises FtwizardError as ``expand`` does, and where the current
    folder has been deleted.
    """
    expanded = _expanded(name)
    try:
        path = Path(os.path.normpath(((folder or Path()) / expanded).absolute()))
    except FileNotFoundError:
        raise FtwizardError(
            "The folder that ftwizard was started in was deleted.",
            "Change to an existing folder, or use an absolute path.",
        ) from None
    _refuse_impossible(path, name)
    return path


def exists(path: Path) -> bool:
    """Return whether the path exists; False where that cannot be checked."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises without permission)


def is_folder(path: Path) -> bool:
    """Return whether the path is a folder; False where that cannot be checked."""
    return os.path.isdir(path)  # noqa: PTH112 (as above)


def suggest_file(path: Path) -> str:
    """Ask whether the file with the nearest name in its folder was meant; empty if none is near.

    Raises FtwizardError as ``expand`` does.
    """
    near = find_similar(path.name, list_files(expand(str(path)).parent))
    return f"Did you mean {make_visible(str(path.parent / near), 200)}?" if near else ""


def list_files(folder: Path, endings: tuple[str, ...] = ()) -> list[str]:
    """List the names of files with one of the endings, of all without any; not of hidden files."""
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
                hidden = entry.name.startswith(".")
                if not hidden and (not endings or entry.name.lower().endswith(endings)):
                    names.append(entry.name)
    except OSError:
        return []
    return sorted(names)


def read_bytes(path: Path, maximum: int) -> bytes:
    """Read a file of at most ``maximum`` bytes, before anything parses it.

    Raises FtwizardError for a larger file, a folder, and a pipe or a device, which might never end;
    OSError for a file that cannot be read.
    """
    shown = make_visible(str(path), 200)
    # Non-blocking: a pipe without a writer would hang.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise FtwizardError(f"{shown} is a socket, not a file.", "Name a file.") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise FtwizardError(f"{shown} is a folder.", "Name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            kind = "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device"
            raise FtwizardError(f"{shown} is {kind}, not a file.", "Save it as a file first.")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(maximum + 1)
    finally:
        os.close(descriptor)
    if len(data) > maximum:
        raise FtwizardError(
            f"{shown} is too large: {format_bytes(status.st_size)}; it may have {format_bytes(maximum)}.",
            "Check that it is the right file.",
        )
    return data


def is_file(name: str) -> bool:
    """Return whether a typed name is that of an existing file; False where that cannot be checked."""
    return bool(name) and not explain_problem(name)


def explain_problem(name: str) -> str:
    """Return why a typed name is not an existing file, in a sentence; empty where it is one."""
    try:
        path = make_absolute(name)
    except FtwizardError as error:
        return error.text
    if is_folder(path):
        return "That is a folder. Name a file in it."
    return "" if exists(path) else f"{make_visible(name, 200)} does not exist."


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except (RuntimeError, ValueError):  # an unknown or impossible user name
        user = name.partition("/")[0].removeprefix("~")
        home = f"home folder of user “{make_visible(user, 40)}”" if user else "your home folder"
        raise FtwizardError(f"{_quote(name)}: {home} not found.", "Use an absolute path.") from None


def _refuse_impossible(path: Path, name: str) -> None:
    try:
        os.lstat(path)
    except UnicodeEncodeError:
        problem = "has a character that a file name cannot have here"
    except ValueError:
        problem = "has a NUL character, which a file name cannot have"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return
        problem = f"is too long for a file name ({len(name):,} characters)"
    else:
        return
    raise FtwizardError(f"{_quote(name)} {problem}.", "Check the name.")


def _quote(name: str) -> str:
    return f"“{make_visible(name, _MAX_SHOWN)}”"
