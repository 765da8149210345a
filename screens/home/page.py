"""Home page: actions and the list of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from ftwizard.background import run_in_thread
from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.runs import comparison, search, store
from ftwizard.runs.follower import Follower
from ftwizard.screens import palette
from ftwizard.screens.chart.sparkline import draw_sparkline
from ftwizard.screens.draft import saved_drafts
from ftwizard.screens.draft.saved_drafts import InterruptedDraft, SavedDrafts
from ftwizard.screens.page import Page
from ftwizard.screens.run_state import describe_state
from ftwizard.screens.session import Session
from ftwizard.screens.widgets.menu import Menu, MenuLine
from ftwizard.screens.widgets.text_input import TextInput
from ftwizard.text import format_age, make_visible, shorten_middle

POLL_EVERY_S = 2.0
SLICE_S = 0.01
MAX_SEARCH_CHARACTERS = 200
_EXAMPLE = "any word, or state:finished model:qwen lr>1e-4"
StartRoute = Callable[[str, str], None]
"""Starts a route by name, with its argument."""
RUN = "run:"
"""Prefix of a run's line id."""
DRAFT = "continue:"
"""Prefix of a draft's line id."""
SPARK_CELLS = 12
MIN_NAME_CELLS = 12
OTHER_CELLS = 56
"""Cells of all columns but the name, and of the cursor."""
ACTIONS = (
    ("new", "n", "New fine-tune", "from your data to a merged model, step by step"),
    ("demo", "d", "Demo", "a small but complete fine-tune in about five minutes"),
    ("doctor", "o", "Doctor", "what this machine can do and what is missing"),
)


def build_drafts(drafts: Iterable[InterruptedDraft]) -> list[MenuLine]:
    """Return a line per interrupted wizard."""
    return [
        MenuLine(
            Text.assemble((f"{'Continue':<16}", "bold"), draft.saved.describe(), no_wrap=True),
            f"{DRAFT}{draft.path}",
        )
        for draft in drafts
    ]


def build_actions() -> list[MenuLine]:
    lines = [
        MenuLine(Text.assemble((f"{name:<16}", "bold"), (description, "dim")), id)
        for id, _, name, description in ACTIONS
    ]
    return [*lines, MenuLine(Text())]


def build_runs(runs: Iterable[Follower], marked: Sequence[str], columns: int) -> list[MenuLine]:
    """Return a heading and one line per run, in order; ``marked`` runs get their letters."""
    show_losses = columns >= OTHER_CELLS + MIN_NAME_CELLS
    other_cells = OTHER_CELLS if show_losses else OTHER_CELLS - SPARK_CELLS
    width = max(MIN_NAME_CELLS, columns - other_cells)
    losses = f"{'loss':<{SPARK_CELLS}}" if show_losses else ""
    heading = f"{'runs':<{width}}  {'state':<20}{'best loss':>10}  {losses}{'updated':>8}"
    lines = [MenuLine(Text(heading, "dim"))]
    for follower in runs:
        id = follower.folder.id
        letter = ""
        if marked:
            letter = f"{comparison.get_label(marked.index(id))} " if id in marked else "  "
        row = _build_row(follower, letter, width, show_losses=show_losses)
        lines.append(MenuLine(row, f"{RUN}{id}"))
    return lines


def build_notes(*messages: str) -> list[MenuLine]:
    """Return lines that cannot be chosen, one per message."""
    return [MenuLine(Text(message, "dim")) for message in messages if message]


def _build_row(follower: Follower, letter: str, width: int, *, show_losses: bool) -> Text:
    report = follower.run_status
    name = letter + shorten_middle(make_visible(follower.folder.id), width - len(letter))
    best = report.best_eval_loss if report.best_eval_loss is not None else report.loss
    updated = format_age(report.age_s) if report.age_s is not None else ""
    row = Text(f"{name:<{width}}  ", no_wrap=True)
    if letter.strip():
        row.stylize(f"bold {palette.ACCENT}", 0, 1)
    state, style = describe_state(report)
    row.append(f"{state:<20}", style)
    row.append(f"{'' if best is None else format(best, '.4g'):>10}  ")
    if show_losses:
        losses = draw_sparkline(follower.shown.losses, SPARK_CELLS)
        row.append(f"{losses:<{SPARK_CELLS}}", palette.ACCENT)
    return row.append(f"{updated:>8}", "dim")


class RunSearch:
    """The search of the home page: its query, and the settings from the plans read so far."""

    def __init__(self) -> None:
        self.text = ""
        self.is_open = False
        self._settings: dict[str, dict[str, Any]] = {}

    def load_settings(self, followers: Mapping[str, Follower]) -> None:
        """Read plans not read yet; call it in a thread, because their reader is slow to import."""
        for id, follower in list(followers.items()):
            if id not in self._settings:
                self._settings[id] = search.read_settings(follower.folder)
        for id in [id for id in self._settings if id not in followers]:
            del self._settings[id]

    def find_runs(
        self, followers: Mapping[str, Follower]
    ) -> tuple[list[Follower], tuple[str, ...]]:
        newest = list(followers.values())[::-1]
        if not self.text.strip():
            return newest, ()
        try:
            terms = search.parse([self.text])
        except FtwizardError as error:
            return [], (error.message, error.hint)
        fields = {
            item: search.from_status(item.run_status, self._settings.get(item.folder.id, {}))
            for item in newest
        }
        matching = [item for item in newest if search.matches_all(terms, fields[item])]
        return matching, () if matching else search.explain_no_match(terms, [*fields.values()])


class Actions(Menu):
    """A menu that shows Enter among the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "open", key_display="enter", tooltip="open the line"),
    ]


class HomePage(Page[None]):
    """Shows the actions, then all runs, newest first."""

    CSS_PATH = None

    NAME = "Home"
    NOTES = (
        "Runs continue without this window: ftwizard watch RUN",
        "Search: any word, state:finished, model:qwen, data:tickets,",
        "method:qlora, lr>1e-4, best<0.5",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "slash", "search", "search", key_display="/", tooltip="search the runs as you type"
        ),
        Binding("space", "mark", "mark", tooltip="mark the run"),
        Binding("c", "compare", "compare", tooltip="compare the marked runs"),
        Binding("c", "chat", "chat", tooltip="chat with the tuned model"),
        Binding(
            "x,delete",
            "remove",
            "delete",
            key_display="x",
            tooltip="delete the run, or those marked",
        ),
        Binding("x,delete", "forget", "forget", key_display="x", tooltip="forget the draft"),
        Binding("r", "continue", "continue", tooltip="continue the draft"),
        # Last, so that they are dropped first: the list shows these actions too.
        *(Binding(key, f"begin('{id}')", name.lower()) for id, key, name, _ in ACTIONS),
        Binding("escape", "back", "back", show=False, tooltip="show all runs again"),
        Binding("down", "to_list", "to the list", show=False, tooltip="to the list"),
        Binding("q", "app.quit", "quit", show=False, tooltip="quit; runs keep running"),
    ]

    def __init__(self, session: Session, start_route: StartRoute) -> None:
        super().__init__()
        self._session, self._start_route = session, start_route
        self._followers: dict[str, Follower] = {}
        self._polling = self._reading = False
        self._search = RunSearch()
        self._marked: list[str] = []
        self._drafts: list[InterruptedDraft] = []

    def body(self) -> ComposeResult:
        # Synchronous the first time, so that keys typed ahead act on the right lines.
        self._followers = _refresh_followers({})
        self._take_drafts(saved_drafts.list_drafts())
        yield Static(
            "Fine-tune an LLM, compare it with its base model, and merge it for serving.",
            classes="lead",
            markup=False,
        )
        yield Static("", classes="note", id="hint", markup=False)
        entry = TextInput(max_length=MAX_SEARCH_CHARACTERS, id="search", placeholder=_EXAMPLE)
        entry.display = False
        yield entry
        yield Actions(self._lines(), id="home")

    def on_mount(self) -> None:
        self._read_on()
        self.set_interval(POLL_EVERY_S, self._poll)
        self.query_one(Menu).focus()

    def on_screen_resume(self) -> None:
        if self._session.shown_last:
            self._followers = _refresh_followers(self._followers)
            self.query_one(Menu).show(self._lines(), cursor=f"{RUN}{self._session.shown_last}")
            self._session.shown_last = ""
        self._poll()

    def on_resize(self) -> None:
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        needs: dict[str, object] = {
            "search": self._followers, "mark": self._selected_run,
            "remove": self._target_runs, "compare": self._marked, "continue": self._drafts,
            "forget": self._selected_draft, "chat": self._can_chat,
        }  # fmt: skip
        return bool(needs.get(action, True))

    @property
    def _selected_run(self) -> str:
        """The id of the run under the cursor, empty if there is none."""
        chosen = (self.query(Menu).first().chosen if self.is_mounted else None) or ""
        return chosen.removeprefix(RUN) if chosen.startswith(RUN) else ""

    @property
    def _selected_draft(self) -> str:
        """The file of the draft under the cursor, empty if there is none."""
        chosen = (self.query(Menu).first().chosen if self.is_mounted else None) or ""
        return chosen.removeprefix(DRAFT) if chosen.startswith(DRAFT) else ""

    def _take_drafts(self, saved: SavedDrafts) -> None:
        self._drafts = saved.drafts
        for path in saved.damaged:
            self.notify(saved_drafts.describe_damage(path), markup=False)

    @property
    def _target_runs(self) -> list[str]:
        """The runs that a key acts on: the marked ones, else the selected one."""
        if self._selected_draft:
            return []
        return self._marked or [self._selected_run] * bool(self._selected_run)

    def action_back(self) -> None:
        """End the search, or clear the marks; home has no page to go back to."""
        if self._search.is_open:
            self._show_search(False, "")
            self.query_one("#search", TextInput).value = self._search.text = ""
            self.query_one(Menu).focus()
        else:
            self._marked = []
        self._draw()
        self.refresh_bindings()

    def action_begin(self, route: str) -> None:
        self._start_route(route, "")

    def action_search(self) -> None:
        self._show_search(True, "Enter: go to the list. Esc: show all runs.")
        self.query_one("#search").focus()
        self._poll()

    def _show_search(self, is_open: bool, hint: str) -> None:
        self._search.is_open = self.query_one("#search").display = is_open
        self.query_one("#hint", Static).update(hint)

    def action_to_list(self) -> None:
        self.query_one(Menu).focus()

    def action_mark(self) -> None:
        """Toggle the mark of the selected run and move to the next one."""
        id = self._selected_run
        if id in self._marked:
            self._marked.remove(id)
        elif len(self._marked) < comparison.MAX_RUNS:
            self._marked.append(id)
        else:
            self.notify(f"You can compare up to {comparison.MAX_RUNS} runs.", markup=False)
            return
        self._draw()
        self.query_one(Menu).action_move(1)
        self.refresh_bindings()

    def action_compare(self) -> None:
        candidates = dict.fromkeys((*self._marked, self._selected_run))
        ids = self._marked if len(self._marked) > 1 else [id for id in candidates if id]
        if len(ids) < 2:
            self.notify("Select a second run, or mark it with space.", markup=False)
            return
        self._start_for("compare", ids)

    @property
    def _can_chat(self) -> bool:
        follower = self._followers.get(self._selected_run)
        ended = follower is not None and follower.status.end_reason in GOOD_END_REASONS
        is_own = follower is not None and follower.origin == "run"
        return ended and is_own and not self._marked

    def action_chat(self) -> None:
        self._start_for("chat", [self._selected_run])

    def action_remove(self) -> None:
        self._start_for("remove", self._target_runs)

    def action_continue(self) -> None:
        """Continue the selected draft, or the newest."""
        self._start_route("continue", self._selected_draft or str(self._drafts[0].path))

    def action_forget(self) -> None:
        self._start_route("forget", self._selected_draft)

    def _start_for(self, route: str, ids: list[str]) -> None:
        paths = (str(self._followers[id].folder.path) for id in ids)
        self._start_route(route, "\0".join(paths))

    def on_menu_moved(self, _: Menu.Moved) -> None:
        self.refresh_bindings()

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        kind, _, name = event.id.partition(":")
        self._start_route(kind, name)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._search.text = event.value
        matches, _ = self._search.find_runs(self._followers)
        first = f"{RUN}{matches[0].folder.id}" if matches and event.value.strip() else None
        self.query_one(Menu).show(self._lines(), cursor=first)
        self.refresh_bindings()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_to_list()

    @work(group="poll", exit_on_error=False)
    async def _poll(self) -> None:
        """Refresh the list of runs, then read their new events in slices."""
        if self._polling or self.app.screen is not self:
            return
        self._polling = True
        try:
            self._followers = await run_in_thread(_refresh_followers, self._followers)
            self._take_drafts(await run_in_thread(saved_drafts.list_drafts))
            if self._search.is_open:
                await run_in_thread(self._search.load_settings, self._followers)
        finally:
            self._polling = False
        if any(id not in self._followers for id in self._marked):
            self._marked = [id for id in self._marked if id in self._followers]
            self.refresh_bindings()
        self._draw()
        self.refresh_bindings()
        self._read_on()

    def _read_on(self) -> None:
        if not self._reading:  # otherwise every poll would add another reader of a long run
            self._reading = True
            self.call_later(self._read)

    def _read(self) -> None:
        """Read events for a moment; continue after pending keys were handled."""
        for follower in reversed(self._followers.values()):
            if follower.read(SLICE_S):
                self.set_timer(SLICE_S, self._read)
                return
        self._reading = False
        self._draw()

    def _draw(self) -> None:
        if self.is_mounted:
            self.query_one(Menu).show(self._lines())

    def _lines(self) -> list[MenuLine]:
        is_searching = bool(self._search.text.strip())
        lines = [] if is_searching else [*build_drafts(self._drafts), *build_actions()]
        if not self._followers:
            return lines + build_notes("No runs yet.")
        matches, messages = self._search.find_runs(self._followers)
        if messages:
            return lines + build_notes(*messages)
        # Before the first layout only the window width is known; the margins take one cell each.
        width = self.query(Menu).first().content_size.width if self.is_mounted else 0
        columns = width or self.app.size.width - 2
        return lines + build_runs(matches, self._marked, columns)


def _refresh_followers(current: dict[str, Follower]) -> dict[str, Follower]:
    """Return an up-to-date follower for each run, reusing the current ones."""
    followers: dict[str, Follower] = {}
    for folder in store.list_runs():
        if follower := current.get(folder.id):
            follower.read_state()
        followers[folder.id] = follower or Follower(folder, is_summary=True)
    return followers
