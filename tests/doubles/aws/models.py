"""Models of Bedrock: the foundation models of a region, their inference profiles, the tuned ones."""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.aws import jobs, lists
from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply, missing, write_json
from tests.doubles.aws.scenario import ACCOUNT, EAST, WEST, BedrockModel
from tests.doubles.aws.state import AwsState, CustomModel

REGIONS = (EAST, WEST)
_FOUNDATION = re.compile(r"arn:aws:bedrock:[^:]+::foundation-model/")
_PROFILE = re.compile(r"arn:aws:bedrock:[^:]+:\d*:inference-profile/")


def list_living(state: AwsState) -> list[BedrockModel]:
    """Return the models whose day has not come."""
    today = state.scenario.today
    return [each for each in state.scenario.models if (each.end_of_life or "9") > today]


def find_by_profile(state: AwsState, identifier: str) -> BedrockModel | None:
    """Return the model that an inference profile asks, by the profile's id or ARN."""
    name = _PROFILE.sub("", identifier)
    return next((each for each in list_living(state) if name in each.profiles), None)


def find_by_id(state: AwsState, identifier: str) -> BedrockModel | None:
    """Return a model by the id or ARN that it is asked by."""
    name = _FOUNDATION.sub("", identifier)
    return next((each for each in list_living(state) if name == each.id), None)


def _write_entries(state: AwsState, region: str) -> list[dict[str, Any]]:
    """Return the models of a region; the tunable ones have a second entry of their own."""
    entries = []
    for model in list_living(state):
        own = {
            "customizationsSupported": [],
            "inferenceTypesSupported": ["ON_DEMAND" if model.on_demand else "INFERENCE_PROFILE"],
        }
        entries.append({**_write_model(model, model.id, region), **own})
        if model.methods and model.region == region and model.context:
            # The filter and the list know nothing of reinforcement.
            tuned = {
                "customizationsSupported": ["FINE_TUNING"],
                "inferenceTypesSupported": ["PROVISIONED"],
            }
            entries.append({**_write_model(model, model.tuning_id, region), **tuned})
    return entries


def _write_model(model: BedrockModel, name: str, region: str) -> dict[str, Any]:
    lifecycle = {"status": "LEGACY" if model.legacy or model.end_of_life else "ACTIVE"}
    if model.end_of_life:
        lifecycle["endOfLifeTime"] = f"{model.end_of_life}T00:00:00Z"
    return {
        "modelArn": f"arn:aws:bedrock:{region}::foundation-model/{name}",
        "modelId": name,
        "modelName": model.name,
        "providerName": "Amazon" if model.id.startswith("amazon.") else "Meta",
        "inputModalities": ["TEXT"],
        "outputModalities": ["IMAGE" if "canvas" in model.id else "TEXT"],
        "responseStreamingSupported": True,
        "modelLifecycle": lifecycle,
    }


def list_foundation_models(state: AwsState, call: Call) -> Reply:
    """Answer ListFoundationModels."""
    entries = _write_entries(state, call.region)
    filters = {
        "byCustomizationType": "customizationsSupported", "byProvider": "providerName",
        "byInferenceType": "inferenceTypesSupported", "byOutputModality": "outputModalities",
    }  # fmt: skip
    for option, field in filters.items():
        if wanted := call.query.get(option):
            entries = [each for each in entries if wanted in each[field]]
    return write_json({"modelSummaries": entries})


def get_foundation_model(state: AwsState, call: Call) -> Reply:
    """Answer GetFoundationModel."""
    name = _FOUNDATION.sub("", call.target)
    for entry in _write_entries(state, call.region):
        if entry["modelId"] == name:
            return write_json({"modelDetails": entry})
    raise missing("Could not resolve the foundation model from the provided model identifier.")


def get_availability(state: AwsState, call: Call) -> Reply:
    """Answer GetFoundationModelAvailability."""
    model = find_by_id(state, call.target)
    if model is None:
        raise missing("The provided model identifier is invalid.")
    is_open = model.id not in state.scenario.no_access
    return write_json(
        {
            "modelId": model.id,
            "agreementAvailability": {"status": "AVAILABLE" if is_open else "NOT_AVAILABLE"},
            "authorizationStatus": "AUTHORIZED" if is_open else "NOT_AUTHORIZED",
            "entitlementAvailability": "AVAILABLE" if is_open else "NOT_AVAILABLE",
            "regionAvailability": "AVAILABLE",
        }
    )


def _write_profile(model: BedrockModel, profile: str, region: str) -> dict[str, Any]:
    arns = [f"arn:aws:bedrock:{each}::foundation-model/{model.id}" for each in REGIONS]
    return {
        "inferenceProfileName": f"{profile.partition('.')[0].upper()} {model.name}",
        "inferenceProfileArn": f"arn:aws:bedrock:{region}:{ACCOUNT}:inference-profile/{profile}",
        "inferenceProfileId": profile,
        "models": [{"modelArn": arn} for arn in arns],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


def list_profiles(state: AwsState, call: Call) -> Reply:
    """Answer ListInferenceProfiles."""
    entries = [
        _write_profile(model, profile, call.region)
        for model in list_living(state)
        for profile in model.profiles
    ]
    if call.query.get("type", "SYSTEM_DEFINED") != "SYSTEM_DEFINED":
        entries = []
    return write_json({"inferenceProfileSummaries": entries})


def get_profile(state: AwsState, call: Call) -> Reply:
    """Answer GetInferenceProfile."""
    model = find_by_profile(state, call.target)
    if model is None:
        raise missing("The inference profile could not be found.")
    return write_json(_write_profile(model, _PROFILE.sub("", call.target), call.region))


def list_provisioned(state: AwsState, call: Call) -> Reply:
    """Answer ListProvisionedModelThroughputs."""
    return write_json({"provisionedModelSummaries": list(state.scenario.provisioned)})


def delete_provisioned(state: AwsState, call: Call) -> Reply:
    """Answer DeleteProvisionedModelThroughput."""
    names = ("provisionedModelArn", "provisionedModelName")
    kept = [
        each
        for each in state.scenario.provisioned
        if call.target not in [each.get(name) for name in names]
    ]
    if len(kept) == len(state.scenario.provisioned):
        raise missing("Could not find the provisioned throughput.")
    state.scenario.provisioned = tuple(kept)
    return write_json({})


def _find_tuned(state: AwsState, call: Call) -> CustomModel:
    model = state.find_model(call.target)
    if model is None or model.job.region != call.region:
        raise missing("Could not find the custom model.")
    return model


def get_model(state: AwsState, call: Call) -> Reply:
    """Answer GetCustomModel."""
    model = _find_tuned(state, call)
    job = jobs.write_job(state, model.job)
    names = (
        "jobArn", "jobName", "baseModelArn", "customizationType", "hyperParameters",
        "trainingDataConfig", "validationDataConfig", "outputDataConfig", "trainingMetrics",
        "validationMetrics", "customizationConfig",
    )  # fmt: skip
    document = {
        "modelArn": model.arn,
        "modelName": model.name,
        "creationTime": jobs.write_time(model.created),
        "modelStatus": "Active",
        **{name: job[name] for name in names if name in job},
    }
    return write_json(document)


def list_models(state: AwsState, call: Call) -> Reply:
    """Answer ListCustomModels."""
    entries = [
        {
            "modelArn": model.arn,
            "modelName": model.name,
            "creationTime": jobs.write_time(model.created),
            "baseModelArn": jobs.get_base_arn(model.job),
            "baseModelName": model.job.base.name,
            "customizationType": model.job.request["customizationType"],
            "ownerAccountId": ACCOUNT,
            "modelStatus": "Active",
        }
        for model in state.models.values()
        if model.job.region == call.region
    ]
    page = lists.cut(call.query, entries, name="modelName", created="creationTime")
    return write_json(lists.write_page(page, "modelSummaries"))


def delete_model(state: AwsState, call: Call) -> Reply:
    """Answer DeleteCustomModel, which fails while a deployment has the model."""
    model = _find_tuned(state, call)
    if any(each.model is model for each in state.deployments.values()):
        message = "The custom model is in use by a custom model deployment."
        raise AwsError(400, "ConflictException", message)
    del state.models[model.name]
    return write_json({})


HANDLERS = {
    "list_foundation_models": list_foundation_models,
    "get_foundation_model": get_foundation_model,
    "get_availability": get_availability,
    "list_profiles": list_profiles,
    "get_profile": get_profile,
    "list_provisioned": list_provisioned,
    "delete_provisioned": delete_provisioned,
    "get_model": get_model,
    "list_models": list_models,
    "delete_model": delete_model,
}
