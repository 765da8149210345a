"""The run's copy of the test set, for the comparison after training.

The user's files may change or disappear while a run trains for hours.
"""

from __future__ import annotations

import msgspec

from ftwizard.data.reader import ParsedRow
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.train.dataset import Rows


class SavedTestSet(msgspec.Struct, frozen=True, kw_only=True):
    """``eval/test.json``."""

    rows: list[ParsedRow]
    """Rows with a text to compare with, unlike pure tool calls and plain text."""
    answers: list[str]
    """Distinct answers of all rows except those of ``mix``, which show the answers' format."""


def save(folder: JobFolder, parts: Rows) -> None:
    """Save what the comparison needs."""
    folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    own_parts = (part for name, part in parts.items() if name != "mix")
    answers = (row.conversation.answer for part in own_parts for row in part)
    distinct = list(dict.fromkeys(answer for answer in answers if answer))
    rows = [row for row in parts["test"] if row.conversation.answer.strip()]
    write_json(folder.evaluations / "test.json", SavedTestSet(rows=rows, answers=distinct))


def read(folder: JobFolder) -> SavedTestSet:
    """Read what ``save`` wrote."""
    data = (folder.evaluations / "test.json").read_bytes()
    return msgspec.json.decode(data, type=SavedTestSet)
