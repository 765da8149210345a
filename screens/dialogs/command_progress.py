"""Progress dialog of a running command."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from ftwizard.errors import FtwizardError
from ftwizard.runs import describe
from ftwizard.screens import crash_log, layout, subprocesses
from ftwizard.screens.dialogs.dialog import Dialog, ErrorDialog
from ftwizard.text import format_duration

POLL_EVERY_S = 0.25
SHOW_AFTER_S = 0.3
"""Shorter commands show no dialog."""


class CommandProgress(Dialog[object]):
    """Runs a command; dismisses with its document, its FtwizardError, or None on Esc.

    A ``lasting`` command is not canceled, neither by Esc nor when the app exits.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", show=False),
    ]

    def __init__(self, title: str, *argv: str, lasting: bool = False) -> None:
        super().__init__(Text(title, "bold"), keys=() if lasting else [("esc", "cancel")])
        self._lasting = lasting
        self._argv = argv
        self._is_canceled = False
        self._child = subprocesses.CommandProcess(*argv)

    def body(self) -> ComposeResult:
        yield Static(id="activity", markup=False)

    def on_mount(self) -> None:
        self.query("#box, Keys").set(display=False)
        self.set_interval(POLL_EVERY_S, self._show)
        self._run()

    @work(group="working", exclusive=True, exit_on_error=False)
    async def _run(self) -> None:
        try:
            result: object = await self._run_command()
        except FtwizardError as error:
            result = error
        except OSError as error:
            result = subprocesses.to_start_error(self._argv[0], error)
        except Exception as error:  # noqa: BLE001 (the dialog could not be closed)
            result = crash_log.to_user_error(error)
        self.dismiss(result)

    async def _run_command(self) -> object:
        if self._lasting:  # the app waits for this thread on exit
            return await asyncio.to_thread(
                subprocesses.run_blocking, *self._argv, tell=lambda _: None, lasting=True
            )
        return await self._child.run()

    def _show(self) -> None:
        self._child.poll()
        progress, elapsed_s = self._child.progress, self._child.elapsed_s
        if elapsed_s < SHOW_AFTER_S:
            return
        self.query("#box, Keys").set(display=True)
        width = max(20, self.query_one("#box").content_size.width)
        left = f", {format_duration(progress.left_s)} left" if progress.left_s else ""
        doing = "canceling" if self._is_canceled else describe.describe_progress(progress)
        activity = f"{doing}   {format_duration(elapsed_s)}{'' if self._is_canceled else left}"
        lines = [Text(activity, no_wrap=True, overflow="ellipsis")]
        lines.append(layout.draw_bar(progress.share, width))
        self.query_one("#activity", Static).update(Text("\n").join(lines))

    def action_cancel(self) -> None:
        if not self._lasting and not self._is_canceled:  # a second Esc would not wait for the end
            self._is_canceled = True
            self.workers.cancel_group(self, "working")
            self._show()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Close once the command has ended, so that nothing is started beside it."""
        if event.state == WorkerState.CANCELLED:
            self.dismiss(None)


async def run_command(app: App[Any], title: str, *argv: str, lasting: bool = False) -> Any:
    """Run a command behind a progress dialog; return its document.

    Return None if it was canceled, or failed and its error was shown.
    """
    document = await app.push_screen_wait(CommandProgress(title, *argv, lasting=lasting))
    if isinstance(document, FtwizardError):
        await app.push_screen_wait(ErrorDialog(document))
        return None
    return document
