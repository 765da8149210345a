"""Checks of a tuning job that is asked for, before it is created."""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.vertex_service.errors import ServiceError, refuse_precondition
from tests.doubles.vertex_service.models import FULL, PEFT, SIZES, VertexModel
from tests.doubles.vertex_service.schema import JOB, SPECS, check_body
from tests.doubles.vertex_service.state import SPEC_FIELDS, ServiceState

MAX_NAME = 128
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_WORDS = {word: number for number, word in SIZES.items()}
MAX_FILE_BYTES = 2**30


def check_job(state: ServiceState, location: str, body: Any) -> tuple[VertexModel, dict[str, Any]]:
    """Return model and request of a job; raise ServiceError for one that the service refuses."""
    body = check_body(body, JOB, "tuning_job")
    specs = [name for name in SPECS if name in body]
    if len(specs) > 1:
        message = f"oneof field 'tuning_spec' is already set. Cannot set '{specs[1]}'"
        raise ServiceError(
            400, f"Invalid value at 'tuning_job' (oneof), {message}", field="tuning_job"
        )
    if not specs:
        raise ServiceError(400, "The tuning_spec field is required.")
    if body.get("preTunedModel") or body.get("customBaseModel"):
        raise ServiceError(400, "Continuous tuning is not supported for this project.")
    model = _find_model(state, str(body.get("baseModel", "")), SPECS[specs[0]], location)
    _check_names(body)
    spec = body[specs[0]]
    _check_settings(model, spec, SPECS[specs[0]])
    _check_output(state, model, body)
    _check_files(state, model, spec, SPECS[specs[0]])
    if SPECS[specs[0]] == "reinforcement":
        _check_reward(spec)
    return model, body


def _find_model(state: ServiceState, name: str, method: str, location: str) -> VertexModel:
    if not name:
        raise ServiceError(400, "The base_model field is required.", field="base_model")
    parts = re.fullmatch(r"publishers/([^/]+)/models/(.+)", name)
    short = parts[2] if parts and parts[1] == "google" and "@" not in name else name
    short = f"{parts[1]}/{parts[2]}" if parts and "@" in name else short
    if "/" in short and "@" not in short:
        raise ServiceError(400, f"Invalid open source publisher model resource name: {name}")
    model = next((each for each in state.scenario.models if each.id == short), None)
    if model is None or method not in model.methods:
        raise ServiceError(400, f"Base model {name} is not supported.", field="base_model")
    regions = ("us-central1",) if method == "reinforcement" else model.regions
    if location not in regions:
        if location == "global" and model.is_open:
            raise refuse_precondition("The model does not support global endpoint tuning.")
        raise refuse_precondition(
            f"Tuning of base model {name} is not supported in location {location}. Supported "
            f"locations: {', '.join(regions)}."
        )
    return model


def _check_names(body: dict[str, Any]) -> None:
    if len(body.get("tunedModelDisplayName", "")) > MAX_NAME:
        raise ServiceError(
            400,
            "The tuned_model_display_name must be at most 128 characters.",
            field="tuned_model_display_name",
        )
    for key, value in body.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL.fullmatch(value):
            raise ServiceError(400, f"Invalid label {key!r}: {value!r}.", field="labels")


def _check_settings(model: VertexModel, spec: dict[str, Any], method: str) -> None:
    sizes = spec.get("hyperParameters", {})
    mode = spec.get("tuningMode")
    if mode and not model.is_open:
        raise ServiceError(400, "The tuning_mode field is not supported for this base model.")
    if mode and mode not in model.modes:
        raise ServiceError(400, f"Tuning mode {mode} is not supported for this base model.")
    is_full = model.is_open and (mode == FULL or PEFT not in model.modes)
    size = sizes.get("adapterSize")
    if size and (is_full or _WORDS.get(size) not in model.adapter_sizes):
        raise ServiceError(400, "The adapter size is not supported for this base model.")
    for name in ("batchSize", "learningRate") if not model.is_open else ("learningRateMultiplier",):
        if name in sizes and method == "supervised":
            raise ServiceError(
                400, f"The hyperparameter {name} is not supported for this base model."
            )
    for name, value in sizes.items():
        if name not in ("adapterSize", "thinkingLevel") and float(value) <= 0:
            raise ServiceError(400, f"The hyperparameter {name} must be greater than 0.")
    if model.is_open and spec.get("exportLastCheckpointOnly"):
        message = "The export_last_checkpoint_only field is not supported for this base model."
        raise ServiceError(400, message)


def _check_output(state: ServiceState, model: VertexModel, body: dict[str, Any]) -> None:
    uri = body.get("outputUri")
    if model.is_open and not uri:
        raise ServiceError(400, "The output_uri field is required for this model.")
    if not model.is_open and uri:
        raise ServiceError(400, "The output_uri field is not supported for this model.")
    if uri and not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", uri):
        raise ServiceError(400, f"Invalid output_uri: {uri}", field="output_uri")
    if uri and not state.storage.has_bucket(uri):
        raise ServiceError(
            400, f"The bucket of output_uri {uri} does not exist.", field="output_uri"
        )


def _check_files(
    state: ServiceState, model: VertexModel, spec: dict[str, Any], method: str
) -> None:
    field = SPEC_FIELDS[method]
    sizes: dict[str, int] = {}
    for key, name in (
        ("trainingDatasetUri", "training_dataset_uri"),
        ("validationDatasetUri", "validation_dataset_uri"),
    ):
        uri = spec.get(key)
        if uri is None and key == "validationDatasetUri":
            continue
        path = f"tuning_job.{field}.{name}"
        if not uri:
            raise _refuse_file(path, f"{name} is required.")
        if not re.fullmatch(r"gs://[^/]+/.+\.jsonl", uri):
            raise _refuse_file(path, f"{name} should be a GCS object of type JSONL.")
        data = state.storage.read(uri)
        if data is None:
            raise _refuse_file(path, f"The object {uri} does not exist or cannot be read.")
        if len(data) > MAX_FILE_BYTES:
            raise _refuse_file(path, "The file is larger than 1 GB.")
        sizes[key] = len(data)
        most = state.scenario.max_validation_rows if method == "supervised" else 500
        rows = sum(bool(line.strip()) for line in data.split(b"\n"))
        if key == "validationDatasetUri" and rows > most:
            raise _refuse_file(
                path, f"The dataset has {rows} examples; at most {most} are allowed."
            )
        if key == "trainingDatasetUri" and method == "reinforcement" and rows > 5_000:
            raise _refuse_file(path, f"The dataset has {rows} examples; at most 5000 are allowed.")
    training, validation = sizes["trainingDatasetUri"], sizes.get("validationDatasetUri", 0)
    if model.is_open and validation > training / 4:
        path = f"tuning_job.{field}.validation_dataset_uri"
        raise _refuse_file(path, "The validation dataset exceeds 25% of the training dataset size.")


def _check_reward(spec: dict[str, Any]) -> None:
    configs = [name for name in ("singleRewardConfig", "compositeRewardConfig") if spec.get(name)]
    if len(configs) != 1:
        raise ServiceError(400, "Exactly one of the reward configs is required.")


def _refuse_file(path: str, message: str) -> ServiceError:
    return ServiceError(
        400, f"List of found errors:\t1.Field: {path}; Message: {message}\t", field=path
    )
