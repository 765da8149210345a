"""Where things live on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from ftwizard import file_names
from ftwizard.errors import FtwizardError


def home() -> Path:
    """Return the folder of runs: ``$FTWIZARD_HOME``, else the platform's user data folder."""
    if chosen := os.environ.get("FTWIZARD_HOME"):
        return _chosen("FTWIZARD_HOME", chosen)
    import platformdirs

    return Path(platformdirs.user_data_dir("ftwizard"))


def runs_folder() -> Path:
    """Return the folder that holds one folder a run."""
    return home() / "runs"


def cache() -> Path:
    """Return the folder of what can be made or fetched again (models, analyses)."""
    if chosen := os.environ.get("FTWIZARD_CACHE"):
        return _chosen("FTWIZARD_CACHE", chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ftwizard"))


def config() -> Path:
    """Return the folder of what a person sets (own prices, config.toml): ``$FTWIZARD_CONFIG``, else the
    platform's, ``~/.config/ftwizard`` on Linux."""
    if chosen := os.environ.get("FTWIZARD_CONFIG"):
        return _chosen("FTWIZARD_CONFIG", chosen)
    import platformdirs

    return Path(platformdirs.user_config_dir("ftwizard"))


def prices_file() -> Path:
    """Return the file of a person's own prices, whether or not it is there."""
    return config() / "prices.toml"


def config_file() -> Path:
    """Return the file of a person's own settings, whether or not it is there."""
    return config() / "config.toml"


def _chosen(variable: str, name: str) -> Path:
    try:
        return file_names.expand(name).absolute()
    except FtwizardError as error:
        raise FtwizardError(f"{variable}: {error.message}", error.hint) from None


def private_folder(path: Path) -> Path:
    """Make ``path`` and its missing parents, readable by the owner alone.

    A folder of our own that others may write to is closed to them. Raises FtwizardError when it
    cannot be made or written to, or is another user's.
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
            f"Cannot write to {path}: {error.strerror}.",
            "Free some space, or set FTWIZARD_HOME (runs), FTWIZARD_CACHE (models) or "
            "FTWIZARD_CONFIG (own prices) to a folder that you can write to.",
        ) from error
    return path
