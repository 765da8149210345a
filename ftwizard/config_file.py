"""What a person sets for every run: ``config.toml`` in the folder of settings."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from ftwizard import settings, strict_yaml
from ftwizard.errors import FtwizardError
from ftwizard.text import visible

Occasion = Literal["end", "finding", "failure"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; a key that it does not know is an error."""


class Notify(_Part, frozen=True):
    """``[notify]``: who is told of a run."""

    command: tuple[str, ...] = ()
    """A program and its arguments, run without a shell; none by default."""
    on: tuple[Occasion, ...] = ("end", "finding", "failure")
    """When ``command`` runs: ``end``: the run has ended, however; ``failure``: it has ended, and
    not as it should; ``finding``: a warning or an error is found while it trains."""
    timeout_s: float = 30.0
    """Seconds after which ``command`` is ended."""
    terminal: bool = True
    """Whether a view rings the terminal's bell and asks it for a notification."""


class Config(_Part, frozen=True):
    """The whole file."""

    notify: Notify = Notify()


def load(path: Path | None = None) -> Config:
    """Return the settings of the file, the defaults where there is none.

    Raises FtwizardError, with the nearest that is right, for what cannot be used.
    """
    path = path or settings.config_file()
    name = visible(str(path))
    try:
        tree = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return Config()
    except tomllib.TOMLDecodeError as error:
        problem = visible(str(error), 200).rstrip(".")
        raise FtwizardError(f"{name}: {problem}.", "Correct the TOML there.") from None
    except UnicodeDecodeError as error:
        raise FtwizardError(
            f"{name} is not UTF-8 (byte {error.start}).", "TOML is text in UTF-8."
        ) from None
    except (OSError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is nested too deeply"
        raise FtwizardError(
            f"{name} cannot be read: {why}.", "See who may read it: ls -l"
        ) from None
    found = strict_yaml.fitted(tree, Config, name)
    _check(found.notify, name)
    return found


def _check(notify: Notify, name: str) -> None:
    if not 0 < notify.timeout_s <= 600:
        raise FtwizardError(
            f"{name}: notify.timeout_s is {notify.timeout_s:g}.", "Between 0 and 600 seconds."
        )
    if not notify.command:
        return
    if any("\0" in word for word in notify.command):
        raise FtwizardError(
            f"{name}: notify.command holds a NUL character.", "No command line can hold one."
        )
    if program(notify) is None:
        raise FtwizardError(
            f"{name}: notify.command: there is no program “{visible(notify.command[0], 80)}”.",
            "Name one that is on the PATH, or write its path out from /. The list is a program and "
            'its arguments, without a shell: ["notify-send", "ftwizard"].',
        )


def program(notify: Notify) -> str | None:
    """Return the path of the program that is to be run, None where there is none."""
    first = notify.command[0]
    if first.startswith("~/"):
        first = str(Path.home() / first[2:])
    if not first or ("/" in first and not first.startswith("/")):
        return None  # a relative path would mean another file in each folder
    return shutil.which(first)
