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
START = (
    "python3 -m venv .venv",
    ".venv/bin/pip install -r requirements.txt",
    ".venv/bin/python train.py",
)
"""Commands that install and start a script, in its folder."""
_ACCELERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


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
    task: str | None = None
    """Command that starts the script with SkyPilot."""
    gpu: str | None = None
    """SkyPilot's name of the GPU that it rents."""


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


def check_accelerator(name: str) -> str:
    """Return SkyPilot's name of one GPU, such as ``A100-80GB``; raise FtwizardError for others.

    A count is accepted if it is 1: the script trains on one GPU, and TRL refuses several. Which GPUs there
    are is SkyPilot's to say: ``describe_report`` notes one that the catalog does not have.
    """
    kind, _, count = name.strip().partition(":")
    if count not in ("", "1"):
        raise FtwizardError(
            f"{make_visible(name, 40)}: the script trains on one GPU.",
            f"Name one that is large enough for it: {make_visible(kind, 40)}",
            USAGE,
        )
    if not _ACCELERATOR.fullmatch(kind):
        raise FtwizardError(
            f"“{make_visible(name, 40)}” is not the name of a GPU at SkyPilot.",
            "A name is, for example, A100-80GB. To list them: sky gpus list",
            USAGE,
        )
    return f"{kind}:1"


def describe_report(report: EjectReport) -> Iterator[str]:
    """Yield what was written, and how it is started; the first line says where."""
    folder = make_visible(report.folder)
    yield f"{folder}/train.py trains as {make_visible(report.origin)} does, without ftwizard."
    yield "To start it, in that folder:"
    yield from (f"  {command}" for command in START)
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
