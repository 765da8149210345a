"""Together as a platform: what its account can do, in the terms of a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from together import APIError

from ftwizard.catalog.hosted_models import Tuning
from ftwizard.data.format_names import TargetName
from ftwizard.plan.schema import HostedProvider, Plan
from ftwizard.providers.base import (
    DeployingPlatform,
    Endpoint,
    FileStatus,
    JobEvent,
    JobStatus,
    LiveModel,
    Price,
    ProviderError,
)
from ftwizard.providers.platforms import ACCESS
from ftwizard.providers.together import downloads, endpoints, files, jobs, models
from ftwizard.providers.together.client import WANDB_KEY_VARIABLE, TogetherClient
from ftwizard.providers.together.request import build_request, find_problems
from ftwizard.runs.remote import BilledResource, RemoteCheckpoint, RemoteJob
from ftwizard.text import make_visible

_SERVING_CAUTION = (
    "Answers of the tuned model may need a dedicated endpoint, which Together bills by the minute "
    "until it is deleted."
)


class TogetherPlatform(DeployingPlatform):
    """Together, with the account of ``TOGETHER_API_KEY``."""

    id: HostedProvider = "together"
    name = "Together"
    poll_s = 20.0
    can_pause = False
    has_loss = True

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of the SDK; raise ProviderError if one cannot be used."""
        self.client = TogetherClient(os.environ if environment is None else environment)
        self.endpoint, self.chat_address = self.client.endpoint, self.client.chat_address

    def get_target(self, plan: Plan) -> TargetName:
        return "together-dpo" if plan.together.training_method == "dpo" else "together-sft"

    def get_method(self, plan: Plan) -> Tuning:
        return "preference" if plan.together.training_method == "dpo" else "supervised"

    def list_models(self) -> list[LiveModel]:
        return models.list_models(self.client)

    def check_plan(self, plan: Plan) -> list[str]:
        with self.client.translate():
            self.client.sdk.files.list()  # refuses a wrong key
        model = plan.model.name
        limits = models.read_limits(self.client, plan.together.from_checkpoint or model, model)
        problems = find_problems(plan, limits)
        if problems:
            raise ProviderError(
                "rejected", f"Together cannot train {make_visible(model, 80)} so: "
                f"{'; '.join(problems)}.", "Change it in the plan.", code="outside_limits",
            )  # fmt: skip
        return self._find_cautions(plan)

    def _find_cautions(self, plan: Plan) -> list[str]:
        settings = plan.together
        cautions = [_SERVING_CAUTION, "A job that is canceled costs the steps it has done."]
        if settings.n_evals and not plan.has_validation:
            cautions.append("together.n_evals has no effect without validation data.")
        if not settings.packing:
            cautions.append("Without packing, every row is billed as max_seq_length tokens.")
        wants_wandb = settings.wandb.project or "wandb" in plan.report_to
        if wants_wandb and not self.client.wandb_key:
            cautions.append(
                f"{WANDB_KEY_VARIABLE} is not set, so Weights & Biases gets no metrics."
            )
        if settings.wandb.tags:
            cautions.append("Together sends no tags to Weights & Biases: wandb.tags has no effect.")
        return cautions

    def find_file(self, name: str) -> str | None:
        return files.find_file(self.client, name)

    def upload(self, path: Path, name: str, report: Callable[[int, int], None]) -> str:
        return files.upload(self.client, path, name, report)

    def check_file(self, file_id: str) -> FileStatus:
        return files.check_file(self.client, file_id)

    def delete_file(self, file_id: str) -> None:
        files.delete_file(self.client, file_id)

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        return build_request(plan, remote)

    def estimate_price(self, request: Mapping[str, Any]) -> Price:
        return jobs.estimate_price(self.client, request)

    def find_job(self, remote: RemoteJob) -> JobStatus | None:
        return jobs.find_job(self.client, remote)

    def create_job(self, request: Mapping[str, Any]) -> JobStatus:
        return jobs.create_job(self.client, request)

    def get_job(self, job_id: str) -> JobStatus:
        return jobs.get_job(self.client, job_id)

    def list_events(self, job_id: str, known: frozenset[str]) -> list[JobEvent]:
        return jobs.list_events(self.client, job_id, known)

    def list_checkpoints(self, job_id: str) -> list[RemoteCheckpoint]:
        return jobs.list_checkpoints(self.client, job_id)

    def cancel_job(self, job_id: str) -> None:
        jobs.cancel_job(self.client, job_id)

    def get_endpoint(self, model: str, plan: Plan) -> Endpoint | None:
        with self.client.translate():
            served = endpoints.find_served_name(self.client.sdk, model)
        if served is None:
            return None
        key_variable = ACCESS[self.id].key_variable
        return Endpoint(address=self.chat_address, served_name=served, key_variable=key_variable)

    def quote_endpoint(self, model: str) -> BilledResource:
        with self.client.translate():
            return endpoints.quote(self.client.sdk, model)

    def create_endpoint(
        self, model: str, idle_minutes: int = endpoints.IDLE_MINUTES
    ) -> BilledResource:
        """Deploy a model, which is billed until it is deleted or idle; only when a person asks for it.

        Nothing is sent twice. Raises ProviderError (``missing``) if no hardware runs the model.
        """
        with self.client.translate(_creates):
            return endpoints.create_endpoint(self.client.sdk, model, idle_minutes)

    def list_billed(self) -> list[BilledResource]:
        with self.client.translate():
            return endpoints.list_billed(self.client.sdk)

    def delete_billed(self, resource: BilledResource) -> None:
        with self.client.translate():
            endpoints.delete_endpoint(self.client.sdk, resource.id)

    def download(
        self,
        remote: RemoteJob,
        folder: Path,
        report: Callable[[int, int], None],
        step: int | None = None,
    ) -> bool:
        return downloads.download(self.client, remote, folder, report, step)


def _creates(error: APIError) -> bool:
    return error.request.method == "POST"
