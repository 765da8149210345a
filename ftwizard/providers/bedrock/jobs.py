"""Jobs of Bedrock's model customization, in our words."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ftwizard.providers.base import JobEvent, JobStatus, ProviderError, tolerate
from ftwizard.providers.bedrock import errors, files, results
from ftwizard.providers.bedrock.client import BedrockClient
from ftwizard.providers.bedrock.models import get_foundation
from ftwizard.providers.bedrock.request import JOB_PREFIX, name_job
from ftwizard.providers.fields import get_text, read_number, read_time
from ftwizard.runs.remote import TERMINAL, JobState, RemoteJob
from ftwizard.text import format_count, format_duration, make_visible

QUEUE_NEWS_S = (6 * 3600.0, 24 * 3600.0, 72 * 3600.0)
"""Waits for capacity after which the user hears of it: a job may wait for days, and says nothing."""
Job = Mapping[str, Any]
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]+):\d{12}:model-customization-job/.+\Z")
_TAG = re.compile(rf"{JOB_PREFIX}([0-9a-f]{{32}})\Z")
_STATES: dict[str, JobState] = {
    "inprogress": "running", "completed": "succeeded", "failed": "failed", "stopping": "running",
    "stopped": "cancelled",
}  # fmt: skip
_PHASES = {
    "validationDetails": "validation",
    "dataProcessingDetails": "data processing",
    "trainingDetails": "training",
}
_HINTS = (
    (
        r"could not validate getobject",
        "Give the role s3:GetObject and s3:ListBucket on the bucket, which must be in the job's region,"
        + " and kms:Decrypt if it encrypts with a KMS key.",
    ),
    (
        r"perms missing|could not validate putobject",
        "Give the role s3:PutObject on the folder of the bucket: bedrock.prefix.",
    ),
    (
        r"could not assume",
        "Let Bedrock assume the role: its trust policy must name bedrock.amazonaws.com and the region.",
    ),
    (
        r"input size exceeded|token count|sum of input and output",
        "Shorten or remove the longest rows, then train again.",
    ),
    (
        r"model identifier is invalid",
        "The region of the job does not tune this model, or its id lacks the context, such as :128k.",
    ),
    (r"input data configuration", "Check bedrock.bucket and bedrock.prefix."),
    (
        r"third-party license|usage polic|responsible ai|flagged",
        "Remove the rows that AWS may have flagged, then train again.",
    ),
    (
        r"parse|jsonl|invalid record|format",
        "Correct the rows (ftwizard check names them), then train again.",
    ),
    (
        r"grader|lambda",
        "Try the grader on some rows, and read its log in CloudWatch: its timeout may be too short.",
    ),
    (
        r"internal error|unexpected error",
        "This is an error of AWS. Train again, or choose another model.",
    ),
)
"""What to do about a failure, by its text."""


def get_state(job: Job) -> JobState:
    """Return what the status of a job means; ``running`` for one that is unknown, which ends nothing."""
    state = _STATES.get(str(job.get("status")).replace("_", "").lower(), "running")
    phases = _read_phases(job)
    training = phases.get("trainingDetails")
    if state == "running" and job.get("status") == "InProgress" and training is not None:
        return "running" if training[0] in ("InProgress", "Completed") else "pending"
    return state


def _read_phases(job: Job) -> dict[str, tuple[str, float | None]]:
    """Return status and time of the parts of a job, which the platform need not name."""
    details = job.get("statusDetails")
    phases = {}
    for name in _PHASES:
        part = details.get(name) if isinstance(details, Mapping) else None
        if isinstance(part, Mapping) and isinstance(part.get("status"), str):
            moment = read_time(part.get("lastModifiedTime"))
            phases[name] = (make_visible(part["status"], 40), moment)
    return phases


def find_job(client: BedrockClient, remote: RemoteJob) -> JobStatus | None:
    """Return the job of this run, by its name; None if there is none."""
    if not remote.tag:
        return None
    name = name_job(remote.tag)
    region = (remote.request or {}).get("region")
    regions = [region] if isinstance(region, str) else client.list_search_regions()
    for each in regions:
        with tolerate("missing"):
            return convert_job(client, _describe(client, name, each))
        for summary in _list_jobs(client, each, remote.tag):
            if summary.get("jobName") == name:
                return convert_job(client, {**summary, "jobName": name})
    return None


def _describe(client: BedrockClient, name: str, region: str) -> Job:
    """Return a job as the platform has it, by its name or ARN."""
    bedrock = client.connect("bedrock", region)
    action = "look up the job"
    job = client.call(
        action, functools.partial(bedrock.get_model_customization_job, jobIdentifier=name)
    )
    if not isinstance(job.get("status"), str):
        raise errors.unreadable(client.account, action)
    client.job_regions[name] = region
    return job


def _list_jobs(client: BedrockClient, region: str, part: str) -> Iterator[Job]:
    bedrock = client.connect("bedrock", region)
    return client.iterate(
        "list the jobs",
        functools.partial(bedrock.list_model_customization_jobs, nameContains=part),
        "modelCustomizationJobSummaries",
    )


def read_job(client: BedrockClient, job_id: str) -> Job:
    """Return a job as the platform has it: a name is looked for in each region that trains."""
    match = _ARN.match(job_id)
    if match:
        return _describe(client, job_id, match[1])
    if job_id in client.job_regions:
        return _describe(client, job_id, client.job_regions[job_id])
    first: ProviderError | None = None
    for region in client.list_search_regions():
        try:
            return _describe(client, job_id, region)
        except ProviderError as error:
            # Where the organization closes a region, it says so; the job is not there.
            if error.kind != "missing" and (first is None or error.kind != "permission"):
                raise
            first = first or error
    assert first is not None
    raise first


def create_job(client: BedrockClient, request: Mapping[str, Any]) -> JobStatus:
    """Create the job, with one request that is never repeated."""
    parameters = dict(request)
    region = str(parameters.pop("region"))
    name = str(parameters["jobName"])
    bedrock = client.connect("bedrock", region, creates=True)
    action = "create the job"
    answer = client.call(
        action,
        functools.partial(bedrock.create_model_customization_job, **parameters),
        creates=True,
        model=str(parameters.get("baseModelIdentifier")),
    )
    arn = answer.get("jobArn")
    if not isinstance(arn, str) or not arn:
        raise errors.unreadable(client.account, action, creates=True)
    # It exists, whatever keeps it from being read now, such as credentials that have just expired.
    with contextlib.suppress(ProviderError):
        return convert_job(client, _describe(client, name, region))
    client.job_regions[name] = region
    job = {"jobName": name, "jobArn": arn, "status": "InProgress", "statusDetails": {
        "trainingDetails": {"status": "NotStarted"}}}  # fmt: skip
    return convert_job(client, job)


def get_job(client: BedrockClient, job_id: str) -> JobStatus:
    """Return the state of a job."""
    return convert_job(client, read_job(client, job_id))


def cancel_job(client: BedrockClient, job_id: str) -> None:
    """Stop a job; one that has ended or is stopping already is not an error."""
    job = read_job(client, job_id)
    if _is_stopped(job):
        return
    arn = str(job.get("jobArn") or job_id)
    match = _ARN.match(arn)
    region = match[1] if match else client.job_regions[job_id]
    bedrock = client.connect("bedrock", region)
    name = str(job.get("jobName") or arn)
    try:
        client.call(
            "stop the job",
            functools.partial(bedrock.stop_model_customization_job, jobIdentifier=name),
        )
    except ProviderError as error:
        is_refused = error.kind in ("rejected", "unreachable")
        if not is_refused or not _is_stopped(read_job(client, job_id)):
            raise


def _is_stopped(job: Job) -> bool:
    return get_state(job) in TERMINAL or job.get("status") == "Stopping"


def convert_job(client: BedrockClient, job: Job) -> JobStatus:
    """Return a job of the platform, whose fields may all be missing."""
    state = get_state(job)
    arn = get_text(job, "jobArn") or ""
    name = get_text(job, "jobName") or arn
    tag = _TAG.match(name)
    failure = job.get("failureMessage") if state == "failed" else None
    message = client.account.redact(failure) if isinstance(failure, str) else ""
    settings = _read_settings(job)
    tuned = get_text(job, "outputModelArn") or get_text(job, "customModelArn")
    return JobStatus(
        id=name,
        status=_describe_status(job),
        state=state,
        model=get_foundation(get_text(job, "baseModelArn") or ""),
        tuned_model=tuned if state == "succeeded" else None,
        error=message,
        hint=_explain_failure(message) if state == "failed" else "",
        url=_get_url(arn),
        created=read_time(job.get("creationTime")),
        finished=read_time(job.get("endTime")) if state in TERMINAL else None,
        training_file=_get_address(job.get("trainingDataConfig")),
        validation_file=_get_validation(job),
        tag=tag[1] if tag else None,
        settings=settings,
        planned=_get_planned(job, settings, arn),
    )


def _describe_status(job: Job) -> str:
    """Return the platform's word, with the part of the job that is in progress."""
    word = make_visible(str(job.get("status") or "unknown"), 40)
    if word != "InProgress":
        return word
    phases = _read_phases(job)
    for name, (status, _) in phases.items():
        if status == "InProgress":
            return f"{word} ({_PHASES[name]})"
    return f"{word} (waits for capacity)" if _is_queued(phases) else word


def _is_queued(phases: Mapping[str, tuple[str, float | None]]) -> bool:
    """Return whether the rows were accepted and the training did not begin."""
    validation, training = phases.get("validationDetails"), phases.get("trainingDetails")
    return (
        validation is not None and validation[0] == "Completed"
        and training is not None and training[0] == "NotStarted"
    )  # fmt: skip


def _read_settings(job: Job) -> dict[str, Any]:
    """Return the hyperparameters that the platform confirmed, as numbers: it sends them as text."""
    raw: dict[str, Any] = {}
    for values in (job.get("hyperParameters"), _get_reinforcement(job).get("hyperParameters")):
        raw |= dict(values) if isinstance(values, Mapping) else {}
    settings: dict[str, Any] = {}
    for name, value in raw.items():
        number = read_number(value)
        if number is not None and math.isfinite(number):
            is_whole = number == int(number) and name != "learningRate"
            settings[make_visible(str(name), 60)] = int(number) if is_whole else number
        elif isinstance(value, str):
            settings[make_visible(str(name), 60)] = make_visible(value, 60)
    return settings


def _get_reinforcement(job: Job) -> Mapping[str, Any]:
    config = job.get("customizationConfig")
    rft = config.get("rftConfig") if isinstance(config, Mapping) else None
    return rft if isinstance(rft, Mapping) else {}


def _get_planned(job: Job, settings: Mapping[str, Any], arn: str) -> dict[str, Any]:
    """Return what a job tells of the settings of a plan."""
    grader = _get_reinforcement(job).get("graderConfig")
    grader = grader.get("lambdaGrader") if isinstance(grader, Mapping) else None
    output = _get_address(job.get("outputDataConfig")) or ""
    match = _ARN.match(arn)
    planned = {
        "customizationType": get_text(job, "customizationType"),
        "region": match[1] if match else None,
        "bucket": output.removeprefix("s3://").partition("/")[0] or None,
        "role": get_text(job, "roleArn"),
        "grader": grader.get("lambdaArn") if isinstance(grader, Mapping) else None,
        **settings,
    }
    return {name: value for name, value in planned.items() if value is not None}


def _get_address(config: Any) -> str | None:
    return get_text(config, "s3Uri") if isinstance(config, Mapping) else None


def _get_validation(job: Job) -> str | None:
    config = job.get("validationDataConfig")
    validators = config.get("validators") if isinstance(config, Mapping) else None
    return _get_address(validators[0]) if isinstance(validators, list) and validators else None


def _get_url(arn: str) -> str | None:
    """Return the page of the console that lists the jobs."""
    match = _ARN.match(arn)
    if match is None or not arn.startswith("arn:aws:"):
        return None
    return (
        f"https://{match[1]}.console.aws.amazon.com/bedrock/home?region={match[1]}#/custom-models"
    )


def _explain_failure(message: str) -> str:
    """Return what to do about a job that failed."""
    text = message.lower()
    for pattern, hint in _HINTS:
        if re.search(pattern, text):
            return hint
    return "Train again. If it fails again, ask the support of AWS with the name of the job."


def list_events(client: BedrockClient, job_id: str, read_ids: frozenset[str]) -> list[JobEvent]:
    """Return what a look at the job shows that is not in ``read_ids``.

    The platform has no events: they are the changes of its status and of the parts of the job.
    """
    job = read_job(client, job_id)
    events = [*_list_phases(job), *_list_waits(job, time.time())]
    status = make_visible(str(job.get("status") or "unknown"), 40)
    moment = read_time(job.get("endTime")) if get_state(job) in TERMINAL else None
    moment = moment or read_time(job.get("lastModifiedTime")) or read_time(job.get("creationTime"))
    level = "error" if status == "Failed" else "info"
    events.append(
        JobEvent(
            id=f"status-{status.lower()}", t=moment, level=level, type="status",  # type: ignore[arg-type]
            message=f"The job is {status}.",
        )
    )  # fmt: skip
    if get_state(job) in TERMINAL:
        events += _list_last_losses(job)
        if "rejected-rows" not in read_ids:
            events += _list_rejected(client, job)
    fresh = [event for event in events if event.id not in read_ids]
    return sorted(fresh, key=lambda event: math.inf if event.t is None else event.t)


def _list_phases(job: Job) -> Iterator[JobEvent]:
    phases = _read_phases(job)
    for name, (status, moment) in phases.items():
        if status == "NotStarted":
            continue
        yield JobEvent(
            id=f"phase-{name}-{status.lower()}",
            t=moment,
            level="error" if status == "Failed" else "info",
            type="phase",
            message=f"{_PHASES[name].capitalize()}: {status}.",
        )
    if _is_queued(phases) and job.get("status") == "InProgress":
        yield JobEvent(
            id="queued",
            t=phases["validationDetails"][1],
            type="queued",
            message="The rows were accepted. The job waits for capacity at AWS, which may take hours.",
        )


def _list_waits(job: Job, now: float) -> Iterator[JobEvent]:
    """Yield a warning for each long time that a job has waited for capacity."""
    phases = _read_phases(job)
    since = phases["validationDetails"][1] if _is_queued(phases) else None
    if since is None or job.get("status") != "InProgress":
        return
    for wait_s in QUEUE_NEWS_S:
        if now - since >= wait_s:
            yield JobEvent(
                id=f"waiting-{wait_s:.0f}",
                t=since + wait_s,
                level="warning",
                type="queued",
                message=f"The job has waited for capacity for {format_duration(wait_s)}. Nothing is"
                " billed meanwhile. Some jobs never begin: cancel it to try another model.",
            )


def _list_last_losses(job: Job) -> Iterator[JobEvent]:
    """Yield the losses at the end of a job. It does not name their step, so they are no metrics."""
    validation = job.get("validationMetrics")
    first = validation[0] if isinstance(validation, list) and validation else None
    texts = []
    for word, source, name in (
        ("Training", job.get("trainingMetrics"), "trainingLoss"),
        ("Validation", first, "validationLoss"),
    ):
        loss = read_number(source.get(name)) if isinstance(source, Mapping) else None
        if loss is not None and math.isfinite(loss) and loss > 0:
            texts.append(f"{word} loss at the end: {loss:.4g}.")
    if texts and get_state(job) == "succeeded":
        yield JobEvent(
            id="last-losses",
            t=read_time(job.get("endTime")),
            type="losses",
            message=" ".join(texts),
        )


def get_folder(job: Job) -> str | None:
    """Return the address of the folder that a job writes to, with ``/`` at its end."""
    output = _get_address(job.get("outputDataConfig"))
    arn = get_text(job, "jobArn")
    if not output or not arn:
        return None
    # The ARN ends with the job's own id; what comes before has the model.
    return f"{output.rstrip('/')}/model-customization-job-{arn.rpartition('/')[2]}/"


def _read_tables(client: BedrockClient, job: Job, ending: str) -> dict[str, bytes]:
    """Return the tables in a job's folder; none if they are gone, or may not be read."""
    folder = get_folder(job)
    if folder is None:
        return {}
    with tolerate("missing", "permission", "rejected"):
        return files.read_files(client, folder, (ending,), results.MAX_BYTES)
    return {}


def _list_rejected(client: BedrockClient, job: Job) -> Iterator[JobEvent]:
    """Yield a warning if the platform did not train on all rows."""
    rejected, total = results.count_rejected(_read_tables(client, job, results.MANIFEST))
    if rejected:
        yield JobEvent(
            id="rejected-rows",
            t=read_time(job.get("endTime")),
            level="warning",
            type="rows",
            message=f"AWS rejected {rejected:,} of {format_count(total, 'row')}.",
        )


def read_results(client: BedrockClient, status: JobStatus) -> list[JobEvent]:
    """Return the metrics of all steps, from the tables that the job wrote; none if they are gone."""
    return results.read_metrics(_read_tables(client, read_job(client, status.id), results.METRICS))
