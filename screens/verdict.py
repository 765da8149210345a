"""What a run's curve shows, in numbers, and what may be done about it, each on a line."""

from __future__ import annotations

import math
from typing import ClassVar

from rich.console import Console
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from ftwizard import words
from ftwizard.checkpoints import Checkpoint
from ftwizard.errors import FtwizardError
from ftwizard.follow import Follower
from ftwizard.jobs.events import Event
from ftwizard.screens import again, readings, steering
from ftwizard.screens.again import Child
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
}
"""What this page can do with a run that lives, beside ``again.CHANGES``; other actions are words
alone."""
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
        "the line says; it asks before a run is stopped or started. A new run has the same plan and "
        "rows, and begins with the weights that its line names, which are on disk.\n\n"
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

    @property
    def _lives(self) -> bool:
        return self._follower.status.state != "ended"

    def _show(self) -> None:
        if not self.size.width:
            return
        found, folder = said(self._follower.progress.findings), self._follower.folder
        shown = lines(found, self.size.width - 6, again.on_disk(folder), lives=self._lives)
        if not self._lives and (kept := words.kept_weights(folder)):
            shown = [
                *(Line(part) for part in _wrapped(kept, self.size.width - 6)),
                Line(Text()),
                *shown,
            ]
        self.query_one(Menu).show(shown)

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self._do(*event.id.split(":", 1))

    @work(group="do", exclusive=True, exit_on_error=False)
    async def _do(self, action: str, code: str) -> None:
        if action in again.CHANGES:
            found = said(self._follower.progress.findings)
            finding = next((one for one in found if str(one.get("code")) == code), None)
            if finding is None:  # it has been resumed meanwhile
                return
            kept = again.on_disk(self._follower.folder)
            await self._branch(again.child(action, finding, kept, lives=self._lives))
        elif action == "save":
            await steering.ask_for(self.app, self._follower, "save")
        elif action == "evaluate":
            await steering.ask_for(self.app, self._follower, "evaluate")
        elif await steering.stop(self.app, self._follower):
            self.dismiss(None)  # its end is seen on the monitor

    async def _branch(self, child: Child) -> None:
        run = self._follower.folder
        if self._lives:
            question = Ask(
                "It trains still. Stop it first?",
                "It saves first. When it has ended, choose this line again: the new run then begins "
                f"from {child.begins}.",
                "save and stop",
            )
            await steering.stop(self.app, self._follower, question)
            return
        argv = ("branch", str(run.path), *child.options)
        question = Ask(
            "Start a new run?",
            f"From {child.begins}, with {child.change}; all else is as in {run.id}, which stays.",
            "start",
        )
        if not await self.app.push_screen_wait(question):
            return
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


def lines(found: list[Event], width: int, kept: list[Checkpoint], *, lives: bool) -> list[Line]:
    """Return findings as lines of at most ``width`` cells, with what may be done to choose.

    ``kept`` are the checkpoints on disk.
    """
    if not found:
        return [Line(Text("Nothing yet: it takes some evaluations to tell.", "dim"))]
    shown: list[Line] = []
    for event in found:
        shown += _said_of(event, width, lives=lives)
        for action, what in offered(event, kept, lives=lives).items():
            first, *rest = _wrapped(what, width)
            shown.append(Line(first, f"{action}:{event.get('code')}"))
            shown += [Line(part) for part in rest]
        if numbers := _evidence(event):
            shown += [Line(part) for part in _wrapped(numbers, width, "dim")]
        shown.append(Line(Text()))
    return shown


def offered(event: Event, kept: list[Checkpoint], *, lives: bool) -> dict[str, str]:
    """Return what can be done about a finding now, in words, by action."""
    actions = event.get("actions")
    named = [one for one in actions if isinstance(one, str)] if isinstance(actions, list) else []
    offers = {}
    for action in named:
        if action in again.CHANGES:
            offers[action] = again.child(action, event, kept, lives=lives).words
        elif action in DOES and lives:
            offers[action] = DOES[action]
    return offers


def _said_of(event: Event, width: int, *, lives: bool) -> list[Line]:
    head = Text.assemble(readings.finding_mark(event), (readings.finding_name(event), "bold"))
    sure, since = event.get("confidence"), event.get("since")
    if isinstance(sure, int | float):
        head.append(f"  {100 * sure:.0f} % sure", "dim")
    if isinstance(since, int):
        head.append(f"  since step {since:,}", "dim")
    parts = [head, *_wrapped(visible(str(event.get("message")), 600), width)]
    if advice := readings.advice(event, lives=lives):
        parts += _wrapped(f"→ {advice}", width, "bold")
    return [Line(part) for part in parts]


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
