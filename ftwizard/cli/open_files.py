"""``ftwizard FILE``: the wizard with that file, or the monitor for the folder of a run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from ftwizard import user_paths
from ftwizard.cli import output
from ftwizard.cli.commands import COMMANDS
from ftwizard.cli.plan_argument import is_plan
from ftwizard.data.hub import ids
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import make_visible

MAX_LISTED = 5


def is_file_name(word: str) -> bool:
    """Return whether a word that is not a command means a file: it exists, or looks like one."""
    return "/" in word or word.startswith("~") or "." in word or _exists(word)


def open_files(arguments: argparse.Namespace) -> int:
    """Open the wizard with data files or a plan; raise FtwizardError without a terminal."""
    files: list[str] = arguments.files
    if len(files) == 1 and user_paths.exists(Path(files[0]) / "job.json"):
        return _watch(files[0], arguments)
    _check_order(files)
    check_files(files)
    if output.wants_screens(arguments):
        return int(arguments.open_screens(_route(files), arguments.ascii, slow=arguments.slow))
    if not output.has_terminal():
        raise FtwizardError("The wizard needs a terminal.", _describe_headless(files), USAGE)
    if not arguments.plain:
        print("This terminal cannot show screens. Using --plain: questions line by line.")
    return int(arguments.open_screens(_route(files), arguments.ascii, plain=True))


def _check_order(files: Sequence[str]) -> None:
    """Raise FtwizardError for a command after its file."""
    for name in files[1:]:
        if name in {command for command, *_ in COMMANDS} and not _exists(name):
            named = shlex.join([name, *(file for file in files if file != name)])
            raise FtwizardError(
                f"The command {name} comes first.", f"Run: ftwizard {make_visible(named)}", USAGE
            )


def _watch(folder: str, arguments: argparse.Namespace) -> int:
    from ftwizard.cli.watch import view
    from ftwizard.runs import store

    if not output.has_terminal():
        hint = f"Without one: ftwizard status {shlex.quote(folder)}"
        raise FtwizardError("The monitor needs a terminal.", make_visible(hint), USAGE)
    return view(store.find(str(user_paths.make_absolute(folder))), arguments)


def _route(files: Sequence[str]) -> tuple[str, str]:
    absolute = (f if ids.parse(f) else str(user_paths.make_absolute(f)) for f in files)
    return "file", "\0".join(absolute)


def check_files(files: Sequence[str]) -> None:
    """Raise FtwizardError for names that the wizard cannot begin with."""
    for name in files:
        if ids.parse(name) is None:
            require_file(name)
    plans = [name for name in files if is_plan(name)]
    if len(files) > 2 or (plans and len(files) > 1):
        raise FtwizardError(
            f"The wizard begins with one plan, or with one data file and one for validation; "
            f"{len(files)} files are named.",
            "To train on the rows of several files, join them into one.",
            USAGE,
        )
    if plans:
        from ftwizard.plan import plan_file

        plan_file.load(Path(plans[0]), deferred=("no-validation", "many-epochs"))


def require_file(name: str) -> None:
    """Raise FtwizardError for a folder and for a missing file, with what was probably meant."""
    path, shown = user_paths.expand(name), make_visible(name, 200)
    if user_paths.is_folder(path):
        if (path / "config.json").is_file():
            hint = f"To train it: ftwizard train DATA --model {make_visible(shlex.quote(name))}"
            raise FtwizardError(f"{shown} is the folder of a model.", hint)
        listed = ", ".join(
            make_visible(n, 60) for n in user_paths.list_files(path, ids.FILE_ENDINGS)[:MAX_LISTED]
        )
        raise FtwizardError(
            f"{shown} is a folder.",
            f"Name a file in it: {listed}" if listed else "It has no data files.",
        )
    if user_paths.exists(path):
        return
    folder = path.parent
    if not user_paths.is_folder(folder):
        where = make_visible(str(folder), 200)
        raise FtwizardError(
            f"File {shown} does not exist.", f"Folder {where} does not exist either."
        )
    hint = user_paths.suggest_file(Path(name))
    if not hint and (names := user_paths.list_files(folder, ids.FILE_ENDINGS)[:MAX_LISTED]):
        hint = f"There: {', '.join(make_visible(n, 60) for n in names)}"
    raise FtwizardError(f"File {shown} does not exist.", hint or "Check its name and folder.")


def _describe_headless(files: Sequence[str]) -> str:
    name = make_visible(shlex.quote(files[0]))
    if is_plan(files[0]):
        return f"Without one: ftwizard train {name}"
    return f"Without one: ftwizard check {name}, then ftwizard train {name} --model M"


def _exists(word: str) -> bool:
    try:
        return user_paths.exists(Path(word))
    except ValueError:  # a NUL character
        return False
