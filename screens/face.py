"""The monitor's face: a run's figures, its chart, its machine and the end of its log."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import msgspec
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from ftwizard import words
from ftwizard.catalog.prices import Rate
from ftwizard.follow import Follower
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.watchdog import SILENT_S
from ftwizard.plan import Plan
from ftwizard.screens import charted, efficiency, gpus, palette, readings, spent
from ftwizard.screens.charted import AXIS_NAMES, SMOOTHINGS, Charted
from ftwizard.screens.widgets.chart import Chart, Mark, MarkKind
from ftwizard.text import duration, visible

SIDE_WIDTH = 44
LEAST_GPU_LINES, MOST_GPU_LINES = 3, 16
KEPT_ROWS = 20
"""Of the window's, which the GPUs leave to the rest before they take every second one."""


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
        self._draw_machine(width, live=live)
        about = readings.about(self.plan, width) if self.plan and wide else Text()
        self._put("about", about)
        self._put("next", _next(follower))
        self._put("findings", readings.findings(progress, 6 if wide else 2, lives=live))
        quiet = follower.status.end_reason in GOOD
        self._put("log", Text() if quiet else readings.log(follower.log(log_lines)))
        self._draw_chart()

    def _spent(self, *, live: bool) -> tuple[str, str] | None:
        if self.plan is None:
            return None
        # What was between two attempts was not paid for: the newer one has yet to say its first word.
        begun = self._follower.status.attempt == self._follower.shown.attempt
        now = time.time() if live and begun else None
        return spent.so_far(self._follower.shown, self.hour, self.plan.budget, now)

    def _draw_machine(self, width: int, *, live: bool) -> None:
        samples = self._follower.machine() if live else []
        self._put("machine", readings.machine(samples, width) if live else Text())
        if not readings.is_new(samples):
            self._put("gpus", Text())
            return
        most = max(LEAST_GPU_LINES, min(MOST_GPU_LINES, (self.screen.size.height - KEPT_ROWS) // 2))
        plan = self.plan
        chosen = None if plan is None else plan.where.gpu or 0
        full = self.screen.size.width - 4
        self._put("gpus", gpus.lines(samples, self._follower.progress, full, most, chosen))

    def _put(self, name: str, text: Text) -> None:
        """Change what a part says, only if it changed: an idle monitor sends nothing."""
        if self._drawn.get(name) != text:
            self._drawn[name] = text
            part = self.query_one(f"#{name}", Static)
            part.update(text)
            part.display = bool(text.plain)

    def _draw_chart(self) -> None:
        progress, charted = self._follower.shown, self._charted
        places: list[tuple[float, MarkKind]] = [(one, "checkpoint") for one in progress.checkpoints]
        if (best := progress.best_step) is not None:
            places.append((best, "best"))
        places += [
            (event["step"], "finding")
            for event in progress.findings
            if isinstance(event.get("step"), int) and event.get("severity") != "info"
        ]
        marks = [
            Mark(x, kind)
            for step, kind in places
            if (x := charted.place(step, progress)) is not None
        ]
        self._chart.x_name = AXIS_NAMES[charted.look.axis]
        living = self._follower.status.state != "ended"
        plain = bool(getattr(self.app, "slow", False))
        self._chart.show(
            charted.lines(progress, plain=plain),
            marks,
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
        self._charted.look = msgspec.structs.replace(
            self._charted.look, log_scale=self._chart.log_scale, **changes
        )
        charted.remember(self._charted.look)
        self._draw_chart()

    def on_unmount(self) -> None:
        if self._charted.look.log_scale != self._chart.log_scale:
            charted.remember(
                msgspec.structs.replace(self._charted.look, log_scale=self._chart.log_scale)
            )

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
