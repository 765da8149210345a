"""Settings for every run: ``config.toml`` in the settings folder."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from ftwizard import locations, strict_yaml
from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

Occasion = Literal["end", "finding", "failure"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; an unknown key is an error."""


class Notify(_Part, frozen=True):
    """``[notify]``: notifications about a run."""

    command: tuple[str, ...] = ()
    """A program and its arguments, run without a shell; none by default."""
    on: tuple[Occasion, ...] = ("end", "finding", "failure")
    """When ``command`` runs. ``end``: the run ended, in any way; ``failure``: it failed; ``finding``: a
    warning or an error came up during training."""
    timeout_s: float = 30.0
    """Seconds after which ``command`` is killed."""
    terminal: bool = True
    """Whether a view rings the terminal bell and sends a terminal notification."""


class Config(_Part, frozen=True):
    """The whole file."""

    notify: Notify = Notify()


def load(path: Path | None = None) -> Config:
    """Return the settings in the file, or the defaults where there is none.

    Raises FtwizardError, with the closest valid key, for a file that cannot be used.
    """
    path = path or locations.config_file()
    name = make_visible(str(path))
    try:
        tree = tomllib.loads(strict_yaml.read_text(path))
    except FileNotFoundError:
        return Config()
    except tomllib.TOMLDecodeError as error:
        problem = make_visible(str(error), 200).rstrip(".")
        raise FtwizardError(f"{name}: {problem}.", "Fix the TOML there.") from None
    except RecursionError:
        raise FtwizardError(f"{name} could not be read: it is nested too deeply.") from None
    config = strict_yaml.convert_settings(tree, Config, name)
    _check(config.notify, name)
    return config


def _check(notify: Notify, name: str) -> None:
    if not 0 < notify.timeout_s <= 600:
        raise FtwizardError(
            f"{name}: notify.timeout_s is {notify.timeout_s:g}.", "Use 0 to 600 seconds."
        )
    if not notify.command:
        return
    if any("\0" in argument for argument in notify.command):
        raise FtwizardError(f"{name}: notify.command has a NUL character.", "Remove it.")
    if find_program(notify) is None:
        raise FtwizardError(
            f"{name}: notify.command: program “{make_visible(notify.command[0], 80)}” not found.",
            "Name a program on the PATH, or its absolute path. The list is a program and "
            'its arguments, without a shell: ["notify-send", "ftwizard"].',
        )


def find_program(notify: Notify) -> str | None:
    """Return the path of the program to run, or None if it is not found."""
    first = notify.command[0]
    if first.startswith("~/"):
        first = str(Path.home() / first[2:])
    if not first or ("/" in first and not first.startswith("/")):
        return None  # a relative path would mean another file in each folder
    return shutil.which(first)
