"""Start page of the demo: what it does, needs and takes."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard import locations
from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.page import Page
from ftwizard.text import make_visible

INTRODUCTION = """\
The demo fine-tunes a small language model to turn support tickets into JSON with a fixed schema. \
It downloads the model, trains it on this machine and merges it. Then the base and the tuned \
model answer the same unseen tickets.

Watch the loss fall during training. At the end, compare the answers, and type tickets of your own: \
both models answer them side by side."""
FORGETFUL = """

Without general rows and at a high learning rate, it forgets what it could do: the verdict says so."""


class DemoPage(Page[str]):
    """Dismisses with the path of the sample plan, or None."""

    NAME = "Demo"
    NOTES = (
        "The demo is a normal run: leave it, return, or stop it.",
        "Your data stays here; the model is downloaded once.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "begin", "start", key_display="enter", tooltip="start the demo")
    ]

    def __init__(self, *, forgets: bool = False) -> None:
        super().__init__()
        self._forgets = forgets

    def body(self) -> ComposeResult:
        text = INTRODUCTION + (FORGETFUL if self._forgets else "")
        yield Static(text, classes="lead", markup=False)
        yield Static(id="facts", classes="lead", markup=False)

    def on_mount(self) -> None:
        try:
            self._file = bundled_samples.copy_plan(forgets=self._forgets)
            demo_plan = plan_file.load(self._file)
        except FtwizardError as error:
            self.app.push_screen(ErrorDialog(error), lambda _: self.dismiss(None))
            return
        facts = (
            ("model", f"{demo_plan.model.name} (135 million parameters)"),
            ("rows", str(self._file.parent)),
            ("runs", str(locations.runs_folder())),
            ("time", bundled_samples.DEMO_COST),
        )
        text = Text("\n").join(
            Text.assemble((f"{name:<8}", "dim"), make_visible(value)) for name, value in facts
        )
        self.query_one("#facts", Static).update(text)

    def action_begin(self) -> None:
        self.dismiss(str(self._file))
