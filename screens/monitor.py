"""The monitor: one run, live. It only reads; leaving it leaves the run alone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import ClassVar

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
from ftwizard.plan import Plan
from ftwizard.screens import children, palette, readings
from ftwizard.screens.ask import Ask
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.chart import Chart, Line, Mark
from ftwizard.text import visible

READ_EVERY_S = 0.25
DRAW_EVERY = 4
"""Reads between two redraws: at most one redraw a second."""
SLICE_S = 0.01
SIDE_WIDTH = 44


class Monitor(Page[str]):
    """Shows a run until it is left; dismisses with ``results`` or None."""

    NAME = "Monitor"
    HELP = (
        "The run goes on without this window: leave with esc and come back with "
        "`ftwizard watch RUN`, from any terminal.\n\n"
        "The solid line is the training loss (the raw values faint behind it), the dashed one with "
        "◆ the validation loss, on rows that are not trained on. Both should fall. When validation "
        "rises while training falls, the model learns the rows by heart; the run then stops by "
        "itself and keeps the best weights.\n\n"
        "stop saves first; a stopped run can be resumed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "results", "results", key_display="enter"),
        Binding("s", "stop", "stop"),
        Binding("r", "resume", "resume"),
        Binding("v", "ask_for('save')", "save now"),
        Binding("e", "ask_for('evaluate')", "evaluate now"),
        Binding("o", "log", "output"),
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

    def body(self) -> ComposeResult:
        with Container(id="monitor"):
            with Vertical(id="side"):
                for name in ("now", "next", "figures", "machine", "findings", "about"):
                    yield Static(id=name, markup=False)
            yield Chart([], ascii=getattr(self.app, "ascii", False), id="chart")
            yield Static(id="log", markup=False)

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        return line.append(visible(self.follower.folder.id), "bold")

    def on_mount(self) -> None:
        self.query_one(Chart).focus()
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
        if action == "resume":
            return ended and self.follower.status.end_reason not in GOOD
        if action == "ask_for" and parameters == ("evaluate",):
            return not ended and self._validates
        if action in ("stop", "ask_for"):
            return not ended
        return True

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
            before = self.follower.status, self.follower.is_gone
            self.follower.look()
            if (self.follower.status, self.follower.is_gone) != before:
                self.refresh_bindings()
        if not self._reading or self._ticks == 1:
            self._reading = True
            self._read()
        if self._ticks % DRAW_EVERY == 1:
            self._draw()

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
        follower, progress = self.follower, self.follower.progress
        report = follower.report
        figures = readings.figures(progress, report)
        layout = readings.in_columns if wide else readings.in_line
        log_lines = 8 if self.has_class("-tall") else 2
        self._put("now", readings.now(follower, width))
        self._put("figures", layout(figures, width))
        live = report.state != "ended"
        self._put(
            "machine",
            readings.machine(follower.machine(), width, 8 if wide else 2) if live else Text(),
        )
        about = readings.about(self._plan, width) if self._plan and wide else Text()
        self._put("about", about)
        self._put("next", self._next())
        self._put("findings", readings.findings(progress, 6 if wide else 2))
        quiet = follower.status.end_reason in GOOD
        self._put("log", Text() if quiet else readings.log(follower.log(log_lines)))
        self._draw_chart()

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
        progress = self.follower.progress
        lines = [
            Line("", progress.losses, palette.TRAIN, "faint"),
            Line("train", progress.smoothed, palette.TRAIN, "solid"),
            Line("validation", progress.evaluations, palette.VALIDATION, "dashed", "◆"),
        ]
        marks = [Mark(step, "checkpoint") for step in progress.checkpoints]
        if (best := progress.best_step) is not None:
            marks.append(Mark(best, "best"))
        marks += [
            Mark(event["step"], "finding")
            for event in progress.findings
            if isinstance(event.get("step"), int)
        ]
        living = self.follower.status.state != "ended"
        self.query_one(Chart).show(lines, marks, progress.total_steps if living else None)

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
        grace = self.follower.progress.stop_grace_s
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
        if follower.progress.phase not in readings.ACTIVE:
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
