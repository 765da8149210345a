"""Jobs of Bedrock: what is checked before one is made, and the calls that read and stop them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from tests.doubles.aws import lists, policies, progress, storage
from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply, invalid, missing, write_json
from tests.doubles.aws.scenario import ACCOUNT, BedrockModel
from tests.doubles.aws.state import AwsState, BedrockJob

JOB_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9+\-.]){0,62}"
MODEL_NAME = r"([0-9a-zA-Z][_-]?){1,63}"
ROLE_ARN = r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+"
S3_URI = r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[-!_*'().a-z0-9A-Z]+)*/?"
MAX_TAGS = 50
RFT_BOUNDS: dict[str, tuple[float, float]] = {
    "epochCount": (1, 50), "batchSize": (16, 512), "learningRate": (1e-7, 1e-3),
    "maxPromptLength": (1, 32_000), "trainingSamplePerPrompt": (2, 16),
    "inferenceMaxTokens": (1, 32_000), "evalInterval": (1, 100),
}  # fmt: skip
_INVALID_MODEL = "The provided model identifier is invalid."


def create(state: AwsState, call: Call) -> Reply:
    """Answer CreateModelCustomizationJob; a repeated token makes nothing new."""
    request = {"customizationType": "FINE_TUNING", **(call.body or {})}
    token = request.get("clientRequestToken")
    for job in state.jobs.values():
        if token and job.region == call.region and job.request.get("clientRequestToken") == token:
            return write_json({"jobArn": job.arn}, 201)
    base = _check_request(state, call, request)
    job = BedrockJob(request["jobName"], state.make_id(), call.region, request, base, state.now())
    job.modified = job.created
    job.settings = progress.choose_settings(job)
    state.jobs[job.name] = job
    state.tags[job.arn] = request.get("jobTags", [])
    return write_json({"jobArn": job.arn}, 201)


def _check_request(state: AwsState, call: Call, request: dict[str, Any]) -> BedrockModel:
    """Raise AwsError for a request that the service rejects; return the model that it tunes."""
    _check_form(request)
    base = find_base(state, call.region, request["baseModelIdentifier"])
    if request["customizationType"] not in base.methods:
        raise invalid(
            f"The customization type {request['customizationType']} is not supported by the model."
        )
    _check_names(state, call.region, request)
    if request["customizationType"] == "REINFORCEMENT_FINE_TUNING":
        _check_reinforcement(state, call.region, request)
    else:
        if "customizationConfig" in request:
            raise invalid("customizationConfig is not allowed for FINE_TUNING.")
        _check_hyperparameters(base.bounds, request.get("hyperParameters", {}), is_text=True)
    role = storage.find_role(request["roleArn"])
    if role is None or not policies.trusts_bedrock(role, call.region):
        raise invalid("Could not assume provided IAM role. Verify the role and its trust policy.")
    for uri in list_inputs(request):
        _check_input(role, call.region, uri)
    _check_output(role, call.region, request["outputDataConfig"]["s3Uri"])
    active = [job for job in state.jobs.values() if not job.has_ended]
    if len(active) >= state.scenario.max_active_jobs:
        message = "You have exceeded the quota of scheduled customization jobs for your account."
        raise AwsError(400, "ServiceQuotaExceededException", message)
    return base


def _check_form(request: dict[str, Any]) -> None:
    """Raise AwsError for fields that are absent, or not of the form that the service's model has."""
    for name in ("jobName", "customModelName", "roleArn", "baseModelIdentifier"):
        if not isinstance(request.get(name), str):
            raise invalid(f"1 validation error detected: Value null at '{name}' must not be null")
    outputs = (request.get("outputDataConfig") or {}).get("s3Uri")
    patterns = [
        ("jobName", JOB_NAME, request["jobName"]),
        ("customModelName", MODEL_NAME, request["customModelName"]),
        ("roleArn", ROLE_ARN, request["roleArn"]),
        ("outputDataConfig.s3Uri", S3_URI, outputs),
        *(("trainingDataConfig.s3Uri", S3_URI, uri) for uri in list_inputs(request)),
    ]
    for name, pattern, value in patterns:
        limit = 63 if name in ("jobName", "customModelName") else 2048
        if not isinstance(value, str) or len(value) > limit or not re.fullmatch(pattern, value):
            raise invalid(
                f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy "
                f"constraint: Member must satisfy regular expression pattern: {pattern}"
            )
    if not (request.get("trainingDataConfig") or {}).get("s3Uri"):
        raise invalid("1 validation error detected: Value null at 'trainingDataConfig.s3Uri'")
    for name in ("jobTags", "customModelTags"):
        if len(request.get(name) or []) > MAX_TAGS:
            raise AwsError(400, "TooManyTagsException", "The request contains too many tags.")


def _check_names(state: AwsState, region: str, request: dict[str, Any]) -> None:
    """Raise AwsError for a name that is taken: a job's for ever, a model's while it or its job is."""
    name, model_name = request["jobName"], request["customModelName"]
    if any(job.name == name and job.region == region for job in state.jobs.values()):
        raise invalid("The provided job name is currently in use.")
    taken = [model.name for model in state.models.values()]
    taken += [job.request["customModelName"] for job in state.jobs.values() if not job.has_ended]
    if model_name in taken:
        raise invalid("The provided model name is currently in use.")


def _check_hyperparameters(
    bounds: dict[str, tuple[float, float]], settings: dict[str, Any], *, is_text: bool
) -> None:
    for name, value in settings.items():
        if name == "reasoningEffort" and not is_text:
            if value not in ("low", "medium", "high"):
                raise invalid(f"Invalid value for hyperparameter {name}: {value}")
            continue
        low, high = bounds.get(name, (None, None))
        if low is None or high is None:
            raise invalid(f"The hyperparameter {name} is not supported by the model.")
        if isinstance(value, str) != is_text:
            raise AwsError(400, "SerializationException", f"{name} has the wrong type")
        try:
            number = float(value)
        except ValueError:
            raise invalid(f"Invalid value for hyperparameter {name}: {value}") from None
        is_whole = name != "learningRate"
        if not low <= number <= high or (is_whole and number != int(number)):
            raise invalid(
                f"Invalid value for hyperparameter {name}: {value}. It must be between {low} and "
                f"{high}."
            )


def _check_reinforcement(state: AwsState, region: str, request: dict[str, Any]) -> None:
    if request.get("hyperParameters"):
        raise invalid("hyperParameters are not allowed for REINFORCEMENT_FINE_TUNING.")
    settings = (request.get("customizationConfig") or {}).get("rftConfig") or {}
    arn = ((settings.get("graderConfig") or {}).get("lambdaGrader") or {}).get("lambdaArn", "")
    _check_hyperparameters(RFT_BOUNDS, settings.get("hyperParameters") or {}, is_text=False)
    name = get_function_name(arn)
    function = state.scenario.functions.get(name)
    start = f"arn:aws:lambda:{region}:{ACCOUNT}:function:"
    if not arn.startswith(start) or function is None or function.region != region:
        raise invalid(f"The Lambda function {arn} of the grader could not be found.")
    role = storage.find_role(request["roleArn"])
    if role is not None and not policies.may(role, "lambda:InvokeFunction", arn):
        raise invalid(f"Could not validate InvokeFunction permissions to the Lambda function {arn}")


def get_function_name(identifier: str) -> str:
    """Return the name in a function's ARN, or the name itself."""
    match = re.search(r":function:([^:]+)", identifier)
    return match[1] if match else identifier.partition(":")[0]


def list_inputs(request: dict[str, Any]) -> list[str]:
    """Return the addresses of the files that a job reads, the training file first."""
    validators = (request.get("validationDataConfig") or {}).get("validators") or []
    training = (request.get("trainingDataConfig") or {}).get("s3Uri")
    uris = [training, *(each.get("s3Uri") for each in validators)]
    return [uri for uri in uris if uri is not None]


def _check_input(role: Any, region: str, uri: str) -> None:
    bucket, key = storage.split_uri(uri)
    if not key or key.endswith("/"):
        raise invalid(
            "Invalid training input data configuration. Check the input data S3 Uris(Uri should be "
            "a file, not a directory)"
        )
    arn = f"arn:aws:s3:::{bucket}/{key}"
    if (
        storage.get_region(bucket) != region
        or storage.read_object(uri) is None
        or not policies.may(role, "s3:GetObject", arn)
    ):
        raise invalid(
            "Could not validate GetObject permissions to access Amazon S3 bucket: "
            f"{bucket} at key {key}"
        )


def _check_output(role: Any, region: str, uri: str) -> None:
    bucket, prefix = storage.split_uri(uri)
    probe = f"{prefix.rstrip('/')}/.write_access_check_file.tmp".lstrip("/")
    arn = f"arn:aws:s3:::{bucket}/{probe}"
    if storage.get_region(bucket) != region or not policies.may(role, "s3:PutObject", arn):
        raise invalid(
            "Amazon S3 perms missing (PutObject): Could not validate PutObject permissions to "
            f"access S3 bucket: {bucket} at key {probe}"
        )


def find_base(state: AwsState, region: str, identifier: str) -> BedrockModel:
    """Return the foundation model that a job tunes, by its id or ARN, or a tuned model's."""
    tuned = state.find_model(identifier)
    if tuned is not None and tuned.job.region == region:
        return tuned.job.base
    name = identifier.removeprefix(f"arn:aws:bedrock:{region}::foundation-model/")
    for model in state.scenario.models:
        is_tunable = model.methods and model.region == region
        is_over = (model.end_of_life or "9") <= state.scenario.today
        if name == model.tuning_id and is_tunable and not is_over:
            return model
    raise invalid(_INVALID_MODEL)


def find(state: AwsState, call: Call, identifier: str) -> BedrockJob:
    """Return a job of the call's region by its name or ARN."""
    for job in state.jobs.values():
        if job.region == call.region and identifier in (job.name, job.arn):
            return job
    raise missing("Could not find the model customization job.")


def get(state: AwsState, call: Call) -> Reply:
    """Answer GetModelCustomizationJob, which is a look at the job."""
    job = find(state, call, call.target)
    if state.scenario.clock == "polls":
        progress.advance(state, job)
    return write_json(write_job(state, job))


def stop(state: AwsState, call: Call) -> Reply:
    """Answer StopModelCustomizationJob."""
    job = find(state, call, call.target)
    if job.status != "InProgress":
        message = f"The model customization job cannot be stopped: its status is {job.status}."
        raise AwsError(400, "ConflictException", message)
    job.status, job.modified = "Stopping", state.now()
    return write_json({})


def list_(state: AwsState, call: Call) -> Reply:
    """Answer ListModelCustomizationJobs."""
    jobs = [job for job in state.jobs.values() if job.region == call.region]
    jobs = [job for job in jobs if call.query.get("nameContains", "") in job.name]
    entries = [_write_summary(state, job) for job in jobs]
    page = lists.cut(call.query, entries, name="jobName", created="creationTime")
    return write_json(lists.write_page(page, "modelCustomizationJobSummaries"))


def list_tags(state: AwsState, call: Call) -> Reply:
    """Answer ListTagsForResource."""
    arn = (call.body or {}).get("resourceARN", "")
    if arn not in state.tags:
        raise missing("The resource could not be found.")
    return write_json({"tags": state.tags[arn]})


def write_time(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None


def _get_status(state: AwsState, job: BedrockJob) -> str:
    odd = state.scenario.odd_status
    return odd if odd and job.status == "InProgress" and job.position > 1 else job.status


def _write_details(state: AwsState, job: BedrockJob) -> dict[str, Any]:
    if not state.scenario.has_details:
        return {}
    details = {
        name: {
            "status": status,
            "creationTime": write_time(job.created),
            "lastModifiedTime": write_time(moment),
        }
        for name, (status, moment) in job.phases.items()
    }
    return {"statusDetails": details} if details else {}


def write_job(state: AwsState, job: BedrockJob) -> dict[str, Any]:
    """Return a job as GetModelCustomizationJob has it."""
    request = job.request
    model = next((each for each in state.models.values() if each.job is job), None)
    document: dict[str, Any] = {
        "jobArn": job.arn,
        "jobName": job.name,
        "outputModelName": request["customModelName"],
        "outputModelArn": model.arn if model else None,
        "clientRequestToken": request.get("clientRequestToken"),
        "roleArn": request["roleArn"],
        "status": _get_status(state, job),
        **_write_details(state, job),
        "failureMessage": job.failure or None,
        "creationTime": write_time(job.created),
        "lastModifiedTime": write_time(job.modified),
        "endTime": write_time(job.ended),
        "baseModelArn": get_base_arn(job),
        "hyperParameters": None if job.is_reinforced else _echo(job.settings),
        "trainingDataConfig": request["trainingDataConfig"],
        "validationDataConfig": request.get("validationDataConfig") or {"validators": []},
        "outputDataConfig": request["outputDataConfig"],
        "customizationType": request["customizationType"],
        "customizationConfig": request.get("customizationConfig"),
        "vpcConfig": request.get("vpcConfig"),
    }
    if job.losses and not job.is_reinforced:
        document["trainingMetrics"] = {"trainingLoss": job.losses[0]}
        if job.validation_rows:
            document["validationMetrics"] = [{"validationLoss": job.losses[1]}]
    return {name: value for name, value in document.items() if value is not None}


def _echo(settings: dict[str, Any]) -> dict[str, str]:
    """Return hyperparameters as the service tells them: texts, small ones as in 1.0E-4."""
    texts = {}
    for name, value in settings.items():
        number = float(value)
        is_small = 0 < number < 1e-3
        head, _, power = f"{number:E}".partition("E")
        texts[name] = f"{float(head)}E{int(power)}" if is_small else str(value)
    return texts


def _write_summary(state: AwsState, job: BedrockJob) -> dict[str, Any]:
    model = next((each for each in state.models.values() if each.job is job), None)
    document: dict[str, Any] = {
        "jobArn": job.arn,
        "baseModelArn": get_base_arn(job),
        "jobName": job.name,
        "status": _get_status(state, job),
        **_write_details(state, job),
        "lastModifiedTime": write_time(job.modified),
        "creationTime": write_time(job.created),
        "endTime": write_time(job.ended),
        "customModelArn": model.arn if model else None,
        "customModelName": job.request["customModelName"],
        "customizationType": job.request["customizationType"],
    }
    return {name: value for name, value in document.items() if value is not None}


def get_base_arn(job: BedrockJob) -> str:
    return f"arn:aws:bedrock:{job.region}::foundation-model/{job.base.tuning_id}"


HANDLERS = {
    "create_job": create, "get_job": get, "list_jobs": list_, "stop_job": stop,
    "list_tags": list_tags,
}  # fmt: skip
