"""Folders and files of ftwizard on this machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ftwizard import user_paths
from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible


def home_folder() -> Path:
    """Return the folder of runs: ``$FTWIZARD_HOME``, else the platform's user data folder."""
    return _choose_folder("FTWIZARD_HOME", "user_data_path")


def runs_folder() -> Path:
    """Return the folder that holds one folder per run."""
    return home_folder() / "runs"


def cache_folder() -> Path:
    """Return the folder of files that can be recreated (models, analyses)."""
    return _choose_folder("FTWIZARD_CACHE", "user_cache_path")


def hub_cache_folder() -> Path:
    """Return the folder of the Hugging Face cache.

    Source: constants.py of huggingface_hub, with the same variables in the same order; an empty
    variable counts there too.
    """
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if (chosen := os.environ.get(variable)) is not None:
            return _expand_variable(variable, os.path.expandvars(chosen))
    if (chosen := os.environ.get("HF_HOME")) is not None:
        return _expand_variable("HF_HOME", os.path.expandvars(chosen)) / "hub"
    caches = os.path.expandvars(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return _expand_variable("XDG_CACHE_HOME", caches) / "huggingface" / "hub"


def measure_hub_cache(kind: str, repo: str) -> int:
    """Return the bytes of a repository in the Hugging Face cache, partial downloads included.

    ``kind``: ``models`` or ``datasets``.
    """
    blobs = hub_cache_folder() / f"{kind}--{repo.replace('/', '--')}" / "blobs"
    try:
        return sum(path.stat().st_size for path in blobs.iterdir())
    except OSError:
        return 0


def config_folder() -> Path:
    """Return the folder of the user's settings: ``$FTWIZARD_CONFIG``, else the platform's
    (``~/.config/ftwizard`` on Linux)."""
    return _choose_folder("FTWIZARD_CONFIG", "user_config_path")


def prices_file() -> Path:
    """Return the path of the user's own prices; it may not exist."""
    return config_folder() / "prices.toml"


def config_file() -> Path:
    """Return the path of the user's settings; it may not exist."""
    return config_folder() / "config.toml"


def check_variables() -> None:
    """Raise FtwizardError if a variable names a folder that cannot be used.

    One that does not exist yet is created when something is written to it.
    """
    for variable, get_folder in (
        ("FTWIZARD_HOME", runs_folder),
        ("FTWIZARD_CACHE", cache_folder),
        ("FTWIZARD_CONFIG", config_folder),
    ):
        if variable in os.environ and (problem := _find_problem(get_folder())):
            raise FtwizardError(
                f"{variable}: {problem}.",
                f"Set {variable} to a folder, or unset it for the default.",
            )


def require_folder(path: Path) -> None:
    """Raise FtwizardError if ``path`` exists but is not a folder that can be read."""
    if problem := _find_problem(path):
        raise FtwizardError(f"{problem}.", "Move it away, or set FTWIZARD_HOME to another folder.")


def _find_problem(path: Path) -> str:
    """Return why a folder, or the lowest that exists of those above it, cannot be used."""
    for level in (path, *path.parents):
        name = make_visible(str(level), 200)
        try:
            status = level.stat()
        except (FileNotFoundError, NotADirectoryError):
            if level.is_symlink():
                target = make_visible(str(level.readlink()), 200)
                return f"{name} is a link to {target}, which does not exist"
            continue
        except OSError as error:
            return f"{name} could not be opened: {error.strerror}"
        if not stat.S_ISDIR(status.st_mode):
            return f"{name} is a file, not a folder"
        if not os.access(level, os.R_OK | os.X_OK) and level == path:
            return f"{name} could not be opened: Permission denied"
        break
    return ""


def _choose_folder(variable: str, platform_folder: str) -> Path:
    chosen = os.environ.get(variable)
    if chosen is not None:
        if not chosen.strip():
            raise FtwizardError(f"{variable} is empty.", "Set it to a folder, or unset it.")
        folder = _expand_variable(variable, chosen)
        # The process that trains runs in another folder.
        if not Path(chosen).expanduser().is_absolute():
            raise FtwizardError(
                f"{variable}: {make_visible(chosen, 100)} is a relative path.",
                f"Use an absolute one: {make_visible(str(folder), 200)}",
            )
        return folder
    import platformdirs  # slow to import

    return Path(getattr(platformdirs, platform_folder)("ftwizard"))


def _expand_variable(variable: str, name: str) -> Path:
    try:
        return user_paths.expand(name).absolute()
    except FtwizardError as error:
        raise FtwizardError(f"{variable}: {error.message}", error.hint) from None


def create_private_folder(path: Path) -> Path:
    """Create ``path`` and its missing parents, readable by the owner only; return it.

    Write access by other users is removed. Raises FtwizardError where the folder cannot be created
    or written to, or belongs to another user.
    """
    try:
        for level in reversed([path, *path.parents]):
            if not level.exists():
                level.mkdir(mode=0o700, exist_ok=True)
        status = path.stat()
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        if status.st_uid != os.geteuid():
            raise PermissionError(13, "it belongs to another user")
        if status.st_mode & 0o022:
            path.chmod(0o700)
    except OSError as error:
        raise FtwizardError(
            f"Could not write to {path}: {error.strerror}.",
            "Free some disk space, or set FTWIZARD_HOME (runs), FTWIZARD_CACHE (models) or "
            "FTWIZARD_CONFIG (your prices) to a writable folder.",
        ) from error
    return path
