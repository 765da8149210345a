"""One pane for any command that takes a while: what it does, how far it is, and how it ended."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ftwizard import words
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventReader
from ftwizard.runs import Progress
from ftwizard.screens import children, palette, readings
from ftwizard.text import duration

LOOK_EVERY_S = 0.25
QUICK_S = 0.3
"""What takes less is not announced."""


class Working(ModalScreen[Any]):
    """Runs a command; dismisses with its document, its FtwizardError, or None on esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", show=False),
    ]

    def __init__(self, title: str, *argv: str) -> None:
        super().__init__()
        self._heading = title
        self._argv = argv
        self._began = time.monotonic()
        self._progress = Progress()

    def compose(self) -> ComposeResult:
        with Vertical(id="working"):
            yield Static(Text(self._heading, "bold"), markup=False)
            yield Static(id="doing", markup=False)
            yield Static(Text.assemble(("esc", f"bold {palette.ACCENT}"), " cancels"), markup=False)

    def on_mount(self) -> None:
        self.query_one("#working").display = False
        self._run()

    @work(group="working", exclusive=True, exit_on_error=False)
    async def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
            events = Path(folder) / "events.jsonl"
            reader = EventReader(events)
            timer = self.set_interval(LOOK_EVERY_S, lambda: self._look(reader))
            try:
                result = await children.command(*self._argv, progress=str(events))
            except FtwizardError as error:
                result = error
            except OSError as error:
                result = FtwizardError(f"The command cannot be run: {error.strerror or error}.")
            finally:
                timer.stop()
        self.dismiss(result)

    def _look(self, reader: EventReader) -> None:
        self._progress.feed(reader.read())
        spent = time.monotonic() - self._began
        if spent < QUICK_S:
            return
        box = self.query_one("#working")
        box.display = True
        width = max(20, box.content_size.width)
        doing = words.doing(self._progress) if self._progress.phase else "starting"
        lines = [Text(f"{doing}   {duration(spent)}", no_wrap=True, overflow="ellipsis")]
        share = readings.share(self._progress)
        lines.append(readings.bar(share, width) if share is not None else Text("─" * width, "dim"))
        self.query_one("#doing", Static).update(Text("\n").join(lines))

    def action_cancel(self) -> None:
        self.workers.cancel_group(self, "working")
        self.dismiss(None)
