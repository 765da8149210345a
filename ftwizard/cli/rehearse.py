"""``rehearse``: the exports of a plan, tried with a random adapter before a training."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard import locations
from ftwizard.cli import output, plan_argument, progress
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.models import hub
from ftwizard.runs.exports import RehearsalReport
from ftwizard.text import format_duration, make_visible
from ftwizard.train import command


def rehearse(arguments: argparse.Namespace) -> int:
    """Rehearse the exports of a plan with its base model; return 0 if they work."""
    plan = plan_argument.load(
        arguments.plan, arguments.allow, deferred=("many-epochs", "no-validation")
    )
    command.check_installed(plan)
    from ftwizard.export import rehearsal
    from ftwizard.train.probe_runner import exit_on_sigterm

    if not rehearsal.list_forms(plan):
        raise FtwizardError(
            "The plan asks for no export that needs a rehearsal.",
            "For example: finish: {export: [gguf:q4_k_m]}",
            USAGE,
        )
    with progress.reporter() as say, exit_on_sigterm():
        say("looking", what="for the model")
        model = hub.locate(plan.model.name, plan.model.revision)
        result = rehearsal.find_earlier(plan, model)
        reused = result is not None
        if result is None:
            base = hub.fetch(model, lambda what, **fields: say("fetching", what=what, **fields))
            root = locations.create_private_folder(locations.cache_folder() / "rehearsals")
            with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as folder:
                result = rehearsal.rehearse(plan, model, base, Path(folder) / "work", say)
    report = RehearsalReport(**msgspec.structs.asdict(result), reused=reused)
    output.print_report(arguments, report, _describe(report))
    return 0


def _describe(report: RehearsalReport) -> Iterator[str]:
    forms, base = ", ".join(report.forms), make_visible(report.base, 200)
    when = "rehearsed before, in" if report.reused else "rehearsed in"
    yield f"✓ The export of {base} to {forms} works ({when} {format_duration(report.seconds)})."
    for part, seconds in report.parts.items():
        yield f"  {part}: {format_duration(seconds)}"
    yield from (f"  ! {make_visible(finding, 400)}" for finding in report.findings)
