"""Tuning jobs of Vertex AI in our words: states, results, links, and events from changes of state.

Google publishes no metrics of a job but in TensorBoard, so its events are what a look at the job shows.
Numbers, enums and objects may be missing or new in each.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ftwizard.providers.base import JobEvent, JobStatus, ProviderError
from ftwizard.providers.fields import read_number, read_time
from ftwizard.providers.vertex.errors import redact
from ftwizard.providers.vertex.models import is_gemini
from ftwizard.providers.vertex.request import SIZES, TAG_LABEL
from ftwizard.runs.remote import JobState, RemoteCheckpoint
from ftwizard.text import format_count, make_visible

CONSOLE = "https://console.cloud.google.com"
STALL_S = 6 * 3600.0
"""Time without any change of a job that trains, after which that is reported."""
DEPLOY_S = 900.0
"""Time that the endpoint of a tuned model may take to appear after the job has succeeded."""
FINAL = "postprocess/node-0/checkpoints/final"
"""Folder of an open model's weights, in the output of its job."""
_NAME = re.compile(
    r"projects/(?P<project>[\w.:-]+)/locations/(?P<location>[a-z0-9-]+)/tuningJobs/(?P<id>[\w.-]+)"
)
_ENDPOINT = re.compile(r"projects/([\w.:-]+)/locations/([a-z0-9-]+)/endpoints/[\w.-]+")
_STATES: dict[str, JobState] = {
    "UNSPECIFIED": "pending", "QUEUED": "pending", "PENDING": "pending", "RUNNING": "running",
    "UPDATING": "running", "CANCELLING": "running", "PAUSED": "paused", "SUCCEEDED": "succeeded",
    "PARTIALLY_SUCCEEDED": "succeeded", "FAILED": "failed", "EXPIRED": "failed",
    "CANCELLED": "cancelled",
}  # fmt: skip
_WAITING = ("WAITING_FOR_QUOTA", "WAITING_FOR_CAPACITY", "PROCESSING_DATASET")
"""States within a running job before its first step."""
_MESSAGES = {
    "QUEUED": "The job is queued.",
    "PENDING": "Google prepares the job.",
    "RUNNING": "The job runs.",
    "CANCELLING": "The job is being canceled.",
    "PAUSED": "The job is paused.",
    "SUCCEEDED": "The job has succeeded.",
    "PARTIALLY_SUCCEEDED": "The job has succeeded in part; some results may be missing.",
    "FAILED": "The job has failed.",
    "EXPIRED": "The job has expired.",
    "CANCELLED": "The job was canceled.",
    "WAITING_FOR_QUOTA": "Waiting for quota: another tuning job runs in this project.",
    "WAITING_FOR_CAPACITY": "Waiting for free hardware.",
    "PROCESSING_DATASET": "Google checks the rows.",
    "TUNING": "The training has begun. Google publishes its curves in the experiment only.",
    "POST_PROCESSING": "The training is done; Google prepares the model.",
}
_CODES = {
    1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED",
    13: "INTERNAL", 14: "UNAVAILABLE", 16: "UNAUTHENTICATED",
}  # fmt: skip
"""Names of the numbers that a job's error has (google.rpc.Code)."""
_SPECS = (
    "supervised_tuning_spec", "preference_optimization_spec", "reinforcement_tuning_spec",
    "distillation_spec",
)  # fmt: skip
_STATS = (
    "supervised_tuning_data_stats", "preference_optimization_data_stats",
    "reinforcement_tuning_data_stats", "distillation_data_stats",
)  # fmt: skip
_SETTINGS = ("epoch_count", "learning_rate_multiplier", "learning_rate", "batch_size")
_AGENT = re.compile(r"gcp-sa-|service account|service agent|permission", re.IGNORECASE)


class JobName(NamedTuple):
    """The parts of a job's full name, by which it is found from anywhere."""

    project: str
    """Google writes the project's number, not its id."""
    location: str
    id: str


def parse_name(name: str) -> JobName | None:
    """Return the parts of ``projects/P/locations/L/tuningJobs/ID``; None for anything else."""
    match = _NAME.fullmatch(name)
    return JobName(**match.groupdict()) if match else None


def require_name(name: str) -> JobName:
    """Return the parts of a job's name; raise ProviderError for anything else."""
    parts = parse_name(name)
    if parts is None:
        raise ProviderError(
            "rejected", f"{make_visible(name, 100)} is not the name of a tuning job.",
            "It must be projects/PROJECT/locations/LOCATION/tuningJobs/ID.", code="job_name",
        )  # fmt: skip
    return parts


def parse_endpoint(name: str) -> tuple[str, str] | None:
    """Return project and location of the endpoint of a tuned model; None for anything else."""
    match = _ENDPOINT.fullmatch(name)
    return (match[1], match[2]) if match else None


def get_job_url(name: str) -> str | None:
    """Return the page of a job in the console."""
    parts = parse_name(name)
    if parts is None:
        return None
    page = f"locations/{parts.location}/tuning/tuningJob/{parts.id}?project={parts.project}"
    return f"{CONSOLE}/vertex-ai/generative/language/{page}"


def get_experiment_url(experiment: str | None) -> str | None:
    """Return the page with the curves of a job in the console."""
    parts = (experiment or "").split("/")
    if len(parts) < 8 or parts[0] != "projects" or parts[2] != "locations":
        return None
    page = f"locations/{parts[3]}/experiments/{parts[-1]}/runs?project={parts[1]}"
    return make_visible(f"{CONSOLE}/vertex-ai/experiments/{page}", 500)


def read_word(value: Any, prefix: str) -> str:
    """Return the name of an enum without its prefix; of one that the SDK does not know as well."""
    name = str(getattr(value, "value", None) or getattr(value, "name", None) or value or "")
    return make_visible(name.removeprefix(prefix), 60)


def read_states(job: Any) -> tuple[str, str]:
    """Return the state of a job and the state within it, which only a running one has."""
    state = read_word(getattr(job, "state", None), "JOB_STATE_") or "UNSPECIFIED"
    inner = read_word(getattr(job, "tuning_job_state", None), "TUNING_JOB_STATE_")
    return state, inner if state == "RUNNING" and inner != "UNSPECIFIED" else ""


def get_state(job: Any) -> JobState:
    """Return what the state of a job means; ``running`` for one that is unknown, which ends nothing."""
    state, inner = read_states(job)
    if inner in _WAITING:
        return "pending"
    if _lacks_endpoint(job, state):
        return "running"
    return _STATES.get(state, "running")


def _lacks_endpoint(job: Any, state: str) -> bool:
    """Return whether a tuned Gemini has just been made, and has no endpoint yet."""
    if state != "SUCCEEDED" or not is_gemini(_get_text(job, "base_model")):
        return False
    if _get_text(getattr(job, "tuned_model", None), "endpoint"):
        return False
    ended = read_time(getattr(job, "end_time", None))
    return ended is not None and time.time() - ended < DEPLOY_S


def convert_job(job: Any) -> JobStatus:
    """Return a job of the SDK as ours."""
    state, inner = read_states(job)
    meaning = get_state(job)
    if state == "SUCCEEDED" and meaning == "running":
        inner = "no endpoint yet"
    spec, name = get_spec(job), _get_text(job, "name")
    code, text = _read_error(job)
    model = get_tuned_model(job)
    is_billed = meaning == "succeeded" or (meaning == "failed" and model is not None)
    labels = getattr(job, "labels", None) or {}
    tag = labels.get(TAG_LABEL) if isinstance(labels, dict) else None
    return JobStatus(
        id=name,
        status=f"{state}: {inner}" if inner else state,
        state=meaning,
        model=_get_text(job, "base_model"),
        tuned_model=model,
        trained_tokens=count_tokens(job) if is_billed else None,
        error_code=code,
        error=text,
        hint=explain_failure(job) if meaning == "failed" else "",
        url=get_job_url(name),
        created=read_time(getattr(job, "create_time", None)),
        finished=read_time(getattr(job, "end_time", None)),
        training_file=_get_text(spec, "training_dataset_uri") or None,
        validation_file=_get_text(spec, "validation_dataset_uri") or None,
        tag=make_visible(tag, 200) if isinstance(tag, str) and tag else None,
        settings=read_settings(job),
        planned=_read_planned(job),
        total_steps=_get_count(get_stats(job), "tuning_step_count"),
        done_steps=count_steps(job),
    )


def get_spec(job: Any) -> Any:
    """Return the part of a job that its method has."""
    specs = (getattr(job, name, None) for name in _SPECS)
    return next((spec for spec in specs if spec is not None), None)


def get_stats(job: Any) -> Any:
    """Return what Google counted in the rows; None before that."""
    stats = getattr(job, "tuning_data_stats", None)
    parts = (getattr(stats, name, None) for name in _STATS)
    return next((part for part in parts if part is not None), None)


def get_output_uri(job: Any) -> str:
    """Return the folder that the job of an open model writes to, without a slash at the end."""
    return _get_text(job, "output_uri").rstrip("/")


def get_tuned_model(job: Any) -> str | None:
    """Return the name of the tuned model: its endpoint, or without one that in the registry. An open
    model may only be a folder of weights."""
    tuned = getattr(job, "tuned_model", None)
    name = _get_text(tuned, "endpoint") or _get_text(tuned, "model")
    if name:
        return name
    output = get_output_uri(job)
    return f"{output}/{FINAL}" if output and read_states(job)[0] == "SUCCEEDED" else None


def count_tokens(job: Any) -> int | None:
    """Return the tokens that are billed: Google counts those of the file, and bills them each epoch."""
    tokens = _get_count(get_stats(job), "total_billable_token_count")
    epochs = read_settings(job).get("epoch_count")
    return tokens * int(epochs) if tokens and epochs else None


def count_steps(job: Any) -> int | None:
    """Return the steps that are done. Google counts epochs; steps only where answers are graded."""
    metadata = getattr(job, "tuning_job_metadata", None)
    if steps := _get_count(metadata, "completed_step_count"):
        return steps
    done = _get_count(metadata, "completed_epoch_count")
    steps = _get_count(get_stats(job), "tuning_step_count")
    epochs = read_settings(job).get("epoch_count")
    return min(steps, steps * done // int(epochs)) if done and steps and epochs else None


def count_epoch_steps(job: Any) -> int:
    """Return the steps of an epoch; 1 if they are unknown."""
    steps = _get_count(get_stats(job), "tuning_step_count")
    epochs = read_settings(job).get("epoch_count")
    return max(1, steps // int(epochs)) if steps and epochs else 1


def read_settings(job: Any) -> dict[str, Any]:
    """Return the hyperparameters that Google chose or confirmed."""
    spec = get_spec(job)
    parameters = getattr(spec, "hyper_parameters", None)
    values = {name: read_number(getattr(parameters, name, None)) for name in _SETTINGS}
    settings: dict[str, Any] = {
        name: int(value) if value == int(value) else value
        for name, value in values.items()
        if value is not None and abs(value) < 2**53
    }
    if size := read_word(getattr(parameters, "adapter_size", None), "ADAPTER_SIZE_"):
        sizes = {word: number for number, word in SIZES.items()}
        settings["adapter_size"] = sizes.get(size, size)
    if mode := read_word(getattr(spec, "tuning_mode", None), ""):
        settings["tuning_mode"] = mode
    return settings


def _read_planned(job: Any) -> dict[str, Any]:
    """Return what a job tells of the settings of a plan."""
    planned = read_settings(job)
    if parts := parse_name(_get_text(job, "name")):
        planned |= {"project": parts.project, "location": parts.location}
    bucket = (
        _get_text(get_spec(job), "training_dataset_uri").removeprefix("gs://").partition("/")[0]
    )
    planned |= {"bucket": bucket} if bucket else {}
    last_only = getattr(get_spec(job), "export_last_checkpoint_only", None)
    if isinstance(last_only, bool):
        planned["export_last_checkpoint_only"] = last_only
    return planned


def _read_error(job: Any) -> tuple[str, str]:
    """Return code and text of the error of a job that failed or was canceled."""
    error = getattr(job, "error", None)
    code, text = getattr(error, "code", None), getattr(error, "message", None)
    message = redact(text) if isinstance(text, str) else ""
    return (_CODES.get(code, str(code)) if isinstance(code, int) and code else ""), message


def explain_failure(job: Any) -> str:
    """Return what to do about a job that failed."""
    code, text = _read_error(job)
    tuned = getattr(job, "tuned_model", None)
    if model := _get_text(tuned, "model"):
        return f"The training was done, and is probably billed. The model is in the Model Registry: {model}"
    if code == "PERMISSION_DENIED" or _AGENT.search(text):
        return (
            "Grant the account that the message names the role roles/storage.objectUser on the bucket,"
            " then train again."
        )
    if code == "RESOURCE_EXHAUSTED":
        return f"Ask for a higher quota at {CONSOLE}/iam-admin/quotas, then train again."
    if code == "INVALID_ARGUMENT":
        return "Correct the rows (ftwizard check names them), then train again."
    return "Train again. If it fails again, ask Google's support with the name of the job."


def list_events(job: Any) -> list[JobEvent]:
    """Return what a look at the job shows, oldest first. The ids are the same at each look."""
    state, inner = read_states(job)
    events = [
        *_list_states(job, state, inner),
        *_describe_dataset(job),
        *_list_progress(job),
        *_list_end(job, state, inner),
    ]
    return events


def _list_states(job: Any, state: str, inner: str) -> Iterator[JobEvent]:
    created = read_time(getattr(job, "create_time", None))
    yield JobEvent(id="created", t=created, type="created", message="The job was created.")
    if state in _MESSAGES and _STATES[state] not in ("succeeded", "failed", "cancelled"):
        started = getattr(job, "start_time", None) if state == "RUNNING" else None
        t = read_time(started or getattr(job, "update_time", None))
        yield JobEvent(id=state, t=t, type=state, message=_MESSAGES[state])
    if inner:
        message = _MESSAGES.get(inner, f"The job is {inner}.")
        t = read_time(getattr(job, "update_time", None))
        level = "warning" if inner == "WAITING_FOR_QUOTA" else "info"
        yield JobEvent(id=f"{state}/{inner}", t=t, level=level, type=inner, message=message)  # type: ignore[arg-type]


def _describe_dataset(job: Any) -> Iterator[JobEvent]:
    stats = get_stats(job)
    rows = _get_count(stats, "tuning_dataset_example_count")
    if rows is None:
        return
    tokens = _get_count(stats, "total_billable_token_count")
    text = format_count(rows, "row") + (
        f", {format_count(tokens, 'token')} each epoch" if tokens else ""
    )
    yield JobEvent(id="dataset", type="dataset", message=f"Google read {text}.")
    cut = _get_count(stats, "total_truncated_example_count")
    if cut:
        text = f"Google cut {format_count(cut, 'row')} that are too long."
        yield JobEvent(id="truncated", level="warning", type="dataset", message=text)
    reasons = getattr(stats, "dropped_example_reasons", None)
    if isinstance(reasons, list) and reasons:
        text = redact(f"Google dropped rows: {'; '.join(map(str, reasons[:5]))}")
        yield JobEvent(id="dropped", level="warning", type="dataset", message=text)


def _list_progress(job: Any) -> Iterator[JobEvent]:
    if url := get_experiment_url(getattr(job, "experiment", None)):
        yield JobEvent(id="experiment", type="experiment", message=f"Curves of the training: {url}")
    done = _get_count(getattr(job, "tuning_job_metadata", None), "completed_epoch_count")
    if done:
        epochs = read_settings(job).get("epoch_count")
        t = read_time(getattr(job, "update_time", None))
        text = f"Epoch {done}{f' of {epochs}' if epochs else ''} is done."
        yield JobEvent(id=f"epoch-{done}", t=t, type="epoch", message=text)


def _list_end(job: Any, state: str, inner: str) -> Iterator[JobEvent]:
    updated = read_time(getattr(job, "update_time", None))
    if inner == "TUNING" and updated is not None and time.time() - updated > STALL_S:
        text = "Google has reported nothing of the job for 6 hours. Look at its page, or cancel it."
        yield JobEvent(id="stalled", level="warning", type="stalled", message=text)
    if _STATES.get(state) not in ("succeeded", "failed", "cancelled"):
        return
    output = get_output_uri(job)
    if output and _STATES[state] == "succeeded":
        text = f"The weights are in {output}, where they cost storage until you delete them."
        yield JobEvent(id="weights", t=updated, type="weights", message=text)
    _, text = _read_error(job)
    message = f"{_MESSAGES[state].rstrip('.')}{f': {text}' if text else ''}".rstrip(".")
    yield JobEvent(
        id=state, t=read_time(getattr(job, "end_time", None)) or updated, type=state,
        level="error" if _STATES[state] == "failed" else "info", message=f"{message}.",
    )  # fmt: skip


def read_checkpoints(job: Any) -> list[RemoteCheckpoint]:
    """Return the checkpoints of a tuned Gemini, each with an endpoint of its own, by step."""
    kept = getattr(getattr(job, "tuned_model", None), "checkpoints", None)
    checkpoints = []
    for item in kept if isinstance(kept, list) else []:
        step = _get_count(item, "step")
        if step is not None:
            epoch = read_number(getattr(item, "epoch", None))
            name, model = _get_text(item, "checkpoint_id"), _get_text(item, "endpoint") or None
            checkpoints.append(
                RemoteCheckpoint(id=name or str(step), model=model, step=step, epoch=epoch)
            )
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.step)


def _get_text(item: Any, name: str) -> str:
    value = getattr(item, name, None)
    return make_visible(value, 500) if isinstance(value, str) else ""


def _get_count(item: Any, name: str) -> int | None:
    number = read_number(getattr(item, name, None))
    return int(number) if number is not None and 0 <= number < 2**53 else None
