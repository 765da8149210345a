"""The facts of a model card, read from the record of a run; what is not recorded is None.

A card is published: no training row, no answer, and no path, host or user of the machine is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from ftwizard.catalog import model_cards
from ftwizard.data.hub.datasets import DatasetSplit, find_split
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import frozen_items
from ftwizard.evaluate.frozen_items import DrawnSet
from ftwizard.evaluate.items import PERSONAL_DATA, Item
from ftwizard.export.card import curve
from ftwizard.export.card.curve import Curves
from ftwizard.jobs.events import EventReader, to_count
from ftwizard.jobs.folder import JobFolder, JobRecord
from ftwizard.models import model_folder
from ftwizard.models.hub import ModelSource
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs import base_weights, custody, exports, remote, store
from ftwizard.runs.custody import Custody
from ftwizard.runs.environment import Environment, read_environment
from ftwizard.runs.evaluation import Evaluation, Failure
from ftwizard.runs.evaluation_files import find_newest
from ftwizard.runs.exports import ExportRecord
from ftwizard.runs.merge_proof import MergeProof, read_proof
from ftwizard.runs.prediction import PredictionResult, RunFigures, read_prediction
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.result import (
    MergedModel,
    RunResult,
    TrainResult,
    read_merged,
    read_result,
)
from ftwizard.runs.summary import read_progress

Content = Literal["merged", "adapter"]
_PRIVATE = {
    "leaked_ids": [],
    "longest_run": "",
    "lines": [],
    "answer": "",
    "contaminated_lines": {},
}
"""Evidence of failures that quotes rows or answers, and what stands for it in a card."""


class License(NamedTuple):
    """The terms of the base model, which apply to what was made from it; None where unknown."""

    name: str | None
    gated: bool | None = None


class EncodedPart(NamedTuple):
    """What the encoder reported on the rows of one part of the data."""

    tokens: int
    trained: int
    """Tokens that count toward the loss."""
    cut: int
    """Rows that were longer than ``recipe.max_length``."""
    rows: int


class Facts(NamedTuple):
    """The record of a run, without private text."""

    title: str
    content: Content
    trained: TrainResult | None
    """None for a hosted run, whose weights are at the platform."""
    remote: RemoteJob | None
    """The job of a hosted run."""
    uploads: Mapping[str, str]
    """SHA-256 of the files for the platform, by part."""
    plan: Plan | None
    job: JobRecord | None
    base: ModelSource | None
    license: License
    parts: Mapping[str, EncodedPart]
    precision: str | None
    attention: str | None
    curves: Curves
    environment: Environment | None
    prediction: PredictionResult
    evaluation: Evaluation | None
    judged_scale: float | None
    """Strength of the adapter in the evaluation."""
    drawn: Mapping[str, DrawnSet]
    """How many of how many items were used, by set."""
    personal_items: int
    """Items that ask for personal data and secrets, which only training rows with these have."""
    merged: MergedModel | None
    proof: MergeProof | None
    exports: list[ExportRecord]
    custody: Custody | None
    hub_data: Mapping[str, DatasetSplit]
    """Data sets on the Hub, by part."""

    @property
    def local(self) -> TrainResult:
        """Return the training whose weights are here; raise ValueError for a hosted run."""
        if self.trained is None:
            raise ValueError("the weights are at a platform")
        return self.trained

    @property
    def elsewhere(self) -> RemoteJob | None:
        """Return the job of a run whose weights are at the platform only; None for any other."""
        return self.remote if self.trained is None else None

    @property
    def base_id(self) -> str | None:
        """Return the base model's name on the Hub; None for a folder."""
        is_public = self.base is not None and self.base.kind != "folder"
        return self.base.name if is_public and self.base else None


def read_facts(
    run: JobFolder,
    trained: TrainResult | None,
    *,
    title: str = "",
    content: Content | None = None,
    license: License | None = None,
    result: RunResult | None = None,
) -> Facts:
    """Read the facts of a run.

    ``trained``: None for a hosted run, whose weights are at the platform.
    ``title``: default: the id of the run. ``content``: default: the merged model if there is one.
    ``license``: default: what is known without the Hub. ``result``: of a run that is about to end.
    """
    result = result or read_result(run)
    base = base_weights.read_source(run)
    begin = _read_beginning(run)
    progress = read_progress(run)
    content = content or ("merged" if (run.merged / "config.json").is_file() else "adapter")
    newest = find_newest(run, merged=content == "merged")
    items, drawn = _read_items(newest.folder if newest else run)
    plan = _read_plan(run)
    return Facts(
        title=title or run.id,
        content=content,
        trained=trained,
        remote=remote.read(run),
        uploads=_hash_uploads(run),
        plan=plan,
        job=store.read_job(run),
        base=base,
        license=license
        or find_license(base.name if base and base.kind != "folder" else None, trained),
        parts=begin.parts,
        precision=begin.precision,
        attention=begin.attention,
        curves=curve.from_series(
            progress.losses, progress.evaluations, trained.step if trained else None
        ),
        environment=read_environment(run),
        prediction=_read_prediction(run, result),
        evaluation=remove_private_text(newest.evaluation) if newest else None,
        judged_scale=newest.scale if newest else None,
        drawn={_shorten(name): counts for name, counts in drawn.items()},
        personal_items=sum(item.category == PERSONAL_DATA for item in items),
        merged=read_merged(run),
        proof=read_proof(run.merged),
        exports=[record for _, record in exports.iterate_records(run.exports)],
        custody=custody.read(run),
        hub_data=_find_hub_data(plan),
    )


def _hash_uploads(run: JobFolder) -> dict[str, str]:
    """Return the hashes of the files for a platform, of those that are still here."""
    record = remote.read(run)
    hashes = {}
    for part, file in record.files.items() if record else ():
        with contextlib.suppress(OSError), (run.upload / Path(file.path).name).open("rb") as rows:
            hashes[part] = hashlib.file_digest(rows, "sha256").hexdigest()
    return hashes


def find_license(base: str | None, trained: TrainResult | None) -> License:
    """Return the license that the base model's own folder states, else the one in the catalog.

    ``base``: its name on the Hub; None for a folder. A model at a platform has none.
    """
    if trained is None:
        return License(None)
    stated = model_folder.read_card(Path(trained.base))
    listed = model_cards.find_card(base) if base else None
    if stated.license or listed is None:
        return License(stated.license, stated.gated)
    return License(model_folder.clean_license(listed.license), listed.gated)


def remove_private_text(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation without prompts and answers, and without ids of training rows.

    The flips stay as empty entries, so that they can be counted.
    """
    return replace(
        evaluation,
        reasons=[
            replace(reason, sets=[*map(_shorten, reason.sets)]) for reason in evaluation.reasons
        ],
        sets={
            _shorten(name): replace(result, **{
                kind: [replace(flip, prompt="", expected="", rejected="", base="", tuned="", near=[])
                       for flip in getattr(result, kind)]
                for kind in ("fixed", "broken")
            })
            for name, result in evaluation.sets.items()
        },
        samples=[],
        failures=[_remove_evidence(failure) for failure in evaluation.failures],
        actions=[],
    )  # fmt: skip


def _shorten(name: str) -> str:
    """Return the name of a set without the folder of its file."""
    return name.replace("\\", "/").rpartition("/")[2] or name


def _remove_evidence(failure: Failure) -> Failure:
    evidence = {name: _PRIVATE.get(name, value) for name, value in failure.evidence.items()}
    if ids := len(failure.evidence.get("leaked_ids") or ()):
        kinds = failure.evidence.get("leaked_kinds") or {}
        evidence["leaked_kinds"] = {**kinds, "other id": ids}
    return replace(failure, evidence=evidence, examples=[], actions=[])


def _read_plan(run: JobFolder) -> Plan | None:
    try:
        return plan_file.read_run(run)
    except (FtwizardError, OSError):
        return None


def _read_items(run: JobFolder) -> tuple[list[Item], dict[str, DrawnSet]]:
    try:
        frozen = frozen_items.read(run)
    except (FtwizardError, OSError):
        frozen = None
    return (frozen[0], frozen[1].sets) if frozen else ([], {})


def _read_prediction(run: JobFolder, result: RunResult | None) -> PredictionResult:
    prediction = result.prediction if result else None
    return prediction or PredictionResult(
        predicted=read_prediction(run) or RunFigures(), actual=RunFigures(), error={}
    )


def _find_hub_data(plan: Plan | None) -> dict[str, DatasetSplit]:
    if plan is None:
        return {}
    files = msgspec.structs.asdict(plan.data.files)
    splits = {part: find_split(Path(name)) for part, name in files.items() if name}
    return {part: split for part, split in splits.items() if split}


class _Beginning(NamedTuple):
    parts: dict[str, EncodedPart]
    precision: str | None
    attention: str | None


def _read_beginning(run: JobFolder) -> _Beginning:
    """Read what the events say before the first step."""
    parts: dict[str, EncodedPart] = {}
    trainer: dict[str, Any] = {}
    for event in chain.from_iterable(EventReader(run.events).read_slices()):
        if event.get("kind") == "log":
            break
        if event.get("kind") == "data" and isinstance(event.get("part"), str):
            counts = [to_count(event.get(name)) or 0 for name in EncodedPart._fields]
            parts[event["part"]] = EncodedPart(*counts)
        if event.get("what") == "trainer":
            trainer = event
    precision, attention = (
        value if isinstance(value := trainer.get(name), str) else None
        for name in ("precision", "attention")
    )
    return _Beginning(parts, precision, attention)
