"""The monitor: one run, live. It only reads; leaving it leaves the run alone."""

from __future__ import annotations

import contextlib
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard import hour_price, plan
from ftwizard.errors import FtwizardError
from ftwizard.follow import Follower
from ftwizard.jobs import requests
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.folder import JobFolder
from ftwizard.notices import Noticer
from ftwizard.screens import charted, steering, terminal
from ftwizard.screens.beside import beside
from ftwizard.screens.face import Face
from ftwizard.screens.page import Page
from ftwizard.text import visible

READ_EVERY_S = 0.25
DRAW_EVERY = 4
"""Reads between two redraws: at most one redraw a second."""
SLOWER = 3
"""Times as seldom on a slow line."""
SLICE_S = 0.01
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
        "itself and keeps the best weights. Below, ● is the best evaluation, ! where something that "
        "was found begins. d shows what was found, in numbers, and what to do; a how the answers to "
        "a few prompts change, and the rows that are hardest.\n\n"
        "Chart: m another measure (M back), x along steps, epochs, minutes or tokens, w smoother, "
        "l log scale, + and - zoom, ← and → pan, end the newest, 0 all, shift with ← or → reads "
        "values, f the whole run. z shows the chart alone, then the GPUs alone where there are any, "
        "then everything. Measure, axis, smoothing, log scale and what z shows are kept.\n\n"
        "When it ends is measured over its last steps; what was estimated before counts no more.\n\n"
        "stop saves first; a stopped run can be resumed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "results", "results", key_display="enter"),
        Binding("z", "pane('chart')", "chart alone", show=False),
        Binding("z", "pane('gpus')", "GPUs"),
        Binding("z", "pane('all')", "all"),
        Binding("s", "stop", "stop"),
        Binding("r", "resume", "resume"),
        Binding("v", "ask_for('save')", "save"),
        Binding("e", "ask_for('evaluate')", "evaluate"),
        Binding("o", "log", "output"),
        Binding("d", "verdict", "verdict"),
        Binding("a", "answers", "answers"),
        Binding("escape,q", "back", "leave", key_display="esc"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self.follower = Follower(folder)
        self._ticks = 0
        self._reading = True
        self._offers: object = None
        self._noticer = Noticer(folder.id)
        self._face = Face(self.follower, id="monitor")

    def body(self) -> ComposeResult:
        yield self._face

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        return line.append(visible(self.follower.folder.id), "bold")

    def on_mount(self) -> None:
        self.set_interval(READ_EVERY_S, self._tick)
        self._tick()
        self._load_plan()

    @work(group="plan", exclusive=True, exit_on_error=False)
    async def _load_plan(self) -> None:
        """Read plan and price beside the loop: what reads a plan is slow to import."""
        folder = self.follower.folder
        with contextlib.suppress(FtwizardError, OSError, ValueError):
            self._face.hour = await beside(lambda: hour_price.recorded(folder))
        with contextlib.suppress(FtwizardError, OSError, ValueError):
            self._face.plan = await beside(lambda: plan.parse(folder.plan.read_text()))
            self.refresh_bindings()
            self._face.draw()

    def on_resize(self) -> None:
        self._face.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        ended = self.follower.status.state == "ended"
        if self.follower.is_gone and action in ("results", "resume", "ask_for", "stop"):
            return False
        if action == "results":
            return ended and self.follower.status.end_reason in GOOD
        if action == "answers":
            return self._has_answers
        if action == "pane":
            return parameters == (self._face.next_pane,)
        if action == "resume":
            return ended and self.follower.status.end_reason not in GOOD
        if action == "ask_for" and parameters == ("evaluate",):
            return not ended and self._validates
        if action in ("stop", "ask_for"):
            return not ended
        return True

    @property
    def _is_slow(self) -> bool:
        return bool(getattr(self.app, "slow", False))

    @property
    def _has_answers(self) -> bool:
        return bool(self.follower.shown.samples or self.follower.shown.hardest)

    @property
    def _validates(self) -> bool:
        plan = self._face.plan
        return plan is None or bool(plan.data.files.validation or plan.validation_share)

    def _tick(self) -> None:
        self._ticks += 1
        due = self._ticks % (DRAW_EVERY * (SLOWER if self._is_slow else 1)) == 1
        if due:
            attempt = self.follower.status.attempt
            self.follower.look()
            if self.follower.status.attempt != attempt:
                self._load_plan()  # its budget or its price may be another
        if not self._reading or self._ticks == 1:
            self._reading = True
            self._read()
        if due:
            self._face.draw()
            self._offer()

    def _offer(self) -> None:
        """Let the keys at the foot follow what can be done."""
        follower, before = self.follower, self._offers
        pane = self._face.next_pane
        self._offers = follower.status, follower.is_gone, self._has_answers, pane
        if self._offers != before:
            self.refresh_bindings()

    def _read(self) -> None:
        """Read for a moment; where there is more, go on after the keys had their turn."""
        if self.follower.read(SLICE_S):
            self.set_timer(SLICE_S / 10, self._read)
            return
        self._reading = False
        told = self._noticer.news(self.follower.status, self.follower.progress)
        terminal.tell(self.app, told)
        if self._ticks <= 1 or not self._face.is_drawn:
            self._face.draw()

    def action_pane(self, pane: charted.Pane) -> None:
        """Show one pane alone, or everything again."""
        self._face.show_pane(pane)
        self.refresh_bindings()

    def action_answers(self) -> None:
        from ftwizard.screens.answers import Answers

        self.app.push_screen(Answers(self.follower, self._face.plan))

    def action_verdict(self) -> None:
        from ftwizard.screens.verdict import VerdictPage

        def leave(run: str | None) -> None:
            if run:
                self.dismiss(f"{OTHER}{run}")

        self.app.push_screen(VerdictPage(self.follower), leave)

    def action_results(self) -> None:
        self.dismiss("results")

    def action_log(self) -> None:
        from ftwizard.screens.log import Log

        self.app.push_screen(Log(self.follower))

    @work(group="stop", exclusive=True, exit_on_error=False)
    async def action_stop(self) -> None:
        await steering.stop(self.app, self.follower)

    def action_resume(self) -> None:
        steering.resume(self.app, self.follower)

    @work(group="ask", exit_on_error=False)
    async def action_ask_for(self, name: requests.Name) -> None:
        await steering.ask_for(self.app, self.follower, name)
