"""``runs`` and ``status``."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from ftwizard import runs
from ftwizard.commands import output
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import RunStatus
from ftwizard.text import duration, visible


def list_runs(arguments: argparse.Namespace) -> int:
    """List the runs, newest first."""
    found = [runs.status(folder) for folder in reversed(runs.all_runs())]
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
            visible(_state(one)),
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
        output.say(out, "", *output.ending(folder, job), *result_lines(folder))
    return 0


def result_lines(folder: JobFolder) -> list[str]:
    """Say what a finished run made: adapter, merged model, comparison."""
    result = read_result(folder)
    lines: list[str] = []
    if training := result.get("training"):
        lines.append(f"adapter      {folder.adapter} (best of step {training['step']})")
    if "merged" in result:
        from ftwizard.finish.merge import in_words

        lines.append(f"merged       {folder.merged} ({in_words(result['merged'])})")
    compared = result.get("compare") or {}
    if compared.get("rows"):
        lines += ["", *comparison(compared)]
    return lines


def comparison(compared: dict[str, Any]) -> list[str]:
    """Say how base and tuned model did, as a small table of text."""
    lines = [f"On {compared['rows']} held-out rows           base     tuned"]
    base, tuned = compared["base"]["loss"], compared["tuned"]["loss"]
    if base is not None and tuned is not None:
        lines.append(f"  loss of the answers       {base:7.3f}   {tuned:7.3f}")
    for key, name in (("exact", "exactly as expected "), ("json_valid", "valid by the schema ")):
        if compared["base"][key] is not None:
            base, tuned = compared["base"][key], compared["tuned"][key]
            lines.append(f"  {name}      {base:6.0%}    {tuned:6.0%}")
    return lines


def read_result(folder: JobFolder) -> dict[str, Any]:
    """Return ``result.json`` of the newest attempt, empty before there is one."""
    try:
        result: dict[str, Any] = json.loads(folder.result.read_bytes())
    except FileNotFoundError:
        return {}
    return result if result.get("attempt") == folder.newest_attempt() else {}


def _lines(found: RunStatus) -> list[tuple[str, str]]:
    lines = [("run", found.id), ("state", _state(found))]
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


def _state(found: RunStatus) -> str:
    if found.state == "ended":
        reason = found.end_reason or "lost"
        return f"{output.MARKS.get(reason, '✗')} {output.IN_WORDS.get(reason, reason)}"
    if found.state == "running" and found.phase:
        return f"running: {found.phase}"
    return found.state


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
