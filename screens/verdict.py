"""What a run's curve shows, in numbers, and what may be done about it, each on a line."""

from __future__ import annotations

import math
from typing import ClassVar

from rich.console import Console
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from ftwizard.errors import FtwizardError
from ftwizard.follow import Follower
from ftwizard.jobs import requests
from ftwizard.jobs.events import Event
from ftwizard.screens import readings
from ftwizard.screens.ask import Ask
from ftwizard.screens.page import Page
from ftwizard.screens.problem import Problem
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.screens.working import Working
from ftwizard.text import visible

DOES = {
    "stop_keep_best": "stop it now; the best weights are kept",
    "stop": "stop it now",
    "save": "save a checkpoint now",
    "evaluate": "measure the validation loss now",
    "again_half_rate": "go on from the best in a new run, with half the learning rate",
    "again_higher_rate": "start again in a new run, with five times the learning rate",
    "again_more_accumulation": "go on from the best in a new run, with twice the accumulation",
}
"""What this page can do; other actions are words alone."""
BRANCHES = {
    "again_half_rate": ("--rate-times", "0.5"),
    "again_higher_rate": ("--from", "start", "--rate-times", "5"),
    "again_more_accumulation": ("--accumulation-times", "2"),
}
EVIDENCE = {
    "trend_z": "trend z", "cusum": "CUSUM", "noise": "noise", "severity_share": "above its best",
    "evaluations_since": "evaluations since", "noise_share": "noise", "steps_down": "steps down",
    "drop_share": "each by", "grad_norm": "gradient norm", "fell": "fell", "falls_now": "falls now",
}  # fmt: skip


class VerdictPage(Page[str]):
    """Dismisses with the id of a run that was started from here, or None."""

    NAME = "Diagnosis"
    HELP = (
        "What the run says of its own curve, judged by the worker at each evaluation, also while "
        "nobody watches. The mark says how grave it is, the percentage how sure. Enter does what "
        "the line says, after a question.\n\n"
        "`ftwizard diagnose RUN` says the same on the command line, also of curves from elsewhere."
    )
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    def body(self) -> ComposeResult:
        yield Menu(id="verdicts")

    def on_mount(self) -> None:
        self.query_one(Menu).focus()
        self.set_interval(1.0, self._show)
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if self.size.width:
            found = said(self._follower.progress.findings)
            lives = self._follower.status.state != "ended"
            self.query_one(Menu).show(lines(found, self.size.width - 6, lives=lives))

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self._do(event.id.partition(":")[0])

    @work(group="do", exclusive=True, exit_on_error=False)
    async def _do(self, action: str) -> None:
        if action in BRANCHES:
            await self._branch(action)
            return
        question = Ask("Do that?", f"{DOES[action][:1].upper()}{DOES[action][1:]}.", "do it")
        sure = await self.app.push_screen_wait(question)
        if sure and self._request(action) and action.startswith("stop"):
            self.dismiss(None)  # its end is seen on the monitor

    def _request(self, action: str) -> bool:
        folder, attempt = self._follower.folder, self._follower.status.attempt
        try:
            if action.startswith("stop"):
                grace = self._follower.progress.stop_grace_s
                requests.stop(folder, attempt, grace_s=grace)
            elif action == "save" or action == "evaluate":
                requests.ask(folder, "save" if action == "save" else "evaluate", attempt)
        except OSError as error:
            self.notify(f"That cannot be asked: {error.strerror}.", severity="error", markup=False)
            return False
        self.notify("It does so when this step is done.", markup=False)
        return True

    async def _branch(self, action: str) -> None:
        run = self._follower.folder
        if self._follower.status.state != "ended":
            if await self.app.push_screen_wait(
                Ask(
                    "It trains still. Stop it first?",
                    "The best weights are kept. When it has ended, choose this line again: the new "
                    "run then goes on from them.",
                    "save and stop",
                )
            ):
                self._request("stop")
            return
        question = Ask(
            "Start a new run?", f"{DOES[action][:1].upper()}{DOES[action][1:]}.", "start"
        )
        if not await self.app.push_screen_wait(question):
            return
        argv = ("branch", str(run.path), *BRANCHES[action])
        found = await self.app.push_screen_wait(Working("Starting the run", *argv, lasting=True))
        if isinstance(found, FtwizardError):
            await self.app.push_screen_wait(Problem(found))
        elif found is not None:
            self.dismiss(found["id"])


def said(findings: list[Event]) -> list[Event]:
    """Return the newest word on each thing that was found, the newest verdict first."""
    newest = {str(one.get("code")): one for one in findings}
    verdict = next((one for one in reversed(findings) if one.get("verdict")), None)
    rest = [one for one in newest.values() if verdict is None or one["code"] != verdict["code"]]
    spoken = [one for one in rest if one.get("severity") != "info"]
    return [*([verdict] if verdict else []), *reversed(spoken)]


def lines(found: list[Event], width: int, *, lives: bool) -> list[Line]:
    """Return findings as lines of at most ``width`` cells, with what may be done to choose."""
    if not found:
        return [Line(Text("Nothing yet: it takes some evaluations to tell.", "dim"))]
    shown: list[Line] = []
    for event in found:
        shown += _one(event, width, lives=lives)
        shown.append(Line(Text()))
    return shown


def _one(event: Event, width: int, *, lives: bool) -> list[Line]:
    code = str(event.get("code"))
    head = Text.assemble(readings.finding_mark(event), (readings.finding_name(event), "bold"))
    sure, since = event.get("confidence"), event.get("since")
    if isinstance(sure, int | float):
        head.append(f"  {100 * sure:.0f} % sure", "dim")
    if isinstance(since, int):
        head.append(f"  since step {since:,}", "dim")
    shown = [Line(head)]
    shown += [Line(part) for part in _wrapped(visible(str(event.get("message")), 600), width)]
    if isinstance(event.get("action"), str):
        shown += [
            Line(part) for part in _wrapped(f"→ {visible(event['action'], 300)}", width, "bold")
        ]
    actions = event.get("actions")
    for action in actions if isinstance(actions, list) else []:
        needs_life = action in ("stop", "stop_keep_best", "save", "evaluate")
        if action in DOES and (lives or not needs_life):
            shown.append(Line(Text(DOES[action]), f"{action}:{code}"))
    if numbers := _evidence(event):
        shown += [Line(part) for part in _wrapped(numbers, width, "dim")]
    return shown


def _wrapped(words: str, width: int, style: str = "") -> list[Text]:
    return list(Text(words, style).wrap(Console(width=width), max(20, width)))


def _evidence(event: Event) -> str:
    told = event.get("evidence")
    parts = []
    for name, value in told.items() if isinstance(told, dict) else ():
        if name in EVIDENCE and isinstance(value, int | float) and math.isfinite(value):
            figure = f"{100 * value:.1f} %" if name.endswith("_share") else f"{value:.3g}"
            parts.append(f"{EVIDENCE[name]} {figure}")
    return " · ".join(parts)
