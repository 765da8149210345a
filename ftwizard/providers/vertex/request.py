"""The request of a job at Vertex AI, from a plan.

It has the project and the location as well: a job that was begun stays where it is, also if the
environment changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.genai import types

from ftwizard.plan.schema import Plan, Vertex
from ftwizard.providers.vertex.models import choose_tuning_mode, is_gemini
from ftwizard.runs.remote import RemoteJob

TAG_LABEL = "ftwizard-run"
"""Key of the run's tag among the labels of a job."""
METHOD = "SUPERVISED_FINE_TUNING"
FULL = "TUNING_MODE_FULL"
SIZES = {1: "ONE", 2: "TWO", 4: "FOUR", 8: "EIGHT", 16: "SIXTEEN", 32: "THIRTY_TWO"}
_GEMINI = ("learning_rate_multiplier",)
_OPEN = ("learning_rate", "batch_size")
_NOT_CONFIG = {"project", "location", "base_model", "training_dataset", "validation_dataset"}
"""Parts of a request that are not settings of the SDK's config under the same name."""
Request = dict[str, Any]


def build_request(plan: Plan, remote: RemoteJob, project: str, location: str) -> Request:
    """Return what the job is created with; it has no secret.

    Only settings of the method and of the kind of model are in it: the service refuses any others.
    Raises KeyError without an uploaded training file.
    """
    settings, model = plan.vertex, remote.model
    files = {part: file.id for part, file in remote.files.items() if file.id}
    request: Request = {
        "project": project,
        "location": location,
        "base_model": model,
        "training_dataset": files["train"],
        "method": METHOD,
        "tuned_model_display_name": make_display_name(settings, remote.tag),
        "labels": {TAG_LABEL: remote.tag},
        "epoch_count": settings.epoch_count,
    }
    if "validation" in files:
        request["validation_dataset"] = files["validation"]
    if is_gemini(model):
        request["export_last_checkpoint_only"] = settings.export_last_checkpoint_only
        return request | _copy(settings, _GEMINI) | _build_adapter(settings, "")
    mode = choose_tuning_mode(settings, model)
    request["output_uri"] = make_output_uri(str(files["train"]))
    request |= {"tuning_mode": mode} if mode else {}
    return request | _copy(settings, _OPEN) | _build_adapter(settings, mode)


def _copy(settings: Vertex, names: tuple[str, ...]) -> Request:
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value != "auto"}


def _build_adapter(settings: Vertex, mode: str) -> Request:
    if settings.adapter_size == "auto" or mode == FULL:
        return {}
    return {"adapter_size": f"ADAPTER_SIZE_{SIZES[settings.adapter_size]}"}


def make_display_name(settings: Vertex, tag: str) -> str:
    """Return the name of the tuned model, which ends in the tag: a job is recognized by it."""
    return f"{settings.suffix or 'ftwizard'}-{tag}"


def make_output_uri(training_uri: str) -> str:
    """Return the folder for the weights of an open model, next to the rows of the run."""
    return f"{training_uri.rpartition('/')[0]}/out"


def build_config(request: Mapping[str, Any]) -> types.CreateTuningJobConfig:
    """Return a request as the SDK's config; raise ValueError if it does not take it."""
    settings = {name: value for name, value in request.items() if name not in _NOT_CONFIG}
    if "validation_dataset" in request:
        settings["validation_dataset"] = types.TuningValidationDataset(
            gcs_uri=request["validation_dataset"]
        )
    return types.CreateTuningJobConfig(**settings)
