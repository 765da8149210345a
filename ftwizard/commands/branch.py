"""``branch``: a child run, the plan of its parent with one setting changed."""

from __future__ import annotations

import argparse
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from ftwizard import __version__, checkpoints, hour_price, plan, runs, words
from ftwizard.commands import output, train
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.folder import JobFolder, JobRecord, Parent, check_id
from ftwizard.jobs.status import observe
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.text import visible
from ftwizard.train import origin

_TIME = re.compile(r"-\d{4}-\d{6}$")
"""What ``runs.new_id`` puts behind a name."""


class Beginning(NamedTuple):
    """Where a child run begins."""

    step: int
    """Of the parent; 0 for its own beginning."""
    weights: Path | None
    """A folder that holds them; None for those of the base model."""


def branch(arguments: argparse.Namespace) -> int:
    """Start a child run; print its id, or follow it with ``--watch``."""
    parent = runs.find(arguments.run)
    name = arguments.name or runs.new_id(_TIME.sub("", parent.id))
    folder = start(
        parent,
        check_id(name),
        begin=arguments.begin,
        rate_times=arguments.rate_times,
        accumulation_times=arguments.accumulation_times,
    )
    if arguments.watch:
        from ftwizard.commands.watch import view

        return view(folder, arguments)
    if arguments.json:
        output.print_json(runs.status(folder))
        return 0
    child = folder.read_job().parent
    assert child is not None
    print(f"{folder.id} is a child of {words.origin(child)}.")
    return 0


def start(
    parent: JobFolder,
    run_id: str,
    *,
    begin: str | None = None,
    rate_times: float | None = None,
    accumulation_times: int | None = None,
) -> JobFolder:
    """Start a run with the parent's plan but one setting, on the same rows and the same model.

    ``begin``: ``best`` (the best checkpoint on disk; the default), ``start`` or a step. Raises
    FtwizardError for a parent that still trains, a step that is not on disk, rows or a model that
    have changed since, and for settings that are the parent's.
    """
    _refuse_living(parent)
    record = parent.read_job()
    chosen, changes = changed(plan.load(parent.plan, begun=True), rate_times, accumulation_times)
    local.check_installed(chosen)
    beginning = where(parent, begin)
    hour = hour_price.recorded(parent) or hour_price.remembered()
    train.check_budget(chosen, hour)
    root = train.runs_folder()
    train.refuse_changes(
        parent, chosen, "The two could not be compared. Put the old file back, or start a new run."
    )
    path = root / run_id
    child = JobRecord(
        kind="train",
        argv=local.argv(path),
        version=__version__,
        created=time.time(),
        hashes=record.hashes,
        inputs={**record.inputs, **hour_price.record(hour)},
        parent=Parent(id=parent.id, step=beginning.step, changes=changes),
    )
    folder = launch.create(path, child, {"plan.yaml": plan.dump(chosen).encode()})
    try:
        if beginning.weights:
            origin.keep(folder, beginning.weights, chosen.recipe.method)
    except OSError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    launch.start(folder, child.argv, environment=local.environment(chosen))
    return folder


def changed(
    old: Plan, rate_times: float | None, accumulation_times: int | None
) -> tuple[Plan, dict[str, tuple[float, float]]]:
    """Return the plan with the rate or the accumulation multiplied, and what differs.

    Raises FtwizardError if nothing does, or for a factor that is none.
    """
    for option, factor in (
        ("--rate-times", rate_times),
        ("--accumulation-times", accumulation_times),
    ):
        if factor is not None and not 0 < factor < float("inf"):
            raise FtwizardError(
                f"{option} is {factor:g}; it is a factor above 0.", "Half of it is 0.5.", USAGE
            )
    recipe = old.recipe
    rate = recipe.learning_rate or plan.LEARNING_RATES[recipe.method]
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
            "Nothing would change: such a run would be its parent again.",
            "Say what to change: --rate-times 0.5, or --accumulation-times 2",
            USAGE,
        )
    chosen = msgspec.structs.replace(old, recipe=new)
    plan.check(chosen)
    return chosen, changes


def where(parent: JobFolder, begin: str | None) -> Beginning:
    """Return where a child begins; raise FtwizardError that names what is on disk."""
    if begin == "start":
        # Where a child began is no base model: it has the weights of its own parent's checkpoint.
        own = parent.origin if parent.origin.is_dir() else None
        return Beginning(0, own)
    kept = checkpoints.all_complete(parent.checkpoints)
    anew = f"From its beginning: ftwizard branch {parent.id} --from start"
    if not kept:
        raise FtwizardError(f"Run {parent.id} has no complete checkpoint.", anew)
    steps = ", ".join(str(one.step) for one in kept)
    if begin in (None, "best"):
        found = checkpoints.best(kept)
        if found is None:
            raise FtwizardError(
                f"No checkpoint of run {parent.id} has a validation loss, so none is the best.",
                f"On disk: --from {steps}   {anew}",
            )
    else:
        found = next((one for one in kept if str(one.step) == begin), None)
        if found is None:
            raise FtwizardError(
                f"Run {parent.id} has no checkpoint of step “{visible(str(begin), 40)}” on disk.",
                f"On disk: {steps}; others make room for these. Also: best, start.",
            )
    return Beginning(found.step, parent.checkpoints / found.name)


def _refuse_living(parent: JobFolder) -> None:
    if observe(parent).state != "ended":
        raise FtwizardError(
            f"Run {parent.id} still runs, on the device that its child would need.",
            f"Stop it first, which keeps its best weights: ftwizard stop {parent.id}",
        )
