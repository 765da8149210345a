"""Home: what can be begun, and the runs there are."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard import runs
from ftwizard.follow import Follower
from ftwizard.screens import palette, readings
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.screens.widgets.sparkline import sparkline
from ftwizard.text import age, visible

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp

LOOK_EVERY_S = 2.0
SLICE_S = 0.01
SPARK_CELLS = 12
ACTIONS = (
    ("new", "n", "New fine-tune", "from your rows to a merged model, step by step"),
    ("demo", "d", "Demo", "a real small fine-tune, end to end, in about five minutes"),
    ("doctor", "o", "Doctor", "what this machine can do, and what is missing"),
)


class Actions(Menu):
    """A menu whose Enter is named below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "open", key_display="enter"),
    ]


class Home(Page[None]):
    """Actions first, then every run, newest first."""

    NAME = "Home"
    HELP = (
        "Start here. Enter does what the cursor is on.\n\n"
        "A run is a folder of its own and goes on without this window: leave, come back, open it "
        "from here, or type `ftwizard watch RUN` on any terminal of this machine."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"begin('{id}')", name.lower()) for id, key, name, _ in ACTIONS),
        Binding("escape", "back", "back", show=False),
        Binding("q", "app.quit", "quit", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._followers: dict[str, Follower] = {}
        self._looking = False

    def body(self) -> ComposeResult:
        # At once the first time, so that keys typed ahead find the lines that they mean.
        self._followers = _looked_at({})
        yield Static(
            "From a data set to a fine-tuned model, compared with its base and merged.",
            classes="lead",
            markup=False,
        )
        yield Static("", classes="note")
        yield Actions(self._lines(), id="home")

    def on_mount(self) -> None:
        self.call_later(self._read)
        self.set_interval(LOOK_EVERY_S, self._look)
        self.query_one(Menu).focus()

    def on_screen_resume(self) -> None:
        app = cast("FtwizardApp", self.app)
        if app.shown_last:
            self._followers = _looked_at(self._followers)
            self.query_one(Menu).show(self._lines(), cursor=f"run:{app.shown_last}")
            app.shown_last = ""
        self._look()

    def on_resize(self) -> None:
        self._draw()

    def action_back(self) -> None:
        """Home is where back ends."""

    def action_begin(self, what: str) -> None:
        cast("FtwizardApp", self.app).begin(what)

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        kind, _, name = event.id.partition(":")
        cast("FtwizardApp", self.app).begin(kind, name)

    @work(group="look", exit_on_error=False)
    async def _look(self) -> None:
        """See which runs there are, then read on in what has changed, a slice at a time."""
        if self._looking or self.app.screen is not self:
            return
        self._looking = True
        try:
            self._followers = await asyncio.to_thread(_looked_at, self._followers)
        finally:
            self._looking = False
        self._draw()
        self.call_later(self._read)

    def _read(self) -> None:
        """Read for a moment, and go on after the keys had their turn."""
        for follower in reversed(self._followers.values()):
            if follower.read(SLICE_S):
                self.set_timer(SLICE_S, self._read)
                return
        self._draw()

    def _draw(self) -> None:
        if self.is_mounted:
            self.query_one(Menu).show(self._lines())

    def _lines(self) -> list[Line]:
        lines = [
            Line(Text.assemble((f"{name:<16}", "bold"), (what, "dim")), id)
            for id, _, name, what in ACTIONS
        ]
        lines.append(Line(Text()))
        if not self._followers:
            lines.append(Line(Text("No runs yet. They will be listed here.", "dim")))
            return lines
        width = self._name_width()
        lines.append(Line(Text(
            f"{'runs':<{width}}  {'state':<20}{'best loss':>10}  {'loss':<{SPARK_CELLS}}{'age':>8}",
            "dim",
        )))  # fmt: skip
        for id, follower in reversed(self._followers.items()):
            lines.append(Line(self._row(id, follower, width), f"run:{id}"))
        return lines

    def _name_width(self) -> int:
        """Return what the other columns leave of the line."""
        columns = self.query(Menu).first().content_size.width if self.is_mounted else 80
        return max(16, columns - 56)

    def _row(self, id: str, follower: Follower, width: int) -> Text:
        report = follower.report
        name = visible(id)
        if len(name) > width:
            name = name[: width - 1] + "…"
        best = report.best_eval_loss if report.best_eval_loss is not None else report.loss
        since = age(time.time() - report.updated) if report.updated else ""
        row = Text(f"{name:<{width}}  ", no_wrap=True)
        state, style = readings.state(report)
        row.append(f"{state:<20}", style)
        row.append(f"{'' if best is None else format(best, '.4g'):>10}  ")
        row.append(
            f"{sparkline(follower.progress.losses, SPARK_CELLS):<{SPARK_CELLS}}", palette.ACCENT
        )
        return row.append(f"{since:>8}", "dim")


def _looked_at(known: dict[str, Follower]) -> dict[str, Follower]:
    """Return a follower of each run there is, which has seen the run's state."""
    found: dict[str, Follower] = {}
    for folder in runs.all_runs():
        if follower := known.get(folder.id):
            follower.look()
        found[folder.id] = follower or Follower(folder)
    return found
