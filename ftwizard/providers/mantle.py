"""Reinforcement of open weights at Amazon Bedrock: OpenAI's API at Bedrock's own address.

What it lacks of that API: names and notes of a job, validation files, uploads in parts, result files,
pauses, and graders other than AWS Lambda functions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ftwizard.catalog.hosted_models import Tuning
from ftwizard.data.format_names import TargetName
from ftwizard.graders.grader_file import REFERENCE
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import JobEvent, JobStatus, Platform, ProviderError
from ftwizard.providers.grader_trial import TriedGrader, describe_function_trial
from ftwizard.providers.openai import models
from ftwizard.providers.openai.files import MAX_UPLOAD_BYTES
from ftwizard.providers.openai.platform import OpenAIPlatform
from ftwizard.runs.remote import RemoteJob

if TYPE_CHECKING:
    from ftwizard.providers.bedrock.client import BedrockClient

REGION = "us-west-2"
"""The only one with this API for fine-tuning (AWS documentation, November 2026)."""
_HOST = re.compile(r"bedrock-mantle\.([a-z0-9-]+)\.api\.aws")
_HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


class MantlePlatform(OpenAIPlatform):
    """Bedrock's API for open weights, with the key of ``AWS_BEARER_TOKEN_BEDROCK``."""

    id: HostedProvider = "mantle"
    name = "Bedrock open weights"
    poll_s = 20.0
    can_pause = False
    has_steps = True
    has_organizations = False
    max_direct_bytes = MAX_UPLOAD_BYTES
    pause_job = Platform.pause_job
    resume_job = Platform.resume_job

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables; raise ProviderError if one cannot be used."""
        self._environment = os.environ if environment is None else environment
        super().__init__(environment)

    def _get_address(self, environment: Mapping[str, str]) -> str:
        address = environment.get(PLATFORMS[self.id].address_variable, "").strip()
        return address or f"https://bedrock-mantle.{REGION}.api.aws/v1"

    @property
    def region(self) -> str:
        """Return the region of the address."""
        match = _HOST.fullmatch(urlsplit(self.endpoint).hostname or "")
        return match[1] if match else REGION

    def get_target(self, plan: Plan) -> TargetName:
        return "bedrock-rft"

    def get_method(self, plan: Plan) -> Tuning:
        return "reinforcement"

    def check_plan(self, plan: Plan) -> list[str]:
        """Check live what can be checked before anything is uploaded; return cautions."""
        live = models.check_model(self, plan)
        return [
            *models.describe_lifecycle(self, plan.model.name, ends=not live),
            *live,
            *self._check_rights(plan),
            *self._check_grader(plan),
            *_describe_validation(plan),
        ]

    def _check_grader(self, plan: Plan) -> list[str]:
        grader = plan.mantle.grader
        if not grader:  # of the check of an account
            return []
        try:
            client, functions = self._connect_lambda()
            cautions: list[str] = functions.check_function(client, grader, self.region)
        except ProviderError as error:
            return self._excuse(error)
        return cautions

    def list_references(self, plan: Plan) -> list[str]:
        return [REFERENCE]

    def describe_trial(self, plan: Plan) -> str:
        return describe_function_trial(plan.mantle.grader) if plan.mantle.grader else ""

    def try_grader(self, plan: Plan, path: Path) -> tuple[str, list[str]]:
        grader = plan.mantle.grader
        if not grader:
            return "", []
        try:
            client, functions = self._connect_lambda()
            tried: TriedGrader = functions.try_function(client, plan, grader, self.region, path)
        except ProviderError as error:
            return "", self._excuse(error)
        return tried

    def _connect_lambda(self) -> tuple[BedrockClient, ModuleType]:
        """Return a client of AWS, and the module of its functions.

        Raises ProviderError without its package.
        """
        try:
            from ftwizard.providers.bedrock import lambda_grader
            from ftwizard.providers.bedrock.client import BedrockClient
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("boto3", "botocore"):
                raise
            raise ProviderError("permission", "This needs the package boto3.") from None
        return BedrockClient(self._environment), lambda_grader

    @staticmethod
    def _excuse(error: ProviderError) -> list[str]:
        """Return a caution where the key of this address is all there is; raise another error.

        That key does not open AWS Lambda. Without other credentials, the job can be created all the
        same.
        """
        if error.kind not in ("key", "permission", "unreachable"):
            raise error
        return [f"The grader was not tried: {error.message}"]

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        """Return the body of the request that creates the job; it has no secret."""
        settings = plan.mantle
        hyperparameters = {
            name: getattr(settings, name)
            for name in _HYPERPARAMETERS
            if getattr(settings, name) != "auto"
        }
        details: dict[str, Any] = {
            "grader": {"type": "lambda", "lambda": {"function": settings.grader}}
        }
        if hyperparameters:
            details["hyperparameters"] = hyperparameters
        return {
            "model": remote.model,
            "training_file": remote.files["train"].id,
            "method": {"type": "reinforcement", "reinforcement": details},
        }

    def read_results(self, status: JobStatus) -> list[JobEvent]:
        return []


def _describe_validation(plan: Plan) -> list[str]:
    """Return a caution where the plan has validation rows, which the API does not take."""
    if plan.data.files.validation:
        return ["Bedrock takes no validation rows for open weights: the file stays here, unused."]
    if plan.data.split.validation:
        return ["Bedrock takes no validation rows for open weights: the model trains on them."]
    return []
