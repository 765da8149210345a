"""``train`` and ``resume``: starting a run from a plan, and continuing it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from ftwizard import __version__, config, locations
from ftwizard.catalog.prices import PriceRate
from ftwizard.cli import output, plan_argument
from ftwizard.cli import warnings as warned
from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs import launch
from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.jobs.folder import JobFolder, JobRecord, check_id
from ftwizard.jobs.status import observe
from ftwizard.models import hub, model_config
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.pricing import machine_rate
from ftwizard.runs import checkpoints, store
from ftwizard.text import format_bytes, make_visible
from ftwizard.train import budget, command, dataset

MIN_FREE_BYTES = 500_000_000
"""Free disk space required at the start; checkpoints and a merged model need more."""


def train(arguments: argparse.Namespace) -> int:
    """Start a run; print its id, or follow it with ``--watch``."""
    chosen = plan_argument.load(arguments.plan, arguments.allow, deferred=("many-epochs",))
    name = arguments.name or store.make_id(Path(arguments.plan).stem)
    folder = start(chosen, check_id(name), _read_hour_price(arguments.price))
    record = folder.read_job()
    warnings = warned.check_plan(chosen, _count_parameters(chosen), lambda: record.hashes["train"])
    if not arguments.json:
        notes = [f"! {warning.message}" for warning in warnings]
        if why := record.inputs.get("epochs"):
            notes.append(f"· {chosen.recipe.epochs:g} epochs: {why}")
        for note in notes:
            print(make_visible(note), file=sys.stderr)
    if arguments.watch:
        from ftwizard.cli.watch import view

        return view(folder, arguments)
    if arguments.json:
        status = msgspec.to_builtins(store.read_status(folder))
        output.print_json(
            status | {"warnings": warnings, "epochs_because": record.inputs.get("epochs")}
        )
    else:
        print(folder.id)
    return 0


def _count_parameters(chosen: Plan) -> int | None:
    """Return the parameter count of the model; None if its configuration is unknown."""
    try:
        shape = model_config.read_shape(chosen.model.name)
    except FtwizardError:
        return None
    return shape.parameters if shape else None


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


def start(chosen: Plan, run_id: str, hour: PriceRate | None = None) -> JobFolder:
    """Check what can be checked up front, then start the run.

    ``hour``: hourly price of this machine, which the run records.
    """
    config.load()  # a broken notification setting must fail here, not at the end of the run
    command.check_installed(chosen)
    check_budget(chosen, hour)
    chosen = _with_mix_copied(chosen)
    hashes = _hash_data(chosen)
    before = warned.find_supporting_run(chosen, lambda: hashes["train"])
    source = hub.locate(chosen.model.name, chosen.model.revision)
    hashes["model"] = source.fingerprint
    if source.kind == "folder":
        hashes["template"] = hub.template_hash(Path(source.name))
    path = runs_folder() / run_id
    record = JobRecord(
        kind="train",
        argv=command.build_argv(path),
        version=__version__,
        created=time.time(),
        hashes=hashes,
        inputs={
            "model": msgspec.to_builtins(source),
            **machine_rate.price_record(hour),
            **({"epochs": before.said} if before else {}),
        },
    )
    folder = launch.create(path, record, {"plan.yaml": plan_file.dump(chosen).encode()})
    launch.start(folder, record.argv, environment=command.build_environment(chosen))
    return folder


def runs_folder() -> Path:
    """Return the folder of runs; raise FtwizardError without free disk space for one more."""
    root = locations.create_private_folder(locations.runs_folder())
    free = machine.get_free_bytes(root)
    if free < MIN_FREE_BYTES:
        raise FtwizardError(
            f"Only {format_bytes(free)} free on the disk of {root}; a run needs at least {format_bytes(MIN_FREE_BYTES)}.",
            "Free some disk space, or set FTWIZARD_HOME to a folder on a larger disk.",
        )
    return root


def check_budget(chosen: Plan, hour: PriceRate | None) -> None:
    """Raise FtwizardError for a budget in dollars without an hourly price."""
    if chosen.budget.usd is not None and hour is None:
        raise FtwizardError(
            f"budget.usd is {chosen.budget.usd:g}, but the hourly price of this machine is unknown.",
            f"Set it with {machine_rate.OPTION}, or in {machine_rate.shown_file()}.",
        )


def resume(arguments: argparse.Namespace) -> int:
    """Continue a run from its newest complete checkpoint."""
    folder = store.find(arguments.run)
    before = observe(folder)
    if before.state != "ended":
        raise launch.AlreadyRunning(folder.id, before.host)
    if before.end_reason in GOOD_END_REASONS:
        raise FtwizardError(
            f"Run {folder.id} has finished; there is nothing to resume.",
            f"To see its result: ftwizard status {folder.id}",
        )
    config.load()
    chosen = plan_file.load(folder.plan, begun=True)
    command.check_installed(chosen)
    recorded = machine_rate.read_recorded_price(folder)
    hour = recorded if recorded and not arguments.price else _read_hour_price(arguments.price)
    check_budget(chosen, hour)
    budget.check_budget(folder, chosen, hour)
    refuse_changes(folder, chosen)
    attempt = launch.start(
        folder,
        command.build_argv(
            folder.path
        ),  # not the recorded one: folders move, environments are rebuilt
        environment=command.build_environment(chosen),
        checkpoint=lambda: _find_newest(folder),
        inputs=machine_rate.price_record(hour) if hour != recorded else {},
    )
    if arguments.json:
        output.print_json(store.read_status(folder))
        return 0
    origin = Path(attempt.checkpoint).name if attempt.checkpoint else "the start"
    print(f"{folder.id} continues from {origin} (attempt {attempt.number}).")
    return 0


def _find_newest(folder: JobFolder) -> str | None:
    complete = checkpoints.all_complete(folder.checkpoints)
    return f"{folder.checkpoints.name}/{complete[-1].name}" if complete else None


def _with_mix_copied(chosen: Plan) -> Plan:
    """Return the plan with the packaged rows of ``data.mix`` replaced by a copied file."""
    mix = chosen.data.mix
    if not mix.share:
        return chosen
    mix = msgspec.structs.replace(mix, rows=str(bundled_samples.resolve_rows(mix.rows)))
    return msgspec.structs.replace(chosen, data=msgspec.structs.replace(chosen.data, mix=mix))


def _hash_data(chosen: Plan) -> dict[str, str]:
    """Read the data as the run will; return a hash of each file and of the split.

    Raises FtwizardError for unusable data.
    """
    hashes: dict[str, str] = {}
    parts = dataset.load_rows(chosen, {}, lambda part, table: hashes.update({part: table.sha256}))
    return hashes | {"split": dataset.hash_split(parts)}


CHANGED_HINT = "A resumed run would mix both. Restore the old file, or start a new run."


def refuse_changes(folder: JobFolder, chosen: Plan, hint: str = CHANGED_HINT) -> None:
    """Raise FtwizardError if the data or the model changed since the run started."""
    record = folder.read_job()
    now = _hash_data(chosen)
    source = msgspec.convert(record.inputs["model"], hub.ModelSource)
    if source.kind == "folder":
        now["model"] = hub.locate(source.name).fingerprint
        now["template"] = hub.template_hash(Path(source.name))
    changed = [part for part, value in now.items() if value != record.hashes.get(part)]
    if changed:
        listed = ", ".join(f"{part} ({make_visible(_name_part(part, chosen))})" for part in changed)
        raise FtwizardError(
            f"Changed since run {folder.id} started: {listed}.",
            hint,
        )


def _name_part(part: str, chosen: Plan) -> str:
    """Name the file or model that the hash of ``part`` covers."""
    if part == "split":
        return "the split of the rows"
    if part == "mix":
        return chosen.data.mix.rows
    return getattr(chosen.data.files, part, None) or chosen.model.name
