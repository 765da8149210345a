"""``slurm``: the cluster, or the batch script of a plan and when and where its job would start."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ftwizard.cli import output, plan_argument
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import check_id
from ftwizard.runs import describe, store
from ftwizard.slurm import cluster
from ftwizard.slurm.client import JobPreview
from ftwizard.slurm.cluster import ClusterReport
from ftwizard.text import make_visible
from ftwizard.train import slurm_submission


def slurm(arguments: argparse.Namespace) -> int:
    """Print the batch script that ``train`` would submit, and Slurm's answer to it; submit nothing.

    Without a plan, print what the cluster has.
    """
    if arguments.plan is None:
        report = cluster.read_cluster()
        output.print_report(arguments, report, _list_cluster(report))
        return 0
    plan = plan_argument.load(arguments.plan, arguments.allow, deferred=("many-epochs",))
    if plan.where.scheduler != "slurm":
        raise FtwizardError(
            "This plan does not train on a Slurm cluster.",
            "Set where.scheduler to slurm, and in the group slurm what its job needs.",
            USAGE,
        )
    name = arguments.name
    run_id = store.make_id(Path(arguments.plan).stem) if name is None else check_id(name)
    try:
        tested = slurm_submission.test(plan, run_id)
    except FtwizardError as error:
        if not arguments.json:
            output.print_lines(
                output.make_console(), *_list_script(error.document.get("script", ""))
            )
        raise
    output.print_report(arguments, tested, _list_lines(tested))
    return 0


def _list_script(script: str) -> Iterator[str]:
    yield from (make_visible(line, 500) for line in script.splitlines())


def _list_lines(tested: JobPreview) -> Iterator[str]:
    yield from _list_script(tested.script)
    yield ""
    yield describe.describe_placement(tested.placement)


def _list_cluster(report: ClusterReport) -> Iterator[str]:
    for partition in report.partitions:
        mark = " (default)" if partition.is_default else ""
        described = cluster.describe_partition(partition)
        yield f"{make_visible(partition.name, 60)}{mark}: {make_visible(described, 300)}"
        for group in partition.groups:
            yield f"  {make_visible(cluster.describe_group(group), 300)}"
    if not report.partitions:
        yield "Slurm lists no partition that you may use."
    if report.accounts:
        yield f"Your accounts: {make_visible(', '.join(report.accounts), 500)}"
