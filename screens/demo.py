"""The demo, before it begins: what it does, what it needs, how long it takes."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard import plan, samples, settings
from ftwizard.errors import FtwizardError
from ftwizard.screens.page import Page
from ftwizard.screens.problem import Problem
from ftwizard.text import visible

WORDS = """\
A small language model learns to turn support tickets into JSON of one form that it does not \
know. It is a real fine-tune: the model is fetched, trained here, merged, and both models answer \
tickets that neither has seen.

You see the loss fall while it learns. At the end you compare the answers, and have a model that \
any server loads."""


class Demo(Page[str]):
    """Dismisses with the file of the sample's plan, or None."""

    NAME = "Demo"
    HELP = (
        "Enter starts the demo. It is a run like any other: leave it, come back to it, stop it. "
        "Nothing leaves this machine; the model is fetched once."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "begin", "begin", key_display="enter"),
    ]

    def body(self) -> ComposeResult:
        yield Static(WORDS, classes="lead", markup=False)
        yield Static(id="facts", classes="lead", markup=False)

    def on_mount(self) -> None:
        try:
            self._file = samples.plan_file()
            chosen = plan.load(self._file)
        except FtwizardError as error:
            self.app.push_screen(Problem(error), lambda _: self.dismiss(None))
            return
        facts = (
            ("model", f"{chosen.model.name} (135 million parameters)"),
            ("rows", str(self._file.parent)),
            ("runs", str(settings.runs_folder())),
            ("takes", samples.TAKES),
        )
        text = Text("\n").join(
            Text.assemble((f"{name:<8}", "dim"), visible(value)) for name, value in facts
        )
        self.query_one("#facts", Static).update(text)

    def action_begin(self) -> None:
        self.dismiss(str(self._file))
