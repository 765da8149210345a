"""``runs`` and ``status``."""

from __future__ import annotations

import argparse
import time

from ftwizard import runs, words
from ftwizard.commands import output
from ftwizard.jobs.status import observe
from ftwizard.runs import RunStatus
from ftwizard.text import duration, visible


def list_runs(arguments: argparse.Namespace) -> int:
    """List the runs, newest first."""
    found = runs.statuses()[::-1]
    if arguments.json:
        output.print_json({"runs": found})
        return 0
    if not found:
        print("There are no runs yet. Start one with: ftwizard demo")
        return 0
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("step", "loss", "best validation", "age"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.id,
            visible(words.state(one)),
            f"{one.step}/{one.total_steps}" if one.total_steps else "",
            _number(one.loss),
            _number(one.best_eval_loss),
            duration(time.time() - one.updated) if one.updated else "",
        )
    output.console().print(table)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say what state a run is in."""
    folder = runs.find(arguments.run)
    job = observe(folder)
    found = runs.report(folder, job, runs.progress(folder))
    if arguments.json:
        output.print_json(found)
        return 0
    out = output.console()
    out.print(output.pairs(_lines(found)))
    if job.state == "ended":
        output.say(out, "", *words.ending(folder, job), *words.result_lines(folder))
    return 0


def _lines(found: RunStatus) -> list[tuple[str, str]]:
    lines = [("run", found.id), ("state", words.state(found))]
    if found.attempt > 1:
        lines.append(("attempt", str(found.attempt)))
    if found.total_steps:
        epoch = f", epoch {found.epoch:.2f}" if found.epoch is not None else ""
        lines.append(("step", f"{found.step}/{found.total_steps}{epoch}"))
    if found.loss is not None:
        lines.append(("loss", _number(found.loss)))
    if found.eval_loss is not None:
        best = f" (best {_number(found.best_eval_loss)} at step {found.best_step})"
        lines.append(("validation", _number(found.eval_loss) + best))
    if found.eta_s is not None:
        lines.append(("time left", duration(found.eta_s)))
    if found.tokens_per_s is not None and found.state == "running":
        lines.append(("speed", f"{found.tokens_per_s:,.0f} tokens/s"))
    lines.append(("folder", found.folder))
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
