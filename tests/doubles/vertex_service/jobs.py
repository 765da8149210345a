"""Tuning jobs: how they advance, and what the service shows of them.

A job has positions: 0 pending, 1 while its dataset is processed, 2 as tuning begins, 2 + n after epoch n,
then one of post-processing. At a last position it ends.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import random
import time
from typing import Any

from tests.doubles.vertex_service.models import MULTI_REGIONS, PEFT, SIZES, VertexModel
from tests.doubles.vertex_service.rows import Row
from tests.doubles.vertex_service.scenario import Scenario, VertexFailure
from tests.doubles.vertex_service.schema import SPECS

TUNING = 2
BATCH = 16
MAX_CHECKPOINTS = 10
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
_INTS = ("epochCount", "batchSize", "samplesPerPrompt", "evaluateInterval", "checkpointInterval",
         "maxOutputTokens")  # fmt: skip
_DEFAULTS: dict[str, dict[str, Any]] = {
    "supervised": {"learningRateMultiplier": 1},
    "reinforcement": {
        "learningRateMultiplier": 1, "batchSize": "32", "samplesPerPrompt": "16",
        "maxOutputTokens": "32768", "thinkingLevel": "HIGH",
    },
}  # fmt: skip


@dataclasses.dataclass
class Job:
    """A tuning job."""

    id: str
    number: int
    """1 for the first of a service."""
    project: str
    """The number of its project."""
    location: str
    region: str
    """Where it is done: its location, or the region that Google picked for ``global``."""
    model: VertexModel
    request: dict[str, Any]
    hold_at: int | None
    failure: VertexFailure | None
    state: str = "JOB_STATE_PENDING"
    detail: str = ""
    """The sub-state, without its prefix."""
    position: int = 0
    is_held: bool = False
    rows: list[Row] = dataclasses.field(default_factory=list)
    validation_rows: list[Row] = dataclasses.field(default_factory=list)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The hyperparameters, with those that the service has chosen."""
    stats: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: dict[str, Any] | None = None
    cancel_looks: int | None = None
    """Looks until it is canceled; None: nobody has asked."""
    lists: int = 0
    """Lists that were asked since it was created."""
    looks_after_end: int = 0
    has_model: bool = False
    has_endpoint: bool = False
    created: float = dataclasses.field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    updated: float = dataclasses.field(default_factory=time.time)
    advanced: float = dataclasses.field(default_factory=time.monotonic)
    """When the clock last moved it."""
    answers: dict[str, str] | None = None
    """The expected answer of each prompt of its rows, once somebody asked its model."""

    @property
    def name(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/tuningJobs/{self.id}"

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def spec_name(self) -> str:
        return next(name for name in SPECS if name in self.request)

    @property
    def method(self) -> str:
        return SPECS[self.spec_name]

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.request[self.spec_name])

    @property
    def epochs(self) -> int:
        """Return the epochs of the job; before the service has chosen them, those that were asked."""
        asked = self.spec.get("hyperParameters", {}).get("epochCount")
        return int(self.settings.get("epochCount") or asked or 1)

    @property
    def done_epochs(self) -> int:
        return max(0, min(self.position - TUNING, self.epochs))

    @property
    def is_full(self) -> bool:
        return self.spec.get("tuningMode") == "TUNING_MODE_FULL" or (
            self.model.is_open and PEFT not in self.model.modes
        )

    @property
    def steps(self) -> int:
        batch = int(self.settings.get("batchSize") or BATCH)
        return math.ceil(len(self.rows) / batch) * self.epochs

    def change(self, state: str, detail: str = "") -> None:
        """Bring the job to a state."""
        self.state, self.detail, self.updated = f"JOB_STATE_{state}", detail, time.time()
        if state == "RUNNING" and detail == "TUNING" and self.started is None:
            self.started = self.updated
        if self.has_ended:
            self.ended = self.updated

    def fail(self, code: int, message: str) -> None:
        """Let the job fail."""
        self.error = {"code": code, "message": message}
        self.change("FAILED")

    def cancel(self) -> None:
        """Bring the job to its end after a cancellation."""
        self.error = {"code": 1, "message": "The tuning job was canceled."}
        self.change("CANCELLED")

    def list_endpoints(self) -> dict[str, int]:
        """Return the endpoints of the model and of its checkpoints, each with its epoch."""
        if not self.has_endpoint:
            return {}
        location = self.region
        if self.model.id.startswith("gemini-3"):
            location = MULTI_REGIONS[self.region]
        prefix = f"projects/{self.project}/locations/{location}/endpoints/{int(self.id) + 7}"
        last = self.epochs
        epochs = {prefix: last}
        if not self.spec.get("exportLastCheckpointOnly"):
            first = max(1, last - MAX_CHECKPOINTS + 1)
            epochs |= {f"{prefix}{epoch}": epoch for epoch in range(first, last)}
        return epochs

    def write(self, scenario: Scenario) -> dict[str, Any]:
        """Return the job as the service shows it: int64 as text, nothing empty."""
        names = ("baseModel", "tunedModelDisplayName", "description", "labels", "outputUri")
        record: dict[str, Any] = {"name": self.name}
        record |= {name: self.request[name] for name in names if self.request.get(name)}
        record["state"] = self.state
        if self.state == "JOB_STATE_RUNNING":
            record["state"] = scenario.odd_state or self.state
            record["tuningJobState"] = f"TUNING_JOB_STATE_{self.detail}"
        times = {"createTime": self.created, "startTime": self.started, "endTime": self.ended,
                 "updateTime": self.updated}  # fmt: skip
        record |= {name: _format_time(value) for name, value in times.items() if value is not None}
        if self.error:
            record["error"] = self.error
        if self.started is not None:
            record |= self._write_progress()
        if self.stats:
            kind = "reinforcement" if self.method == "reinforcement" else "supervised"
            record["tuningDataStats"] = {f"{kind}TuningDataStats": self.stats}
        record[self.spec_name] = self._write_spec()
        if self.has_model:
            is_ready = self.looks_after_end >= scenario.endpoint_polls
            record["tunedModel"] = self._write_model(is_ready)
        if scenario.odd_fields:
            record |= {"satisfiesPzs": True, "futureField": {"level": 3}}
        return record

    def _write_progress(self) -> dict[str, Any]:
        record: dict[str, Any] = {}
        if not self.model.is_open:
            assert self.started is not None
            moment = datetime.datetime.fromtimestamp(self.started, datetime.UTC)
            record["experiment"] = (
                f"projects/{self.project}/locations/{self.region}/metadataStores/default/contexts/"
                f"tuning-experiment-{moment:%Y%m%d%H%M%S%f}"
            )
        if self.done_epochs:
            record["tuningJobMetadata"] = {"completedEpochCount": str(self.done_epochs)}
        return record

    def _write_spec(self) -> dict[str, Any]:
        spec = self.spec
        sizes = {**spec.get("hyperParameters", {}), **self.settings}
        texts = {name: str(int(sizes[name])) for name in _INTS if name in sizes}
        return {**spec, **({"hyperParameters": {**sizes, **texts}} if sizes else {})}

    def _write_model(self, has_endpoint: bool) -> dict[str, Any]:
        model = f"projects/{self.project}/locations/{self.region}/models/{self.id}@1"
        record: dict[str, Any] = {"model": model}
        endpoints = self.list_endpoints() if has_endpoint else {}
        if endpoints:
            record["endpoint"] = next(iter(endpoints))
        steps = self.steps // self.epochs
        if endpoints and not self.spec.get("exportLastCheckpointOnly"):
            ordered = sorted(endpoints.items(), key=lambda each: each[1])
            record["checkpoints"] = [
                {"checkpointId": str(number), "epoch": str(epoch), "step": str(epoch * steps),
                 "endpoint": endpoint}
                for number, (endpoint, epoch) in enumerate(ordered, 1)
            ]  # fmt: skip
        return record


def choose_settings(job: Job) -> None:
    """Choose the hyperparameters that were not asked for, as the service does with the rows at hand."""
    asked = dict(job.spec.get("hyperParameters", {}))
    automatic: dict[str, Any] = dict(_DEFAULTS[job.method])
    # Measured at the service: 40 epochs for 166 rows.
    automatic["epochCount"] = str(max(1, min(40, 6_640 // len(job.rows))))
    if job.method == "reinforcement":
        automatic["epochCount"] = str(max(1, min(10, 110 * 32 // len(job.rows))))
        automatic["adapterSize"] = "ADAPTER_SIZE_SIXTEEN"
    elif not job.is_full:
        automatic["adapterSize"] = SIZES[job.model.default_size]
    if job.model.is_open:
        del automatic["learningRateMultiplier"]
        automatic |= {"learningRate": 2e-5 if job.is_full else 2e-4}
    job.settings = {**automatic, **asked}


def count_stats(job: Job, max_tokens: int) -> None:
    """Count what the service reports of a dataset: the tokens of the file, without its epochs."""
    users, models = [], []
    for row in job.rows:
        users.append(row.count("user"))
        models.append(row.count("model"))
    total = sum(users) + sum(models)
    characters = sum(len(text) for row in job.rows for _, text in row.turns)
    sizes = [user + model for user, model in zip(users, models, strict=True)]
    truncated = [str(index) for index, size in enumerate(sizes) if size > max_tokens]
    job.stats = {
        "tuningDatasetExampleCount": str(len(job.rows)),
        "totalTuningCharacterCount": str(characters),
        "totalBillableTokenCount": str(total),
        "tuningStepCount": str(job.steps),
        "userInputTokenDistribution": _distribute(users),
        "userOutputTokenDistribution": _distribute(models),
    }
    if truncated:
        job.stats |= {
            "totalTruncatedExampleCount": str(len(truncated)),
            "truncatedExampleIndices": truncated,
        }


def make_id(number: int) -> str:
    """Return an id as the service makes them: a number of 19 digits."""
    return str(random.Random(f"{number} {time.time_ns()}").randrange(10**18, 9 * 10**18))


def _distribute(counts: list[int]) -> dict[str, Any]:
    ordered = sorted(counts)
    mean = sum(ordered) / len(ordered)
    return {
        "sum": str(sum(ordered)), "min": ordered[0], "max": ordered[-1], "mean": mean,
        "median": ordered[len(ordered) // 2], "p5": ordered[len(ordered) // 20],
        "p95": ordered[len(ordered) * 19 // 20],
        "buckets": [{"count": len(ordered), "left": ordered[0], "right": ordered[-1]}],
    }  # fmt: skip


def _format_time(moment: float) -> str:
    value = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
