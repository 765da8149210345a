"""Doctor: what this machine can do, and what is missing."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard import words
from ftwizard.errors import FtwizardError
from ftwizard.screens import palette, readings
from ftwizard.screens.children import Child
from ftwizard.screens.page import Page
from ftwizard.screens.problem import Problem
from ftwizard.text import duration, plural, visible

LOOK_EVERY_S = 0.25
MARKS = {
    "missing": ("✗", f"bold {palette.BAD}"),
    "warning": ("!", f"bold {palette.WARNING}"),
    "ok": ("✓", palette.GOOD),
}
"""By how grave a finding is, the gravest first."""


class Doctor(Page[None]):
    """Shows what ``ftwizard doctor`` finds, as it finds it."""

    NAME = "Doctor"
    HELP = (
        "What training on this machine needs, and what was found: first what is missing (✗), then "
        "what may go wrong (!), then what is as it should be (✓). Below each stands what to do.\n\n"
        "At once comes what can be seen without trying. Then a process of its own trains a tiny "
        "model for one step, on the processors and on each GPU, also through a 4-bit layer: only "
        "that shows that drivers and packages work together.\n\n"
        "r looks again, after you have mended something. The same as text: ftwizard doctor"
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "again", "look again")]

    def __init__(self) -> None:
        super().__init__()
        self._child: Child | None = None
        """The command that is under way."""

    def body(self) -> ComposeResult:
        yield Static(id="standing", classes="lead", markup=False)
        with VerticalScroll(id="doctor"):
            yield Static(id="checks", markup=False)

    def on_mount(self) -> None:
        self.query_one("#doctor").focus()
        self.set_interval(LOOK_EVERY_S, self._tick)
        self._look()

    def action_again(self) -> None:
        """Look once more; what was found stays until then."""
        self._look()

    @work(group="look", exclusive=True, exit_on_error=False)
    async def _look(self) -> None:
        child = self._child = Child("doctor")
        self._tick()
        try:
            found = await child.document()
        except FtwizardError as error:
            self._child = None
            await self.app.push_screen_wait(Problem(error))
            self.dismiss(None)
            return
        self._child = None
        self._show(found["checks"])
        self.query_one("#standing", Static).update(summary(found["checks"]))

    def _tick(self) -> None:
        child = self._child
        if child is None:
            return
        if child.look() and child.first_look is not None:
            self._show(child.first_look["checks"])
        doing = words.doing(child.progress) if child.progress.phase else "starting"
        line = Text.assemble(("● ", palette.ACCENT), f"{doing}   {duration(child.spent_s)}")
        line.no_wrap, line.overflow = True, "ellipsis"
        self.query_one("#standing", Static).update(line)

    def _show(self, checks: list[dict[str, Any]]) -> None:
        gravest = list(MARKS)
        rows = []
        for one in sorted(checks, key=lambda one: gravest.index(one["status"])):
            value = Text(visible(one["found"]))
            if one["fix"]:
                value.append(f"\n{visible(one['fix'])}", "dim")
            rows.append((Text.assemble(MARKS[one["status"]], f" {visible(one['name'])}"), value))
        self.query_one("#checks", Static).update(readings.table(rows))


def summary(checks: list[dict[str, Any]]) -> Text:
    """Return in a line how it stands."""
    count = {status: sum(one["status"] == status for one in checks) for status in MARKS}
    warnings = f", {plural(count['warning'], 'warning')}" if count["warning"] else ""
    if count["missing"]:
        return Text.assemble(MARKS["missing"], f" {count['missing']} missing{warnings}")
    return Text.assemble(MARKS["ok"], f" nothing is missing{warnings}")
