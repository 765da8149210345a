"""``eject``: the training of a run or a plan as a plain TRL script."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ftwizard import user_paths
from ftwizard.cli import output, plan_argument, progress
from ftwizard.runs import ejected_script, hosted, store, watched
from ftwizard.train import child_plan, command

if TYPE_CHECKING:
    from ftwizard.export.eject import Origin


def eject(arguments: argparse.Namespace) -> int:
    """Write a script, its requirements and its rows to a new folder."""
    origin = _find_origin(arguments)
    out = user_paths.expand(arguments.out).absolute()
    name = arguments.skypilot
    gpus = None if name is None else ejected_script.parse_accelerator(name)
    command.check_installed(origin.plan)
    from ftwizard.export import eject as ejection
    from ftwizard.train.probe_runner import exit_on_sigterm

    with progress.reporter() as say, exit_on_sigterm():
        report = ejection.eject(origin, out, say, gpus)
    first, *rest = ejected_script.describe_report(report)
    output.print_report(arguments, report, [f"✓ {first}", *(f"  {line}" for line in rest)])
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
