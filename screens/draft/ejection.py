"""Where the script of ``ftwizard eject`` goes, as typed: checked as the command does."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard import user_paths
from ftwizard.errors import FtwizardError
from ftwizard.runs import ejected_script

EXPLANATION = (
    "The training as a script of TRL, with copies of its rows, in a new folder. It runs without "
    "ftwizard. With a GPU, such as A100-80GB, or several, A100-80GB:4, there is also a task for "
    "SkyPilot, which rents a machine."
)
PROGRESS = "Writing the script"


class Ejection(NamedTuple):
    """Where a script goes."""

    folder: str
    gpu: str
    """SkyPilot's name of a GPU, which a count may follow; empty without a task for it."""

    def build_argv(self, source: str) -> tuple[str, ...]:
        """Return the command that writes the script of a plan or a run."""
        task = ("--skypilot", self.gpu) if self.gpu else ()
        return ("eject", source, "--out", parse_folder(self.folder), *task)


def parse_folder(typed: str) -> str:
    """Return the absolute path of a new folder; raise FtwizardError as the command does."""
    if not typed.strip():
        raise FtwizardError("Name a new folder.")
    path = user_paths.make_absolute(typed.strip())
    ejected_script.require_empty(path)
    return str(path)


def parse_gpu(typed: str) -> str:
    """Return the typed name of a GPU, empty for none; raise FtwizardError as the command does."""
    if typed.strip():
        ejected_script.parse_accelerator(typed)
    return typed.strip()
