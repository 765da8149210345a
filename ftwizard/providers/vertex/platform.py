"""Vertex AI as a platform: what its account can do, in the terms of a plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ftwizard.catalog.account import Login
from ftwizard.catalog.hosted_models import Tuning, find_model
from ftwizard.data.format_names import TargetName
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import Endpoint, Platform, ProviderError, keep_cautions
from ftwizard.providers.fields import describe_clock
from ftwizard.providers.vertex import downloads, files, jobs, models, records
from ftwizard.providers.vertex.client import (
    LOCATION_VARIABLE,
    PROJECT_VARIABLES,
    VertexClient,
    make_address,
)
from ftwizard.providers.vertex.request import build_request
from ftwizard.runs.remote import RemoteJob
from ftwizard.text import make_visible

ANY_PROJECT = "-"
NUMBER = "PROJECT_NUMBER"
"""Stands for the number of a project that is unknown."""
UNKNOWN_RIGHT = (
    "Whether you may create jobs (aiplatform.tuningJobs.create) was not checked: only a job shows that. The"
    " role Vertex AI User (roles/aiplatform.user) has that right."
)
"""Google tells the rights in a project only by another API, which few projects have enabled."""


class VertexPlatform(VertexClient, Platform):
    """Vertex AI, with the credentials that Google's libraries find."""

    id: HostedProvider = "vertex"
    name = "Vertex AI"
    poll_s = 45.0
    can_pause = False
    has_steps = True

    list_models = models.list_models
    name_file = files.name_file
    find_file = files.find_file
    upload = files.upload
    check_file = files.check_file
    delete_file = files.delete_file
    find_job = jobs.find_job
    create_job = jobs.create_job
    get_job = jobs.get_job
    list_events = jobs.list_events
    list_checkpoints = jobs.list_checkpoints
    cancel_job = jobs.cancel_job

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of the SDKs; raise ProviderError if one cannot be used."""
        super().__init__(environment)
        # Where models are asked that a person names: a tuned one's name has its own project and location.
        project = next(filter(None, map(self.get_variable, PROJECT_VARIABLES)), ANY_PROJECT)
        location = models.get_serving_location("", self.get_variable(LOCATION_VARIABLE))
        self.chat_address = make_address(project, location)

    def find_login(self) -> Login:
        """Return whose credentials Google's libraries found; raise ProviderError for none."""
        self.verify_login()
        credentials = self.login.credentials
        caller = getattr(credentials, "service_account_email", None) or getattr(
            credentials, "account", None
        )
        return Login(
            source=self.describe_source(),
            caller=make_visible(str(caller or ""), 200),
            account=make_visible(self.find_default_project(), 100),
            region=make_visible(self.get_variable(LOCATION_VARIABLE), 40),
        )

    def describe_account(self) -> list[str]:
        return [UNKNOWN_RIGHT]

    def get_target(self, plan: Plan) -> TargetName:
        return "vertex-gemini" if models.is_gemini(plan.model.name) else "vertex-open"

    def get_model_id(self, plan: Plan) -> str:
        return models.get_model_id(plan)

    def get_method(self, plan: Plan) -> Tuning:
        return "supervised"

    def check_plan(self, plan: Plan) -> list[str]:
        """Check live what can be checked before anything is uploaded; return cautions.

        Nothing is created: login, project, location and rights are proved by reading.
        """
        location = self.find_location(plan)
        model = models.get_model_id(plan)
        cautions = models.check_model(plan, location)
        self.verify_login()
        project = self.find_project(plan)
        running, headers = jobs.list_jobs(self, project, location)
        clock = describe_clock(headers.get("date"), time.time())
        cautions = [*filter(None, [clock, jobs.describe_running(running, model)]), *cautions]
        cautions += models.check_life(self, plan, project, location)
        if not self.has_quota_project:
            cautions.append(
                "The login has no quota project, so requests may be refused. Set one: gcloud auth"
                f" application-default set-quota-project {make_visible(project, 60)}"
            )
        with keep_cautions(cautions):
            number = self._find_number(project, running)
            cautions += files.check_bucket(self, plan, location, number)
        return cautions + self._describe_rights(plan, number or NUMBER)

    def _find_number(self, project: str, jobs_there: list[Any]) -> str:
        """Return the number of a project, which the names of its jobs have; empty if unknown."""
        names = (records.parse_name(str(getattr(job, "name", ""))) for job in jobs_there)
        numbers = (name.project for name in names if name and name.project.isdecimal())
        return next(numbers, "") or files.find_project_number(self, project)

    def _describe_rights(self, plan: Plan, number: str) -> list[str]:
        """Say who reads the bucket of an open model: only the job itself shows whether that works."""
        if models.is_gemini(models.get_model_id(plan)):
            return []
        agents = files.describe_agents(files.require_bucket(plan), number, is_gemini=False)
        return [f"Google's own account reads the rows and writes the weights. {agents}"]

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        return build_request(plan, remote, self.find_project(plan), self.find_location(plan))

    def get_endpoint(
        self, model: str, plan: Plan, *, checkpoint: int | None = None
    ) -> Endpoint | None:
        """Return where a model can be asked: a tuned Gemini in the location of its endpoint, its base in
        the same one. Raises ProviderError for a model that is not served."""
        if served_in := records.parse_endpoint(model):
            return Endpoint(address=make_address(*served_in), served_name=model, key_variable="")
        if model.startswith("projects/"):
            return _refuse_model(model, is_gemini=models.is_gemini(plan.model.name))
        if not models.is_gemini(model):
            return _refuse_model(model, is_gemini=False)
        hosted = find_model(model, "vertex")
        location = models.get_serving_location(model, self.find_location(plan))
        name = hosted.asked_as[0] if hosted and hosted.asked_as else model
        address = make_address(self.find_project(plan), location)
        return Endpoint(address=address, served_name=name, key_variable="")

    def download(
        self,
        remote: RemoteJob,
        folder: Path,
        report: Callable[[int, int], None],
        step: int | None = None,
    ) -> bool:
        """Download the weights of an open model; those of Gemini never leave Google."""
        if remote.job_id is None or models.is_gemini(remote.model):
            return False
        job = jobs.fetch_job(self, remote.job_id)
        output = records.get_output_uri(job)
        if not output or records.get_state(job) != "succeeded":
            return False
        checkpoint = ""
        if step is not None:
            kept = jobs.list_kept(self, job)
            checkpoint = next((each.id for each in kept if each.step == step), "none")
        return downloads.download_weights(self, output, folder, report, checkpoint)


def _refuse_model(model: str, *, is_gemini: bool) -> Endpoint:
    """Raise ProviderError for a model that has no endpoint."""
    shown = make_visible(model, 120)
    if is_gemini:
        raise ProviderError(
            "missing", f"The endpoint of the tuned model is not ready: {shown}.",
            "Look at its page in the console, and ask again in some minutes.", code="no_endpoint",
        )  # fmt: skip
    raise ProviderError(
        "missing", f"Vertex AI does not serve the open model {shown} by itself.",
        "Download the weights and evaluate them here: ftwizard download RUN. Or deploy them, billed by"
        " the hour: gcloud ai model-garden models deploy --model=gs://BUCKET/FOLDER --region=REGION",
        code="not_served",
    )  # fmt: skip
