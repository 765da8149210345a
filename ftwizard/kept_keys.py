"""Keys of hosted platforms that the user chose to keep: in the keyring of the system, or in a private file.

A variable of the environment counts more than a kept key. Values are only returned in an environment
for the process that needs them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.text import make_visible

KeptWhere = Literal["keyring", "file"]
_SERVICE_NAME = "ftwizard"
KEYRING_S = 60.0
"""Time for a person to unlock the keyring, before it counts as locked: without a screen, its dialog
waits for ever."""
_MAX_BYTES = 100_000
_Result = TypeVar("_Result")
_NO_KEYRING = ("fail", "null")
"""Modules of the package ``keyring`` for systems that have none."""


class KeySource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key of a service is; never its value."""

    variable: str
    where: Literal["variable", "keyring", "file"]
    path: str = ""
    """The file that holds it."""

    def describe(self) -> str:
        """Describe it in a few words: ``OPENAI_API_KEY in the environment``."""
        if self.where == "variable":
            return f"{self.variable} in the environment"
        kept = "the keyring" if self.where == "keyring" else make_visible(self.path, 200)
        return f"{self.variable}, kept in {kept}"


def find_key(
    service: HostedProvider, environment: Mapping[str, str] | None = None
) -> KeySource | None:
    """Return where everything is that a service needs; None if something is missing, or where the
    service has no key.

    Raises FtwizardError if the file of kept keys cannot be used.
    """
    environment = os.environ if environment is None else environment
    variable = PLATFORMS[service].key_variable
    if not variable:
        return None
    if not find_missing(service, environment):
        return KeySource(variable=variable, where="variable")
    if _complete(service, environment) is None:
        return None
    if _read_file()[service]:
        return KeySource(variable=variable, where="file", path=str(keys_file()))
    return KeySource(variable=variable, where="keyring")


def find_missing(service: HostedProvider, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of a service that are not set in an environment."""
    return tuple(
        name for name in PLATFORMS[service].variables if not environment.get(name, "").strip()
    )


def with_kept_keys(environment: Mapping[str, str], *services: HostedProvider) -> Mapping[str, str]:
    """Return an environment that also has the kept keys of some services (default: all).

    Raises FtwizardError if the file of kept keys cannot be used.
    """
    completed = environment
    for service in services or PLATFORMS:
        if find_missing(service, environment):
            completed = {**completed, **(_complete(service, environment) or {})}
    return completed


def get_value(variable: str) -> str:
    """Return the value of a variable of the environment, else the one that is kept; empty if none is.

    Raises FtwizardError if the file of kept keys cannot be used.
    """
    value = os.environ.get(variable, "").strip()
    services = [service for service, each in PLATFORMS.items() if variable in each.variables]
    if value or not services:
        return value
    return with_kept_keys(os.environ, *services).get(variable, "").strip()


def keep_key(service: HostedProvider, values: Mapping[str, str], *, where: KeptWhere) -> None:
    """Keep what a service needs; raise FtwizardError if it cannot be kept there."""
    if not PLATFORMS[service].variables:
        name, login = PLATFORMS[service].name, PLATFORMS[service].login
        raise FtwizardError(f"{name} has no key that could be kept.", f"Log in instead: {login}")
    missing = find_missing(service, values)
    if missing:
        raise FtwizardError(f"{' and '.join(missing)} cannot be kept: no value was given.")
    kept = {name: values[name].strip() for name in PLATFORMS[service].variables}
    if where == "keyring":
        keyring = _load_keyring()
        if keyring is None:
            raise FtwizardError("This system has no keyring.", "Keep the key in a private file.")
        try:
            text = msgspec.json.encode(kept).decode()
            _wait_for(lambda: keyring.set_password(_SERVICE_NAME, service, text))
        except Exception as error:  # noqa: BLE001 (each backend has its own)
            raise FtwizardError(
                f"The keyring did not take the key ({type(error).__name__}).",
                "Unlock it, or keep the key in a private file.",
            ) from None
    _write_file({**_read_file(), service: kept if where == "file" else {}})


def forget_key(service: HostedProvider) -> None:
    """Forget the kept key of a service, wherever it is; raise FtwizardError if it stays."""
    kept = _read_file()
    values = kept.pop(service, None)
    if values is None:
        return
    if not values and (keyring := _load_keyring()):
        try:
            _wait_for(lambda: keyring.delete_password(_SERVICE_NAME, service))
        except Exception as error:  # noqa: BLE001 (each backend has its own)
            raise FtwizardError(
                f"The keyring did not forget the key ({type(error).__name__}).", "Unlock it first."
            ) from None
    _write_file(kept)


def has_keyring() -> bool:
    """Return whether this system has a keyring that can hold a key."""
    return _load_keyring() is not None


def keys_file() -> Path:
    """Return the path of the private file of kept keys; it may not exist.

    A service without values in it has its key in the keyring.
    """
    return locations.config_folder() / "keys.json"


def _complete(service: HostedProvider, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the kept values that an environment lacks; None if there are none, or if they do not fit.

    A kept key is never sent to another address than the one that it was kept with.
    """
    kept = _read(service)
    if find_missing(service, kept):
        return None
    for name in PLATFORMS[service].variables[1:]:
        if environment.get(name, "").strip() not in ("", kept[name]):
            return None
    return {name: kept[name] for name in find_missing(service, environment)}


def _read(service: HostedProvider) -> Mapping[str, str]:
    """Return the kept values of a service; empty if there are none.

    The keyring is asked only for what was kept there: to ask it can open a dialog.
    """
    kept = _read_file().get(service)
    if kept != {}:
        return kept or {}
    keyring = _load_keyring()
    with contextlib.suppress(Exception):  # a locked keyring has no keys
        text = ""
        if keyring:
            text = _wait_for(lambda: keyring.get_password(_SERVICE_NAME, service))
        return msgspec.json.decode(text, type=dict[str, str]) if text else {}
    return {}


def _wait_for(call: Callable[[], _Result]) -> _Result:
    """Return the result of a call of the keyring; raise TimeoutError after ``KEYRING_S``."""
    results: list[_Result] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 (each backend has its own)
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="keyring")
    thread.start()
    thread.join(KEYRING_S)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


def _load_keyring() -> Any:
    """Return the package ``keyring`` if it is installed and has a real backend; else None."""
    if importlib.util.find_spec("keyring") is None:
        return None
    with contextlib.suppress(Exception):  # backends fail in many ways where no session runs
        import keyring

        backend = keyring.get_keyring()
        kind = type(backend).__module__.rpartition(".")[2]
        is_real = kind not in _NO_KEYRING and getattr(backend, "priority", 0) > 0
        # Files of other packages may be readable by anyone.
        return keyring if is_real and type(backend).__module__.startswith("keyring.") else None
    return None


def _read_file() -> dict[str, dict[str, str]]:
    path = keys_file()
    shown = make_visible(str(path), 200)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise FtwizardError(f"{shown} could not be read: {error.strerror}.") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FtwizardError(f"{shown} is not a file.", "Remove it.")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise FtwizardError(
                f"{shown} holds keys, and others may read or change it.",
                f"Make it yours alone: chmod 600 {shown}",
            )
        data = file.read(_MAX_BYTES)
    try:
        return msgspec.json.decode(data, type=dict[str, dict[str, str]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FtwizardError(
            f"{shown} could not be read: it is damaged.", "Remove it, and enter the keys again."
        ) from None


def _write_file(kept: Mapping[str, Mapping[str, str]]) -> None:
    """Write the file anew, readable by its owner only from the first byte on."""
    path = keys_file()
    folder = locations.create_private_folder(path.parent)
    try:
        if not kept:
            path.unlink(missing_ok=True)
            return
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".keys-")  # made with mode 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FtwizardError(
            f"The key could not be kept in {make_visible(str(path), 200)}: {error.strerror}.",
            "Free some disk space, or set FTWIZARD_CONFIG to a writable folder.",
        ) from None
