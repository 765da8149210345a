"""``runs`` and ``status``: the list of runs, and the state of one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ftwizard.cli import output, run_argument
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import (
    certificate,
    default_run,
    describe,
    hosted,
    objective_figures,
    prediction,
    rank_summary,
    reproduction,
    search,
    store,
)
from ftwizard.runs.checkpoints import describe_damage
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.search import RunFields, SearchTerm
from ftwizard.runs.store import RunList, RunRecord, RunStatus
from ftwizard.runs.summary import read_progress
from ftwizard.text import (
    format_age,
    format_bytes,
    format_count,
    format_dollars,
    format_duration,
    make_visible,
)

if TYPE_CHECKING:
    from rich.table import Table

    from ftwizard.runs.progress import Progress

OPTIONAL_COLUMNS = (
    "model", "loss", "memory off by", "memory", "off by", "child of", "best validation", "predicted", "took",
)  # fmt: skip
"""Columns to drop on a narrow terminal, in this order; the JSON has all."""
LEFT_COLUMNS = ("run", "state", "at", "model")
GAP = 3
"""Spaces between two columns."""


def list_runs(arguments: argparse.Namespace) -> int:
    """List the runs, newest first; all, or those that match a search."""
    terms = search.parse(arguments.words)
    if arguments.limit is not None and arguments.limit < 1:
        raise FtwizardError(
            f"--limit is {arguments.limit}; it must be at least 1.",
            "Remove it to list all runs.",
            USAGE,
        )
    records, beyond = _find_records(terms, arguments.limit)
    if arguments.json:
        output.print_json(RunList(runs=records))
        return 0
    out = output.make_console()
    if records:
        out.print(_build_table(records, out.width))
        if beyond:
            output.print_lines(out, f"{format_count(beyond, 'older run')} not shown.")
        return 0
    everything = [_search_fields(record) for record in store.iterate_records()] if terms else []
    if everything:
        output.print_lines(out, *search.explain_no_match(terms, everything))
    else:
        print("No runs yet. Start one with: ftwizard demo")
    return 0


def _find_records(terms: list[SearchTerm], limit: int | None) -> tuple[list[RunRecord], int]:
    """Return the newest runs that match, and how many folders were not read."""
    records: list[RunRecord] = []
    folders = store.list_runs()[::-1]
    for n_read, record in enumerate(store.iterate_records(folders)):
        if limit is not None and len(records) == limit:
            return records, 0 if terms else len(folders) - n_read
        if not terms or search.matches_all(terms, _search_fields(record)):
            records.append(record)
    return records, 0


def _search_fields(record: RunRecord) -> RunFields:
    return search.from_status(record, search.read_settings(JobFolder(Path(record.folder))))


def _build_table(records: list[RunRecord], width: int) -> Table:
    """Build the table of runs; columns that do not fit are dropped, least useful first."""
    from rich import box
    from rich.table import Table

    cells = [_format_cells(record) for record in records]
    names = [name for name in cells[0] if any(row[name] for row in cells)]
    for optional in OPTIONAL_COLUMNS:
        wide = sum(max(len(row[name]) for row in [*cells, {name: name}]) for name in names)
        if wide + GAP * (len(names) - 1) > width and optional in names:
            names.remove(optional)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        justify: Literal["left", "right"] = "left" if name in LEFT_COLUMNS else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in names[:2])
    for row in cells:
        table.add_row(*(row[name] for name in names))
    return table


def _has_steps(record: RunRecord | RunStatus) -> bool:
    """Return whether the steps of a run are known: some platforms never say how many are done."""
    return bool(record.total_steps and (record.step or record.remote is None))


def _format_cells(record: RunRecord) -> dict[str, str]:
    error = record.error or {}
    peak = record.actual.peak_memory if record.actual else None
    predicted_cost = _format_cost(record.predicted)
    return {
        "run": record.id,
        "state": "queued"
        if record.state == "queued"
        else make_visible(describe.describe_state(record)),
        "at": hosted.describe_state(record.remote) if record.remote else "",
        "model": _format_model(record),
        "child of": make_visible(record.parent.id) if record.parent else "",
        "step": f"{record.step}/{record.total_steps}" if _has_steps(record) else "",
        "loss": _format_number(record.loss),
        "best validation": _format_number(record.best_eval_loss),
        "predicted": _format_time(record.predicted),
        "took": _format_time(record.actual),
        "off by": _format_error(error.get("seconds")),
        "cost": _format_cost(record.actual) or (f"({predicted_cost})" if predicted_cost else ""),
        "memory": format_bytes(peak.value) if peak else "",
        "memory off by": _format_error(error.get("peak_memory")),
        "age": format_age(record.age_s) if record.age_s is not None else "",
    }


def _format_model(record: RunRecord) -> str:
    """Return the tuned model of a hosted run."""
    model = record.remote.model if record.remote else None
    return make_visible(model, hosted.MAX_ID) if model else ""


def _format_error(error: float | None) -> str:
    """Format the error of a prediction: ``+12%`` where it was 12% too high."""
    return "" if error is None else f"{error:+.0%}"


def status(arguments: argparse.Namespace) -> int:
    """Print the state of a run."""
    folder = run_argument.find(arguments.run, default_run.choose_shown)
    job = observe(folder)
    progress = read_progress(folder)
    report = store.with_changes(store.make_status(folder, job, progress), folder)
    resumed = certificate.read(folder, job.attempt)
    report = msgspec.structs.replace(report, resumed=resumed or msgspec.UNSET)
    if arguments.json:
        from ftwizard.runs.evaluation_files import read_helped  # loads the plan

        judged = read_helped(folder) if job.state == "ended" else None
        compared = reproduction.compare(folder) if job.state == "ended" else None
        report = msgspec.structs.replace(
            report, verdict=judged or msgspec.UNSET, reproduction=compared or msgspec.UNSET
        )
        output.print_json(report)
        return 0
    out = output.make_console()
    lines = _report_lines(report, progress)
    if job.state != "ended" and (wait := describe.describe_wait(progress, job)):
        lines.insert(2, ("", wait))
    predicted = prediction.read_prediction(folder)
    if job.state != "ended" and (took := _format_time(predicted)):
        cost = _format_cost(predicted)
        costs = f", {cost} in total" if cost else ""
        lines.insert(-1, ("predicted", f"{took} of training{costs}"))
    if job.host:
        lines.insert(-1, ("on", make_visible(job.host, 64)))
    if signs := describe.describe_signs(job):
        lines.insert(-1, ("last", signs))
    out.print(output.build_pair_table(lines))
    if troubles := describe.describe_troubles(job):
        output.print_lines(out, "", *troubles)
    if job.state == "ended":
        output.print_lines(out, "", *describe.describe_outcome(folder, job))
    return 0


def _report_lines(report: RunStatus, progress: Progress | None = None) -> list[tuple[str, str]]:
    lines = [("run", report.id), ("state", describe.describe_state(report, progress))]
    if report.remote and report.state != "ended":  # the outcome of one that has ended names it
        job = (
            f", job {make_visible(report.remote.job_id, hosted.MAX_ID)}"
            if report.remote.job_id
            else ""
        )
        lines.append(("at", f"{hosted.describe_state(report.remote)}{job}"))
        if report.remote.url:
            lines.append(("page", make_visible(report.remote.url, 300)))
    if report.slurm and report.state != "queued":
        nodes = f" on {make_visible(report.slurm.nodes, 64)}" if report.slurm.nodes else ""
        lines.append(("slurm", f"job {report.slurm.job_id}{nodes}"))
    if report.parent:
        lines.append(("child of", describe.describe_parent(report.parent)))
    if report.attempt > 1:
        lines.append(("attempt", str(report.attempt)))
    if report.resumed:
        lines.append(("resumed", certificate.describe(report.resumed)))
    if report.ranks:
        lines.append(("processes", rank_summary.describe(report.ranks)))
        if first := rank_summary.describe_first_collective(report.ranks):
            lines.append(("", first))
    for number, changes in (report.changes or {}).items():
        lines.append(("changed", f"in attempt {number}: {describe.describe_changes(changes)}"))
    for number, damaged in (report.damaged or {}).items():
        for name, files in damaged.items():
            lines.append(("set aside", f"{describe_damage(name, files)}, in attempt {number}"))
    if _has_steps(report):
        epoch = f", epoch {report.epoch:.2f}" if report.epoch is not None else ""
        lines.append(("step", f"{report.step}/{report.total_steps}{epoch}"))
    lines += objective_figures.format_figures(report.objective, report.figures)
    if report.loss is not None:
        lines.append(("loss", _format_number(report.loss)))
    if report.eval_loss is not None:
        best = f" (best {_format_number(report.best_eval_loss)} at step {report.best_step})"
        lines.append(("validation", _format_number(report.eval_loss) + best))
    if report.eval_reward is not msgspec.UNSET and report.best_eval_reward is not msgspec.UNSET:
        best = f" (best {_format_number(report.best_eval_reward)} at step {report.best_step})"
        lines.append(("validation reward", _format_number(report.eval_reward) + best))
    if report.eta_s is not None:
        lines.append(("time left", f"{format_duration(report.eta_s)}, {describe.MEASURED}"))
    if report.tokens_per_s is not None and report.state == "running":
        lines.append(("speed", f"{report.tokens_per_s:,.0f} tokens/s"))
    lines.append(("folder", report.folder))
    return lines


def _format_time(expected: RunFigures | None) -> str:
    seconds = expected and expected.seconds
    return describe.format_range(seconds, format_duration) if seconds else ""


def _format_cost(expected: RunFigures | None) -> str:
    cost = expected and expected.cost
    return describe.format_range(cost, format_dollars) if cost else ""


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
