"""The report of an ejected script, its words, and the checks of where it goes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ftwizard import user_paths
from ftwizard.catalog import gpu_specs
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import format_bytes, format_count, make_visible

RowForm = Literal["messages", "conversations", "pairs", "texts", "tokens"]
"""``messages``: TRL makes the mask; ``conversations``, ``pairs``, ``texts``: a function of the script
does; ``tokens``: token ids, with labels where there are no separate answers."""
SETUP = ("python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt")
"""Commands that install what a script needs, in its folder."""
START_ONE = ".venv/bin/python train.py"
"""Command that starts a script in one process."""
_ACCELERATOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?::([1-9][0-9]{0,3}))?")


class Accelerator(msgspec.Struct, frozen=True):
    """The GPUs of a machine that SkyPilot rents."""

    kind: str
    """SkyPilot's name of one, such as ``A100-80GB``."""
    count: int | None = None
    """None: as many as the training has processes."""


class EjectReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard eject --json``."""

    origin: str
    folder: str
    files: dict[str, int]
    """Bytes by name."""
    rows: dict[str, int]
    """Rows by file in ``data/``."""
    form: RowForm
    versions: dict[str, str]
    are_recorded: bool
    """Whether the versions are those of the run, not the installed ones."""
    differing: dict[str, str]
    """Installed versions of packages that differ from the run's."""
    left_out: tuple[str, ...]
    """What the run does and the script does not."""
    processes: int = 1
    """Processes that the commands start, one for each GPU."""
    task: str | None = None
    """Command that starts the script with SkyPilot."""
    gpu: str | None = None
    """SkyPilot's name of the GPU that it rents, of which there is one for each process."""


def require_empty(out: Path) -> None:
    """Raise FtwizardError unless ``out`` is an empty folder, or does not exist in one to write to."""
    shown, parent = make_visible(str(out)), make_visible(str(out.parent))
    if os.path.lexists(out) and not _is_empty(out):
        kind = "is not empty" if user_paths.is_folder(out) else "is not a folder"
        raise FtwizardError(
            f"{shown} {kind}. Existing files are never overwritten.", "Name a new folder."
        )
    if not user_paths.is_folder(out.parent):
        raise FtwizardError(f"Folder {parent} does not exist.", "Create it, or name another one.")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise FtwizardError(f"Folder {parent} is not writable for you.", "Name another folder.")


def _is_empty(path: Path) -> bool:
    """Return whether a path is a folder without entries; False where that cannot be checked."""
    try:
        return user_paths.is_folder(path) and not any(path.iterdir())
    except OSError:
        return False


def parse_accelerator(name: str) -> Accelerator:
    """Return the GPUs that ``A100-80GB`` or ``A100-80GB:4`` names; raise FtwizardError for other texts.

    Which GPUs there are is SkyPilot's to say: ``describe_report`` notes one that the catalog does not have.
    """
    match = _ACCELERATOR.fullmatch(name.strip())
    if match is None:
        raise FtwizardError(
            f"“{make_visible(name, 40)}” does not name GPUs of SkyPilot.",
            "Write for example A100-80GB, or A100-80GB:4 for four. To list them: sky gpus list",
            USAGE,
        )
    kind, count = match.groups()
    return Accelerator(kind, int(count) if count else None)


def list_commands(processes: int) -> tuple[str, ...]:
    """Return the commands that install a script and start it in so many processes, in its folder."""
    return (*SETUP, start_command(processes))


def start_command(processes: int) -> str:
    """Return the command that starts a script in so many processes, in its folder."""
    if processes == 1:
        return START_ONE
    return f".venv/bin/torchrun --standalone --nproc-per-node {processes} train.py"


def describe_report(report: EjectReport) -> Iterator[str]:
    """Yield what was written, and how it is started; the first line says where."""
    folder = make_visible(report.folder)
    yield f"{folder}/train.py trains as {make_visible(report.origin)} does, without ftwizard."
    yield "To start it, in that folder:"
    yield from (f"  {command}" for command in list_commands(report.processes))
    if report.processes > 1:
        yield f"It trains on {report.processes} GPUs. On one, with the same rows in each step: {START_ONE}"
    if report.task:
        yield "On a machine that SkyPilot rents, in that folder:"
        yield f"  {report.task}"
    if report.gpu and gpu_specs.find_gpu(report.gpu) is None:
        yield f"! {report.gpu} is not a GPU that ftwizard knows. See whether SkyPilot has it: sky gpus list"
    copied = sum(size for name, size in report.files.items() if name.startswith("data/"))
    rows = format_count(sum(report.rows.values()), "row")
    as_tokens = ", as token ids" if report.form == "tokens" else ""
    yield (
        f"{rows} of your data were copied to data/ ({format_bytes(copied)}{as_tokens}). Only you "
        "can read them."
    )
    which = "that the run used" if report.are_recorded else "installed here"
    yield f"requirements.txt has the versions {which}."
    if report.differing:
        yield f"! Other versions are installed here: {', '.join(report.differing)}."
    if report.left_out:
        yield f"Not in the script: {', '.join(report.left_out)}."
