"""The monitor: one run, live. It only reads; leaving it leaves the run alone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from ftwizard import plan, words
from ftwizard.errors import FtwizardError
from ftwizard.follow import Follower
from ftwizard.jobs import requests
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.watchdog import SILENT_S
from ftwizard.notices import Noticer
from ftwizard.plan import Plan
from ftwizard.screens import charted, children, gpus, palette, readings, terminal
from ftwizard.screens.ask import Ask
from ftwizard.screens.charted import AXIS_NAMES, SMOOTHINGS, Charted
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.chart import Chart, Mark, MarkKind
from ftwizard.text import duration, visible

READ_EVERY_S = 0.25
DRAW_EVERY = 4
"""Reads between two redraws: at most one redraw a second."""
SLICE_S = 0.01
SIDE_WIDTH = 44
LEAST_GPU_LINES, MOST_GPU_LINES = 3, 16
KEPT_ROWS = 20
"""Of the window's, which the GPUs leave to the rest before they take every second one."""
OTHER = "run:"
"""Before the id of a run that is to be shown instead."""


class Monitor(Page[str]):
    """Shows a run until it is left; dismisses with ``results``, ``run:`` and an id, or None."""

    NAME = "Monitor"
    HELP = (
        "The run goes on without this window: leave with esc and come back with "
        "`ftwizard watch RUN`, from any terminal.\n\n"
        "The solid line is the training loss (the raw values faint behind it), the dashed one with "
        "◆ the validation loss, on rows that are not trained on. Both should fall. When validation "
        "rises while training falls, the model learns the rows by heart; the run then stops by "
        "itself and keeps the best weights. d shows what was found, in numbers, and what to do; a how "
        "the answers to a few prompts change, and the rows that are hardest.\n\n"
        "Chart: m another measure (M back), x along steps, epochs, minutes or tokens, w smoother, "
        "l log scale, + and - zoom, ← and → pan, 0 all, shift with ← or → reads values, f the whole "
        "run, z the chart alone. What is chosen is kept.\n\n"
        "When it ends is measured over its last steps; what was estimated before counts no more.\n\n"
        "stop saves first; a stopped run can be resumed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "results", "results", key_display="enter"),
        Binding("s", "stop", "stop"),
        Binding("r", "resume", "resume"),
        Binding("v", "ask_for('save')", "save"),
        Binding("e", "ask_for('evaluate')", "evaluate"),
        Binding("o", "log", "output"),
        Binding("d", "verdict", "verdict"),
        Binding("a", "answers", "answers"),
        Binding("m", "metric(1)", "measure", show=False),
        Binding("M", "metric(-1)", "measure before", show=False),
        Binding("x", "axis", "axis", show=False),
        Binding("w", "smoothing", "smoothing", show=False),
        Binding("z", "whole_screen", "chart alone", show=False),
        Binding("escape,q", "back", "leave", key_display="esc"),
        Binding("pagedown", "scroll_side(1)", "read on", show=False),
        Binding("pageup", "scroll_side(-1)", "read back", show=False),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self.follower = Follower(folder)
        self._ticks = 0
        self._reading = True
        self._drawn: dict[str, Text] = {}
        self._plan: Plan | None = None
        self._offers: object = None
        self._charted = Charted(charted.remembered())
        self._noticer = Noticer(folder.id)

    def body(self) -> ComposeResult:
        with Container(id="monitor"):
            with Vertical(id="side"):
                for name in ("now", "next", "figures", "machine", "findings", "about"):
                    yield Static(id=name, markup=False)
            self._chart = Chart([], ascii=getattr(self.app, "ascii", False), id="chart")
            yield self._chart
            yield Static(id="gpus", markup=False)
            yield Static(id="log", markup=False)

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        return line.append(visible(self.follower.folder.id), "bold")

    def on_mount(self) -> None:
        self._chart.log_scale = self._charted.look.log_scale
        self._chart.focus()
        self.set_interval(READ_EVERY_S, self._tick)
        self._tick()
        self._load_plan()

    @work(group="plan", exit_on_error=False)
    async def _load_plan(self) -> None:
        """Read the plan beside the loop: what reads it is slow to import."""
        file = self.follower.folder.plan
        with contextlib.suppress(FtwizardError, OSError, ValueError):
            self._plan = await asyncio.to_thread(lambda: plan.parse(file.read_text()))
            self.refresh_bindings()
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        ended = self.follower.status.state == "ended"
        if self.follower.is_gone and action in ("results", "resume", "ask_for", "stop"):
            return False
        if action == "results":
            return ended and self.follower.status.end_reason in GOOD
        if action == "answers":
            return self._has_answers
        if action == "resume":
            return ended and self.follower.status.end_reason not in GOOD
        if action == "ask_for" and parameters == ("evaluate",):
            return not ended and self._validates
        if action in ("stop", "ask_for"):
            return not ended
        return True

    @property
    def _has_answers(self) -> bool:
        return bool(self.follower.shown.samples or self.follower.shown.hardest)

    @property
    def _validates(self) -> bool:
        plan = self._plan
        return plan is None or bool(plan.data.files.validation or plan.validation_share)

    def action_scroll_side(self, by: int) -> None:
        side = self.query_one("#side")
        side.scroll_relative(y=by * max(1, side.size.height - 1), animate=False)

    def _tick(self) -> None:
        self._ticks += 1
        if self._ticks % DRAW_EVERY == 1:
            before = self._offers
            self.follower.look()
            self._offers = self.follower.status, self.follower.is_gone, self._has_answers
            if self._offers != before:
                self.refresh_bindings()
        if not self._reading or self._ticks == 1:
            self._reading = True
            self._read()
        if self._ticks % DRAW_EVERY == 1:
            self._draw()
        if not self._reading:
            told = self._noticer.news(self.follower.status, self.follower.progress)
            terminal.tell(self.app, told)

    def _read(self) -> None:
        """Read for a moment; where there is more, go on after the keys had their turn."""
        if self.follower.read(SLICE_S):
            self.set_timer(SLICE_S / 10, self._read)
            return
        self._reading = False
        if self._ticks <= 1 or not self._drawn:
            self._draw()

    def _draw(self) -> None:
        if not self.is_mounted or not self.size.width:
            return
        wide = self.has_class("-wide")
        width = SIDE_WIDTH if wide else self.size.width - 4
        follower, progress = self.follower, self.follower.shown
        report = follower.report
        figures = readings.figures(progress, report)
        layout = readings.in_columns if wide else readings.in_line
        log_lines = 8 if self.has_class("-tall") else 2
        self._put("now", readings.now(follower, width))
        self._put("figures", layout(figures, width))
        live = report.state != "ended"
        self._draw_machine(width, live=live)
        about = readings.about(self._plan, width) if self._plan and wide else Text()
        self._put("about", about)
        self._put("next", self._next())
        self._put("findings", readings.findings(progress, 6 if wide else 2))
        quiet = follower.status.end_reason in GOOD
        self._put("log", Text() if quiet else readings.log(follower.log(log_lines)))
        self._draw_chart()

    def _draw_machine(self, width: int, *, live: bool) -> None:
        samples = self.follower.machine() if live else []
        self._put("machine", readings.machine(samples, width) if live else Text())
        if not readings.is_new(samples):
            self._put("gpus", Text())
            return
        most = max(LEAST_GPU_LINES, min(MOST_GPU_LINES, (self.size.height - KEPT_ROWS) // 2))
        plan = self._plan
        chosen = None if plan is None else plan.where.gpu or 0
        full = self.size.width - 4
        self._put("gpus", gpus.lines(samples, self.follower.progress, full, most, chosen))

    def _next(self) -> Text:
        """Return how it ended and what to do next, or what is wrong with it while it goes on."""
        follower = self.follower
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

    def _put(self, name: str, text: Text) -> None:
        """Change what a part says, only if it changed: an idle monitor sends nothing."""
        if self._drawn.get(name) != text:
            self._drawn[name] = text
            part = self.query_one(f"#{name}", Static)
            part.update(text)
            part.display = bool(text.plain)

    def _draw_chart(self) -> None:
        progress, charted = self.follower.shown, self._charted
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
        living = self.follower.status.state != "ended"
        self._chart.show(
            charted.lines(progress), marks, charted.x_end(progress) if living else None
        )

    def action_metric(self, by: int) -> None:
        """Chart another measure."""
        names = charted.metrics(self.follower.shown)
        now = self._charted.look.metric
        place = names.index(now) if now in names else 0
        self._look(metric=names[(place + by) % len(names)])

    def action_axis(self) -> None:
        """Draw along steps, epochs, minutes or tokens."""
        axes = charted.axes(self.follower.shown)
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

    def action_whole_screen(self) -> None:
        """Show the chart alone, or everything again."""
        self.toggle_class("-chart-alone")

    def action_answers(self) -> None:
        from ftwizard.screens.answers import Answers

        self.app.push_screen(Answers(self.follower))

    def action_verdict(self) -> None:
        from ftwizard.screens.verdict import VerdictPage

        def leave(run: str | None) -> None:
            if run:
                self.dismiss(f"{OTHER}{run}")

        self.app.push_screen(VerdictPage(self.follower), leave)

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

    def action_results(self) -> None:
        self.dismiss("results")

    def action_log(self) -> None:
        from ftwizard.screens.log import Log

        self.app.push_screen(Log(self.follower))

    @work(group="stop", exclusive=True, exit_on_error=False)
    async def action_stop(self) -> None:
        folder, attempt = self.follower.folder, self.follower.status.attempt
        again = requests.pending(folder, "stop", attempt) is not None
        question = (
            Ask("It is saving already. End it at once?", "What is not saved by now is lost.", "end it")
            if again
            else Ask(
                "Stop this run?",
                "It finishes its step and saves first; it can be resumed.",
                "save and stop",
            )
        )  # fmt: skip
        if not await self.app.push_screen_wait(question):
            return
        if self.follower.status.keeper_lives is False:  # nobody reads requests: end it by hand
            self._command("stop", "--kill") if again else self._command("stop")
            return
        grace = self.follower.shown.stop_grace_s
        await self._ask(lambda: requests.stop(folder, attempt, grace_s=grace, now=again))

    def action_resume(self) -> None:
        self.notify("It goes on from its newest checkpoint.", markup=False)
        self._command("resume")

    def _command(self, name: str, *options: str) -> None:
        """Run a command on this run; it outlasts this screen, and the app waits for it."""
        argv = (name, str(self.follower.folder.path), *options)

        run = functools.partial(children.run, *argv, tell=lambda _: None, lasting=True)
        self.app.run_worker(_outlasting(run), group=name, exit_on_error=False)

    @work(group="ask", exit_on_error=False)
    async def action_ask_for(self, name: requests.Name) -> None:
        follower = self.follower
        if follower.shown.phase not in readings.ACTIVE:
            self.notify("It is not training at the moment.", markup=False)
            return
        if await self._ask(lambda: requests.ask(follower.folder, name, follower.status.attempt)):
            said = {"save": "It saves", "evaluate": "It measures the validation loss"}[name]
            self.notify(f"{said} when this step is done.", markup=False)

    async def _ask(self, ask: Callable[[], None]) -> bool:
        """Put a request before the run, beside the loop; say so where it cannot be written."""
        try:
            await _outlasting(ask)
        except OSError as error:
            self.notify(f"That cannot be asked: {error.strerror}.", severity="error", markup=False)
            return False
        return True


def _key(key: str, words: str) -> Text:
    return Text.assemble((key, f"bold {palette.ACCENT}"), words)


def _outlasting(work: Callable[[], object]) -> Awaitable[object]:
    """Begin work in a thread at once; that nobody awaits it any more does not end it."""
    return asyncio.shield(asyncio.get_running_loop().run_in_executor(None, work))
