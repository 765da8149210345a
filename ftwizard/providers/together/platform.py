"""Together as a platform: what its account can do, in the terms of a plan."""

from __future__ import annotations

import time
from typing import Any

from together import APIError

from ftwizard.catalog.hosted_models import Tuning
from ftwizard.data.format_names import TargetName
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import (
    DeployingPlatform,
    Endpoint,
    ProviderError,
    tolerate,
)
from ftwizard.providers.fields import describe_clock
from ftwizard.providers.together import downloads, endpoints, files, jobs, models
from ftwizard.providers.together.client import WANDB_KEY_VARIABLE, TogetherClient
from ftwizard.providers.together.request import build_request, find_problems
from ftwizard.runs.remote import BilledResource, RemoteJob
from ftwizard.text import make_visible

_SERVING_CAUTION = (
    "Answers of the tuned model may need a dedicated endpoint, which Together bills by the minute "
    "until it is deleted."
)


class TogetherPlatform(TogetherClient, DeployingPlatform):
    """Together, with the account of ``TOGETHER_API_KEY``."""

    id: HostedProvider = "together"
    name = "Together"
    poll_s = 20.0
    can_pause = False
    has_steps = True

    list_models = models.list_models
    find_file = files.find_file
    upload = files.upload
    check_file = files.check_file
    delete_file = files.delete_file
    estimate_price = jobs.estimate_price
    find_job = jobs.find_job
    create_job = jobs.create_job
    get_job = jobs.get_job
    list_events = jobs.list_events
    list_checkpoints = jobs.list_checkpoints
    cancel_job = jobs.cancel_job
    download = downloads.download

    def get_target(self, plan: Plan) -> TargetName:
        return "together-dpo" if plan.together.training_method == "dpo" else "together-sft"

    def get_method(self, plan: Plan) -> Tuning:
        return "preference" if plan.together.training_method == "dpo" else "supervised"

    def check_plan(self, plan: Plan) -> list[str]:
        with self.translate():
            # Refuses a wrong key, and an answer that is not Together's.
            answer = self.sdk.files.with_raw_response.list()
            answer.parse().to_dict(mode="json", warnings=False)
        with tolerate("missing", "rejected", "unreachable"), self.translate():
            self.sdk.fine_tuning.list()  # refuses an account that may not fine-tune, before the upload
        model = plan.model.name
        limits = models.read_limits(self, plan.together.from_checkpoint or model, model)
        problems = find_problems(plan, limits)
        if problems:
            raise ProviderError(
                "rejected", f"Together cannot train {make_visible(model, 80)} with this plan: "
                f"{'; '.join(problems)}.", "Change it in the plan.", code="outside_limits",
            )  # fmt: skip
        clock = describe_clock(answer.headers.get("date"), time.time())
        return [*self._find_cautions(plan), *filter(None, [clock])]

    def _find_cautions(self, plan: Plan) -> list[str]:
        settings = plan.together
        cautions = [_SERVING_CAUTION, "A canceled job is billed for the steps done by then."]
        if settings.n_evals and not plan.has_validation:
            cautions.append("together.n_evals has no effect without validation data.")
        if not settings.packing:
            cautions.append("Without packing, every row is billed as max_seq_length tokens.")
        wants_wandb = settings.wandb.project or "wandb" in plan.report_to
        if wants_wandb and not self.wandb_key:
            cautions.append(
                f"{WANDB_KEY_VARIABLE} is not set, so Weights & Biases gets no metrics."
            )
        if settings.wandb.tags:
            cautions.append("Together sends no tags to Weights & Biases: wandb.tags has no effect.")
        return cautions

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        return build_request(plan, remote)

    def get_endpoint(
        self, model: str, plan: Plan, *, checkpoint: int | None = None
    ) -> Endpoint | None:
        with self.translate():
            served = endpoints.find_served_name(self.sdk, model)
        if served is None:
            return None
        key_variable = PLATFORMS[self.id].key_variable
        return Endpoint(address=self.chat_address, served_name=served, key_variable=key_variable)

    def quote_endpoint(self, model: str) -> BilledResource:
        with self.translate():
            return endpoints.quote(self.sdk, model)

    def create_endpoint(
        self, model: str, idle_minutes: int = endpoints.IDLE_MINUTES
    ) -> BilledResource:
        """Deploy a model, which is billed until it is deleted or idle; only when a person asks for it.

        Nothing is sent twice. Raises ProviderError (``missing``) if no hardware runs the model.
        """
        with self.translate(_creates):
            return endpoints.create_endpoint(self.sdk, model, idle_minutes)

    def list_billed(self) -> list[BilledResource]:
        with self.translate():
            return endpoints.list_billed(self.sdk)

    def delete_billed(self, resource: BilledResource) -> None:
        with self.translate():
            endpoints.delete_endpoint(self.sdk, resource.id)


def _creates(error: APIError) -> bool:
    return error.request.method == "POST"
