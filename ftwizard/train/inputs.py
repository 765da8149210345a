"""Inputs of a training: the encoded rows and everything else but the loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.reader import DataTable, ParsedRow
from ftwizard.estimate import training_setup
from ftwizard.jobs.worker import Worker
from ftwizard.models import hub
from ftwizard.plan.schema import Plan
from ftwizard.train import dataset, disk_check, packing, sample_prompts, test_split
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingReport, load_encoder
from ftwizard.train.sample_prompts import SamplePrompt


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


def prepare(worker: Worker, plan: Plan, *, keeps: bool = True) -> TrainingInputs:
    """Read the rows, fetch the model and encode the rows.

    Without ``keeps``, as for a probe, nothing is written and free disk space is not checked.
    """
    recipe = plan.recipe
    # Rows first, so that bad data is reported before gigabytes of weights are downloaded.
    worker.phase("reading")
    unreadable: dict[str, int] = {}

    def report(part: str, table: DataTable) -> None:
        rows, skipped = len(table.rows), len(table.problems)
        if skipped:
            unreadable[part] = skipped
        worker.phase("reading", part=part, format=table.format, rows=rows, skipped=skipped)

    parts = dataset.load_rows(plan, worker.record.hashes, report)
    if message := dataset.describe_shortage(plan, parts):
        worker.events.write_finding("mix_short", message, "warning")
    if keeps and plan.finish.compare:
        test_split.save(worker.folder, parts)

    worker.phase("fetching")
    source = msgspec.convert(worker.record.inputs["model"], hub.ModelSource)
    base = hub.fetch(source, dataset.phase_reporter(worker, "fetching"))
    if keeps:
        disk_check.check_disk(worker.folder, plan, base)

    encoder = load_encoder(base, worker.phase)
    worker.phase("tokenising")
    encoded, reports = dataset.encode(worker, encoder, parts, recipe.max_length)
    if message := dataset.check_lengths(base, encoded):
        worker.events.write_finding("beyond_positions", message, "warning")
    pack_to = recipe.max_length if recipe.packing else None
    data = packing.build_dataset(encoded["train"], pack_to=pack_to)
    if recipe.packing:
        worker.phase("tokenising", what="packing", rows=len(encoded["train"]), packed=len(data))
    total = training_setup.total_steps(
        len(data), recipe.batch_size, recipe.gradient_accumulation, recipe.epochs
    )
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
        train=data,
        total=total,
        validation=validation,
        prompts=prompts,
    )
