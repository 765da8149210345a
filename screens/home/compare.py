"""Comparison of runs: curves, scores and the settings that differ."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard.background import run_in_thread
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import describe, search
from ftwizard.runs.comparison import (
    Comparison,
    compare,
    format_scores,
    format_settings,
    format_verdicts,
    get_label,
    read_side,
)
from ftwizard.runs.follower import Follower
from ftwizard.screens import palette
from ftwizard.screens.chart.widget import Chart, ChartLine, LineStyle
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import make_visible

POLL_EVERY_S = 2.0
SLICE_S = 0.01
COLORS = (
    palette.ACCENT, palette.WARNING, palette.GOOD, "#cc79a7", "#f0e442", palette.BAD, "#b9c4d0", "#8f9dff",
)  # fmt: skip
"""One per run; runs also differ by letter and line style."""
STYLES: tuple[LineStyle, ...] = ("solid", "dashed")
METRICS = ("validation", "training")
MAX_STATE = 40
"""Characters of a state; end reasons are foreign text."""


class ComparePage(Page[None]):
    """Shows runs side by side and keeps reading the live ones."""

    NAME = "Compare"
    NOTES = (
        "Each run has a letter, on its curve and above its column.",
        "✓ is the lowest loss, if the runs are comparable.",
        "Losses on other rows or tokenizers are not.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric", "training or validation", tooltip="training or validation loss"),
        Binding("l", "chart_log", "log scale", tooltip="log scale on or off"),
        Binding("escape,q", "back", "back", key_display="esc"),
        Binding(
            "pagedown,down",
            "scroll_table(1)",
            "scroll down",
            key_display="pgdn",
            tooltip="scroll the table",
        ),
        Binding(
            "pageup,up", "scroll_table(-1)", "scroll up", show=False, tooltip="scroll the table"
        ),
    ]

    def __init__(self, folders: list[JobFolder]) -> None:
        super().__init__()
        self._followers = [Follower(folder, asks_slurm=False) for folder in folders]
        self._settings: list[dict[str, Any]] | None = None
        self._metric = METRICS[0]
        self._polling = False
        self._drawn = False

    def body(self) -> ComposeResult:
        with Vertical(id="compare"):
            yield Static(id="metric", markup=False)
            yield Chart(id="curves", empty="no validation loss; press m for training loss")
            with ScrollPane(id="table", can_focus=False):
                yield Static("Reading plans…", id="scores", markup=False)

    def top_line(self) -> Text:
        line = super().top_line()
        for index, follower in enumerate(self._followers):
            line.append(f"  {get_label(index)} ", f"bold {COLORS[index]}")
            line.append(make_visible(follower.folder.id))
        return line

    def on_mount(self) -> None:
        self.query_one(Chart).focus()
        self._load()
        self.set_interval(POLL_EVERY_S, self._poll)

    @work(group="load", exit_on_error=False)
    async def _load(self) -> None:
        """Read the plans in a thread (their reader is slow to import), then the events."""
        folders = [follower.folder for follower in self._followers]
        self._settings = await run_in_thread(lambda: [search.read_settings(f) for f in folders])
        self._read()

    @work(group="poll", exit_on_error=False)
    async def _poll(self) -> None:
        if self._polling or self.app.screen is not self or self._settings is None:
            return
        self._polling = True
        try:
            for follower in self._followers:
                await run_in_thread(follower.read_state)
        finally:
            self._polling = False
        self._read()

    def _read(self) -> None:
        """Read events for a moment; continue after pending keys were handled."""
        for follower in self._followers:
            if follower.read(SLICE_S):
                self.set_timer(SLICE_S, self._read)
                if not self._drawn:
                    self._draw(is_complete=False)
                return
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self, *, is_complete: bool = True) -> None:
        if not self.is_mounted or not self.size.width or self._settings is None:
            return
        self._drawn = True
        lines = [self._build_line(index, item) for index, item in enumerate(self._followers)]
        self.query_one(Chart).show([line for line in lines if len(line.series)])
        missing = [line.name for line in lines if not len(line.series)]
        caption = "" if is_complete else "still reading; "
        caption += f"{self._metric} loss by step"
        caption += f"; no data for {', '.join(missing)}" if missing else ""
        self.query_one("#metric", Static).update(Text(caption, "dim"))
        sides = [
            read_side(item.folder, index, item.shown, self._settings[index])
            for index, item in enumerate(self._followers)
        ]
        table = _build_table(compare(sides), self.size.width - 7)
        self.query_one("#scores", Static).update(table)

    def _build_line(self, index: int, follower: Follower) -> ChartLine:
        progress, letter = follower.shown, get_label(index)
        series = progress.evaluations if self._metric == METRICS[0] else progress.smoothed
        style = STYLES[index % len(STYLES)]
        return ChartLine(letter, series, COLORS[index], style, letter)

    def action_metric(self) -> None:
        self._metric = METRICS[1 - METRICS.index(self._metric)]
        self._draw()

    def action_chart_log(self) -> None:
        self.query_one(Chart).action_toggle_log()

    def action_scroll_table(self, by: int) -> None:
        self.query_one("#table", ScrollPane).scroll_pages(by)


def _build_table(comparison: Comparison, width: int) -> Table:
    """Return the main score, reasons not to compare, differing settings and all other scores."""
    scores = format_scores(comparison)
    settings = format_settings(comparison)
    states = [describe.describe_state(side.record) for side in comparison.sides]
    state_row = ("", [make_visible(state, MAX_STATE) for state in states])
    outer = Table.grid()
    outer.add_column(width=width, overflow="fold")
    outer.add_row(_build_grid(comparison, [state_row, *scores[:1]], width))
    for line in format_verdicts(comparison):
        outer.add_row(Text(line))
    for line in comparison.reasons:
        outer.add_row(Text.assemble(("! ", f"bold {palette.WARNING}"), line))
    outer.add_row(Text("Different settings" if settings else "Settings are identical", "bold"))
    outer.add_row(_build_grid(comparison, settings, width, headed=False))
    outer.add_row(Text("Results", "bold"))
    outer.add_row(_build_grid(comparison, scores[1:], width, headed=False))
    return outer


def _build_grid(
    comparison: Comparison, rows: list[tuple[str, list[str]]], width: int, *, headed: bool = True
) -> Table:
    name_cells = max((len(name) for name, _ in rows), default=0)
    name_cells = max(min(name_cells, 32), 21)
    column_cells = min(30, max(8, (width - name_cells) // len(comparison.sides) - 2))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=name_cells, style="dim", overflow="fold")
    for _ in comparison.sides:
        grid.add_column(width=column_cells, justify="right", overflow="fold")
    if headed:
        names = [f" {make_visible(side.id, column_cells - 2)}" for side in comparison.sides]
        heads = zip(comparison.sides, COLORS, names, strict=False)
        grid.add_row(
            "", *(Text.assemble((side.label, f"bold {color}"), name) for side, color, name in heads)
        )
    for name, cells in rows:
        grid.add_row(Text(make_visible(name)), *(Text(make_visible(cell)) for cell in cells))
    return grid
