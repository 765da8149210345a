"""Runs over each other: their curves, their scores, and the settings that differ."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from ftwizard import run_search, side_by_side, words
from ftwizard.follow import Follower
from ftwizard.jobs.folder import JobFolder
from ftwizard.screens import palette
from ftwizard.screens.beside import beside
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.chart import Chart, Line, LineStyle
from ftwizard.side_by_side import Comparison
from ftwizard.text import visible

LOOK_EVERY_S = 2.0
SLICE_S = 0.01
COLOURS = (
    palette.ACCENT, palette.WARNING, palette.GOOD, "#cc79a7", "#f0e442", palette.BAD, "#b9c4d0", "#8f9dff",
)  # fmt: skip
"""As many as runs; none is told by its colour alone."""
STYLES: tuple[LineStyle, ...] = ("solid", "dashed")
SHOWN = ("validation", "training")
STATE = 40
"""Characters of a state: an end may have been named by anybody."""


class Compare(Page[None]):
    """Reads the runs as long as it is open: a run that lives goes on growing."""

    NAME = "Compare"
    HELP = (
        "Each run has a letter, which stands on its curve where there is room, in the line above "
        "the chart, and at the head of its column.\n\n"
        "✓ marks the lowest loss, but only where the runs can be compared: losses on other rows, or "
        "of a model with another tokenizer, do not say which run is better."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric", "training or validation"),
        Binding("l", "chart_log", "log scale"),
        Binding("escape,q", "back", "back", key_display="esc"),
        Binding("pagedown,down", "read_on(1)", "read on", key_display="pgdn"),
        Binding("pageup,up", "read_on(-1)", "read back", show=False),
    ]

    def __init__(self, folders: list[JobFolder]) -> None:
        super().__init__()
        self._followers = [Follower(one) for one in folders]
        self._settings: list[dict[str, Any]] | None = None
        self._metric = SHOWN[0]
        self._looking = False
        self._drawn = False

    def body(self) -> ComposeResult:
        ascii = getattr(self.app, "ascii", False)
        with Vertical(id="compare"):
            yield Static(id="metric", markup=False)
            yield Chart(
                [], ascii=ascii, id="curves", empty="nothing was validated: m shows training"
            )
            with VerticalScroll(id="table", can_focus=False):
                yield Static("reading the plans…", id="scores", markup=False)

    def top_line(self) -> Text:
        line = super().top_line()
        for place, one in enumerate(self._followers):
            letter = side_by_side.label(place)
            line.append(f"  {letter} ", f"bold {COLOURS[place]}")
            line.append(visible(one.folder.id))
        return line

    def on_mount(self) -> None:
        self.query_one(Chart).focus()
        self._begin()
        self.set_interval(LOOK_EVERY_S, self._look)

    @work(group="begin", exit_on_error=False)
    async def _begin(self) -> None:
        """Read the plans beside the loop (what reads them is slow to import), then the events."""
        folders = [one.folder for one in self._followers]
        self._settings = await beside(lambda: [run_search.settings_of(one) for one in folders])
        self._read()

    @work(group="look", exit_on_error=False)
    async def _look(self) -> None:
        if self._looking or self.app.screen is not self or self._settings is None:
            return
        self._looking = True
        try:
            for one in self._followers:
                await beside(one.look)
        finally:
            self._looking = False
        self._read()

    def _read(self) -> None:
        """Read for a moment, and go on after the keys had their turn."""
        for one in self._followers:
            if one.read(SLICE_S):
                self.set_timer(SLICE_S, self._read)
                if not self._drawn:
                    self._draw()
                return
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted or not self.size.width or self._settings is None:
            return
        self._drawn = True
        lines = [self._line(place, one) for place, one in enumerate(self._followers)]
        self.query_one(Chart).show([line for line in lines if len(line.series)])
        missing = [line.name for line in lines if not len(line.series)]
        said = f"{self._metric} loss over steps"
        said += f"; none of {', '.join(missing)}" if missing else ""
        self.query_one("#metric", Static).update(Text(said, "dim"))
        sides = [
            side_by_side.side(one.folder, place, one.shown, self._settings[place])
            for place, one in enumerate(self._followers)
        ]
        table = _table(side_by_side.compare(sides), self.size.width - 6)
        self.query_one("#scores", Static).update(table)

    def _line(self, place: int, one: Follower) -> Line:
        progress, letter = one.shown, side_by_side.label(place)
        series = progress.evaluations if self._metric == SHOWN[0] else progress.smoothed
        style = STYLES[place % len(STYLES)]
        return Line(letter, series, COLOURS[place], style, letter)

    def action_metric(self) -> None:
        """Show the other loss."""
        self._metric = SHOWN[1 - SHOWN.index(self._metric)]
        self._draw()

    def action_chart_log(self) -> None:
        self.query_one(Chart).action_toggle_log()

    def action_read_on(self, by: int) -> None:
        table = self.query_one("#table", VerticalScroll)
        table.scroll_relative(y=by * max(1, table.size.height - 1), animate=False)


def _table(found: Comparison, width: int) -> Table:
    """Return the first score, what stands against comparing, settings and all other scores."""
    scores = side_by_side.score_rows(found)
    settings = side_by_side.setting_rows(found)
    states = ("", [visible(words.state(one.record), STATE) for one in found.sides])
    outer = Table.grid()
    outer.add_column(width=width, overflow="fold")
    outer.add_row(_grid(found, [states, *scores[:1]], width))
    for line in found.why:
        outer.add_row(Text.assemble(("! ", f"bold {palette.WARNING}"), line))
    outer.add_row(Text("settings that differ" if settings else "no setting differs", "bold"))
    outer.add_row(_grid(found, settings, width, headed=False))
    outer.add_row(Text("what came of it", "bold"))
    outer.add_row(_grid(found, scores[1:], width, headed=False))
    return outer


def _grid(
    found: Comparison, rows: list[tuple[str, list[str]]], width: int, *, headed: bool = True
) -> Table:
    names = max((len(name) for name, _ in rows), default=0)
    names = max(min(names, 32), 21)
    each = max(8, (width - names) // len(found.sides) - 2)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=names, style="dim", overflow="fold")
    for _ in found.sides:
        grid.add_column(width=min(each, 30), justify="right", overflow="fold")
    if headed:
        head = [
            Text.assemble(
                (one.label, f"bold {COLOURS[place]}"), " ", visible(one.id, max(4, min(each, 30) - 2))
            )
            for place, one in enumerate(found.sides)
        ]  # fmt: skip
        grid.add_row("", *head)
    for name, cells in rows:
        grid.add_row(Text(visible(name)), *(Text(visible(cell)) for cell in cells))
    return grid
