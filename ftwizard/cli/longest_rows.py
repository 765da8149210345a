"""``estimate --longest``: the longest rows that fit, on this machine and on common GPUs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

import msgspec
from rich.table import Table

from ftwizard.advice import target_modules
from ftwizard.catalog import gpu_specs
from ftwizard.cli import output
from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_machine
from ftwizard.estimate.longest_rows import LongestRows, find_longest_rows
from ftwizard.estimate.training_setup import METHOD_NAMES, TrainingSetup
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models import model_config
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.text import format_bytes, format_count, make_visible
from ftwizard.train import estimate_report

COMMON = ("RTX 4060", "RTX 3060", "T4", "RTX 4080", "RTX 4090", "L40S", "A100 80 GB", "H200")
"""GPUs to compare with, from 8 to 141 GB."""


class LongestOnGpu(msgspec.Struct, frozen=True, kw_only=True):
    """The longest rows that fit one device."""

    device: str
    memory: int
    """Bytes available to a run."""
    here: bool
    """Whether it is this machine's, or the one in ``--gpu``."""
    setup: TrainingSetup
    rows: tuple[LongestRows, ...]


class LongestReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``estimate --longest``."""

    model: str
    context: int | None
    """Tokens that the model was made for; None if unknown."""
    longest: list[LongestOnGpu]


def show(arguments: argparse.Namespace, plan: Plan, machine: MachineInfo) -> int:
    """Print the longest rows that fit with the settings of a plan.

    Raises FtwizardError for a model of unknown configuration and for missing target modules.
    """
    name = plan.model.name
    shape, config = model_config.read_shape(name, plan.model.revision), None
    if read := model_config.read_config(name, plan.model.revision):
        config = read[0]
    if shape is None:
        raise FtwizardError(
            f"The configuration of {make_visible(name, 100)} is unknown.",
            "Download the model first, or name its folder.",
        )
    if plan.recipe.method != "full":
        target_modules.check_targets(shape, plan.recipe.target_modules)
    context = estimate_report.read_context(config)
    report = LongestReport(
        model=name, context=context, longest=list(_list_devices(plan, shape, machine, context))
    )
    if arguments.json:
        output.print_json(report)
    else:
        _print(report, plan)
    return 0


def _list_devices(
    plan: Plan, shape: ModelShape, machine: MachineInfo, context: int | None
) -> Iterator[LongestOnGpu]:
    """Yield the plan's own device, then the common GPUs."""
    recipe = msgspec.structs.replace(
        plan.recipe,
        target_modules=target_modules.last_name_parts(plan.recipe.target_modules),
    )
    plan = msgspec.structs.replace(plan, recipe=recipe)
    own = training_machine.plan_gpu(plan, machine)
    machines = [machine]
    anywhere = msgspec.structs.replace(plan, where=type(plan.where)())
    for name in COMMON:
        card = gpu_specs.find_gpu(name)
        if card and not (own and own.name == card.name):
            gpus = (Gpu(name=card.name, memory=card.usable),)
            machines.append(msgspec.structs.replace(machine, gpus=gpus, no_gpu=None))
    for number, facts in enumerate(machines):
        chosen = anywhere if number else plan
        gpu, free = (
            training_machine.plan_gpu(chosen, facts),
            training_machine.available_bytes(chosen, facts),
        )
        if not free:
            continue
        yield LongestOnGpu(
            device=(gpu.name or "the GPU") if gpu else "this machine, CPU",
            memory=free, here=not number,
            setup=training_machine.setup(chosen, {}, facts, shape),
            rows=find_longest_rows(chosen, {}, shape, facts, context=context),
        )  # fmt: skip


def _print(report: LongestReport, plan: Plan) -> None:
    out, recipe = output.make_console(), plan.recipe
    rank = "" if recipe.method == "full" else f", rank {recipe.rank}"
    output.print_lines(
        out,
        f"Longest rows that fit: {make_visible(report.model, 60)}, {METHOD_NAMES[recipe.method]}{rank}",
        "",
    )
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("GPU", no_wrap=True)
    table.add_column("memory", justify="right")
    for rows in report.longest[0].rows if report.longest else ():
        count = format_count(rows.batch_size, rows.unit)
        table.add_column(f"{count}\nfit", justify="right")
        table.add_column(f"{count}\nmay fit", justify="right")
    for item in report.longest:
        name = f"{'→' if item.here else ' '} {make_visible(item.device, 26)}"
        table.add_row(name, format_bytes(item.memory), *_format_lengths(item.rows))
    out.print(table)
    limit = f" * all that the model was made for ({report.context:,})." if report.context else ""
    output.print_lines(
        out,
        "",
        "Tokens per row, by rows per pass. They fit if even the upper end of the estimate does; "
        f"where they may fit, measure with ftwizard probe.{limit}",
    )


def _format_lengths(rows: Iterable[LongestRows]) -> Iterator[str]:
    """Yield the cells: what fits and what may fit, ``—`` for nothing."""
    for longest in rows:
        for tokens in (longest.fits, longest.may_fit):
            mark = " *" if tokens >= longest.limit else ""
            yield f"{tokens:,}{mark}" if tokens else "—"
