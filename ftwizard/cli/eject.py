"""``eject``: the training of a run or a plan as a plain TRL script."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ftwizard import user_paths
from ftwizard.cli import output, plan_argument, progress
from ftwizard.runs import hosted, store, watched
from ftwizard.text import format_bytes, format_count, make_visible
from ftwizard.train import child_plan, command

if TYPE_CHECKING:
    from ftwizard.export.eject import EjectReport, Origin


def eject(arguments: argparse.Namespace) -> int:
    """Write a script, its requirements and its rows to a new folder."""
    origin = _find_origin(arguments)
    command.check_installed(origin.plan)
    from ftwizard.export import eject as ejection
    from ftwizard.export import skypilot
    from ftwizard.train.probe_runner import exit_on_sigterm

    out = user_paths.expand(arguments.out).absolute()
    gpu = skypilot.check_accelerator(arguments.skypilot) if arguments.skypilot is not None else None
    with progress.reporter() as say, exit_on_sigterm():
        report = ejection.eject(origin, out, say, gpu)
    output.print_report(arguments, report, _describe(report))
    return 0


def _find_origin(arguments: argparse.Namespace) -> Origin:
    from ftwizard.export.eject import Origin

    name = arguments.source
    if (plan_argument.is_plan(name) or plan_argument.is_data(name)) and not store.is_run(name):
        plan = plan_argument.load(name, arguments.allow, deferred=("many-epochs", "no-validation"))
        plan_argument.require_local(plan, "it has no training script", name)
        return Origin(f"plan {Path(name).name}", plan)
    run = store.find(name)
    watched.require_own(run, "ejected")
    hosted.refuse_elsewhere(run, "it has no training script")
    return Origin(f"run {run.id}", child_plan.read_used(run), run)


def _describe(report: EjectReport) -> Iterator[str]:
    folder = make_visible(report.folder)
    yield f"✓ {folder}/train.py trains as {make_visible(report.origin)} does, without ftwizard."
    copied = sum(size for name, size in report.files.items() if name.startswith("data/"))
    rows = format_count(sum(report.rows.values()), "row")
    as_tokens = ", as token ids" if report.form == "tokens" else ""
    yield (
        f"  {rows} of your data were copied to data/ ({format_bytes(copied)}{as_tokens}). Only you "
        "can read them."
    )
    which = "that the run used" if report.are_recorded else "installed here"
    yield f"  requirements.txt has the versions {which}."
    if report.differing:
        yield f"  ! Other versions are installed here: {', '.join(report.differing)}."
    if report.task:
        yield f"  On a machine that SkyPilot rents, in that folder: {report.task}"
    if report.left_out:
        yield f"  Not in the script: {', '.join(report.left_out)}."
