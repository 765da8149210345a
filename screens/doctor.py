"""Doctor: what this machine can do, and what is missing."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.screens import flow, palette, readings
from ftwizard.screens.page import Page
from ftwizard.text import visible

MARKS = {
    "ok": ("✓", palette.GOOD),
    "warning": ("!", f"bold {palette.WARNING}"),
    "missing": ("✗", f"bold {palette.BAD}"),
}


class Doctor(Page[None]):
    """Shows what ``ftwizard doctor`` finds."""

    NAME = "Doctor"
    HELP = (
        "What training on this machine needs, and what was found. Below what is missing stands "
        "what to do about it."
    )

    def body(self) -> ComposeResult:
        with VerticalScroll(id="doctor", classes="lead"):
            yield Static(id="checks", markup=False)

    def on_mount(self) -> None:
        self.query_one("#doctor").focus()
        self._look()

    @work(group="look", exclusive=True, exit_on_error=False)
    async def _look(self) -> None:
        app: Any = self.app
        found = await flow.work(app, "Looking at this machine", "doctor")
        if found is None:
            self.dismiss(None)
            return
        rows = []
        for one in found["checks"]:
            value = Text(visible(one["found"]))
            if one["fix"]:
                value.append(f"\n{visible(one['fix'])}", "dim")
            rows.append((Text.assemble(MARKS[one["status"]], f" {one['name']}"), value))
        self.query_one("#checks", Static).update(readings.table(rows))
