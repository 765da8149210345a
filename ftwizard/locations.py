"""Folders and files of ftwizard on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from ftwizard import user_paths
from ftwizard.errors import FtwizardError


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


def _choose_folder(variable: str, platform_folder: str) -> Path:
    if chosen := os.environ.get(variable):
        return _expand_variable(variable, chosen)
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
