"""Names of files as a person types them: made paths, or a sentence about what is wrong with them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

_SHOWN = 100


def expand(name: str) -> Path:
    """Return the path that ``name`` means, with ``~`` and ``~user`` put in.

    Nothing needs to be there. Raises FtwizardError for an unknown user, a NUL, a character that no
    name can have here, and for what is longer than the file system allows.
    """
    path = _expanded(name)
    _refuse_impossible(path, name)
    return path


def whole(name: str, folder: Path | None = None) -> Path:
    """Return the absolute path that ``name`` means, seen from ``folder`` (default: the present one).

    ``.`` and ``..`` are taken out of it. Raises FtwizardError as ``expand`` does, and where the
    folder that this process stands in has been removed.
    """
    expanded = _expanded(name)
    try:
        path = Path(os.path.normpath(((folder or Path()) / expanded).absolute()))
    except FileNotFoundError:
        raise FtwizardError(
            "The folder that ftwizard was started in is gone.",
            "Go to one that is there, or write the path out from /.",
        ) from None
    _refuse_impossible(path, name)
    return path


def exists(path: Path) -> bool:
    """Say whether something is there; no where that cannot be looked at."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Say whether a folder is there; no where that cannot be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def problem(name: str) -> str:
    """Say why a name as it was typed means no file that is there; empty where it means one."""
    try:
        path = whole(name)
    except FtwizardError as error:
        return f"{error.message} {error.hint}"
    if is_folder(path):
        return "That is a folder; name a file in it."
    return "" if exists(path) else f"There is no such file: {visible(name, 200)}."


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except (RuntimeError, ValueError):  # no such user, or one whose name no user can have
        user = name.partition("/")[0].removeprefix("~")
        whose = f"the home of a user “{visible(user, 40)}”" if user else "your home"
        raise FtwizardError(
            f"{_shown(name)} begins with {whose}, which is not known here.",
            "Write the path out from /.",
        ) from None


def _refuse_impossible(path: Path, name: str) -> None:
    try:
        os.lstat(path)
    except UnicodeEncodeError:
        problem = "has a character that no name of a file can have here"
    except ValueError:
        problem = "holds a NUL character, which no name of a file can have"
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return
        problem = f"is too long for the name of a file ({len(name):,} characters)"
    else:
        return
    raise FtwizardError(f"{_shown(name)} {problem}.", "Check the name.")


def _shown(name: str) -> str:
    return f"“{visible(name, _SHOWN)}”"
