"""Main view of the monitor: figures, chart, machine and log tail of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import msgspec
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Static

from ftwizard.catalog.prices import PriceRate
from ftwizard.jobs.ending import GOOD_END_REASONS, OUT_OF_MEMORY
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe, remote
from ftwizard.runs.curve_follower import CurveFollower, describe_source
from ftwizard.runs.follower import Follower
from ftwizard.runs.hosted import describe_missing_loss
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.result import has_results, read_result
from ftwizard.screens import palette
from ftwizard.screens.chart.widget import NO_STEPS, Chart
from ftwizard.screens.monitor import chart_data, gpus, hosted, readings
from ftwizard.screens.monitor.chart_data import AXIS_NAMES, LOSS, PANES, SMOOTHINGS, ChartData, Pane
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import make_visible

_T = TypeVar("_T")
KEY = f"bold {palette.ACCENT}"
SIDE_WIDTH = 44
MIN_GPU_LINES, MAX_GPU_LINES = 3, 16
OUTER_ROWS = 3
"""Window rows outside this view: the top line, a blank line and the keys."""
MIN_CHART_ROWS, MIN_WIDE_CHART_ROWS = 7, 12
"""Rows that the GPUs leave to the chart."""


class RunView(Container):
    """Draws a run; its keys change the chart settings, which are saved."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric(1)", "metric", show=False, tooltip="next, previous metric"),
        Binding("M", "metric(-1)", "previous metric", show=False, tooltip="next, previous metric"),
        Binding("x", "axis", "axis", show=False, tooltip="x axis: steps, epochs, minutes, tokens"),
        Binding(
            "w", "smoothing", "smoothing", show=False, tooltip="smoothing of the training loss"
        ),
        Binding("pagedown", "scroll_side(1)", "scroll down", show=False, tooltip="scroll the side"),
        Binding("pageup", "scroll_side(-1)", "scroll up", show=False, tooltip="scroll the side"),
    ]

    def __init__(self, follower: Follower, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.plan: Plan | None = None
        """None until it has been read."""
        self.record: RemoteJob | None = None
        """The job of a hosted run, as of the last drawing."""
        self.hour: PriceRate | None = None
        """Hourly price of the machine, if recorded with the run."""
        self._follower = follower
        self._drawn: dict[str, Text] = {}
        self._verdict = 0, ""
        """Attempt and its verdict, once it has finished."""
        self._gpus: list[dict[str, Any]] = []
        """GPUs of the newest reading, empty if it is stale."""
        self._chart_data = ChartData(chart_data.load_settings())

    def compose(self) -> ComposeResult:
        with ScrollPane(id="side", can_focus=False):
            for name in ("now", "next", "figures", "machine", "findings", "about"):
                yield Static(id=name, markup=False)
        self._chart = Chart(id="chart")
        yield self._chart
        yield Static(id="efficiency", markup=False)
        yield Static(id="gpus", markup=False)
        yield Static(id="log", markup=False)

    def on_mount(self) -> None:
        self._chart.log_scale = self._chart_data.settings.log_scale
        self._chart.focus()

    @property
    def is_drawn(self) -> bool:
        return bool(self._drawn)

    def draw(self) -> None:
        page = self.screen
        if not self.is_mounted or not page.size.width:
            return
        wide = page.has_class("-wide")
        width = SIDE_WIDTH if wide else page.size.width - 4
        follower, progress = self._follower, self._follower.shown
        self.record = record = remote.read(follower.folder)
        report = follower.run_status
        live = report.state != "ended"
        tall = page.has_class("-tall")
        shares = readings.list_efficiency(progress) if live and (wide or tall) else []
        cost = hosted.format_cost(record, progress) if record else self._format_spent(live=live)
        figures = readings.list_figures(progress, report, cost, with_speed=not shares)
        layout = readings.format_columns if wide else readings.format_inline
        # Of a job at a platform, this machine's readings say nothing.
        samples = follower.machine() if live and not record else []
        now = follower.status.now()
        has_machine = record is not None or (live and follower.origin != "file")
        self._gpus = gpus.newest(samples) if readings.is_recent(samples, now) else []
        succeeded = follower.status.end_reason in GOOD_END_REASONS
        log = [] if succeeded else self._read_log(8 if tall else 2)
        texts = {
            "now": readings.format_progress(follower, width),
            "next": _format_next(follower, self._describe_verdict()),
            "figures": layout(figures, width),
            "machine": self._format_machine(samples, width) if has_machine else Text(),
            "findings": readings.format_findings(progress, 6 if wide else 2, is_alive=live),
            "about": self._format_plan(width) if wide else Text(),
            "efficiency": readings.format_inline(shares, page.size.width - 4),
            "log": readings.format_log(log),
        }
        for name, text in texts.items():
            self._put(name, text)
        self._draw_gpus(samples)
        self._arrange()
        self._draw_chart()

    def _read_log(self, lines: int) -> list[str]:
        """Return the last lines of the run's log; of a hosted run, the platform's own words."""
        folder = self._follower.folder
        messages = hosted.read_messages(folder, lines) if self.record else []
        return messages or self._follower.log(lines)

    def _format_machine(self, samples: Sequence[dict[str, Any]], width: int) -> Text:
        """Format the machine that trains: of a hosted run, its job."""
        if self.record:
            wide, tall = self.screen.has_class("-wide"), self.screen.has_class("-tall")
            # A chart without a line needs no height.
            has_room = not self._has_lines and (tall or self.screen.has_class("-short"))
            return hosted.format_job(
                self.record, width, in_columns=wide or has_room, in_full=tall or has_room
            )
        return readings.format_machine(samples, self._follower.status.now(), width)

    @property
    def _has_lines(self) -> bool:
        """Whether there is anything to chart."""
        shown = self._follower.shown
        return (
            shown.loss is not None
            or shown.eval_loss is not None
            or chart_data.list_metrics(shown) != [LOSS]
        )

    def _format_plan(self, width: int) -> Text:
        if script := self._follower.script:
            return readings.format_script(script, width)
        if self.plan is None:
            return Text()
        format_plan = hosted.format_plan if self.plan.is_hosted else readings.format_plan
        return format_plan(self.plan, width)

    def _describe_verdict(self) -> str:
        """Describe whether a finished run helped; read once for each attempt."""
        status = self._follower.status
        if status.end_reason not in GOOD_END_REASONS or self._follower.is_gone:
            return ""
        if self._follower.origin != "run":
            return ""
        attempt, text = self._verdict
        if attempt != status.attempt:
            folder = self._follower.folder
            text = describe.describe_verdict(folder) if read_result(folder) else ""
            self._verdict = status.attempt, text
        return text

    def _format_spent(self, *, live: bool) -> tuple[str, str] | None:
        if self.plan is None:
            return None
        # Time between two attempts costs nothing: count only after the first event of the newer one.
        started = self._follower.status.attempt == self._follower.shown.attempt
        now = self._follower.status.now() if live and started else None
        return readings.format_spent(self._follower.shown, self.hour, self.plan.budget, now)

    @property
    def next_pane(self) -> Pane:
        """The pane that z shows next: the chart, the GPUs if there are any, then everything."""
        return _cycle([pane for pane in PANES if pane != "gpus" or self._gpus], self._pane)

    def show_pane(self, pane: Pane) -> None:
        self._update_settings(pane=pane)
        self.draw()

    @property
    def _pane(self) -> Pane:
        """The pane that fills the view; never the GPUs if there are none."""
        pane = self._chart_data.settings.pane
        return "all" if pane == "gpus" and not self._gpus else pane

    def _arrange(self) -> None:
        """Show the parts that have text, or only those of the chosen pane; keep focus on the chart."""
        pane = self._pane
        self.set_class(pane != "all", "-alone")
        was_hidden = not self._chart.display
        for part in (*self.children, *self.query_one("#side").children):
            region = part.id if part.parent is self else "side"
            shown = self._has_text(part) and pane in ("all", region)
            if part.display != shown:
                part.display = shown
        if was_hidden and self._chart.display:
            self._chart.focus()

    def _has_text(self, part: Widget) -> bool:
        text = self._drawn.get(part.id or "")
        return text is None or bool(text.plain)

    def _draw_gpus(self, samples: Sequence[dict[str, Any]]) -> None:
        plan, progress = self.plan, self._follower.progress
        planned_gpu = None if plan is None else plan.where.gpu or 0
        width, alone = self.screen.size.width - 4, self._pane == "gpus"
        max_lines = self._max_gpu_lines()
        lines = gpus.build_lines(samples, progress, width, max_lines, planned_gpu, alone=alone)
        self._put("gpus", lines if self._gpus else Text())

    def _max_gpu_lines(self) -> int:
        """Return how many lines the GPUs may take without covering the chart or other text."""
        page = self.screen
        free_rows = page.size.height - OUTER_ROWS
        if self._pane == "gpus":
            return max(MIN_GPU_LINES, free_rows)
        wide = page.has_class("-wide")
        full, gap = page.size.width - 4, 1 if wide else 0

        def height(part: Widget, width: int) -> int:
            lines = part.get_content_height(page.size, page.size, width)
            return lines + gap if self._has_text(part) else 0

        for name in ("efficiency", "log"):
            free_rows -= height(self.query_one(f"#{name}"), full)
        parts = [part for part in self.query_one("#side").children if part.id != "about"]
        side = sum(height(part, SIDE_WIDTH if wide else full) for part in parts)
        free_rows -= max(MIN_WIDE_CHART_ROWS, side) + gap if wide else MIN_CHART_ROWS + side
        return max(MIN_GPU_LINES, min(MAX_GPU_LINES, free_rows))

    def _put(self, name: str, text: Text) -> None:
        """Update a part only if its text changed: an idle monitor sends nothing."""
        if self._drawn.get(name) != text:
            self._drawn[name] = text
            self.query_one(f"#{name}", Static).update(text)

    def _draw_chart(self) -> None:
        progress, data = self._follower.shown, self._chart_data
        self._chart.x_name = AXIS_NAMES[data.settings.axis]
        is_alive = self._follower.status.state != "ended"
        if self.record:
            missing = describe_missing_loss(self.record, progress, is_alive=is_alive)
            self._chart.empty = missing or NO_STEPS
        plain = bool(getattr(self.app, "slow", False))
        self._chart.show(
            data.lines(progress, plain=plain),
            data.marks(progress),
            data.x_end(progress) if is_alive else 0.0,
        )

    def action_metric(self, by: int) -> None:
        names = chart_data.list_metrics(self._follower.shown)
        current = self._chart_data.settings.metric
        self._update_settings(metric=_cycle(names, current if current in names else names[0], by))

    def action_axis(self) -> None:
        axes = chart_data.list_axes(self._follower.shown)
        self._update_settings(axis=_cycle(axes, self._chart_data.settings.axis))
        self._chart.action_reset()  # the old zoom window does not apply to another axis

    def action_smoothing(self) -> None:
        """Increase the smoothing; after the maximum turn it off."""
        smoothing = _cycle(SMOOTHINGS, self._chart_data.settings.smoothing)
        self._update_settings(smoothing=smoothing)
        state = f"{smoothing:g}" if smoothing else "off"
        self.notify(f"Smoothing: {state}", markup=False, timeout=2)

    def _update_settings(self, **changes: Any) -> None:
        self._chart_data.settings = msgspec.structs.replace(self._chart_data.settings, **changes)
        chart_data.save_settings(self._chart_data.settings)
        self._draw_chart()

    def on_chart_log_scale(self, event: Chart.LogScale) -> None:
        self._update_settings(log_scale=event.on)

    def action_scroll_side(self, by: int) -> None:
        self.query_one("#side", ScrollPane).scroll_pages(by)


def _cycle(options: Sequence[_T], current: _T, by: int = 1) -> _T:
    """Return the option after the current one; the first if that is not an option."""
    index = options.index(current) if current in options else -1
    return options[(index + by) % len(options)]


def _list_keys(follower: Follower, *, has_some: bool) -> list[Text]:
    """Return what the keys do after a run of our own; ``has_some``: whether it has results."""
    reason, lines = follower.status.end_reason, []
    if has_some:
        lines.append(Text.assemble(("enter", KEY), " shows the results"))
    if reason in describe.RESUMABLE:
        lines.append(Text.assemble(("r", KEY), " resumes the run"))
    if reason in OUT_OF_MEMORY:
        lines.append(Text.assemble(("b", KEY), " starts a new run with a smaller batch"))
    return lines


def _format_next(follower: Follower, verdict: str) -> Text:
    """Return the verdict of a finished run, how the run ended and the next step, or problems."""
    lines = [Text(verdict, "bold")] if verdict else []
    if follower.is_gone:
        what = "file" if follower.origin == "file" else "run folder"
        lines.append(Text(f"✗ The {what} was moved or deleted.", f"bold {palette.BAD}"))
        if follower.origin != "file":
            lines.append(Text("If it was moved, the run continues there: ftwizard FOLDER"))
    elif isinstance(follower, CurveFollower):
        lines += map(Text, describe_source(follower))
    elif follower.status.state == "ended":
        lines += map(Text, describe.describe_next_step(follower.folder, follower.status))
        succeeded = follower.status.end_reason in GOOD_END_REASONS
        if follower.origin == "run":
            lines += _list_keys(follower, has_some=succeeded or has_results(follower.folder))
    troubles = describe.describe_troubles(follower.status)
    lines += [Text(line, palette.WARNING) for line in troubles]
    if host := follower.status.host:
        lines.append(Text(f"· Running on {make_visible(host, 64)}.", "dim"))
    if follower.is_behind:
        lines.append(Text("· Long run: showing its summary while reading all of it.", "dim"))
    if follower.torn:
        lines.append(Text(f"! Skipped {follower.torn} incomplete event lines.", "dim"))
    return Text("\n").join(lines)
