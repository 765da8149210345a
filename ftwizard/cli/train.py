"""``train``, ``resume`` and ``branch``: the start of a run, of its next attempt, and of a child."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import msgspec

from ftwizard.advice import plan_warnings
from ftwizard.catalog.prices import PriceRate
from ftwizard.cli import output, plan_argument, run_argument
from ftwizard.cli.watch import view
from ftwizard.errors import FtwizardError
from ftwizard.estimate.report import RecipeWarning
from ftwizard.jobs.folder import check_id
from ftwizard.models import model_config
from ftwizard.pricing import machine_rate
from ftwizard.runs import default_run, describe, store
from ftwizard.runs.store import RunStatus
from ftwizard.text import make_visible
from ftwizard.train import launcher

_TIME_SUFFIX = re.compile(r"-\d{4}-\d{6}$")
"""The suffix that ``store.make_id`` adds to a name."""


class StartReport(RunStatus, frozen=True, kw_only=True):
    """The document of ``ftwizard train --json``."""

    warnings: list[RecipeWarning]
    epochs_because: str | None
    """Why more epochs than usual are fine: an earlier run."""


def train(arguments: argparse.Namespace) -> int:
    """Start a run; print its id, or follow it with ``--watch``."""
    chosen = plan_argument.load(arguments.plan, arguments.allow, deferred=("many-epochs",))
    name = arguments.name or store.make_id(Path(arguments.plan).stem)
    folder = launcher.start(chosen, check_id(name), _read_hour_price(arguments.price))
    record = folder.read_job()
    warnings = plan_warnings.find_warnings(
        chosen, model_config.count_parameters(chosen.model.name), lambda: record.hashes["train"]
    )
    if not arguments.json:
        notes = [f"! {warning.message}" for warning in warnings]
        if why := record.inputs.get("epochs"):
            notes.append(f"· {chosen.recipe.epochs:g} epochs: {why}")
        for note in notes:
            print(make_visible(note), file=sys.stderr)
    if arguments.watch:
        return view(folder, arguments)
    if arguments.json:
        status = msgspec.structs.asdict(store.read_status(folder))
        output.print_json(
            StartReport(**status, warnings=warnings, epochs_because=record.inputs.get("epochs"))
        )
    else:
        print(folder.id)
    return 0


def _read_hour_price(texts: list[str]) -> PriceRate | None:
    """Return the hourly price of this machine; print, but do not raise, an unusable price file."""
    if texts:
        return machine_rate.parse_command_price(texts)
    try:
        return machine_rate.read_price()
    except FtwizardError as error:
        print(f"ftwizard: {make_visible(error.message)}", file=sys.stderr)
        print("  The cost of this run will be unknown.", file=sys.stderr)
        return None


def resume(arguments: argparse.Namespace) -> int:
    """Continue a run from its newest complete checkpoint."""
    folder = run_argument.find(arguments.run, default_run.choose_resumed)
    launcher.require_resumable(folder)
    recorded = machine_rate.read_recorded_price(folder)
    hour = recorded if recorded and not arguments.price else _read_hour_price(arguments.price)
    attempt = launcher.resume(folder, hour)
    if arguments.json:
        output.print_json(store.read_status(folder))
        return 0
    origin = Path(attempt.checkpoint).name if attempt.checkpoint else "the start"
    print(f"{folder.id} continues from {origin} (attempt {attempt.number}).")
    return 0


def branch(arguments: argparse.Namespace) -> int:
    """Start a child run; print its id, or follow it with ``--watch``."""
    parent = store.find(arguments.run)
    name = arguments.name or store.make_id(_TIME_SUFFIX.sub("", parent.id))
    folder = launcher.branch(
        parent,
        check_id(name),
        begin=arguments.begin,
        rate_times=arguments.rate_times,
        accumulation_times=arguments.accumulation_times,
    )
    if arguments.watch:
        return view(folder, arguments)
    if arguments.json:
        output.print_json(store.read_status(folder))
        return 0
    child = folder.read_job().parent
    assert child is not None
    print(f"{folder.id} is a child of {describe.describe_parent(child)}.")
    return 0
