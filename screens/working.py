"""One pane for any command that takes a while: what it does, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard import words
from ftwizard.errors import FtwizardError
from ftwizard.screens import children, crash, palette, readings
from ftwizard.screens.dialog import Dialog
from ftwizard.text import duration

LOOK_EVERY_S = 0.25
QUICK_S = 0.3
"""What takes less is not announced."""


class Working(Dialog[Any]):
    """Runs a command; dismisses with its document, its FtwizardError, or None on esc.

    What is ``lasting`` is not cancelled: neither by esc nor when the app is left.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", show=False),
    ]

    def __init__(self, title: str, *argv: str, lasting: bool = False) -> None:
        super().__init__()
        self._lasting = lasting
        self._heading = title
        self._argv = argv
        self._child = children.Child(*argv)

    def compose(self) -> ComposeResult:
        with Vertical(id="working"):
            yield Static(Text(self._heading, "bold"), markup=False)
            yield Static(id="doing", markup=False)
            if not self._lasting:
                keys = Text.assemble(("esc", f"bold {palette.ACCENT}"), " cancels")
                yield Static(keys, markup=False)

    def on_mount(self) -> None:
        self.query_one("#working").display = False
        self.set_interval(LOOK_EVERY_S, self._look)
        self._run()

    @work(group="working", exclusive=True, exit_on_error=False)
    async def _run(self) -> None:
        try:
            result = await self._result()
        except FtwizardError as error:
            result = error
        except OSError as error:
            result = children.cannot_run(self._argv[0], error)
        except Exception as error:  # noqa: BLE001 (nobody could leave the pane)
            result = crash.told(error)
        self.dismiss(result)

    async def _result(self) -> Any:
        if self._lasting:  # in a thread, which the end of the app waits for
            return await asyncio.to_thread(
                children.run, *self._argv, tell=lambda _: None, lasting=True
            )
        return await self._child.document()

    def _look(self) -> None:
        self._child.look()
        progress, spent = self._child.progress, self._child.spent_s
        if spent < QUICK_S:
            return
        box = self.query_one("#working")
        box.display = True
        width = max(20, box.content_size.width)
        doing = words.doing(progress) if progress.phase else "starting"
        lines = [Text(f"{doing}   {duration(spent)}", no_wrap=True, overflow="ellipsis")]
        share = readings.share(progress)
        lines.append(readings.bar(share, width) if share is not None else Text("─" * width, "dim"))
        self.query_one("#doing", Static).update(Text("\n").join(lines))

    def action_cancel(self) -> None:
        if self._lasting:
            return
        self.workers.cancel_group(self, "working")
        self.dismiss(None)
