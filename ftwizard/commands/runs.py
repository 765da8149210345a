"""``runs`` and ``status``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ftwizard import outcome, run_records, run_search, runs, words
from ftwizard.commands import output
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.outcome import Expected
from ftwizard.run_records import RunRecord
from ftwizard.run_search import Facts, Term
from ftwizard.runs import RunStatus
from ftwizard.text import age, dollars, duration, plural, size, visible

if TYPE_CHECKING:
    from rich.table import Table

SPARED = (
    "loss",
    "memory off by",
    "memory",
    "off by",
    "child of",
    "best validation",
    "predicted",
    "took",
)
"""Columns that go first where there is less room; the JSON has all."""
GAP = 3
"""Between two columns."""


def list_runs(arguments: argparse.Namespace) -> int:
    """List the runs, newest first: all, or those that a search finds."""
    terms = run_search.parse(arguments.words)
    if arguments.limit is not None and arguments.limit < 1:
        raise FtwizardError(f"--limit {arguments.limit} lists nothing.", "Begin at 1.", USAGE)
    found, beyond = _found(terms, arguments.limit)
    if arguments.json:
        output.print_json({"runs": [msgspec.to_builtins(one) for one in found]})
        return 0
    out = output.console()
    if found:
        out.print(_table(found, out.width))
        if beyond:
            output.say(out, f"Older ones are left out: there are {plural(beyond, 'run')} more.")
        return 0
    everything = [_facts(one) for one in run_records.newest_first()] if terms else []
    if everything:
        output.say(out, *run_search.nothing(terms, everything))
    else:
        print("There are no runs yet. Start one with: ftwizard demo")
    return 0


def _found(terms: list[Term], limit: int | None) -> tuple[list[RunRecord], int]:
    """Return the newest runs that a search finds, and how many folders were not looked at."""
    found: list[RunRecord] = []
    folders = runs.all_runs()[::-1]
    for looked_at, one in enumerate(run_records.newest_first(folders)):
        if limit is not None and len(found) == limit:
            return found, 0 if terms else len(folders) - looked_at
        if not terms or run_search.matching(terms, _facts(one)):
            found.append(one)
    return found, 0


def _facts(one: RunRecord) -> Facts:
    return run_search.facts_of(one, run_search.settings_of(JobFolder(Path(one.folder))))


def _table(found: list[RunRecord], width: int) -> Table:
    """Return the runs as a table; what there is no room for is left out, least needed first."""
    from rich import box
    from rich.table import Table

    cells = [_cells(one) for one in found]
    names = [name for name in cells[0] if any(row[name] for row in cells)]
    for spared in SPARED:
        wide = sum(max(len(row[name]) for row in [*cells, {name: name}]) for name in names)
        if wide + GAP * (len(names) - 1) > width and spared in names:
            names.remove(spared)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        justify: Literal["left", "right"] = "left" if name in ("run", "state") else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in names[:2])
    for row in cells:
        table.add_row(*(row[name] for name in names))
    return table


def _cells(one: RunRecord) -> dict[str, str]:
    error = one.error or {}
    peak = one.actual.peak_memory if one.actual else None
    return {
        "run": one.id,
        "state": visible(words.state(one)),
        "child of": visible(one.parent.id) if one.parent else "",
        "step": f"{one.step}/{one.total_steps}" if one.total_steps else "",
        "loss": _number(one.loss),
        "best validation": _number(one.best_eval_loss),
        "predicted": _time(one.predicted),
        "took": _time(one.actual),
        "off by": _off(error.get("seconds")),
        "cost": _cost(one.actual) or _expected(one.predicted),
        "memory": size(peak.value) if peak else "",
        "memory off by": _off(error.get("peak_memory")),
        "age": age(time.time() - one.updated) if one.updated else "",
    }


def _off(error: float | None) -> str:
    """Return how far a prediction was off: ``+12 %`` where 12 % too much was predicted."""
    return "" if error is None else f"{error:+.0%}".replace("%", " %")


def status(arguments: argparse.Namespace) -> int:
    """Say what state a run is in."""
    folder = runs.find(arguments.run)
    job = observe(folder)
    found = runs.report(folder, job, runs.progress(folder))
    if arguments.json:
        output.print_json(found)
        return 0
    out = output.console()
    lines = _lines(found)
    if job.state != "ended" and (time_said := _time(outcome.read_prediction(folder))):
        cost = _cost(outcome.read_prediction(folder))
        costs = f", {cost} in all" if cost else ""
        lines.insert(-1, ("predicted", f"{time_said} of training{costs}"))
    if job.host:
        lines.insert(-1, ("on", visible(job.host, 64)))
    out.print(output.pairs(lines))
    if job.state == "ended":
        output.say(out, "", *words.ending(folder, job), *words.result_lines(folder))
    return 0


def _lines(found: RunStatus) -> list[tuple[str, str]]:
    lines = [("run", found.id), ("state", words.state(found))]
    if found.parent:
        lines.append(("child of", words.origin(found.parent)))
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
        lines.append(("time left", f"{duration(found.eta_s)}, {words.MEASURED}"))
    if found.tokens_per_s is not None and found.state == "running":
        lines.append(("speed", f"{found.tokens_per_s:,.0f} tokens/s"))
    lines.append(("folder", found.folder))
    return lines


def _time(of: Expected | None) -> str:
    return words.spread(of.seconds, duration) if of and of.seconds else ""


def _cost(of: Expected | None) -> str:
    return words.spread(of.cost, dollars) if of and of.cost else ""


def _expected(of: Expected | None) -> str:
    said = _cost(of)
    return f"({said})" if said else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
