"""Tuning jobs at Vertex AI: creation with a single request, look-up, state and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.genai import types

from ftwizard.providers.base import JobEvent, JobStatus, ProviderError
from ftwizard.providers.fields import read_time
from ftwizard.providers.vertex import errors, records
from ftwizard.providers.vertex.client import VertexClient
from ftwizard.providers.vertex.downloads import list_open_checkpoints
from ftwizard.providers.vertex.models import is_gemini
from ftwizard.providers.vertex.request import TAG_LABEL, build_config
from ftwizard.runs.remote import TERMINAL, RemoteCheckpoint, RemoteJob
from ftwizard.text import make_visible

PAGE_ITEMS = 100
MAX_JOBS = 1_000
"""Jobs of a list that are read. Google documents no order."""


def list_jobs(
    client: VertexClient, project: str, location: str
) -> tuple[list[Any], Mapping[str, str]]:
    """Return the jobs in a location, and the headers of the answer."""
    sdk = client.connect(project, location)

    def ask() -> tuple[list[Any], Mapping[str, str]]:
        pager = sdk.tunings.list(config=types.ListTuningJobsConfig(page_size=PAGE_ITEMS))
        headers = (pager.sdk_http_response.headers if pager.sdk_http_response else None) or {}
        jobs: list[Any] = []
        for job in pager:
            jobs.append(job)
            if len(jobs) >= MAX_JOBS:
                break
        return jobs, headers

    return client.read("list the jobs", ask)


def find_job(client: VertexClient, remote: RemoteJob) -> JobStatus | None:
    """Return the job of a run, by its label, its name or its rows; None if there is none.

    Raises ProviderError where there are too many to tell: another job would be paid.
    """
    if remote.request is None:
        return None  # without a request, none was ever created
    project, location = str(remote.request["project"]), str(remote.request["location"])
    jobs, _ = list_jobs(client, project, location)
    if own := match_jobs(jobs, remote):
        return records.convert_job(own[0])
    if len(jobs) >= MAX_JOBS:
        raise ProviderError(
            "rejected", f"The job was not among {MAX_JOBS:,} that were read, and there are more.",
            "Look for it in the console, or delete old jobs.", code="too_many_jobs",
        )  # fmt: skip
    return None


def match_jobs(jobs: list[Any], remote: RemoteJob) -> list[Any]:
    """Return the jobs of a run: those that may still have a result first, then the oldest.

    The label counts first. A job without it may be a copy that Google made of one in ``global``.
    """
    train = remote.files.get("train")
    tests: tuple[Callable[[Any], bool], ...] = (
        lambda job: (getattr(job, "labels", None) or {}).get(TAG_LABEL) == remote.tag,
        lambda job: str(getattr(job, "tuned_model_display_name", "")).endswith(f"-{remote.tag}"),
        lambda job: train is not None and bool(train.id) and _get_rows(job) == train.id,
    )
    for test in tests:
        own = [job for job in jobs if test(job)]
        if own:
            return sorted(own, key=_rank)
    return []


def _get_rows(job: Any) -> str | None:
    return getattr(records.get_spec(job), "training_dataset_uri", None)


def _rank(job: Any) -> tuple[bool, float]:
    created = read_time(getattr(job, "create_time", None))
    return records.get_state(job) in ("failed", "cancelled"), created or 0.0


def create_job(client: VertexClient, request: Mapping[str, Any]) -> JobStatus:
    """Create the job, with one request that is never repeated."""
    action = "create the job"
    try:
        config = build_config(request)
        dataset = types.TuningDataset(gcs_uri=request["training_dataset"])
    except ValueError as error:
        raise ProviderError(
            "rejected", f"Google's SDK refuses the job: {errors.redact(str(error))}.",
            "Change the plan accordingly.", code="refused_by_sdk",
        ) from None  # fmt: skip
    sdk = client.connect(str(request["project"]), str(request["location"]))

    def send() -> Any:
        tune: Any = sdk.tunings.tune
        return tune(base_model=str(request["base_model"]), training_dataset=dataset, config=config)

    job = client.call(action, send, creates=True)
    if records.parse_name(str(getattr(job, "name", None) or "")) is None:
        raise errors.unreadable(client.account, action, creates=True)
    return records.convert_job(job)


def complete_name(client: VertexClient, job_id: str) -> str:
    """Return the full name of a job; a bare number is one of the environment's project and location."""
    if not job_id.isdecimal():
        return job_id
    return (
        f"projects/{client.find_project()}/locations/{client.find_location()}/tuningJobs/{job_id}"
    )


def fetch_job(client: VertexClient, job_id: str) -> Any:
    """Return a job of the SDK."""
    name = complete_name(client, job_id)
    parts = records.require_name(name)
    sdk = client.connect(parts.project, parts.location)
    job = client.read("look up the job", lambda: sdk.tunings.get(name=name))
    if getattr(job, "state", None) is None or not getattr(job, "name", None):
        raise errors.unreadable(client.account, "look up the job")
    return job


def get_job(client: VertexClient, job_id: str) -> JobStatus:
    """Return the state of a job."""
    return records.convert_job(fetch_job(client, job_id))


def list_events(client: VertexClient, job_id: str, read_ids: frozenset[str]) -> list[JobEvent]:
    """Return the changes of a job that are not in ``read_ids``, oldest first."""
    events = records.list_events(fetch_job(client, job_id))
    return [event for event in events if event.id not in read_ids]


def list_checkpoints(client: VertexClient, job_id: str) -> list[RemoteCheckpoint]:
    """Return the checkpoints that Google keeps, or the bucket, by step."""
    return list_kept(client, fetch_job(client, job_id))


def list_kept(client: VertexClient, job: Any) -> list[RemoteCheckpoint]:
    """Return the checkpoints of a job of the SDK."""
    return records.read_checkpoints(job) or list_open_checkpoints(
        client, records.get_output_uri(job), records.count_epoch_steps(job)
    )


def cancel_job(client: VertexClient, job_id: str) -> None:
    """Cancel a job; one that has ended already is not an error."""
    name = complete_name(client, job_id)
    parts = records.require_name(name)
    sdk = client.connect(parts.project, parts.location)
    try:
        client.read("cancel the job", lambda: sdk.tunings.cancel(name=name))
    except ProviderError as error:
        if error.kind != "rejected" or get_job(client, job_id).state not in TERMINAL:
            raise


def describe_running(jobs: list[Any], model: str) -> str:
    """Return a caution if jobs of the model's kind run in the location: the next one waits for them.

    Gemini and open models have quotas of their own.
    """
    running = [
        job for job in jobs
        if records.get_state(job) in ("pending", "running")
        and is_gemini(str(getattr(job, "base_model", None) or "")) == is_gemini(model)
    ]  # fmt: skip
    if not running:
        return ""
    name = make_visible(str(getattr(running[0], "tuned_model_display_name", None) or ""), 100)
    return (
        f"A tuning job runs here already{f' ({name})' if name else ''}. Most projects may run one at a"
        " time, so the new one may wait for it."
    )
