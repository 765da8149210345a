"""Scenarios of the double of Vertex AI and Cloud Storage: behavior that a test chooses.

A scenario is a value that JSON can hold. Everything has the default of a service that works.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tests.doubles.openai_service.scenario import Answers, Fault
from tests.doubles.vertex_service.models import MODELS, VertexModel

PROJECT = "demo-project"
PROJECT_NUMBER = "123456789012"
BUCKET = "ftwizard-double"
OBJECT_PERMISSIONS = (
    "storage.objects.create", "storage.objects.get", "storage.objects.list",
    "storage.objects.delete",
)  # fmt: skip
Login = Literal["works", "revoked", "no key", "clock", "down"]


class Bucket(msgspec.Struct, kw_only=True, frozen=True):
    """A bucket that exists from the start."""

    location: str = "US-CENTRAL1"
    location_type: Literal["region", "dual-region", "multi-region"] = "region"
    data_locations: tuple[str, ...] = ()
    """Regions of a dual-region."""
    project_number: str = PROJECT_NUMBER
    permissions: tuple[str, ...] = ("storage.buckets.get", *OBJECT_PERMISSIONS)
    """Those of the caller."""
    is_open_to_agents: bool = True
    """Whether the service agents of Vertex AI may read and write it; if not, jobs fail."""


class VertexFailure(msgspec.Struct, kw_only=True, frozen=True):
    """A failure of all jobs, for the service's own reasons."""

    at: Literal["dataset", "tuning", "endpoint"] = "dataset"
    """``endpoint``: the model is trained and in the registry, and cannot be asked."""
    code: int = 3
    """A number of google.rpc.Code."""
    message: str = (
        "List of found errors:\t1.Field: tuning_job.supervised_tuning_spec.training_dataset_uri; "
        "Message: The dataset could not be processed.\t"
    )
    epoch: int = 1
    """``tuning``: the last epoch that is done."""


NO_ENDPOINT = VertexFailure(
    at="endpoint",
    code=13,
    message="Failed to create endpoint. Tuned model is uploaded and can be accessed through Model "
    "Registry.",
)


class VertexPace(msgspec.Struct, kw_only=True, frozen=True):
    """How jobs advance: pending, its dataset processed, tuning, each epoch, post-processing, the end."""

    clock: Literal["polls", "time", "manual"] = "polls"
    """``polls``: by each look at the job; ``time``: by seconds; ``manual``: by the control only."""
    epochs: int | None = None
    """``polls``: epochs for each look; None: a quarter of the job."""
    stage_s: float = 0.2
    """``time``: seconds of each stage, or epoch."""
    hold_at: int | None = None
    """Epoch after which a job stands still until the control continues it; 0: as tuning begins."""


class Scenario(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All behavior that can be chosen."""

    project: str = PROJECT
    project_number: str = PROJECT_NUMBER
    login: Login = "works"
    """``no key``: the key of the service account was deleted; ``down``: 503."""
    token_s: int = 3600
    """Life of an access token."""
    is_enabled: bool = True
    """Whether the Vertex AI API is enabled in the project."""
    has_billing: bool = True
    denied: tuple[str, ...] = ()
    """Permissions that the caller lacks, such as ``aiplatform.tuningJobs.create``."""
    buckets: dict[str, Bucket] = msgspec.field(default_factory=lambda: {BUCKET: Bucket()})
    needs_login_to_bucket: bool = False
    """Whether Cloud Storage refuses requests without a token, which an emulator takes."""
    models: tuple[VertexModel, ...] = MODELS
    max_validation_rows: int = 5_000
    max_example_tokens: int = 131_072
    max_running: int | None = None
    """Jobs of a project that run at the same time; others wait for quota. Google's own is 1."""
    list_delay: int = 0
    """Lists until a new job is in one."""
    page_size: int = 100
    """Most jobs of a page."""
    global_region: str = "us-central1"
    """Region that Google picks for a job at ``global``."""

    pace: VertexPace = VertexPace()
    failure: VertexFailure | None = None
    cancel_polls: int = 1
    """Looks at a job between CANCELLING and CANCELLED."""
    odd_state: str | None = None
    """State that is reported in place of JOB_STATE_RUNNING."""
    odd_fields: bool = False
    """Fields that no client knows, in jobs and answers."""
    endpoint_polls: int = 0
    """Looks at a job that succeeded until its endpoint is in it."""
    adapter: str | None = None
    """Folder with the weights of open models. None: a tiny adapter of random numbers."""

    answers: Answers = Answers()
    blocked: tuple[str, ...] = ("block this",)
    """Words of a prompt that is blocked."""
    faults: list[Fault] = []
