"""The monitor's face: a run's figures, its chart, its machine and the end of its log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widget import Widget
from textual.widgets import Static

from ftwizard import words
from ftwizard.catalog.prices import Rate
from ftwizard.follow import Follower
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.watchdog import SILENT_S
from ftwizard.plan import Plan
from ftwizard.screens import charted, efficiency, gpus, palette, readings, spent
from ftwizard.screens.charted import AXIS_NAMES, PANES, SMOOTHINGS, Charted, Pane
from ftwizard.screens.widgets.chart import Chart
from ftwizard.text import duration, visible

SIDE_WIDTH = 44
LEAST_GPU_LINES, MOST_GPU_LINES = 3, 16
AROUND = 3
"""Rows of the window that are not this: the top line, the keys, the blank one below the top."""
CHART_ROWS, WIDE_CHART_ROWS = 7, 12
"""What the GPUs leave to the chart."""


class Face(Container):
    """Draws a run; its keys choose what the chart shows, which is kept."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric(1)", "measure", show=False),
        Binding("M", "metric(-1)", "measure before", show=False),
        Binding("x", "axis", "axis", show=False),
        Binding("w", "smoothing", "smoothing", show=False),
        Binding("pagedown", "scroll_side(1)", "read on", show=False),
        Binding("pageup", "scroll_side(-1)", "read back", show=False),
    ]

    def __init__(self, follower: Follower, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.plan: Plan | None = None
        """None until it is read."""
        self.hour: Rate | None = None
        """What an hour of the machine costs, where the run knows it."""
        self._follower = follower
        self._drawn: dict[str, Text] = {}
        self._gpus: list[dict[str, Any]] = []
        """The GPUs of a reading of now."""
        self._charted = Charted(charted.remembered())

    def compose(self) -> ComposeResult:
        with Vertical(id="side"):
            for name in ("now", "next", "figures", "machine", "findings", "about"):
                yield Static(id=name, markup=False)
        self._chart = Chart([], ascii=getattr(self.app, "ascii", False), id="chart")
        yield self._chart
        yield Static(id="efficiency", markup=False)
        yield Static(id="gpus", markup=False)
        yield Static(id="log", markup=False)

    def on_mount(self) -> None:
        self._chart.log_scale = self._charted.look.log_scale
        self._chart.focus()

    @property
    def is_drawn(self) -> bool:
        """Say whether it shows anything yet."""
        return bool(self._drawn)

    def draw(self) -> None:
        """Show what is known of the run by now."""
        page = self.screen
        if not self.is_mounted or not page.size.width:
            return
        wide = page.has_class("-wide")
        width = SIDE_WIDTH if wide else page.size.width - 4
        follower, progress = self._follower, self._follower.shown
        report = follower.report
        live = report.state != "ended"
        roomy = wide or page.has_class("-tall")
        time_spent = efficiency.figures(progress) if live and roomy else []
        cost = self._spent(live=live)
        figures = readings.figures(progress, report, cost, with_speed=not time_spent)
        layout = readings.in_columns if wide else readings.in_line
        log_lines = 8 if page.has_class("-tall") else 2
        self._put("now", readings.now(follower, width))
        self._put("figures", layout(figures, width))
        self._put("efficiency", readings.in_line(time_spent, page.size.width - 4))
        samples = follower.machine() if live else []
        self._gpus = gpus.newest(samples) if readings.is_new(samples) else []
        self._put("machine", readings.machine(samples, width) if live else Text())
        about = readings.about(self.plan, width) if self.plan and wide else Text()
        self._put("about", about)
        self._put("next", _next(follower))
        self._put("findings", readings.findings(progress, 6 if wide else 2, lives=live))
        quiet = follower.status.end_reason in GOOD
        self._put("log", Text() if quiet else readings.log(follower.log(log_lines)))
        self._draw_gpus(samples)
        self._arrange()
        self._draw_chart()

    def _spent(self, *, live: bool) -> tuple[str, str] | None:
        if self.plan is None:
            return None
        # What was between two attempts was not paid for: the newer one has yet to say its first word.
        begun = self._follower.status.attempt == self._follower.shown.attempt
        now = time.time() if live and begun else None
        return spent.so_far(self._follower.shown, self.hour, self.plan.budget, now)

    @property
    def next_pane(self) -> Pane:
        """What comes next: the chart alone, then the GPUs where there are any, then everything."""
        panes = [one for one in PANES if one != "gpus" or self._gpus]
        return panes[(panes.index(self._pane) + 1) % len(panes)]

    def show_pane(self, pane: Pane) -> None:
        """Show one pane alone, or everything."""
        self._look(pane=pane)
        self.draw()

    @property
    def _pane(self) -> Pane:
        """What has the screen to itself; never GPUs where there are none."""
        chosen = self._charted.look.pane
        return "all" if chosen == "gpus" and not self._gpus else chosen

    def _arrange(self) -> None:
        """Show what says something, and of it the pane that is alone; the keys are the chart's."""
        pane = self._pane
        self.set_class(pane != "all", "-alone")
        was_hidden = not self._chart.display
        for part in (*self.children, *self.query_one("#side").children):
            place = part.id if part.parent is self else "side"
            shown = self._says(part) and pane in ("all", place)
            if part.display != shown:
                part.display = shown
        if was_hidden and self._chart.display:
            self._chart.focus()

    def _says(self, part: Widget) -> bool:
        text = self._drawn.get(part.id or "")
        return text is None or bool(text.plain)

    def _draw_gpus(self, samples: Sequence[dict[str, Any]]) -> None:
        plan, progress = self.plan, self._follower.progress
        chosen = None if plan is None else plan.where.gpu or 0
        width, most, alone = self.screen.size.width - 4, self._gpu_lines(), self._pane == "gpus"
        said = gpus.lines(samples, progress, width, most, chosen, alone=alone)
        self._put("gpus", said if self._gpus else Text())

    def _gpu_lines(self) -> int:
        """Return how many lines the GPUs may take: the chart keeps its rows, what is said its own."""
        page = self.screen
        room = page.size.height - AROUND
        if self._pane == "gpus":
            return max(LEAST_GPU_LINES, room)
        wide = page.has_class("-wide")
        full, gap = page.size.width - 4, 1 if wide else 0

        def height(part: Widget, width: int) -> int:
            lines = part.get_content_height(page.size, page.size, width)
            return lines + gap if self._says(part) else 0

        for name in ("efficiency", "log"):
            room -= height(self.query_one(f"#{name}"), full)
        told = [part for part in self.query_one("#side").children if part.id != "about"]
        side = sum(height(part, SIDE_WIDTH if wide else full) for part in told)
        room -= max(WIDE_CHART_ROWS, side) + gap if wide else CHART_ROWS + side
        return max(LEAST_GPU_LINES, min(MOST_GPU_LINES, room))

    def _put(self, name: str, text: Text) -> None:
        """Change what a part says, only if it changed: an idle monitor sends nothing."""
        if self._drawn.get(name) != text:
            self._drawn[name] = text
            self.query_one(f"#{name}", Static).update(text)

    def _draw_chart(self) -> None:
        progress, charted = self._follower.shown, self._charted
        self._chart.x_name = AXIS_NAMES[charted.look.axis]
        living = self._follower.status.state != "ended"
        plain = bool(getattr(self.app, "slow", False))
        self._chart.show(
            charted.lines(progress, plain=plain),
            charted.marks(progress),
            charted.x_end(progress) if living else 0.0,
        )

    def action_metric(self, by: int) -> None:
        """Chart another measure."""
        names = charted.metrics(self._follower.shown)
        now = self._charted.look.metric
        place = names.index(now) if now in names else 0
        self._look(metric=names[(place + by) % len(names)])

    def action_axis(self) -> None:
        """Draw along steps, epochs, minutes or tokens."""
        axes = charted.axes(self._follower.shown)
        now = self._charted.look.axis
        place = axes.index(now) if now in axes else -1
        self._look(axis=axes[(place + 1) % len(axes)])
        self._chart.action_reset()  # what was zoomed to is somewhere else now

    def action_smoothing(self) -> None:
        """Smooth more, and after the most not at all."""
        now = self._charted.look.smoothing
        place = SMOOTHINGS.index(now) if now in SMOOTHINGS else -1
        chosen = SMOOTHINGS[(place + 1) % len(SMOOTHINGS)]
        self._look(smoothing=chosen)
        said = f"smoothed by {chosen:g}" if chosen else "not smoothed"
        self.notify(f"The line is {said}.", markup=False, timeout=2)

    def _look(self, **changes: Any) -> None:
        self._charted.look = msgspec.structs.replace(self._charted.look, **changes)
        charted.remember(self._charted.look)
        self._draw_chart()

    def on_chart_log_scale(self, event: Chart.LogScale) -> None:
        self._look(log_scale=event.on)

    def action_scroll_side(self, by: int) -> None:
        side = self.query_one("#side")
        side.scroll_relative(y=by * max(1, side.size.height - 1), animate=False)


def _next(follower: Follower) -> Text:
    """Return how it ended and what to do next, or what is wrong with it while it goes on."""
    lines = []
    if follower.is_gone:
        lines.append(Text("✗ The folder of this run is gone.", f"bold {palette.BAD}"))
    elif follower.status.state == "ended":
        said = words.ending(follower.folder, follower.status)[1:]
        lines += [Text(line) for line in said]
        if follower.status.end_reason in GOOD:
            lines.append(_key("enter", " shows what it made"))
        elif any("ftwizard resume" in line for line in said):
            lines.append(_key("r", " resumes it"))
    elif follower.status.keeper_lives is False:
        lines.append(Text("! Its keeper is gone; the run goes on.", palette.WARNING))
    if host := follower.status.host:
        lines.append(Text(f"· It runs on {visible(host, 64)}.", "dim"))
    silent = time.monotonic() - follower.heard
    if follower.status.state == "running" and silent > SILENT_S:
        lines.append(
            Text(f"! Nothing new for {duration(silent)}; o shows its output.", palette.WARNING)
        )
    if follower.is_behind:
        lines.append(Text("· A long run: a sample of it, until all of it is read.", "dim"))
    if follower.torn:
        lines.append(Text(f"! {follower.torn} lines of its events are torn.", "dim"))
    return Text("\n").join(lines)


def _key(key: str, words: str) -> Text:
    return Text.assemble((key, f"bold {palette.ACCENT}"), words)
