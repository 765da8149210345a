"""Routes of the service: what each one does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec

from tests.doubles.openai_service import chat, graders
from tests.doubles.openai_service.errors import ServiceError
from tests.doubles.openai_service.scenario import Method
from tests.doubles.openai_service.state import Job, ServiceState, Upload
from tests.doubles.openai_service.training import get_hyperparameters

METADATA_LIMIT, KEY_LIMIT, VALUE_LIMIT = 16, 64, 512
UPLOAD_S = 3600
TRAINING_TYPES = ("standard", "globalstandard", "developer", "developertier")
UNSET = {"n_epochs": -1, "batch_size": -1, "learning_rate_multiplier": 1}
"""What Foundry shows of a hyperparameter that it will choose."""
OPEN_MODELS = ("gpt-oss-20b",)


class Reply(msgspec.Struct, kw_only=True):
    """What is sent."""

    status: int = 200
    document: Any = None
    data: bytes | None = None
    """Sent in place of the document: the content of a file."""
    chunks: list[dict[str, Any]] | None = None
    """Sent in place of the document: a stream."""
    headers: dict[str, str] = {}
    is_odd: bool = False
    """It differs from the official document because the scenario wants that."""


class Call(msgspec.Struct, kw_only=True):
    """A request, as a route gets it."""

    state: ServiceState
    ids: tuple[str, ...]
    """The variable parts of the path."""
    query: dict[str, Any]
    body: Any
    uploads: dict[str, tuple[str, bytes]]
    """Files of a form by field: their names and contents."""


Handler = Callable[[Call], Reply]


def list_models(call: Call) -> Reply:
    state = call.state
    models = [write_model(state, model.id) for model in state.list_models()]
    tuned = [
        write_model(state, job.fine_tuned_model)
        for job in state.jobs.values()
        if job.fine_tuned_model and job.fine_tuned_model not in state.deleted_models
    ]
    return Reply(document={"object": "list", "data": models + tuned})


def write_model(state: ServiceState, name: str) -> dict[str, Any]:
    """Return a model as the service describes it; raise ServiceError if it does not exist."""
    job, model = state.find_tuned(name), state.find_model(name)
    if job is None and model is None:
        raise ServiceError(
            404,
            f"The model '{name}' does not exist",
            param="model",
            code="model_not_found",
        )
    base = state.find_model(job.model) if job else model
    own: dict[str, Any] = {}
    if state.foundry:
        can_tune = bool(base and base.methods)
        own = {
            "capabilities": {"fine_tune": can_tune, "inference": True, "chat_completion": True},
            "lifecycle_status": "generally-available",
            "deprecation": {},
        }
    return {
        **own,
        "id": name,
        "object": "model",
        "created": job.created_at if job else 1_744_316_542,
        "owned_by": state.scenario.organization if job else "system",
        **({} if state.mantle else {"shutdown_date": base.shutdown if base else None}),
    }


def retrieve_model(call: Call) -> Reply:
    return Reply(document=write_model(call.state, call.ids[0]))


def delete_model(call: Call) -> Reply:
    write_model(call.state, call.ids[0])
    if call.state.find_tuned(call.ids[0]) is None:
        raise ServiceError(403, "You have insufficient permissions for this operation.")
    call.state.deleted_models.add(call.ids[0])
    return Reply(document={"id": call.ids[0], "object": "model", "deleted": True})


# Files


def create_file(call: Call) -> Reply:
    name, data = call.uploads["file"]
    _check_file(
        call.state, name, len(data), call.body["purpose"], call.state.scenario.max_file_bytes
    )
    file = call.state.add_file(data, name, call.body["purpose"])
    return Reply(document=call.state.write_file(file))


def _check_file(state: ServiceState, name: str, size: int, purpose: str, most: int) -> None:
    if size > most:
        raise ServiceError(
            413,
            f"Maximum content size limit ({most}) exceeded ({size} bytes read)",
            kind="server_error",
        )
    if size == 0:
        raise ServiceError(400, "File is empty.", param="file")
    if purpose == "fine-tune" and not name.endswith(".jsonl"):
        raise ServiceError(
            400, "Invalid file format for Fine-Tuning API. Must be .jsonl", param="file"
        )


def list_files(call: Call) -> Reply:
    files = list(call.state.files.values())
    if purpose := call.query.get("purpose"):
        files = [file for file in files if file.purpose == purpose]
    if call.query.get("order", "desc") == "desc":
        files.reverse()
    documents = [call.state.write_file(file) for file in files]
    page = paginate(documents, call.query, 10_000)
    ends = page["data"] or [{"id": ""}]
    return Reply(document={**page, "first_id": ends[0]["id"], "last_id": ends[-1]["id"]})


def retrieve_file(call: Call) -> Reply:
    file = call.state.get_file(call.ids[0])
    file.looks += 1
    file.is_processed = file.is_processed or file.looks >= call.state.scenario.file_polls
    return Reply(document=call.state.write_file(file))


def read_file(call: Call) -> Reply:
    file = call.state.get_file(call.ids[0])
    return Reply(data=file.data, headers={"Content-Type": "application/octet-stream"})


def delete_file(call: Call) -> Reply:
    file = call.state.get_file(call.ids[0])
    del call.state.files[file.id]
    return Reply(document={"id": file.id, "object": "file", "deleted": True})


# Uploads


def create_upload(call: Call) -> Reply:
    state, body = call.state, call.body
    _check_file(
        state, body["filename"], body["bytes"], body["purpose"], state.scenario.max_upload_bytes
    )
    upload = Upload(state.make_id("upload_"), body, state.now())
    state.uploads[upload.id] = upload
    return Reply(document=_write_upload(state, upload))


def _get_upload(call: Call) -> Upload:
    upload = call.state.uploads.get(call.ids[0])
    if upload is None:
        raise ServiceError(404, f"No such Upload object: {call.ids[0]}", param="upload_id")
    if upload.status == "pending" and call.state.now() > upload.created_at + UPLOAD_S:
        upload.status = "expired"
    if upload.status != "pending":
        raise ServiceError(400, f"The upload {upload.id} has status {upload.status}.")
    return upload


def _write_upload(state: ServiceState, upload: Upload) -> dict[str, Any]:
    document = {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.request["bytes"],
        "created_at": upload.created_at,
        "filename": upload.request["filename"],
        "purpose": upload.request["purpose"],
        "status": upload.status,
        "expires_at": upload.created_at + UPLOAD_S,
    }
    if upload.file:
        document["file"] = state.write_file(state.get_file(upload.file))
    return document


def add_part(call: Call) -> Reply:
    upload = _get_upload(call)
    _, data = call.uploads["data"]
    most = call.state.scenario.max_part_bytes
    if len(data) > most:
        raise ServiceError(400, f"A part can have at most {most} bytes.", param="data")
    part_id = call.state.make_id("part_")
    upload.parts[part_id] = data
    return Reply(
        document={
            "id": part_id,
            "object": "upload.part",
            "created_at": call.state.now(),
            "upload_id": upload.id,
        }
    )


def complete_upload(call: Call) -> Reply:
    upload = _get_upload(call)
    if missing := [part for part in call.body["part_ids"] if part not in upload.parts]:
        raise ServiceError(400, f"No such Part object: {missing[0]}", param="part_ids")
    data = b"".join(upload.parts[part] for part in call.body["part_ids"])
    if len(data) != upload.request["bytes"]:
        raise ServiceError(
            400, f"The parts have {len(data)} bytes, but {upload.request['bytes']} were announced."
        )
    md5 = call.body.get("md5")
    if md5 and md5 != hashlib.md5(data).hexdigest():
        raise ServiceError(400, "The checksum of the parts is another one.", param="md5")
    file = call.state.add_file(data, upload.request["filename"], upload.request["purpose"])
    upload.file, upload.status = file.id, "completed"
    upload.parts.clear()
    return Reply(document=_write_upload(call.state, upload))


def cancel_upload(call: Call) -> Reply:
    upload = _get_upload(call)
    upload.status = "cancelled"
    upload.parts.clear()
    return Reply(document=_write_upload(call.state, upload))


# Jobs


def create_job(call: Call) -> Reply:
    """Create a job, without a look at whether there is one like it: the service has none either."""
    state, body = call.state, call.body
    if state.scenario.closed:
        raise ServiceError(
            403,
            "OpenAI is winding down the fine-tuning platform and your organization is no longer able "
            "to create new fine-tuning training jobs.",
            code="training_not_available",
        )
    _check_metadata(body.get("metadata"))
    method: Method = (body.get("method") or {}).get("type") or "supervised"
    model = _check_tunable(state, body, method)
    for part in ("training_file", "validation_file"):
        if body.get(part) is not None:
            _check_training_file(state, body[part], part)
    if method == "reinforcement":
        _check_reinforcement(state, body)
    most = state.scenario.max_active_jobs
    if most is not None and state.count_active_jobs() >= most:
        raise ServiceError(
            429,
            f"Your organization has reached its limit of {most} active fine-tuning jobs.",
            kind="requests",
            code="rate_limit_exceeded",
            headers={"Retry-After": "60"},
        )
    job = _add_job(state, body, method, model)
    return write_reply(state, job)


def _add_job(state: ServiceState, body: dict[str, Any], method: Method, model: str) -> Job:
    job_id = state.make_id("ftjob-")
    scenario = state.scenario
    seed = body.get("seed")
    job = Job(
        id=job_id,
        model=model,
        created_at=state.now(),
        request=body,
        method=method,
        training_file=body["training_file"],
        validation_file=body.get("validation_file"),
        seed=seed if seed is not None else int(hashlib.sha256(job_id.encode()).hexdigest()[:7], 16),
        metadata=body.get("metadata"),
        tuned_name=state.name_model(model, job_id, body.get("suffix")),
        steps_per_look=scenario.pace.steps,
        hold_at=scenario.pace.hold_at,
        pause_at=scenario.pace.pause_at,
        curve=scenario.curve,
        failure=scenario.failure,
        is_foundry=state.foundry,
        is_mantle=state.mantle,
    )
    state.jobs[job.id] = job
    if state.foundry:
        job.add_event("Job enqueued. Waiting for jobs ahead to complete.", job.created_at)
        return job
    job.add_event(f"Created fine-tuning job: {job.id}", job.created_at)
    files = f"training file: {job.training_file}"
    if job.validation_file:
        files += f" and validation file: {job.validation_file}"
    job.add_event(f"Validating {files}", job.created_at)
    return job


def _check_tunable(state: ServiceState, body: dict[str, Any], method: Method) -> str:
    """Return the full name of the model to tune; raise ServiceError if it cannot be."""
    name = body["model"]
    tuned = state.find_tuned(name)
    model = state.find_model(tuned.model if tuned else name)
    can = model is not None and method in model.methods
    if state.foundry and not (can and _takes_training_type(name, body.get("trainingType"))):
        # Misleading, but it is what a request without a training type gets.
        raise ServiceError(
            400,
            "The specified base model does not support fine-tuning.",
            code="invalidPayload",
        )
    if model is None or not model.methods:
        raise ServiceError(
            400,
            f"Model {name} is not available for fine-tuning or does not exist.",
            param="model",
            code="model_not_available",
        )
    if not can:
        raise ServiceError(
            400,
            f"Model {name} does not support the {method} method.",
            param="method",
            code="invalid_value",
        )
    return name if tuned else model.id


def _takes_training_type(model: str, training_type: str | int | None) -> bool:
    """Return whether Foundry trains a model that way; open models only globally."""
    if isinstance(training_type, int):
        return True
    types = ("globalstandard",) if model in OPEN_MODELS else TRAINING_TYPES
    return training_type is not None and training_type.lower() in types


def _check_training_file(state: ServiceState, file_id: str, part: str) -> None:
    file = state.files.get(file_id)
    if file is None:
        raise ServiceError(400, f"invalid {part}: {file_id}", param=part)
    if file.purpose != "fine-tune":
        raise ServiceError(
            400, f"File '{file_id}' has purpose {file.purpose}, not fine-tune.", param=part
        )
    if not file.is_processed:
        raise ServiceError(
            400,
            f"File '{file_id}' is still being processed and is not ready to be used for fine-tuning. "
            "Please try again later.",
            param=part,
        )
    if state.scenario.file_error is not None:
        raise ServiceError(400, f"File '{file_id}' could not be processed.", param=part)


def _check_reinforcement(state: ServiceState, body: dict[str, Any]) -> None:
    if not body.get("validation_file") and not state.mantle:
        raise ServiceError(
            400,
            "A validation file is required for reinforcement fine-tuning.",
            param="validation_file",
            code="missing_required_parameter",
        )
    configuration = body["method"].get("reinforcement")
    if not configuration:
        raise ServiceError(
            400,
            "Missing required parameter: 'method.reinforcement'.",
            param="method.reinforcement",
            code="missing_required_parameter",
        )
    if not state.mantle:
        _check_grader(state, configuration["grader"], "method.reinforcement.grader")


def _check_grader(state: ServiceState, grader: dict[str, Any], param: str) -> None:
    models = {model.id for model in state.list_models()}
    models |= {model.alias for model in state.list_models() if model.alias}
    if problem := graders.find_problem(grader, models):
        raise ServiceError(400, f"Invalid grader: {problem}", param=param, code="invalid_grader")


def _check_metadata(metadata: dict[str, str] | None) -> None:
    if not metadata:
        return
    if len(metadata) > METADATA_LIMIT:
        raise ServiceError(
            400,
            f"Invalid 'metadata': too many properties. Expected an object with at most "
            f"{METADATA_LIMIT} properties, but got an object with {len(metadata)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        if len(key) > KEY_LIMIT:
            raise ServiceError(
                400,
                f"Invalid 'metadata': key too long. Expected at most {KEY_LIMIT} characters.",
                param="metadata",
                code="string_above_max_length",
            )
        if len(value) > VALUE_LIMIT:
            raise ServiceError(
                400,
                f"Invalid 'metadata.{key}': string too long. Expected a string with maximum length "
                f"{VALUE_LIMIT}, but got a string with length {len(value)} instead.",
                param=f"metadata.{key}",
                code="string_above_max_length",
            )


def write_job(state: ServiceState, job: Job) -> dict[str, Any]:
    """Return a job as the service describes it."""
    status = job.status
    if state.foundry and status == "validating_files":
        status = "pending"
    if status == "running" and state.scenario.odd_status:
        status = state.scenario.odd_status
    settings = _write_settings(job)
    own = (job.request.get("method") or {}).get(job.method) or {}
    has_results = bool(job.result_files) or not state.foundry
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": job.model,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "fine_tuned_model": job.fine_tuned_model,
        "organization_id": None if state.foundry else state.scenario.organization,
        "result_files": list(job.result_files) if has_results else None,
        "status": status,
        "validation_file": job.validation_file,
        "training_file": job.training_file,
        "hyperparameters": {
            name: UNSET[name] if state.foundry and settings[name] == "auto" else settings[name]
            for name in UNSET
        },
        "trained_tokens": job.trained_tokens,
        "error": job.error or _write_no_error(state),
        "user_provided_suffix": job.request.get("suffix"),
        "seed": job.seed,
        "estimated_finish": _estimate_finish(state, job),
        "integrations": [
            {"type": entry["type"], "wandb": entry["wandb"]}
            for entry in job.request.get("integrations") or []
        ]
        or (None if state.foundry else []),
        "method": {
            "type": job.method,
            job.method: {**own, "hyperparameters": _write_method_settings(state, settings)},
        },
        "metadata": job.metadata,
    }


def _write_settings(job: Job) -> dict[str, Any]:
    automatic: dict[str, Any] = dict.fromkeys(UNSET, "auto")
    return job.settings or {**automatic, **get_hyperparameters(job.request, job.method)}


def _write_method_settings(state: ServiceState, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a method; at Bedrock, all of them are numbers."""
    if not state.mantle:
        return settings
    return {name: value for name, value in settings.items() if value != "auto"}


def _write_no_error(state: ServiceState) -> dict[str, Any] | None:
    kind = state.scenario.empty_error or ("null" if state.foundry else "empty")
    empty: dict[str, Any] = {} if kind == "empty" else dict.fromkeys(("code", "message", "param"))
    return None if kind == "null" else empty


def _estimate_finish(state: ServiceState, job: Job) -> int | None:
    pace = state.scenario.pace
    if pace.clock != "time" or job.status != "running":
        return None
    return int(state.now() + (job.total_steps - job.step) * pace.step_s) + 1


def write_reply(state: ServiceState, job: Job) -> Reply:
    """Return a job as a reply."""
    scenario = state.scenario
    is_odd = bool(scenario.odd_status) or scenario.empty_error == "nones"
    is_odd = is_odd or scenario.paused_status != "paused"
    return Reply(document=write_job(state, job), is_odd=is_odd)


def list_jobs(call: Call) -> Reply:
    jobs = list(reversed(call.state.jobs.values()))
    wanted = call.query.get("metadata")
    if "metadata" in call.query and call.state.scenario.filters_jobs:
        jobs = [
            job
            for job in jobs
            if (not job.metadata if wanted is None else _has_metadata(job, wanted))
        ]
    replies = [write_reply(call.state, job) for job in jobs]
    page = paginate([reply.document for reply in replies], call.query, 20)
    return Reply(document=page, is_odd=any(reply.is_odd for reply in replies))


def _has_metadata(job: Job, wanted: dict[str, str]) -> bool:
    return all((job.metadata or {}).get(key) == value for key, value in wanted.items())


def retrieve_job(call: Call) -> Reply:
    job = call.state.get_job(call.ids[0])
    call.state.look_at(job)
    return write_reply(call.state, job)


def cancel_job(call: Call) -> Reply:
    job = call.state.get_job(call.ids[0])
    call.state.cancel(job)
    return write_reply(call.state, job)


def pause_job(call: Call) -> Reply:
    job = call.state.get_job(call.ids[0])
    call.state.pause(job)
    return write_reply(call.state, job)


def resume_job(call: Call) -> Reply:
    job = call.state.get_job(call.ids[0])
    call.state.resume(job)
    return write_reply(call.state, job)


def list_events(call: Call) -> Reply:
    job = call.state.get_job(call.ids[0])
    page = paginate(list(reversed(job.events)), call.query, 20)
    return Reply(document=page, is_odd=job.has_odd_events)


def list_checkpoints(call: Call) -> Reply:
    job = call.state.get_job(call.ids[0])
    checkpoints = list(reversed(job.checkpoints)) if job.status != "failed" else []
    page = paginate(checkpoints, call.query, 10)
    ends = page["data"] or [{"id": None}]
    return Reply(document={**page, "first_id": ends[0]["id"], "last_id": ends[-1]["id"]})


def paginate(entries: list[dict[str, Any]], query: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the page of a list that follows ``after``."""
    start = 0
    if after := query.get("after"):
        ids = [entry["id"] for entry in entries]
        if after not in ids:
            raise ServiceError(400, f"Invalid cursor: {after}", param="after")
        start = ids.index(after) + 1
    end = start + int(query.get("limit", limit))
    return {"object": "list", "data": entries[start:end], "has_more": end < len(entries)}


# Graders, chat, moderation


def validate_grader(call: Call) -> Reply:
    _check_grader(call.state, call.body["grader"], "grader")
    return Reply(document={"grader": call.body["grader"]})


def run_grader(call: Call) -> Reply:
    _check_grader(call.state, call.body["grader"], "grader")
    item = call.body.get("item") or {}
    return Reply(document=graders.run(call.body["grader"], item, call.body["model_sample"]))


def create_completion(call: Call) -> Reply:
    completion = chat.complete(call.state, call.body)
    if not call.body.get("stream"):
        return Reply(document=completion)
    options = call.body.get("stream_options") or {}
    return Reply(chunks=chat.split(completion, bool(options.get("include_usage"))))


def moderate(call: Call) -> Reply:
    return Reply(document=chat.moderate(call.state, call.body))


ROUTES: dict[str, Handler] = {
    "GET /models": list_models,
    "GET /models/{model}": retrieve_model,
    "DELETE /models/{model}": delete_model,
    "POST /files": create_file,
    "GET /files": list_files,
    "GET /files/{file_id}": retrieve_file,
    "DELETE /files/{file_id}": delete_file,
    "GET /files/{file_id}/content": read_file,
    "POST /uploads": create_upload,
    "POST /uploads/{upload_id}/parts": add_part,
    "POST /uploads/{upload_id}/complete": complete_upload,
    "POST /uploads/{upload_id}/cancel": cancel_upload,
    "POST /fine_tuning/jobs": create_job,
    "GET /fine_tuning/jobs": list_jobs,
    "GET /fine_tuning/jobs/{fine_tuning_job_id}": retrieve_job,
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel": cancel_job,
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/pause": pause_job,
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/resume": resume_job,
    "GET /fine_tuning/jobs/{fine_tuning_job_id}/events": list_events,
    "GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints": list_checkpoints,
    "POST /fine_tuning/alpha/graders/validate": validate_grader,
    "POST /fine_tuning/alpha/graders/run": run_grader,
    "POST /chat/completions": create_completion,
    "POST /moderations": moderate,
}
NOT_AT_MANTLE = ("/uploads", "/moderations", "/fine_tuning/alpha", "/content", "/pause", "/resume")
"""Parts of the routes that Bedrock's address does not document."""
PATTERNS = {
    route: re.compile(re.sub(r"\{\w+\}", "([^/]+)", route.partition(" ")[2])) for route in ROUTES
}


def find_route(
    method: str, path: str, *, mantle: bool = False
) -> tuple[str, tuple[str, ...]] | None:
    """Return the route of a request and the variable parts of its path; ``path`` is still quoted."""
    if mantle and any(part in path for part in NOT_AT_MANTLE):
        return None
    for route, pattern in PATTERNS.items():
        if route.startswith(f"{method} ") and (match := pattern.fullmatch(path)):
            return route, match.groups()
    return None
