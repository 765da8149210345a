"""The record of a hosted job, ``remote.json``: the intent before it is created, its id and end after."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json, write_json
from ftwizard.quantity import Figure

JobState = Literal["pending", "running", "paused", "succeeded", "failed", "cancelled"]
"""What a platform's status means: ``pending`` before the first step, and ``running`` for a status that
is not known."""
TERMINAL: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file for the platform."""

    path: str
    """Relative to the job folder: ``upload/train.jsonl``."""
    name: str
    """Its name at the platform, which no other run's file has."""
    rows: int
    size_bytes: int
    requested: float | None = None
    """When its upload was first begun (Unix seconds)."""
    id: str | None = None
    """Id at the platform, once it was uploaded."""


class RemoteCheckpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A checkpoint that the platform keeps."""

    id: str
    model: str | None = None
    """Name under which it can be asked; None if it cannot."""
    step: int
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None


TUNED_MODEL = "custom model"
"""Kind of a tuned model that is itself billed: to delete it is to lose it."""


class BilledResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that costs money for as long as it exists."""

    id: str = ""
    """Id at the platform; empty before its creation is confirmed."""
    kind: str
    """``deployment``, ``endpoint``, ``TUNED_MODEL``, or the platform's own word."""
    name: str | None = None
    """Name that ftwizard gave it, which nothing else has: it can be looked up by that."""
    model: str | None = None
    """Name under which it answers."""
    price: Figure | None = None
    """US dollars per hour."""
    created: float | None = None
    """Unix seconds."""

    @property
    def is_free(self) -> bool:
        """Return whether it costs nothing by existing, as a deployment of which only tokens are billed."""
        return self.price is not None and self.price.value == 0


class BilledItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an account is billed for by the hour, with who made it."""

    provider: str
    resource: BilledResource
    run: str | None
    """Run that made it; None for what was made elsewhere."""
    is_billed: bool
    """Whether the platform lists it now; else it stopped by itself, or was never made."""
    cost: float | None
    """US dollars so far, at its price."""


class RemoteEndpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a model of a hosted run can be asked, by chat completions."""

    address: str
    """Base address, without any secret."""
    served_name: str
    key_variable: str
    """Environment variable with the key; empty where an SDK finds the credentials by itself."""
    requests_per_minute: float | None = None
    """What the platform allows for this model, if known."""


class RemoteJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``remote.json``."""

    provider: str
    tag: str
    """Unique to the run: in the metadata of the job, and in the names of its files."""
    endpoint: str = ""
    """Base address of the API, without any secret."""
    model: str
    """Id of the base model at the platform."""
    files: dict[str, RemoteFile] = {}
    """``train`` and ``validation``."""
    request: dict[str, Any] | None = None
    """What the job is created with. It is written before the call, so that after a crash the job is
    looked up before another is created."""
    requested: float | None = None
    """When that was first sent (Unix seconds)."""
    job_id: str | None = None
    adopted: bool = False
    """Whether the job was created elsewhere, and is only followed."""
    status: str | None = None
    """The platform's own word."""
    state: JobState | None = None
    url: str | None = None
    """Page of the job."""
    tuned_model: str | None = None
    trained_tokens: int | None = None
    """Tokens that are billed."""
    error: str | None = None
    """Why the job failed: code and message."""
    created: float | None = None
    finished: float | None = None
    checkpoints: tuple[RemoteCheckpoint, ...] = ()
    result_files: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    """Hyperparameters that the platform chose or confirmed, under its own names."""
    billed: tuple[BilledResource, ...] = ()
    """What this run made that is billed by the hour, and still exists."""
    predicted_cost: Figure | None = None
    """US dollars of the training, before it began."""
    actual_cost: Figure | None = None
    """US dollars by what the platform reports: its price, or tokens at a listed price."""
    base_endpoint: RemoteEndpoint | None = None
    """Where the base model can be asked; None if it cannot, or is not deployed."""
    tuned_endpoint: RemoteEndpoint | None = None
    """Where the tuned model can be asked; None if it cannot, or is not deployed."""

    @property
    def has_ended(self) -> bool:
        return self.state in TERMINAL


class RemoteSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``remote`` of ``ftwizard status --json``; None where unknown."""

    provider: str
    job_id: str | None
    status: str | None
    model: str | None
    """The tuned model."""
    url: str | None
    billed: tuple[BilledResource, ...] | msgspec.UnsetType = msgspec.UNSET
    """What is billed by the hour, if anything is."""


class RemoteResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``remote`` of ``result.json``."""

    provider: str
    job_id: str
    status: str
    base: str
    """Id of the base model at the platform."""
    model: str | None = None
    """The tuned model."""
    method: str
    trained_tokens: int | None = None
    predicted_cost: Figure | None = None
    actual_cost: Figure | None = None
    rows: dict[str, int] = {}
    """Rows sent, by part."""
    checkpoints: tuple[RemoteCheckpoint, ...] = ()
    url: str | None = None


def read(folder: JobFolder) -> RemoteJob | None:
    """Return the record of a hosted job; None for a run of this machine, or if it is unreadable."""
    return read_json(folder.remote, RemoteJob)


def write(folder: JobFolder, record: RemoteJob) -> None:
    """Replace the record; raise OSError if the disk does not take it."""
    write_json(folder.remote, record)


def summarize(record: RemoteJob) -> RemoteSummary:
    """Return what ``status --json`` says of a hosted job."""
    return RemoteSummary(
        provider=record.provider, job_id=record.job_id, status=record.status,
        model=record.tuned_model, url=record.url, billed=record.billed or msgspec.UNSET,
    )  # fmt: skip
