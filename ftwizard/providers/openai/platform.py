"""OpenAI as a platform: what its account can do, in the terms of a plan."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftwizard.catalog.hosted_models import Tuning, find_listed
from ftwizard.data.format_names import TargetName
from ftwizard.graders.grader_file import REFERENCE, is_python
from ftwizard.graders.trial import TRIAL_ROWS
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.plan.schema import HostedMethod, OpenAI, Plan
from ftwizard.providers.access import hide_secrets
from ftwizard.providers.base import (
    Endpoint,
    Platform,
    ProviderError,
)
from ftwizard.providers.fields import describe_clock
from ftwizard.providers.openai import files, graders, jobs, models
from ftwizard.providers.openai.client import OpenAIClient
from ftwizard.providers.openai.request import build_request
from ftwizard.runs.remote import TERMINAL, RemoteJob
from ftwizard.text import format_count, make_visible

DEFAULT_ADDRESS = "https://api.openai.com/v1"
_TUNING: dict[HostedMethod, Tuning] = {
    "supervised": "supervised", "dpo": "preference", "reinforcement": "reinforcement"
}  # fmt: skip


class OpenAIPlatform(OpenAIClient, Platform):
    """OpenAI, with the account of ``OPENAI_API_KEY``."""

    id: HostedProvider = "openai"
    name = "OpenAI"
    poll_s = 10.0
    can_pause = True
    has_steps = True
    targets: Mapping[HostedMethod, TargetName] = {
        "supervised": "openai-sft", "dpo": "openai-dpo", "reinforcement": "openai-rft"
    }  # fmt: skip

    list_models = models.list_models
    find_file = files.find_file
    upload = files.upload
    check_file = files.check_file
    delete_file = files.delete_file
    find_job = jobs.find_job
    create_job = jobs.create_job
    get_job = jobs.get_job
    list_events = jobs.list_events
    list_checkpoints = jobs.list_checkpoints
    read_results = jobs.read_results

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of the SDK; raise ProviderError if one cannot be used."""
        environment = os.environ if environment is None else environment
        address = self._get_address(environment)
        super().__init__(self.id, address, environment)
        self.endpoint = self.chat_address = hide_secrets(address)

    def _get_address(self, environment: Mapping[str, str]) -> str:
        return environment.get("OPENAI_BASE_URL", "").strip() or DEFAULT_ADDRESS

    def _get_settings(self, plan: Plan) -> OpenAI:
        return plan.openai

    def get_target(self, plan: Plan) -> TargetName:
        return self.targets[self._get_settings(plan).method]

    def get_model_id(self, plan: Plan) -> str:
        return models.get_model_id(plan, self.id)

    def get_method(self, plan: Plan) -> Tuning:
        return _TUNING[self._get_settings(plan).method]

    def check_plan(self, plan: Plan) -> list[str]:
        """Check live what can be checked before anything is uploaded; return cautions.

        What is announced to end comes first. What the platform says now counts more than the catalog.
        Raises ProviderError where the job could not be created.
        """
        self._check_method(plan)
        live = models.check_model(self, plan)
        return [
            *models.describe_lifecycle(self, plan.model.name, ends=not live),
            *live,
            *self._check_rights(plan),
            *graders.validate_grader(self, self._get_settings(plan)),
        ]

    def _check_method(self, plan: Plan) -> None:
        """Raise ProviderError if the catalog has the model without the plan's method."""
        hosted = find_listed(plan.model.name, self.id)
        if hosted and self.get_method(plan) not in hosted.methods:
            own = {ours: name for name, ours in _TUNING.items()}
            names = ", ".join(own[name] for name in hosted.methods)
            raise ProviderError(
                "rejected",
                f"{self.name} does not train {hosted.name} with {self._get_settings(plan).method}"
                f" (as of {hosted.as_of}).",
                f"Set {self.id}.method to {names}, or choose another model.",
                code="method",
            )

    def _check_rights(self, plan: Plan) -> list[str]:
        """Check that the key may use fine-tuning; return a caution if the clocks differ."""
        action = "use fine-tuning"
        raw = self.reader.fine_tuning.jobs.with_raw_response
        answer = self.call(
            action, functools.partial(raw.list, limit=1), model=self.get_model_id(plan)
        )
        self.call(action, answer.parse)
        caution = describe_clock(answer.headers.get("date"), time.time())
        return [caution] if caution else []

    def try_grader(self, plan: Plan, path: Path) -> tuple[str, list[str]]:
        settings = self._get_settings(plan)
        if settings.method != "reinforcement" or settings.grader is None:
            return "", []
        here = graders.try_here(plan, settings, path)
        there = graders.dry_run_grader(self, plan, settings, path)
        return there.summary, [*here.cautions, *there.cautions]

    def list_references(self, plan: Plan) -> list[str]:
        settings = self._get_settings(plan)
        grader = graders.get_grader(settings, self.id) if settings.grader else None
        return [*graders.find_item_fields(grader), REFERENCE]

    def describe_trial(self, plan: Plan) -> str:
        settings = self._get_settings(plan)
        if settings.method != "reinforcement" or settings.grader is None:
            return ""
        rows = format_count(TRIAL_ROWS, "row")
        if not isinstance(settings.grader, str) or not is_python(settings.grader):
            return f"before the upload, {self.name} grades {rows}"
        return (
            f"before the upload, {make_visible(settings.grader, 200)} grades {rows} on this machine,"
            f" without your keys, then at {self.name}"
        )

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        return build_request(plan, self._get_settings(plan), remote, self.id)

    def cancel_job(self, job_id: str) -> None:
        jobs.change_job(self, "cancel", job_id, TERMINAL)

    def pause_job(self, job_id: str) -> None:
        jobs.change_job(self, "pause", job_id, ("paused",))

    def resume_job(self, job_id: str) -> None:
        jobs.change_job(self, "resume", job_id, ("running", "pending"))

    def get_endpoint(
        self, model: str, plan: Plan, *, checkpoint: int | None = None
    ) -> Endpoint | None:
        """Return where a model can be asked: every model of the account, at the same address."""
        return Endpoint(
            address=self.endpoint, served_name=model, key_variable=PLATFORMS[self.id].key_variable
        )
