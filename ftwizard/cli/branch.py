"""``branch``: a child run, which is its parent with one setting changed."""

from __future__ import annotations

import argparse
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard import __version__
from ftwizard.cli import output, train
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.folder import JobFolder, JobRecord, Parent, check_id
from ftwizard.jobs.status import observe
from ftwizard.plan import plan_file, schema
from ftwizard.plan.checks import check_plan
from ftwizard.plan.schema import Plan
from ftwizard.pricing import machine_rate
from ftwizard.runs import checkpoints, describe, store
from ftwizard.text import make_visible
from ftwizard.train import command, initial_weights

_TIME_SUFFIX = re.compile(r"-\d{4}-\d{6}$")
"""The suffix that ``runs.new_id`` adds to a name."""


class Beginning(NamedTuple):
    """The initial weights of a child run."""

    step: int
    """Step of the parent; 0 for its start."""
    weights: Path | None
    """Folder of the weights; None for the base model."""


def branch(arguments: argparse.Namespace) -> int:
    """Start a child run; print its id, or follow it with ``--watch``."""
    parent = store.find(arguments.run)
    name = arguments.name or store.make_id(_TIME_SUFFIX.sub("", parent.id))
    folder = start(
        parent,
        check_id(name),
        begin=arguments.begin,
        rate_times=arguments.rate_times,
        accumulation_times=arguments.accumulation_times,
    )
    if arguments.watch:
        from ftwizard.cli.watch import view

        return view(folder, arguments)
    if arguments.json:
        output.print_json(store.read_status(folder))
        return 0
    child = folder.read_job().parent
    assert child is not None
    print(f"{folder.id} is a child of {describe.describe_parent(child)}.")
    return 0


def start(
    parent: JobFolder,
    run_id: str,
    *,
    begin: str | None = None,
    rate_times: float | None = None,
    accumulation_times: int | None = None,
) -> JobFolder:
    """Start a run with the parent's plan and one changed setting, on the same data and model.

    ``begin``: ``best`` (the best checkpoint on disk, the default), ``start`` or a step. Raises
    FtwizardError for a parent that is still running, a step without a checkpoint, data or a model
    that changed since, and where no setting differs.
    """
    _require_ended(parent)
    record = parent.read_job()
    chosen, changes = change_plan(
        plan_file.load(parent.plan, begun=True), rate_times, accumulation_times
    )
    command.check_installed(chosen)
    beginning = find_beginning(parent, begin)
    hour = machine_rate.read_recorded_price(parent) or machine_rate.read_saved_price()
    train.check_budget(chosen, hour)
    root = train.runs_folder()
    train.refuse_changes(
        parent, chosen, "The runs could not be compared. Restore the old file, or start a new run."
    )
    path = root / run_id
    child = JobRecord(
        kind="train",
        argv=command.build_argv(path),
        version=__version__,
        created=time.time(),
        hashes=record.hashes,
        inputs={**record.inputs, **machine_rate.price_record(hour)},
        parent=Parent(id=parent.id, step=beginning.step, changes=changes),
    )
    folder = launch.create(path, child, {"plan.yaml": plan_file.dump(chosen).encode()})
    try:
        if beginning.weights:
            initial_weights.save_initial_weights(folder, beginning.weights, chosen.recipe.method)
    except OSError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    launch.start(folder, child.argv, environment=command.build_environment(chosen))
    return folder


def change_plan(
    old: Plan, rate_times: float | None, accumulation_times: int | None
) -> tuple[Plan, dict[str, tuple[float, float]]]:
    """Return the plan with the learning rate or gradient accumulation multiplied, and the changes.

    Raises FtwizardError where nothing changes, and for an invalid factor.
    """
    for option, factor in (
        ("--rate-times", rate_times),
        ("--accumulation-times", accumulation_times),
    ):
        if factor is not None and not 0 < factor < float("inf"):
            raise FtwizardError(
                f"{option} is {factor:g}; it must be above 0.", "Use 0.5 to halve it.", USAGE
            )
    recipe = old.recipe
    rate = recipe.learning_rate or schema.LEARNING_RATES[recipe.method]
    new = msgspec.structs.replace(
        recipe,
        learning_rate=float(f"{rate * (rate_times or 1):.6g}"),
        gradient_accumulation=recipe.gradient_accumulation * (accumulation_times or 1),
    )
    changes = {
        f"recipe.{name}": (float(getattr(recipe, name) or rate), float(getattr(new, name)))
        for name in ("learning_rate", "gradient_accumulation")
        if getattr(new, name) != (getattr(recipe, name) or rate)
    }
    if not changes:
        raise FtwizardError(
            "Nothing would change: the run would repeat its parent.",
            "Pass --rate-times 0.5 or --accumulation-times 2.",
            USAGE,
        )
    chosen = msgspec.structs.replace(old, recipe=new)
    check_plan(chosen)
    return chosen, changes


def find_beginning(parent: JobFolder, begin: str | None) -> Beginning:
    """Return the initial weights of a child; raise FtwizardError naming the checkpoints on disk."""
    if begin == "start":
        # A parent that is itself a child started from a checkpoint, not from the base model.
        own = parent.origin if parent.origin.is_dir() else None
        return Beginning(0, own)
    kept = checkpoints.all_complete(parent.checkpoints)
    from_start = f"To start over: ftwizard branch {parent.id} --from start"
    if not kept:
        raise FtwizardError(f"Run {parent.id} has no complete checkpoint.", from_start)
    steps = ", ".join(str(saved.step) for saved in kept)
    if begin in (None, "best"):
        checkpoint = checkpoints.find_best(kept)
        if checkpoint is None:
            raise FtwizardError(
                f"No checkpoint of run {parent.id} has a validation loss, so none is best.",
                f"On disk: --from {steps}. {from_start}",
            )
    else:
        checkpoint = next((saved for saved in kept if str(saved.step) == begin), None)
        if checkpoint is None:
            raise FtwizardError(
                f"Run {parent.id} has no checkpoint of step “{make_visible(str(begin), 40)}” on disk.",
                f"Choose from {steps}, best or start. Older checkpoints were deleted.",
            )
    return Beginning(checkpoint.step, parent.checkpoints / checkpoint.name)


def _require_ended(parent: JobFolder) -> None:
    if observe(parent).state != "ended":
        raise FtwizardError(
            f"Run {parent.id} is still running on the device that its child needs.",
            f"Stop it first; its best weights are kept: ftwizard stop {parent.id}",
        )
