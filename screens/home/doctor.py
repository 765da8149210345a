"""Doctor page: what this machine can do and what is missing."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard.doctor.check import Check, CheckStatus, DoctorReport
from ftwizard.errors import FtwizardError
from ftwizard.runs import describe
from ftwizard.screens import layout, palette
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.page import Page
from ftwizard.screens.subprocesses import CommandProcess
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import format_count, format_duration, make_visible

POLL_EVERY_S = 0.25
MARKS: dict[CheckStatus, tuple[str, str]] = {
    "missing": ("✗", f"bold {palette.BAD}"),
    "warning": ("!", f"bold {palette.WARNING}"),
    "ok": ("✓", palette.GOOD),
}
"""By status, the most severe first."""


class DoctorPage(Page[None]):
    """Shows the results of ``ftwizard doctor`` as they arrive."""

    NAME = "Doctor"
    NOTES = (
        "✗ is missing, ! may fail, ✓ works; each problem has a fix.",
        "A tiny model trains one step, on the CPU and on each GPU.",
        "On the command line: ftwizard doctor",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "check", "check again", tooltip="check again, after a fix")
    ]

    def __init__(self) -> None:
        super().__init__()
        self._child: CommandProcess | None = None
        """The running command."""

    def body(self) -> ComposeResult:
        yield Static(id="status", classes="lead", markup=False)
        with ScrollPane(id="doctor"):
            yield Static(id="checks", markup=False)

    def on_mount(self) -> None:
        self.query_one("#doctor").focus()
        self.set_interval(POLL_EVERY_S, self._tick)
        self.action_check()

    @work(group="check", exclusive=True, exit_on_error=False)
    async def action_check(self) -> None:
        """Check; the old results stay until then."""
        child = self._child = CommandProcess("doctor")
        self._tick()
        try:
            report = msgspec.convert(await child.run(), DoctorReport)
        except FtwizardError as error:
            self._child = None
            await self.app.push_screen_wait(ErrorDialog(error))
            self.dismiss(None)
            return
        self._child = None
        self._show(report)
        self.query_one("#status", Static).update(summarize(report.checks))

    def _tick(self) -> None:
        child = self._child
        if child is None:
            return
        if child.poll() and child.partial_report is not None:
            self._show(msgspec.convert(child.partial_report, DoctorReport))
        activity = (
            f"{describe.describe_progress(child.progress)}   {format_duration(child.elapsed_s)}"
        )
        line = Text.assemble(("● ", palette.ACCENT), activity)
        line.no_wrap, line.overflow = True, "ellipsis"
        self.query_one("#status", Static).update(line)

    def _show(self, report: DoctorReport) -> None:
        order = list(MARKS)
        rows = []
        for check in sorted(report.checks, key=lambda check: order.index(check.status)):
            value = Text(make_visible(check.detail))
            if check.fix:
                value.append(f"\n{make_visible(check.fix)}", "dim")
            name = Text.assemble(MARKS[check.status], f" {make_visible(check.name)}")
            rows.append((name, value))
        self.query_one("#checks", Static).update(layout.build_table(rows))


def summarize(checks: list[Check]) -> Text:
    """Return the number of problems, as one line."""
    count = {status: sum(check.status == status for check in checks) for status in MARKS}
    warnings = f", {format_count(count['warning'], 'warning')}" if count["warning"] else ""
    if count["missing"]:
        return Text.assemble(MARKS["missing"], f" {count['missing']} missing{warnings}")
    return Text.assemble(MARKS["ok"], f" nothing missing{warnings}")
