"""Inputs of a training: the encoded rows and everything else but the loaded model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.reader import DataTable, ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk, training_setup
from ftwizard.estimate.parallelism import ParallelChoice
from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.models import hub
from ftwizard.plan.schema import KTO, Plan
from ftwizard.quantity import Figure
from ftwizard.text import format_count
from ftwizard.train import dataset, prompt_rows, sample_prompts, sharding, trainer_rows
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingReport, load_encoder
from ftwizard.train.measure import folder_bytes
from ftwizard.train.sample_prompts import SamplePrompt

MAX_WANTED_RATIO = 4 / 3
"""Largest weight of all wanted answers relative to all unwanted ones, in KTO."""


class TrainingInputs(NamedTuple):
    """Everything that a training needs except the loaded model."""

    source: hub.ModelSource
    base: Path
    encoder: Encoder
    encoded: dict[str, list[EncodedRow]]
    reports: dict[str, EncodingReport]
    unreadable: dict[str, int]
    """Skipped rows by file."""
    train: Any
    """The ``datasets.Dataset`` for training, packed if the plan says so."""
    total: int
    """Optimizer steps of the whole training."""
    validation: Sequence[ParsedRow] = ()
    """The validation rows, not encoded."""
    prompts: Sequence[SamplePrompt] = ()
    """The sample prompts."""
    available: Mapping[str, int] = {}
    """Rows before ``data.max_rows``, of the parts that it makes smaller."""
    parallel: ParallelChoice | None = None
    """How several processes train together; None for one alone."""

    @property
    def shards(self) -> bool:
        """Return whether several processes share the model's weights."""
        return self.parallel is not None and self.parallel.mode == "fsdp"


def prepare(worker: Worker, plan: Plan, *, keeps: bool = True) -> TrainingInputs:
    """Read the rows, fetch the model and encode the rows.

    Without ``keeps``, as for a probe, nothing is written and free disk space is not checked.
    """
    recipe = plan.recipe
    # Rows first, so that bad data is reported before gigabytes of weights are downloaded.
    parts, unreadable, available = _read_rows(worker, plan)
    # finish.compare may be switched on when the run is resumed.
    if keeps and (plan.finish.compare or parts["test"]):
        dataset.save_test_set(worker.folder, parts, plan.evaluate, recipe.seed)

    worker.phase("fetching")
    source = msgspec.convert(worker.record.inputs["model"], hub.ModelSource)
    base = hub.fetch(source, dataset.phase_reporter(worker, "fetching"))
    if keeps:
        check_disk(worker.folder, plan, base)

    encoder = load_encoder(base, worker.phase)
    worker.phase("tokenising")
    encoded, reports = dataset.encode(worker, encoder, parts, recipe, available)
    if recipe.objective == "kto" and (message := describe_imbalance(encoded["train"], recipe.kto)):
        worker.events.write_finding("label_imbalance", message, "warning")
    if message := dataset.check_lengths(base, encoded, recipe):
        worker.events.write_finding("beyond_positions", message, "warning")
    if recipe.objective == "grpo":
        data = prompt_rows.build_dataset(encoded["train"], parts["train"])
        prompt_rows.require_enough(len(data), recipe, plan.ranks)
    else:
        data = trainer_rows.build_dataset(encoded["train"], recipe, plan.ranks)
    if recipe.packing:
        worker.phase("tokenising", what="packing", rows=len(encoded["train"]), packed=len(data))
    total = training_setup.count_steps(len(data), recipe, plan.ranks).total
    validation, prompts = parts["validation"], list[SamplePrompt]()
    if keeps:
        prompts = sample_prompts.choose(worker, plan, encoder, validation, encoded["validation"])
    return TrainingInputs(
        source=source,
        base=base,
        encoder=encoder,
        encoded=encoded,
        reports=reports,
        unreadable=unreadable,
        available=available,
        train=data,
        total=total,
        validation=validation,
        prompts=prompts,
        parallel=sharding.choose(plan, base, encoded),
    )


def describe_imbalance(rows: Sequence[EncodedRow], settings: KTO) -> str | None:
    """Return a message if one label outweighs the other; None if both count about the same.

    Wanted answers should count 1 to 4/3 times as much. Source: equation 8 of the KTO paper (Ethayarajh
    et al. 2024).
    """
    wanted = sum(row.label is True for row in rows)
    unwanted = len(rows) - wanted
    if not wanted or not unwanted:
        return None
    ratio = wanted * settings.desirable_weight / (unwanted * settings.undesirable_weight)
    if 1 <= ratio <= MAX_WANTED_RATIO:
        return None
    name, weight = (
        ("desirable_weight", settings.desirable_weight / ratio)
        if ratio < 1
        else ("undesirable_weight", settings.undesirable_weight * ratio)
    )
    return (
        f"{wanted:,} rows are labeled true and {unwanted:,} false. So that both kinds count, set "
        f"recipe.kto.{name} to {weight:.3g}."
    )


def _read_rows(worker: Worker, plan: Plan) -> tuple[dataset.Rows, dict[str, int], dict[str, int]]:
    """Return the rows; by part, the number of unusable ones, and of all before ``data.max_rows``."""
    worker.phase("reading")
    unreadable: dict[str, int] = {}

    def report(part: str, table: DataTable) -> None:
        rows, skipped = len(table.rows), len(table.problems)
        if skipped:
            unreadable[part] = skipped
        worker.phase("reading", part=part, format=table.format, rows=rows, skipped=skipped)

    available: dict[str, int] = {}
    parts = dataset.load_rows(plan, worker.record.hashes, report, sampled=available)
    if message := dataset.describe_shortage(plan, parts):
        worker.events.write_finding("mix_short", message, "warning")
    if count := worker.record.inputs.get("trained_before"):
        worker.events.write_finding(
            "test_trained_before",
            f"{count:,} of {format_count(len(parts['test']), 'test row')} have a prompt that the "
            "earlier run was trained on, so the comparison favors the tuned model.",
            "warning",
        )
    return parts, unreadable, available


def check_disk(folder: JobFolder, plan: Plan, base: Path) -> None:
    """Raise FtwizardError if the run's files will not fit; adapters are too small to count."""
    trained = count_parameters(base) if plan.recipe.method == "full" else 0
    written = sum(map(folder_bytes, (folder.checkpoints, folder.merged, folder.exports)))
    free = machine.get_free_bytes(folder.path)
    parts = estimate_disk(plan, base, trained)
    short = disk.find_shortage(parts, free=free, folder=str(folder.path), written=written)
    if short is not None:
        raise FtwizardError(short.message, short.hint)


def estimate_disk(plan: Plan, base: Path, trained: int) -> dict[str, Figure]:
    """Return the bytes of the run's files, by part, for ``trained`` parameters."""
    return disk.estimate_parts(
        trained=trained,
        parameters=count_parameters(base),
        adapter=plan.recipe.method != "full",
        merges=plan.finish.merge,
        exports=plan.finish.export,
    )


def count_parameters(base: Path) -> int:
    """Return a model's number of parameters, from the headers of its safetensors files."""
    count = 0
    for path in base.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        count += sum(math.prod(tensor["shape"]) for tensor in header.values())
    return count
