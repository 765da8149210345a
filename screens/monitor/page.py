"""Monitor page: one run, live. It only reads; closing it does not affect the run."""

from __future__ import annotations

import contextlib
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard.background import run_in_thread
from ftwizard.errors import FtwizardError
from ftwizard.jobs import requests
from ftwizard.jobs.ending import GOOD_END_REASONS, OUT_OF_MEMORY
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.pricing import machine_rate
from ftwizard.runs.describe import RESUMABLE
from ftwizard.runs.follower import Follower
from ftwizard.runs.notifications import NotificationTracker
from ftwizard.runs.progress import ACTIVE
from ftwizard.runs.result import has_results
from ftwizard.screens.monitor import actions, chart_data
from ftwizard.screens.monitor.run_view import RunView
from ftwizard.screens.page import Page
from ftwizard.screens.terminal import driver
from ftwizard.text import make_visible

READ_EVERY_S = 0.25
DRAW_EVERY = 4
"""Reads per redraw: at most one redraw per second."""
SLOW_FACTOR = 3
"""How much less often to redraw on a slow connection."""
SLICE_S = 0.01
RUN_PREFIX = "run:"
"""Prefix of the id of a run to show instead."""


class MonitorPage(Page[str]):
    """Shows a run; dismisses with ``results``, ``run:`` and an id, or None."""

    NAME = "Monitor"
    NOTES = (
        "The run continues without this window: ftwizard watch RUN",
        "Solid: training loss. Dashed, with ◆: validation loss.",
        "On the axis: ● best evaluation, ▴ checkpoint, ! finding.",
        "Validation up, training down: overfitting.",
        "The figure above the chart is the newest raw value.",
        "The end time is of the training, before merge and comparison.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "results", "results", key_display="enter", tooltip="results of the run"),
        Binding("enter", "explain_none", "results", show=False, tooltip="results of the run"),
        Binding(
            "z",
            "pane('chart')",
            "chart only",
            show=False,
            tooltip="chart only, GPUs only, everything",
        ),
        Binding("z", "pane('gpus')", "GPUs", tooltip="chart only, GPUs only, everything"),
        Binding("z", "pane('all')", "all", tooltip="chart only, GPUs only, everything"),
        Binding("s", "stop", "stop", tooltip="save a checkpoint, then stop"),
        Binding("r", "resume", "resume", tooltip="continue from the last checkpoint"),
        Binding(
            "b",
            "smaller_batch",
            "smaller batch",
            tooltip="out of memory: new run with a smaller batch",
        ),
        Binding("v", "ask_for('save')", "save", tooltip="save a checkpoint now"),
        Binding("e", "ask_for('evaluate')", "eval", tooltip="evaluate now"),
        Binding("o", "log", "output", tooltip="output of the training process"),
        Binding("d", "verdict", "diagnosis", tooltip="diagnosis: findings, evidence, actions"),
        Binding("a", "answers", "answers", tooltip="sample answers, highest-loss examples"),
        Binding("escape,q", "back", "leave", key_display="esc", tooltip="leave; the run continues"),
    ]

    def __init__(self, shown: JobFolder | Follower) -> None:
        """Show a run, or what a follower reads."""
        super().__init__()
        self.follower = shown if isinstance(shown, Follower) else Follower(shown, asks_slurm=False)
        self._ticks = 0
        self._reading = True
        self._is_asking = False
        """Whether a thread reads the state."""
        self._key_state: object = None
        self._notifications = NotificationTracker(self.follower.folder.id)
        self._run_view = RunView(self.follower, id="monitor")

    def body(self) -> ComposeResult:
        yield self._run_view

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        return line.append(make_visible(self.follower.folder.id), "bold")

    def on_mount(self) -> None:
        self.set_interval(READ_EVERY_S, self._tick)
        self._tick()
        self._load_plan()

    @work(group="plan", exclusive=True, exit_on_error=False)
    async def _load_plan(self) -> None:
        """Read plan and price in a thread: the plan reader is slow to import."""
        if self.follower.origin != "run":
            return
        folder = self.follower.folder
        unreadable = FtwizardError, OSError, ValueError
        with contextlib.suppress(*unreadable):
            self._run_view.hour = await run_in_thread(machine_rate.read_recorded_price, folder)
        with contextlib.suppress(*unreadable):
            plan = await run_in_thread(plan_file.read_run, folder)
            self._run_view.plan = plan
            if hour := self._run_view.hour:
                self._run_view.hour = hour.times(plan.nodes)
            self.refresh_bindings()
            self._run_view.draw()

    def on_resize(self) -> None:
        self._run_view.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        ended = self.follower.status.state == "ended"
        succeeded = self.follower.status.end_reason in GOOD_END_REASONS
        if action == "answers":
            return self._has_answers
        if action == "log":  # the output of others is on their own terminal
            return self.follower.origin == "run"
        if action == "pane":
            return parameters == (self._run_view.next_pane,)
        plan = self._run_view.plan
        can_ask = plan is None or plan.has_validation or parameters != ("evaluate",)
        can_ask = can_ask and self._is_training and not ended and not self._run_view.record
        is_own, is_file = self.follower.origin == "run", self.follower.origin == "file"
        needs = {
            "results": ended and self._has_results and is_own,
            "explain_none": is_own and ended and not self._has_results,
            "resume": ended and not succeeded and is_own,
            "stop": not ended and not is_file, "ask_for": can_ask and not is_file,
            "smaller_batch": is_own and ended and self.follower.status.end_reason in OUT_OF_MEMORY,
        }  # fmt: skip
        return action not in needs or (needs[action] and not self.follower.is_gone)

    @property
    def _has_results(self) -> bool:
        succeeded = self.follower.status.end_reason in GOOD_END_REASONS
        return succeeded or has_results(self.follower.folder)

    @property
    def _has_answers(self) -> bool:
        return bool(self.follower.shown.samples or self.follower.shown.highest_loss_rows)

    @property
    def _is_training(self) -> bool:
        return self.follower.shown.phase in ACTIVE

    def _tick(self) -> None:
        self._ticks += 1
        slow = getattr(self.app, "slow", False)
        due = self._ticks % (DRAW_EVERY * (SLOW_FACTOR if slow else 1)) == 1
        if due:
            self._read_state()
        if not self._reading or self._ticks == 1:
            self._reading = True
            self._read()
        if due:
            self._run_view.draw()
            self._update_keys()

    def _read_state(self) -> None:
        """Read the state; of a run in a Slurm job in a thread, as Slurm may be slow to answer."""
        attempt = self.follower.status.attempt
        if self.follower.status.allocation is None:
            self.follower.read_state(asks_slurm=False)
        if self.follower.status.attempt != attempt:
            self._load_plan()  # budget or price may differ
        if self.follower.status.allocation is not None and not self._is_asking:
            self._is_asking = True
            self._ask_slurm()

    @work(group="state", exit_on_error=False)
    async def _ask_slurm(self) -> None:
        """Read the state in a thread that nobody waits for: keys act meanwhile."""
        status = self.follower.status
        try:
            await run_in_thread(self.follower.read_state)
        finally:
            self._is_asking = False
        if not self.is_attached or self.follower.status == status:
            return
        if self.follower.status.attempt != status.attempt:
            self._load_plan()
        self._run_view.draw()
        self._update_keys()

    def _update_keys(self) -> None:
        """Refresh the footer when the available actions change."""
        follower, previous = self.follower, self._key_state
        pane = self._run_view.next_pane
        status = follower.status
        job = status.state, status.end_reason, status.attempt
        state = job, follower.is_gone, self._has_answers, self._is_training, pane
        self._key_state = state
        if self._key_state != previous:
            self.refresh_bindings()

    def _read(self) -> None:
        """Read events for a moment; if there are more, continue after pending keys were handled."""
        if self.follower.read(SLICE_S):
            self.set_timer(SLICE_S / 10, self._read)
            return
        self._reading = False
        notices = self._notifications.get_news(self.follower.status, self.follower.progress)
        driver.send_notifications(self.app, notices)
        if self._ticks <= 1 or not self._run_view.is_drawn:
            self._run_view.draw()

    def action_pane(self, pane: chart_data.Pane) -> None:
        self._run_view.show_pane(pane)
        self.refresh_bindings()

    def action_answers(self) -> None:
        from ftwizard.screens.monitor.samples import AnswersPage

        self.app.push_screen(AnswersPage(self.follower, self._run_view.plan))

    def action_verdict(self) -> None:
        from ftwizard.screens.monitor.diagnosis import DiagnosisPage

        self.app.push_screen(DiagnosisPage(self.follower), self._open_run)

    def _open_run(self, run_id: str | None) -> None:
        if run_id and self.is_attached:
            self.dismiss(f"{RUN_PREFIX}{run_id}")

    def action_results(self) -> None:
        self.dismiss("results")

    def action_explain_none(self) -> None:
        """Tell what is missing to show results."""
        resumable = self.follower.status.end_reason in RESUMABLE
        hint = "r continues it." if resumable else "d names the reasons, o shows its output."
        missing = "No results yet: the run has neither trained weights nor an evaluation."
        self.app.notify(f"{missing} {hint}", markup=False)

    def action_log(self) -> None:
        from ftwizard.screens.monitor.log import LogPage

        self.app.push_screen(LogPage(self.follower))

    @work(group="stop", exclusive=True, exit_on_error=False)
    async def action_stop(self) -> None:
        await actions.stop(self.app, self.follower)

    @work(group="start", exclusive=True, exit_on_error=False)
    async def action_resume(self) -> None:
        self._open_run(await actions.resume(self.app, self.follower))

    @work(group="start", exclusive=True, exit_on_error=False)
    async def action_smaller_batch(self) -> None:
        self._open_run(await actions.start_smaller_batch(self.app, self.follower))

    @work(group="ask", exit_on_error=False)
    async def action_ask_for(self, name: requests.Name) -> None:
        await actions.ask_for(self.app, self.follower, name)
