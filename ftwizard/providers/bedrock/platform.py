"""Amazon Bedrock as a platform: what its account can do, in the terms of a plan."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftwizard.catalog.account import Login
from ftwizard.catalog.hosted_models import Tuning, find_listed
from ftwizard.data.format_names import TargetName
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.providers.access import describe_clear_text
from ftwizard.providers.base import DeployingPlatform, Endpoint, ProviderError, keep_cautions
from ftwizard.providers.bedrock import endpoints, files, jobs, lambda_grader, models, role
from ftwizard.providers.bedrock.client import BedrockClient, list_regions
from ftwizard.providers.bedrock.request import (
    REINFORCEMENT,
    build_request,
    get_folder,
)
from ftwizard.providers.fields import describe_clock
from ftwizard.providers.grader_trial import describe_function_trial
from ftwizard.runs.remote import RemoteCheckpoint, RemoteJob

_STORAGE_CAUTION = "The tuned model is billed by the month until you delete it: ftwizard teardown --provider bedrock"


class BedrockPlatform(BedrockClient, DeployingPlatform):
    """Amazon Bedrock, with the account of the credentials that boto3 finds."""

    id: HostedProvider = "bedrock"
    name = "Amazon Bedrock"
    poll_s = 60.0
    can_pause = False
    has_steps = False

    list_models = models.list_models
    find_file = files.find_file
    upload = files.upload
    check_file = files.check_file
    delete_file = files.delete_file
    find_job = jobs.find_job
    create_job = jobs.create_job
    get_job = jobs.get_job
    list_events = jobs.list_events
    read_results = jobs.read_results
    cancel_job = jobs.cancel_job
    quote_endpoint = endpoints.quote_endpoint
    create_endpoint = endpoints.create_endpoint
    list_billed = endpoints.list_billed
    delete_billed = endpoints.delete_billed

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of boto3; raise ProviderError if one cannot be used."""
        super().__init__(environment)
        self.chat_address = f"{endpoints.ADDRESS}{self.region or list_regions()[0]}"

    def get_target(self, plan: Plan) -> TargetName:
        return plan.target

    def get_model_id(self, plan: Plan) -> str:
        return models.get_model_id(plan)

    def get_method(self, plan: Plan) -> Tuning:
        is_reinforced = plan.bedrock.customizationType == REINFORCEMENT
        return "reinforcement" if is_reinforced else "supervised"

    def find_login(self) -> Login | None:
        caller = self.identify()
        return Login(
            source=self.describe_credentials(), caller=caller.arn, account=caller.account,
            region=self.region,
        )  # fmt: skip

    def describe_account(self) -> list[str]:
        return self.describe_regions()

    def name_file(self, plan: Plan, tag: str, name: str) -> str:
        address = f"{get_folder(plan.bedrock)}ftwizard-{tag}-{name}"
        files.parse_address(address)
        return address

    def check_plan(self, plan: Plan) -> list[str]:
        """Check live what can be checked before anything is uploaded; return cautions.

        Raises ProviderError where the job could not be created, and last of all where the plan lacks
        a bucket or a role: everything else is known by then.
        """
        region = self.get_region(plan)
        models.check_region(plan, region)
        self._check_method(plan)
        caller = self.identify()
        clock = describe_clock(caller.date, time.time())
        clear_text = describe_clear_text(self.find_address("s3") or "")
        cautions = [
            *filter(None, [clock, clear_text]),
            *([] if plan.bedrock.region else self.describe_regions()),
            *models.check_model(self, plan, region),
            *self._check_grader(plan, region),
            *models.check_quota(self, region),
            *role.check_creation(self, region),
        ]
        with keep_cautions(cautions):
            cautions += self._check_storage(plan, region)
        return [*cautions, _STORAGE_CAUTION]

    def _check_method(self, plan: Plan) -> None:
        """Raise ProviderError if the catalog has the model without the plan's method."""
        hosted = find_listed(plan.model.name, self.id)
        if hosted and self.get_method(plan) not in hosted.methods:
            raise ProviderError(
                "rejected",
                f"Bedrock does not train {hosted.name} with {plan.bedrock.customizationType} (as of"
                f" {hosted.as_of}).",
                "Set bedrock.customizationType to another, or choose another model.",
                code="method",
            )

    def _check_grader(self, plan: Plan, region: str) -> list[str]:
        grader = self._get_grader(plan)
        return lambda_grader.check_function(self, grader, region) if grader else []

    def _get_grader(self, plan: Plan) -> str:
        """Return the ARN of the plan's grader; empty without reinforcement."""
        if plan.bedrock.customizationType != REINFORCEMENT:
            return ""
        return (plan.bedrock.grader or "").strip()

    def _check_storage(self, plan: Plan, region: str) -> list[str]:
        """Check bucket and role; return cautions."""
        needs = self._find_needs(plan, region)
        key = files.check_bucket(self, needs.bucket, region)
        needs = needs._replace(kms_key=key)
        cautions = []
        if key:
            cautions.append(
                f"The bucket {needs.bucket} encrypts with the KMS key {key}: the role needs"
                " kms:Decrypt and kms:GenerateDataKey for it."
            )
        report = role.check_role(self, plan.bedrock.role, needs)
        return [*cautions, *report.cautions]

    def _find_needs(self, plan: Plan, region: str) -> role.Needs:
        """Return what the role needs; raise ProviderError if the plan has no usable bucket or role."""
        bucket, key = files.parse_address(self.name_file(plan, "0" * 32, "train.jsonl"))
        role.find_arn(plan.bedrock.role, self.identify())
        prefix = key.rpartition("/")[0]
        return role.Needs(
            region=region, bucket=bucket, prefix=f"{prefix}/" if prefix else "",
            grader=self._get_grader(plan),
        )  # fmt: skip

    def try_grader(self, plan: Plan, path: Path) -> tuple[str, list[str]]:
        grader = self._get_grader(plan)
        if not grader:
            return "", []
        return lambda_grader.try_function(self, plan, grader, self.get_region(plan), path)

    def describe_trial(self, plan: Plan) -> str:
        grader = self._get_grader(plan)
        return describe_function_trial(grader) if grader else ""

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        region = self.get_region(plan)
        arn = role.resolve_arn(self, plan.bedrock.role, region)
        return build_request(plan, remote, region, arn)

    def list_checkpoints(self, job_id: str) -> list[RemoteCheckpoint]:
        """Return none: Bedrock keeps only the tuned model."""
        return []

    def get_endpoint(
        self, model: str, plan: Plan, *, checkpoint: int | None = None
    ) -> Endpoint | None:
        region = models.get_region(model) or self.get_region(plan)
        return endpoints.find_endpoint(self, model, region)
