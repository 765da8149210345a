"""``reproduce``: a run once more, with the same plan, data and base model, compared with the first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import msgspec

from ftwizard.cli import output, progress
from ftwizard.cli.train import strip_time
from ftwizard.cli.watch import view
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder, check_id
from ftwizard.jobs.status import observe
from ftwizard.runs import environment, hosted, reproduction, store, watched
from ftwizard.runs.reproduction import Pair
from ftwizard.text import make_visible
from ftwizard.train import launcher


class ReproduceReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard reproduce --json``."""

    original: str
    run: str | None
    """The new run; None with ``--dry-run``."""
    environment: dict[str, Pair] | None
    """Versions and hardware that differ: of the original, and here. None if the original recorded
    none."""


def reproduce(arguments: argparse.Namespace) -> int:
    """Check data, base model and versions, name what differs, and start the run again."""
    original = store.find(arguments.run)
    watched.require_own(original, "repeated")
    hosted.refuse_elsewhere(original, "it cannot be repeated with the same start and order")
    if not reproduction.read_losses(original):
        raise FtwizardError(
            f"Run {original.id} logged no losses, so there is nothing to reproduce.",
            f"Start a run of its plan: ftwizard train {original.plan}",
        )
    with progress.reporter() as say:
        say("reading", what="data and base model")
        plan = launcher.check_reproducible(original, lambda subject: say("reading", what=subject))
    recorded = environment.read_environment(original)
    here = environment.observe_environment()
    first = plan.where.gpu or 0  # a run sees one GPU
    here = msgspec.structs.replace(here, gpus=here.gpus[first : first + 1])
    differences = reproduction.compare_environments(recorded, here) if recorded else None
    if not arguments.json:
        output.print_lines(
            output.make_console(stderr=True), *_describe_checks(original, differences)
        )
    if arguments.dry_run:
        report = ReproduceReport(original=original.id, run=None, environment=differences)
        output.print_report(arguments, report, [])
        return 0
    if (differences or differences is None) and not arguments.yes and not _confirm(arguments):
        print("Nothing was started.")
        return DECLINED
    name = arguments.name or store.make_id(f"{strip_time(original.id)}-again")
    folder = launcher.reproduce(original, check_id(name), plan, numbered=arguments.name is None)
    if arguments.watch:
        code = view(folder, arguments)
        if output.wants_screens(arguments):  # as text, it ends with the comparison
            output.print_lines(output.make_console(), *_describe_comparison(original, folder))
        return code
    report = ReproduceReport(original=original.id, run=folder.id, environment=differences)
    output.print_report(arguments, report, _describe_start(original, folder))
    return 0


def _describe_checks(original: JobFolder, differences: dict[str, Pair] | None) -> Iterator[str]:
    yield f"✓ The data and the base model are those of {make_visible(original.id, 64)}."
    if differences is None:
        yield "! It recorded no versions, as earlier versions of ftwizard did not."
    elif differences:
        yield f"! Not the same: {reproduction.describe_environment(differences)}"
        yield "  The losses may differ."
    else:
        yield "✓ So are all versions and the hardware."


def _describe_start(original: JobFolder, folder: JobFolder) -> Iterator[str]:
    yield f"{folder.id} reproduces {make_visible(original.id, 64)}."
    yield f"Once it has ended, this compares their losses: ftwizard status {folder.id}"


def _describe_comparison(original: JobFolder, folder: JobFolder) -> Iterator[str]:
    """Yield the comparison after a monitor was left; what shows it later, if the run has not ended."""
    compared = reproduction.compare(folder) if observe(folder).state == "ended" else None
    yield from reproduction.describe(compared) if compared else _describe_start(original, folder)


def _confirm(arguments: argparse.Namespace) -> bool:
    if arguments.json or not output.has_terminal():
        raise FtwizardError(
            "Versions or hardware are not the same, or not known to be.", "To start anyway, pass --yes.",
            USAGE,
        )  # fmt: skip
    return output.confirm("Start anyway?", default=True)
