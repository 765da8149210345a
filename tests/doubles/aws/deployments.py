"""Deployments of tuned models, which answer on demand."""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.aws import jobs, lists
from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply, invalid, missing, write_json
from tests.doubles.aws.state import AwsState, CustomDeployment


def create(state: AwsState, call: Call) -> Reply:
    """Answer CreateCustomModelDeployment; a repeated token makes nothing new."""
    request = call.body or {}
    token = (call.region, request["clientRequestToken"])
    if arn := state.deployment_tokens.get(token):
        return write_json({"customModelDeploymentArn": arn}, 202)
    name = str(request.get("modelDeploymentName"))
    if len(name) > 63 or not re.fullmatch(jobs.MODEL_NAME, name):
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'modelDeploymentName' failed to "
            f"satisfy constraint: Member must satisfy regular expression pattern: {jobs.MODEL_NAME}"
        )
    model = state.find_model(request.get("modelArn", ""))
    if model is None or model.job.region != call.region or request["modelArn"] != model.arn:
        raise missing("Could not find the custom model.")
    if not model.job.base.deploys:
        raise invalid("The custom model doesn't support on-demand deployment.")
    if any(each.name == name for each in state.deployments.values()):
        raise invalid("The provided model deployment name is currently in use.")
    _check_quota(state)
    deployment = CustomDeployment(name, state.make_id(), model, state.now())
    state.deployments[deployment.id] = deployment
    state.deployment_tokens[token] = deployment.arn
    state.tags[deployment.arn] = request.get("tags", [])
    return write_json({"customModelDeploymentArn": deployment.arn}, 202)


def _check_quota(state: AwsState) -> None:
    scenario, all_ = state.scenario, list(state.deployments.values())
    if len([each for each in all_ if each.status == "Creating"]) >= scenario.max_new_deployments:
        message = "You have exceeded the quota of in-progress custom model deployments."
        raise AwsError(400, "ServiceQuotaExceededException", message)
    if len(all_) >= scenario.max_deployments:
        message = "You have exceeded the quota of custom model deployments for your account."
        raise AwsError(400, "ServiceQuotaExceededException", message)


def _find(state: AwsState, call: Call) -> CustomDeployment:
    deployment = state.find_deployment(call.target)
    if deployment is None or deployment.model.job.region != call.region:
        raise missing("Could not find the custom model deployment.")
    return deployment


def look(state: AwsState, deployment: CustomDeployment) -> None:
    """Count a look at a deployment, which may become active by it."""
    if deployment.status != "Creating":
        return
    deployment.looks += 1
    if deployment.looks > state.scenario.deployment_looks:
        deployment.failure = state.scenario.deployment_failure or ""
        deployment.status = "Failed" if deployment.failure else "Active"


def get(state: AwsState, call: Call) -> Reply:
    """Answer GetCustomModelDeployment, which is a look at it."""
    deployment = _find(state, call)
    look(state, deployment)
    return write_json({**_write(deployment), "modelDeploymentName": deployment.name})


def list_(state: AwsState, call: Call) -> Reply:
    """Answer ListCustomModelDeployments, which is a look at each."""
    deployments = [
        each
        for each in state.deployments.values()
        if each.model.job.region == call.region
        and call.query.get("modelArnEquals", each.model.arn) == each.model.arn
    ]
    for each in deployments:
        look(state, each)
    entries = [{**_write(each), "customModelDeploymentName": each.name} for each in deployments]
    page = lists.cut(call.query, entries, name="customModelDeploymentName", created="createdAt")
    return write_json(lists.write_page(page, "modelDeploymentSummaries"))


def delete(state: AwsState, call: Call) -> Reply:
    """Answer DeleteCustomModelDeployment, which fails while it is being made."""
    deployment = _find(state, call)
    if deployment.status == "Creating":
        raise invalid("Custom model deployment is in a mutating state")
    del state.deployments[deployment.id]
    return write_json({})


def _write(deployment: CustomDeployment) -> dict[str, Any]:
    document = {
        "customModelDeploymentArn": deployment.arn,
        "modelArn": deployment.model.arn,
        "createdAt": jobs.write_time(deployment.created),
        "lastUpdatedAt": jobs.write_time(deployment.created),
        "status": deployment.status,
    }
    if deployment.failure:
        document["failureMessage"] = deployment.failure
    return document


HANDLERS = {
    "create_deployment": create, "get_deployment": get, "list_deployments": list_,
    "delete_deployment": delete,
}  # fmt: skip
