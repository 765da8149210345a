"""Home: what can be begun, and the runs there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from ftwizard import runs, side_by_side
from ftwizard.follow import Follower
from ftwizard.screens import home_rows
from ftwizard.screens.beside import beside
from ftwizard.screens.home_rows import ACTIONS, RUN
from ftwizard.screens.home_search import Search
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.entry import Entry
from ftwizard.screens.widgets.menu import Line, Menu

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp

LOOK_EVERY_S = 2.0
SLICE_S = 0.01
LONGEST_SEARCH = 200


class Actions(Menu):
    """A menu whose Enter is named below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "open", key_display="enter"),
    ]


class Home(Page[None]):
    """Actions first, then every run, newest first."""

    CSS_PATH = None

    NAME = "Home"
    HELP = (
        "Start here. Enter does what the cursor is on.\n\n"
        "A run is a folder of its own and goes on without this window: leave, come back, open it "
        "from here, or type `ftwizard watch RUN` on any terminal of this machine.\n\n"
        "/ searches the runs as you type: any word of them, or state:finished, model:qwen, "
        "data:tickets, method:qlora, rate>1e-4, best<0.5; esc shows all again.\n\n"
        "space marks runs; c compares those that are marked, x removes them, or the one under the "
        "cursor where none is."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "search", key_display="/"),
        Binding("space", "mark", "mark"),
        Binding("c", "compare", "compare"),
        Binding("x,delete", "remove", "remove", key_display="x"),
        # Last: where a line has no room for all keys, these stand in the list itself.
        *(Binding(key, f"begin('{id}')", name.lower()) for id, key, name, _ in ACTIONS),
        Binding("escape", "back", "back", show=False),
        Binding("down", "to_list", "to the list", show=False),
        Binding("q", "app.quit", "quit", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._followers: dict[str, Follower] = {}
        self._looking = self._reading = False
        self._search = Search()
        self._marked: list[str] = []

    def body(self) -> ComposeResult:
        # At once the first time, so that keys typed ahead find the lines that they mean.
        self._followers = _looked_at({})
        yield Static(
            "From a data set to a fine-tuned model, compared with its base and merged.",
            classes="lead",
            markup=False,
        )
        yield Static("", classes="note", id="said", markup=False)
        search = Entry(max_length=LONGEST_SEARCH, id="search", placeholder=_EXAMPLE)
        search.display = False
        yield search
        yield Actions(self._lines(), id="home")

    def on_mount(self) -> None:
        self._read_on()
        self.set_interval(LOOK_EVERY_S, self._look)
        self.query_one(Menu).focus()

    def on_screen_resume(self) -> None:
        app = cast("FtwizardApp", self.app)
        if app.shown_last:
            self._followers = _looked_at(self._followers)
            self.query_one(Menu).show(self._lines(), cursor=f"{RUN}{app.shown_last}")
            app.shown_last = ""
        self._look()

    def on_resize(self) -> None:
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "search":
            return bool(self._followers)
        if action == "mark":
            return bool(self._pointed_at)
        if action == "remove":
            return bool(self._meant)
        if action == "compare":
            return bool(self._marked)
        return True

    @property
    def _pointed_at(self) -> str:
        """Return the id of the run under the cursor, empty where there is none."""
        chosen = (self.query(Menu).first().chosen if self.is_mounted else None) or ""
        return chosen.removeprefix(RUN) if chosen.startswith(RUN) else ""

    @property
    def _meant(self) -> list[str]:
        """Return the runs that a key is about: the marked ones, else that under the cursor."""
        return self._marked or [self._pointed_at] * bool(self._pointed_at)

    def action_back(self) -> None:
        """Home is where back ends: it only ends a search, then takes the marks away."""
        if self._search.is_open:
            self._search.is_open = False
            self.query_one("#said", Static).update("")
            entry = self.query_one("#search", Entry)
            entry.value = ""
            entry.display = False
            self._search.text = ""
            self.query_one(Menu).focus()
        else:
            self._marked = []
        self._draw()
        self.refresh_bindings()

    def action_begin(self, what: str) -> None:
        cast("FtwizardApp", self.app).begin(what)

    def action_search(self) -> None:
        self._search.is_open = True
        self.query_one("#said", Static).update("Enter goes to the list; esc shows all runs again.")
        entry = self.query_one("#search", Entry)
        entry.display = True
        entry.focus()
        self._look()

    def action_to_list(self) -> None:
        self.query_one(Menu).focus()

    def action_mark(self) -> None:
        """Mark the run under the cursor, or no longer, and go on to the next."""
        id = self._pointed_at
        if id in self._marked:
            self._marked.remove(id)
        elif len(self._marked) < side_by_side.MOST:
            self._marked.append(id)
        else:
            words = f"{side_by_side.MOST} runs are marked: more cannot be told apart."
            self.notify(words, markup=False)
            return
        self._draw()
        self.query_one(Menu).action_move(1)
        self.refresh_bindings()

    def action_compare(self) -> None:
        meant = list(dict.fromkeys((*self._marked, self._pointed_at)))
        meant = self._marked if len(self._marked) > 1 else [id for id in meant if id]
        if len(meant) < 2:
            self.notify("Mark one more run with space, or point at it.", markup=False)
            return
        paths = "\0".join(str(self._followers[id].folder.path) for id in meant)
        cast("FtwizardApp", self.app).begin("compare", paths)

    def action_remove(self) -> None:
        folders = [self._followers[id].folder for id in self._meant]
        paths = "\0".join(str(folder.path) for folder in folders)
        cast("FtwizardApp", self.app).begin("remove", paths)

    def on_menu_moved(self, _: Menu.Moved) -> None:
        self.refresh_bindings()

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        kind, _, name = event.id.partition(":")
        cast("FtwizardApp", self.app).begin(kind, name)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._search.text = event.value
        found, _ = self._search.found(self._followers)
        first = f"{RUN}{found[0].folder.id}" if found and event.value.strip() else None
        self.query_one(Menu).show(self._lines(), cursor=first)
        self.refresh_bindings()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_to_list()

    @work(group="look", exit_on_error=False)
    async def _look(self) -> None:
        """See which runs there are, then read on in what has changed, a slice at a time."""
        if self._looking or self.app.screen is not self:
            return
        self._looking = True
        try:
            self._followers = await beside(_looked_at, self._followers)
            if self._search.is_open:
                await beside(self._search.learn, self._followers)
        finally:
            self._looking = False
        if any(id not in self._followers for id in self._marked):
            self._marked = [id for id in self._marked if id in self._followers]
            self.refresh_bindings()
        self._draw()
        self._read_on()

    def _read_on(self) -> None:
        if not self._reading:  # else a long run would be read by one more at every look
            self._reading = True
            self.call_later(self._read)

    def _read(self) -> None:
        """Read for a moment, and go on after the keys had their turn."""
        for follower in reversed(self._followers.values()):
            if follower.read(SLICE_S):
                self.set_timer(SLICE_S, self._read)
                return
        self._reading = False
        self._draw()

    def _draw(self) -> None:
        if self.is_mounted:
            self.query_one(Menu).show(self._lines())

    def _lines(self) -> list[Line]:
        lines = [] if self._search.text.strip() else home_rows.actions()
        if not self._followers:
            return lines + home_rows.note("No runs yet. They will be listed here.")
        found, nothing = self._search.found(self._followers)
        if nothing:
            return lines + home_rows.note(*nothing)
        # Before the first layout there is the window's width alone, with a cell left on each side.
        width = self.query(Menu).first().content_size.width if self.is_mounted else 0
        columns = width or self.app.size.width - 2
        return lines + home_rows.listed(found, self._marked, columns)


_EXAMPLE = "a word, or state:finished model:qwen rate>1e-4"


def _looked_at(known: dict[str, Follower]) -> dict[str, Follower]:
    """Return a follower of each run there is, which has seen the run's state."""
    found: dict[str, Follower] = {}
    for folder in runs.all_runs():
        if follower := known.get(folder.id):
            follower.look()
        found[folder.id] = follower or Follower(folder)
    return found
