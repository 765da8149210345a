"""Drafts of interrupted wizards: one small file each, so that home can offer to continue.

Home lists them before its first frame, so this module loads neither plans nor advice.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.jobs import identity
from ftwizard.jobs.folder import write_whole
from ftwizard.jobs.identity import Identity
from ftwizard.screens.draft import STEPS
from ftwizard.text import format_age, make_visible

MAX_DRAFTS = 3
"""Interrupted drafts that are kept; older ones are deleted."""
MAX_BYTES = 1_000_000
"""Largest draft that is read; a usual one has 2 kB."""
MAX_NAME_CHARACTERS = 40
DAMAGED_SUFFIX = ".damaged"


class SavedDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A draft, and what home shows of it."""

    data: str
    """File name or Hub id of the data; empty if not named yet."""
    step: int
    """Index of the wizard's page in ``STEPS``."""
    updated: float
    """Unix time of the last change, in seconds."""
    writer: Identity | None
    """The wizard that works on it; None once it was left."""
    answers: msgspec.Raw
    """The draft, see ``draft_document``."""

    def describe(self) -> str:
        """Describe it on a line: ``tickets.jsonl, recipe page, 12 min ago``."""
        name = make_visible(self.data.rpartition("/")[2] or "no data yet", MAX_NAME_CHARACTERS)
        age = format_age(time.time() - self.updated)
        return f"{name}, {STEPS[self.step].lower()} page, {age} ago"


class InterruptedDraft(NamedTuple):
    """A draft that no wizard works on, and its file."""

    path: Path
    saved: SavedDraft


class SavedDrafts(NamedTuple):
    """Drafts to continue, newest first, and files that could not be read."""

    drafts: list[InterruptedDraft]
    damaged: list[Path]
    """Set aside: they are not listed again."""


def describe_damage(path: Path) -> str:
    """Describe a draft that could not be read."""
    return f"The draft of an earlier wizard could not be read. It is now {make_visible(path.name)}."


class DraftFile:
    """The file of the wizard of this process; written only when something changed."""

    def __init__(self, path: Path | None = None) -> None:
        """Continue the draft in ``path``, or begin another."""
        self._path = path or _folder() / f"{time.time_ns()}-{os.getpid()}.json"
        self._writer = identity.from_pid(os.getpid())
        self._written: tuple[int, bytes] | None = None

    @property
    def exists(self) -> bool:
        """Whether there are answers to continue with."""
        return self._path.exists()

    def save(self, data: str, step: int, answers: bytes) -> None:
        """Write the draft. One that cannot be written is not worth an error: no answer is lost."""
        if self._written == (step, answers):
            return
        self._written = (step, answers)
        self._write(data, step, answers, self._writer)

    def release(self) -> None:
        """Offer the draft again: this wizard was left."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            saved = _read(self._path)
            self._write(saved.data, saved.step, bytes(saved.answers), None, saved.updated)

    def forget(self) -> None:
        """Delete the file: the run was started, or every answer was taken back."""
        self._written = None
        forget(self._path)

    def _write(
        self, data: str, step: int, answers: bytes, writer: Identity | None, updated: float = 0.0
    ) -> None:
        saved = SavedDraft(
            data=data, step=step, updated=updated or time.time(), writer=writer,
            answers=msgspec.Raw(answers),
        )  # fmt: skip
        with contextlib.suppress(OSError, FtwizardError):
            locations.create_private_folder(self._path.parent)
            write_whole(self._path, msgspec.json.encode(saved))


def list_drafts() -> SavedDrafts:
    """List the drafts that no living wizard works on; delete the oldest beyond ``MAX_DRAFTS``."""
    drafts: list[InterruptedDraft] = []
    damaged: list[Path] = []
    with contextlib.suppress(OSError, FtwizardError):
        for path in _folder().glob("*.json"):
            try:
                saved = _read(path)
            except OSError:  # deleted by another wizard just now
                continue
            except (msgspec.DecodeError, UnicodeDecodeError):
                damaged.append(path.replace(path.with_suffix(DAMAGED_SUFFIX)))
                continue
            if identity.is_alive(saved.writer) is False:
                drafts.append(InterruptedDraft(path, saved))
    drafts.sort(key=lambda draft: -draft.saved.updated)
    for draft in drafts[MAX_DRAFTS:]:
        forget(draft.path)
    return SavedDrafts(drafts[:MAX_DRAFTS], damaged)


def forget(path: Path) -> None:
    """Delete the file of a draft."""
    with contextlib.suppress(OSError):
        path.unlink()


def _read(path: Path) -> SavedDraft:
    with open(path, "rb") as file:
        saved = msgspec.json.decode(file.read(MAX_BYTES), type=SavedDraft)
    if not 0 <= saved.step < len(STEPS):
        raise msgspec.ValidationError("unknown step")
    return saved


def _folder() -> Path:
    return locations.home_folder() / "drafts"
