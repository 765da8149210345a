"""Dialogs of ``ftwizard eject``: where the script goes, the GPU to rent, and what was written."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.text import Text
from textual.app import App

from ftwizard.errors import FtwizardError
from ftwizard.runs import ejected_script
from ftwizard.runs.ejected_script import EjectReport
from ftwizard.screens import palette
from ftwizard.screens.dialogs.command_progress import CommandProgress
from ftwizard.screens.dialogs.dialog import NoticeDialog
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.draft.ejection import (
    EXPLANATION,
    PROGRESS,
    Ejection,
    parse_folder,
    parse_gpu,
)
from ftwizard.screens.draft.suggestions import MAX_CHARACTERS
from ftwizard.text import make_visible

MAX_PROBLEM = 600
"""Characters of a refusal below the fields."""


class ScriptDialog(FormDialog[Ejection | None]):
    """Asks for the folder of a script, and for a GPU to rent."""

    MAX_LENGTH = MAX_CHARACTERS

    def __init__(self, start: Ejection, problem: str = "") -> None:
        """``problem``: why the command refused these answers."""
        super().__init__(
            "Write a training script?",
            EXPLANATION,
            fields=[("Folder", start.folder), ("SkyPilot GPU", start.gpu)],
            enter="write it",
            problem=problem,
        )

    def parse(self, typed: list[str]) -> Ejection:
        folder, gpu = typed
        parse_folder(folder)
        return Ejection(folder.strip(), parse_gpu(gpu))


async def write_script(app: App[Any], source: str, folder: str) -> None:
    """Ask where the script of a plan or a run goes, write it, and show how it is started.

    ``folder``: the suggested one. Where the command refuses or is canceled, the answers are asked for
    again, with what it said.
    """
    start, problem = Ejection(folder, ""), ""
    while answer := await app.push_screen_wait(ScriptDialog(start, problem)):
        argv = answer.build_argv(source)
        document = await app.push_screen_wait(CommandProgress(PROGRESS, *argv))
        if document is not None and not isinstance(document, FtwizardError):
            await app.push_screen_wait(_build_notice(msgspec.convert(document, EjectReport)))
            return
        start = answer
        problem = make_visible(document.text, MAX_PROBLEM) if document else ""


def _build_notice(report: EjectReport) -> NoticeDialog:
    first, *rest = ejected_script.describe_report(report)
    title = Text.assemble(("✓ ", f"bold {palette.GOOD}"), (first, "bold"))
    return NoticeDialog(title, "\n".join(rest))
