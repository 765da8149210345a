"""``watch``: a run as text. It only reads, and leaving it does not stop the run."""

from __future__ import annotations

import argparse
import contextlib
import math
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftwizard import config
from ftwizard.cli import output, run_argument
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.liveness import Trouble
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import default_run, describe, objective_figures, rank_summary, store
from ftwizard.runs.curve_follower import CurveFollower, describe_source
from ftwizard.runs.curve_sources import open_source
from ftwizard.runs.notifications import NotificationTracker
from ftwizard.runs.progress import Progress
from ftwizard.runs.summary import ProgressReader
from ftwizard.text import format_bytes, format_count, make_visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, Group, RenderableType

POLL_S = 0.25
BAR_WIDTH = 40
MAX_LOG_STEPS = 50
"""Steps to the next training loss, or a thousandth of all, for it to belong to an evaluation."""
MAX_EARLIER = 20
"""Evaluations printed of those before the view was opened."""
PLAIN_STEP_SHARE = 0.1
"""Share of the steps between two lines where nothing can be redrawn."""


def watch(arguments: argparse.Namespace) -> int:
    """Follow a run until it ends or the user leaves."""
    if arguments.provider:
        from ftwizard.cli import hosted_run

        return view(hosted_run.adopt(arguments), arguments)
    if arguments.run and (path := run_argument.find_curve(arguments.run)):
        return view_curve(path, arguments)
    return view(run_argument.find(arguments.run, default_run.choose_shown), arguments)


def view(folder: JobFolder, arguments: argparse.Namespace) -> int:
    """Show a run in the monitor, or as lines where the terminal has no screens."""
    if output.wants_screens(arguments):
        return int(
            arguments.open_screens(("run", str(folder.path)), arguments.ascii, slow=arguments.slow)
        )
    return follow(folder, as_json=arguments.json)


def follow(folder: JobFolder, *, as_json: bool = False) -> int:
    """Show a run until it ends; return its exit code, or 0 if the user left the view."""
    status = follow_to_end(folder, as_json=as_json)
    if status is None:
        return 0
    if as_json:
        output.print_json(store.read_status(folder))
    else:
        output.print_lines(output.make_console(), *describe.describe_outcome(folder, status))
    return status.exit_code


def follow_to_end(folder: JobFolder, *, as_json: bool = False) -> Status | None:
    """Show a run until it ends; return its last status, or None if the user left the view.

    ``as_json``: stdout is kept for a document.
    """
    from rich.live import Live

    console = output.make_console(stderr=as_json)
    redraws = console.is_terminal and output.can_draw()
    live = Live(console=console, refresh_per_second=2, transient=True)
    log = _EventLog(console)
    if not redraws:
        log.print(f"run {folder.id} in {folder.path}")
    reader = ProgressReader(folder)
    progress = reader.read()
    noticer = NotificationTracker(folder.id)
    try:
        with live if redraws else contextlib.nullcontext():
            while True:
                status = observe(folder)
                offset = reader.events.offset
                reader.read()
                if redraws:
                    live.update(_draw(folder, status, progress))
                else:
                    log.show_place(status)
                    log.show_queue(status)
                    log.show(progress)
                    log.show_troubles(status)
                if noticer.get_news(status, progress) and console.is_terminal and _bell_enabled():
                    console.bell()
                if status.state == "ended" and reader.events.offset == offset:
                    run_argument.require_folder(folder, "watch")
                    break
                _wait_while_read(POLL_S)
    except KeyboardInterrupt:
        console.print(f"\nThe run continues. Come back with: ftwizard watch {folder.id}")
        return None
    return status


def view_curve(path: Path, arguments: argparse.Namespace) -> int:
    """Show a curve in files of another tool, in the monitor or as lines."""
    source = open_source(path)
    if output.wants_screens(arguments):
        route = ("curve", str(source.path))
        return int(arguments.open_screens(route, arguments.ascii, slow=arguments.slow))
    return follow_curve(CurveFollower(source), as_json=arguments.json)


def follow_curve(follower: CurveFollower, *, as_json: bool = False) -> int:
    """Show a curve until its training ended, or its files have not changed for long."""
    from rich.live import Live

    console = output.make_console(stderr=as_json)
    redraws = console.is_terminal and output.can_draw()
    live = Live(console=console, refresh_per_second=2, transient=True)
    log = _EventLog(console)
    follower.read_all()
    damage = follower.source.damage
    output.print_lines(console, *describe_source(follower))
    if follower.progress.step is None and not follower.is_quiet:
        output.print_lines(console, "· No losses in it yet. They are shown as they are written.")
    try:
        with live if redraws else contextlib.nullcontext():
            while True:
                follower.read_all()
                follower.read_state()
                if follower.source.damage != damage:
                    damage = follower.source.damage
                    output.print_lines(console, *([f"! {damage}"] if damage else []))
                if redraws:
                    live.update(_draw(follower.folder, follower.status, follower.progress))
                else:
                    log.show(follower.progress)
                if follower.status.state == "ended" or follower.is_quiet:
                    break
                _wait_while_read(POLL_S)
    except KeyboardInterrupt:
        return 0
    if as_json:
        output.print_json(follower.run_status)
    else:
        output.print_lines(console, *_summarize_curve(follower))
    return 0


def _summarize_curve(follower: CurveFollower) -> Iterator[str]:
    """Yield the last figures and the verdict of a curve that is no longer read."""
    progress, source = follower.progress, follower.source
    if progress.step is None:
        yield "It contains no losses yet."
        return
    total = f"/{progress.total_steps}" if progress.total_steps else ""
    loss = f", loss {progress.loss:.4g}" if progress.loss is not None else ""
    best = ""
    if progress.best_eval_loss is not None:
        best = f", best validation {progress.best_eval_loss:.4g} at step {progress.best_step}"
    yield f"step {progress.step}{total}{loss}{best}"
    yield from (_format_finding(event, 400) for event in progress.findings[-3:])
    yield from (f"! {source.damage}" for _ in range(bool(source.damage)))
    if follower.status.state != "ended":
        yield "Its files have not changed for long, so the training seems to be over."
    if follower.status.message:
        yield make_visible(follower.status.message, 300)


def _wait_while_read(seconds: float) -> None:
    """Wait; raise BrokenPipeError once nobody reads stdout any more, also while nothing is printed.

    The end of stdin says nothing: ``nohup`` and cron have none.
    """
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):  # no descriptor, as in a test
        poll.register(sys.stdout.fileno(), 0)  # only errors and hang-ups
    if poll.poll(1000 * seconds):
        raise BrokenPipeError


def _bell_enabled() -> bool:
    """Return whether to ring the bell; True if the settings cannot be read."""
    try:
        return config.load().notify.terminal
    except FtwizardError:
        return True


class _EventLog:
    """A line per event, for logs, pipes and terminals without a cursor."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[Any] = set()
        self._next_step = 0.0
        self._evaluated: int | None = None
        """Evaluations when a line was last printed; None before the first."""
        self._troubles: tuple[Trouble, ...] = ()

    def show_place(self, status: Status) -> None:
        """Print the other host that the run is on, once."""
        if status.host:
            self._once(("host", status.host), f"running on {make_visible(status.host, 64)}")

    def show_queue(self, status: Status) -> None:
        """Print a line for each reason for which the run waits for a Slurm job."""
        if status.state == "queued" and (job := status.allocation):
            self._once(("queued", job.job_id, job.reason, job.state), describe.describe_queue(job))

    def show(self, progress: Progress) -> None:
        """Print a line for each new event."""
        if progress.phase:
            self._once(
                ("phase", progress.attempt, progress.phase, progress.detail),
                describe.describe_progress(progress),
            )
        for event in progress.findings:
            self._once(("finding", event["t"]), _format_finding(event, 400))
        if ranks := rank_summary.summarize(progress):
            self._once(("ranks", progress.attempt, ranks), rank_summary.describe(ranks))
        evaluations = progress.evaluations
        if self._evaluated is None:
            self._evaluated = len(evaluations)
            if (earlier := len(evaluations) - MAX_EARLIER) > 0:
                self.print(f"{format_count(earlier, 'earlier evaluation')} not shown")
        first = min(self._evaluated, len(evaluations)) - MAX_EARLIER
        for index in range(max(0, first), len(evaluations)):
            step, loss = evaluations[index]
            self._once(("eval", progress.attempt, step), _format_evaluation(progress, step, loss))
        self._evaluated = len(evaluations)
        if progress.step and progress.total_steps and progress.step >= self._next_step:
            self._next_step = progress.step + progress.total_steps * PLAIN_STEP_SHARE
            self._once(("step", progress.attempt, progress.step), _format_step(progress))

    def show_troubles(self, status: Status) -> None:
        """Print a line for each trouble that began since the last call."""
        troubles = status.liveness.troubles
        lines = describe.describe_troubles(status)
        for trouble, line in zip(troubles, lines, strict=True):
            if trouble not in self._troubles:
                self.print(line)
        self._troubles = troubles

    def _once(self, key: Any, line: str) -> None:
        if key not in self._printed:
            self._printed.add(key)
            self.print(line)

    def print(self, line: str) -> None:
        """Print a line with the time."""
        output.print_lines(self._console, f"{time.strftime('%H:%M:%S')} {line}")


def _format_evaluation(progress: Progress, step: float, loss: float) -> str:
    """Format an evaluation, with the training loss if one was kept near its step."""
    line = f"step {step:.0f}: validation loss {loss:.4g}"
    at, training = progress.losses.nearest(step) or (step, math.nan)
    near = abs(at - step) <= max(MAX_LOG_STEPS, step / 1000)
    return f"{line}, training loss {training:.4g}" if near else line


def _format_finding(event: Event, max_chars: int) -> str:
    mark = output.MARKS.get(str(event.get("severity")), "!")
    return f"{mark} {make_visible(str(event.get('message')), max_chars)}"


def _draw(folder: JobFolder, status: Status, progress: Progress) -> Group:
    """Draw the few lines that are redrawn in place."""
    from rich.console import Group
    from rich.text import Text

    attempt = f", attempt {status.attempt}" if status.attempt > 1 else ""
    title = Text.assemble((folder.id, "bold"), f"  {status.state}{attempt}")
    findings = [Text(_format_finding(event, 300)) for event in progress.findings[-3:]]
    findings += [Text(line) for line in describe.describe_troubles(status)]
    last = Text("ctrl+c leaves this view; the run continues", style="dim")
    rows = [*_progress_rows(progress, status)]
    if status.host:
        rows.append(("on", make_visible(status.host, 64)))
    if signs := describe.describe_signs(status):
        rows.append(("last", signs))
    table = output.build_pair_table(rows)
    return Group(title, Text(), table, Text(), *findings, *([Text()] if findings else []), last)


def _progress_rows(progress: Progress, status: Status) -> Iterator[tuple[str, RenderableType]]:
    """Yield name and value of each line of the live view."""
    from rich.progress_bar import ProgressBar

    wait = describe.describe_wait(progress, status)
    doing = describe.describe_progress(progress)
    if status.state == "queued" and status.allocation:
        doing = describe.describe_queue(status.allocation)
    yield "phase", "  ".join(filter(None, (doing, wait)))
    if (share := progress.share) is not None:
        yield "", ProgressBar(total=1.0, completed=min(share, 1.0), width=BAR_WIDTH)
    if progress.total_steps:
        epoch = f", epoch {progress.epoch:.2f}" if progress.epoch is not None else ""
        yield "step", f"{progress.step} of {progress.total_steps}{epoch}"
    if ranks := rank_summary.summarize(progress):
        yield "processes", rank_summary.describe(ranks)
    if progress.phase in ("training", "evaluating"):
        if progress.eta_s:
            yield "training ends", f"{describe.format_clock(progress.eta_s)}, {describe.MEASURED}"
        if progress.tokens_per_s:
            yield "speed", f"{progress.tokens_per_s:,.0f} tokens/s"
        if progress.memory:
            yield "memory", f"{format_bytes(progress.memory)} peak"
    yield from objective_figures.list_figures(progress)
    if progress.loss is not None:
        yield "loss", f"{progress.loss:.4g}"
    newest, highest = progress.eval_loss, progress.best_eval_loss
    if newest is None:
        newest, highest = progress.eval_reward, progress.best_eval_reward
    if progress.best_step is not None and newest is not None:
        kind = "validation" if progress.eval_loss is not None else "reward"
        yield kind, f"{newest:.4g}, best {highest:.4g} at step {progress.best_step}"


def _format_step(progress: Progress) -> str:
    line = f"step {progress.step}/{progress.total_steps}"
    if progress.epoch is not None:
        line += f", epoch {progress.epoch:.2f}"
    if progress.loss is not None:
        line += f", loss {progress.loss:.4g}"
    for name, value in objective_figures.list_figures(progress)[:2]:
        line += f", {name} {value}"
    if progress.tokens_per_s:
        line += f", {progress.tokens_per_s:,.0f} tokens/s"
    if progress.eta_s:
        line += f", training ends {describe.format_clock(progress.eta_s)}"
    return line
