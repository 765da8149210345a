"""Requests by name: which service and which of its calls one is."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from typing import Any

from tests.doubles.aws.errors import QUERY_SERVICES, TARGET_SERVICES

_JOBS = "/model-customization-jobs"
_DEPLOYMENTS = "/model-customization/custom-model-deployments"
_BEDROCK = (
    ("create_job", "POST", f"{_JOBS}$"),
    ("list_jobs", "GET", f"{_JOBS}$"),
    ("get_job", "GET", f"{_JOBS}/([^/]+)$"),
    ("stop_job", "POST", f"{_JOBS}/([^/]+)/stop$"),
    ("list_models", "GET", "/custom-models$"),
    ("get_model", "GET", "/custom-models/([^/]+)$"),
    ("delete_model", "DELETE", "/custom-models/([^/]+)$"),
    ("create_deployment", "POST", f"{_DEPLOYMENTS}$"),
    ("list_deployments", "GET", f"{_DEPLOYMENTS}$"),
    ("get_deployment", "GET", f"{_DEPLOYMENTS}/([^/]+)$"),
    ("delete_deployment", "DELETE", f"{_DEPLOYMENTS}/([^/]+)$"),
    ("list_foundation_models", "GET", "/foundation-models$"),
    ("get_foundation_model", "GET", "/foundation-models/([^/]+)$"),
    ("get_availability", "GET", "/foundation-model-availability/([^/]+)$"),
    ("list_profiles", "GET", "/inference-profiles$"),
    ("get_profile", "GET", "/inference-profiles/([^/]+)$"),
    ("list_provisioned", "GET", "/provisioned-model-throughputs$"),
    ("delete_provisioned", "DELETE", "/provisioned-model-throughput/([^/]+)$"),
    ("list_tags", "POST", "/listTagsForResource$"),
    ("converse", "POST", "/model/([^/]+)/converse$"),
    ("converse_stream", "POST", "/model/([^/]+)/converse-stream$"),
)
_LAMBDA = (
    ("invoke", "POST", "/2015-03-31/functions/([^/]+)/invocations$"),
    ("get_function_configuration", "GET", "/2015-03-31/functions/([^/]+)/configuration$"),
)
_S3_BUCKET = {
    ("GET", "uploads"): "list_multiparts", ("GET", "location"): "get_bucket_location",
    ("GET", "encryption"): "get_bucket_encryption", ("GET", "policy"): "get_bucket_policy",
    ("GET", ""): "list_objects", ("HEAD", ""): "head_bucket", ("PUT", ""): "create_bucket",
    ("DELETE", ""): "delete_bucket", ("POST", "delete"): "delete_objects",
}  # fmt: skip
_S3_OBJECT = {
    ("POST", "uploads"): "start_multipart", ("PUT", "partNumber"): "upload_part",
    ("POST", "uploadId"): "finish_multipart", ("DELETE", "uploadId"): "abort_multipart",
    ("GET", "uploadId"): "list_parts", ("GET", ""): "download", ("HEAD", ""): "head_object",
    ("PUT", ""): "upload", ("DELETE", ""): "delete_object",
}  # fmt: skip
ACTIONS = {
    "create_job": "bedrock:CreateModelCustomizationJob",
    "list_jobs": "bedrock:ListModelCustomizationJobs",
    "get_job": "bedrock:GetModelCustomizationJob",
    "stop_job": "bedrock:StopModelCustomizationJob",
    "list_models": "bedrock:ListCustomModels",
    "get_model": "bedrock:GetCustomModel",
    "delete_model": "bedrock:DeleteCustomModel",
    "create_deployment": "bedrock:CreateCustomModelDeployment",
    "list_deployments": "bedrock:ListCustomModelDeployments",
    "get_deployment": "bedrock:GetCustomModelDeployment",
    "delete_deployment": "bedrock:DeleteCustomModelDeployment",
    "list_foundation_models": "bedrock:ListFoundationModels",
    "get_foundation_model": "bedrock:GetFoundationModel",
    "get_availability": "bedrock:GetFoundationModelAvailability",
    "list_profiles": "bedrock:ListInferenceProfiles",
    "get_profile": "bedrock:GetInferenceProfile",
    "list_provisioned": "bedrock:ListProvisionedModelThroughputs",
    "delete_provisioned": "bedrock:DeleteProvisionedModelThroughput",
    "list_tags": "bedrock:ListTagsForResource",
    "converse": "bedrock:InvokeModel",
    "converse_stream": "bedrock:InvokeModelWithResponseStream",
    "invoke": "lambda:InvokeFunction",
    "get_function_configuration": "lambda:GetFunctionConfiguration",
    "list_multiparts": "s3:ListBucketMultipartUploads",
    "get_bucket_location": "s3:GetBucketLocation",
    "get_bucket_encryption": "s3:GetEncryptionConfiguration",
    "get_bucket_policy": "s3:GetBucketPolicy",
    "list_objects": "s3:ListBucket",
    "head_bucket": "s3:ListBucket",
    "create_bucket": "s3:CreateBucket",
    "delete_bucket": "s3:DeleteBucket",
    "delete_objects": "s3:DeleteObject",
    "delete_object": "s3:DeleteObject",
    "abort_multipart": "s3:AbortMultipartUpload",
    "list_parts": "s3:ListMultipartUploadParts",
    "start_multipart": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "finish_multipart": "s3:PutObject",
    "upload": "s3:PutObject",
    "download": "s3:GetObject",
    "head_object": "s3:GetObject",
}
"""The permission that each call needs; one of IAM, STS and the like is named as its call."""
_SCOPE = re.compile(r"Credential=([^/,]+)/(\d+)/([^/,]+)/([^/,]+)/aws4_request")


@dataclasses.dataclass(frozen=True)
class Call:
    """A request, as the double's handlers read it."""

    service: str
    region: str
    name: str
    """Our name of it; empty: one that the double does not know."""
    method: str
    path: str
    """As it was sent, without the query."""
    target: str
    """What a path names last before a verb, decoded: a job, a model, an object's key."""
    bucket: str
    query: dict[str, str]
    body: Any
    data: bytes
    headers: dict[str, str]
    """By their names in lower case."""
    raw_query: str = ""

    @property
    def action(self) -> str:
        """The permission that it needs."""
        if action := ACTIONS.get(self.name):
            return action
        verb = "".join(word.capitalize() for word in self.name.split("_"))
        return f"{self.service}:{verb}"


def read_call(method: str, uri: str, headers: dict[str, str], data: bytes) -> Call:
    """Return what a request asks for; the scope of its signature names the service."""
    path, _, raw_query = uri.partition("?")
    query = dict(urllib.parse.parse_qsl(raw_query, keep_blank_values=True))
    scope = _SCOPE.search(headers.get("authorization", ""))
    region, service = (scope[3], scope[4]) if scope else ("", _guess_service(path, headers))
    name, target, bucket, body = "", "", "", None
    if service in ("bedrock", "lambda"):
        name, target = _match(_BEDROCK if service == "bedrock" else _LAMBDA, method, path)
        body = _parse(data)
    elif service == "s3":
        bucket, _, target = urllib.parse.unquote(path).lstrip("/").partition("/")
        name = _name_s3(method, bucket, target, query)
    elif service in QUERY_SERVICES:
        body = dict(urllib.parse.parse_qsl(data.decode("utf-8", "replace")))
        name = _to_snake(body.get("Action", ""))
    elif service in TARGET_SERVICES:
        body = _parse(data)
        name = _to_snake(headers.get("x-amz-target", "").rpartition(".")[2])
    return Call(
        service, region, name, method, path, target, bucket, query, body, data, headers, raw_query
    )


def _guess_service(path: str, headers: dict[str, str]) -> str:
    """Return the service of a request without a signature."""
    if headers.get("authorization", "").startswith("Bearer "):
        return "bedrock"
    if any(re.match(pattern, path) for _, _, pattern in _BEDROCK):
        return "bedrock"
    form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return "sts" if form else "s3"


def _match(table: tuple[tuple[str, str, str], ...], method: str, path: str) -> tuple[str, str]:
    for name, verb, pattern in table:
        match = re.match(pattern, path)
        if verb == method and match:
            return name, urllib.parse.unquote(match[1]) if match.groups() else ""
    return "", ""


def _name_s3(method: str, bucket: str, key: str, query: dict[str, str]) -> str:
    if not bucket:
        return "list_buckets"
    table = _S3_OBJECT if key else _S3_BUCKET
    word = next((word for verb, word in table if verb == method and word and word in query), "")
    return table.get((method, word), "")


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data) if data else {}
    except ValueError:
        return None


def _to_snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
