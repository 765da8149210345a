"""Diagnosis page: findings on a run's curve, their numbers and available actions."""

from __future__ import annotations

import math
from typing import NamedTuple

from rich.console import Console
from rich.text import Text
from textual import work
from textual.app import ComposeResult

from ftwizard.diagnosis import describe_former
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import checkpoints, describe
from ftwizard.runs.checkpoints import Checkpoint
from ftwizard.runs.follower import Follower, Origin
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.monitor import readings
from ftwizard.screens.monitor.actions import ask_for, start_child, stop
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Menu, MenuLine
from ftwizard.text import make_visible

SPOILING_PATTERNS = (
    "overfit", "memorizing", "diverged", "nan", "likelihood_displacement", "margin_explosion",
    "kl_explosion", "reward_hacking", "reward_collapse", "entropy_collapse",
)  # fmt: skip
"""Patterns that spoil the weights from their onset on."""


FROM_SCRATCH = ("start", "the start")
"""The base weights, as an option and as text."""


class SettingsChange(NamedTuple):
    """A difference between a child run and its parent."""

    label: str
    options: tuple[str, ...]
    """Arguments of ``ftwizard branch``."""
    from_scratch: bool = False
    """Whether to discard everything trained so far."""


_HALF_RATE, _DOUBLE = ("--rate-times", "0.5"), ("--accumulation-times", "2")
CHANGES = {
    "again_half_rate": SettingsChange("half the learning rate", _HALF_RATE),
    "again_more_accumulation": SettingsChange("double the gradient accumulation", _DOUBLE),
    "again_half_rate_more_accumulation": SettingsChange(
        "half the learning rate, double the accumulation", _HALF_RATE + _DOUBLE
    ),
    "again_higher_rate": SettingsChange("5× the learning rate", ("--rate-times", "5"), True),
    "again_ten_times_rate": SettingsChange("10× the learning rate", ("--rate-times", "10"), True),
}


class ChildRun(NamedTuple):
    start: str
    """Where its weights come from, as text."""
    change: str
    options: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"new run from {self.start}: {self.change}"


def plan_child(action: str, finding: Event, saved: list[Checkpoint], *, is_alive: bool) -> ChildRun:
    """Return the run that an action on a finding starts; ``saved`` are the checkpoints on disk."""
    change = CHANGES[action]
    option, start = FROM_SCRATCH if change.from_scratch else _choose_start(finding, saved, is_alive)
    return ChildRun(start, change.label, ("--from", option, *change.options))


def list_checkpoints(folder: JobFolder) -> list[Checkpoint]:
    """Return the checkpoints that ``ftwizard branch`` can start from."""
    try:
        return checkpoints.all_complete(folder.checkpoints)
    except OSError:  # the run is being deleted
        return []


def _choose_start(finding: Event, saved: list[Checkpoint], is_alive: bool) -> tuple[str, str]:
    """Choose the best checkpoint, else the newest; return it as an option and as text."""
    if best := checkpoints.find_best(saved):
        return str(best.step), f"the best checkpoint (step {best.step:,})"
    if finding.get("code") in SPOILING_PATTERNS:
        since = finding.get("since")
        earlier = [item for item in saved if isinstance(since, int) and item.step < since]
        if not earlier:
            return FROM_SCRATCH
        return str(earlier[-1].step), f"step {earlier[-1].step:,}, before it began"
    if is_alive:  # stopping the run first saves one more
        return "best", "the newest checkpoint"
    if not saved:
        return FROM_SCRATCH
    return str(saved[-1].step), f"the newest checkpoint (step {saved[-1].step:,})"


ACTIONS = {
    "stop_keep_best": "stop now and keep the best weights",
    "stop": "stop now",
    "save": "save a checkpoint now",
    "evaluate": "evaluate now",
}
"""Actions on a live run, in addition to ``again.CHANGES``; others are shown as text only."""
EVIDENCE = {
    "trend_z": "trend z", "cusum": "CUSUM", "noise": "noise", "rows": "rows",
    "rise_low": "rise at least", "rise_high": "at most", "sampling": "sampling noise",
    "evaluations_since": "evaluations since", "noise_share": "noise", "steps_down": "drops",
    "drop_share": "drop per epoch", "grad_norm": "grad norm", "fell": "fell", "falls_now": "falling now",
}  # fmt: skip


class DiagnosisPage(Page[str]):
    """Dismisses with the id of a run that was started from here, or None."""

    NAME = "Diagnosis"
    NOTES = (
        "The mark is the severity, the percentage the confidence.",
        "Diagnosed at each evaluation, also while no one watches.",
        "An action asks before it stops or starts a run.",
        "On the command line: ftwizard diagnose RUN",
    )

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
    def _is_alive(self) -> bool:
        return self._follower.status.state != "ended"

    def _show(self) -> None:
        if not self.size.width:
            return
        folder, width = self._follower.folder, self.size.width - 6
        all_findings = self._follower.progress.findings
        findings = select_findings(all_findings)
        saved = list_checkpoints(folder)
        former = describe_former(all_findings)
        lines = build_lines(
            findings,
            width,
            saved,
            is_alive=self._is_alive,
            former=former,
            origin=self._follower.origin,
        )
        if not self._is_alive and (weights := describe.describe_kept_weights(folder)):
            lines = [*_wrap(weights, width), MenuLine(Text()), *lines]
        self.query_one(Menu).show(lines)

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self._perform(*event.id.split(":", 1))

    @work(group="perform", exclusive=True, exit_on_error=False)
    async def _perform(self, action: str, code: str) -> None:
        if action in CHANGES:
            findings = select_findings(self._follower.progress.findings)
            finding = next((item for item in findings if str(item.get("code")) == code), None)
            if finding is None:  # the run was resumed meanwhile
                return
            saved = list_checkpoints(self._follower.folder)
            await self._branch(plan_child(action, finding, saved, is_alive=self._is_alive))
        elif action in ("save", "evaluate"):
            await ask_for(self.app, self._follower, "save" if action == "save" else "evaluate")
        elif await stop(self.app, self._follower):
            self.dismiss(None)  # the monitor shows how it ends

    async def _branch(self, child: ChildRun) -> None:
        run = self._follower.folder
        if self._is_alive:
            question = ConfirmDialog(
                "This run is still training. Stop it first?",
                "It saves first. When it has ended, select this line again. The new run then starts "
                f"from {child.start}.",
                "save and stop",
            )
            await stop(self.app, self._follower, question)
            return
        question = ConfirmDialog(
            "Start a new run?",
            f"It starts from {child.start}, with {child.change}. Everything else is as in {run.id}, which "
            "is kept.",
            "start",
        )
        if not await self.app.push_screen_wait(question):
            return
        if run_id := await start_child(self.app, run, *child.options):
            self.dismiss(run_id)


def select_findings(findings: list[Event]) -> list[Event]:
    """Return the newest event of each finding, the newest verdict first."""
    newest = {str(event.get("code")): event for event in findings}
    verdict = readings.find_verdict(findings)
    if verdict is not None:
        newest.pop(str(verdict.get("code")), None)
    relevant = [event for event in newest.values() if event.get("severity") != "info"]
    return [*([verdict] if verdict else []), *reversed(relevant)]


def build_lines(
    findings: list[Event],
    width: int,
    saved: list[Checkpoint],
    *,
    is_alive: bool,
    former: str = "",
    origin: Origin = "run",
) -> list[MenuLine]:
    """Return findings with their actions, as lines of at most ``width`` cells.

    ``saved`` are the checkpoints on disk; ``former`` describes the verdict that was replaced. Only a
    run of our own can have child runs, and a file of another tool has no actions.
    """
    if not findings:
        return [MenuLine(Text("No diagnosis yet: not enough evaluations.", "dim"))]
    lines: list[MenuLine] = []
    for event in findings:
        lines += _describe_finding(event, width, is_alive=is_alive)
        if former and event.get("verdict"):
            lines += _wrap(former, width, "dim")
        for action, label in list_actions(event, saved, is_alive=is_alive, origin=origin).items():
            lines += _wrap(label, width, id=f"{action}:{event.get('code')}")
        if evidence := _format_evidence(event):
            lines += _wrap(evidence, width, "dim")
        lines.append(MenuLine(Text()))
    return lines


def list_actions(
    event: Event, saved: list[Checkpoint], *, is_alive: bool, origin: Origin = "run"
) -> dict[str, str]:
    actions = event.get("actions")
    labels = {}
    for action in map(str, actions if isinstance(actions, list) else ()):
        if action in CHANGES and origin == "run":
            labels[action] = plan_child(action, event, saved, is_alive=is_alive).label
        elif action in ACTIONS and is_alive and origin != "file":
            labels[action] = ACTIONS[action]
    return labels


def _describe_finding(event: Event, width: int, *, is_alive: bool) -> list[MenuLine]:
    head = Text.assemble(readings.finding_mark(event), (readings.finding_name(event), "bold"))
    confidence, since = event.get("confidence"), event.get("since")
    if isinstance(confidence, int | float):
        head.append(f"  {100 * confidence:.0f}% confidence", "dim")
    if isinstance(since, int):
        head.append(f"  since step {since:,}", "dim")
    lines = [MenuLine(head), *_wrap(make_visible(str(event.get("message")), 600), width)]
    if advice := readings.get_advice(event, is_alive=is_alive):
        lines += _wrap(f"→ {advice}", width, "bold")
    return lines


def _wrap(text: str, width: int, style: str = "", id: str | None = None) -> list[MenuLine]:
    """Return a text as lines; ``id`` makes the first one an option."""
    first, *rest = Text(text, style).wrap(Console(width=width), max(20, width)) or [Text()]
    return [MenuLine(first, id), *map(MenuLine, rest)]


def _format_evidence(event: Event) -> str:
    evidence = event.get("evidence")
    parts = []
    for name, value in evidence.items() if isinstance(evidence, dict) else ():
        if name in EVIDENCE and isinstance(value, int | float) and math.isfinite(value):
            figure = f"{100 * value:.1f}%" if name.endswith("_share") else f"{value:.3g}"
            parts.append(f"{EVIDENCE[name]} {figure}")
    return " · ".join(parts)
