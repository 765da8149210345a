"""The held-out rows of a run: kept in its folder, so that what is compared was never trained on.

The user's files may change or go while a run trains for hours.
"""

from __future__ import annotations

import msgspec

from ftwizard.data.read import Row
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.train.rows import Rows


class Heldout(msgspec.Struct, frozen=True, kw_only=True):
    """``eval/test.json``."""

    rows: list[Row]
    """Those with a text to compare with; a pure tool call has none, nor has plain text."""
    answers: list[str]
    """Answers of all rows of the run but those of ``mix``, each once: what the answers' form is
    read from."""


def keep(folder: JobFolder, parts: Rows) -> None:
    """Write down what the comparison needs."""
    folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    own = (part for name, part in parts.items() if name != "mix")
    every = (row.conversation.answer for part in own for row in part)
    answers = dict.fromkeys(answer for answer in every if answer)
    rows = [row for row in parts["test"] if row.conversation.answer.strip()]
    write_json(folder.evaluations / "test.json", Heldout(rows=rows, answers=list(answers)))


def read(folder: JobFolder) -> Heldout:
    """Return what ``keep`` wrote."""
    data = (folder.evaluations / "test.json").read_bytes()
    return msgspec.json.decode(data, type=Heldout)
