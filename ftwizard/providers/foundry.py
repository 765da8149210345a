"""Fine-tuning at Microsoft Foundry: OpenAI's API on the v1 endpoint of a resource or project."""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ftwizard.catalog import prices
from ftwizard.catalog.hosted_models import find_listed
from ftwizard.catalog.providers import catalog
from ftwizard.data.format_names import TargetName
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.plan.schema import Foundry, HostedMethod, Plan
from ftwizard.providers.base import Endpoint, ProviderError
from ftwizard.providers.openai.platform import OpenAIPlatform
from ftwizard.runs.remote import RemoteJob
from ftwizard.text import format_dollars, make_visible

API_PATH = "/openai/v1"
_PROJECT_HOST = ".services.ai.azure.com"
_DEPLOYMENT = "az cognitiveservices account deployment"


def name_checkpoint_deployment(model: str, step: int) -> str:
    """Return the name of the deployment of a checkpoint.

    It is the same for every command, and no other model's: runs may have checkpoints of the same step.
    """
    return f"ftwizard-step-{step}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def complete_endpoint(endpoint: str) -> str:
    """Return the base address of the v1 API for ``AZURE_OPENAI_ENDPOINT``.

    That is the address of a resource or of a project, with or without ``/openai/v1``.
    """
    endpoint = endpoint.strip()
    if endpoint and "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return endpoint
    if not parts.netloc:  # not an address: its check says so
        return endpoint
    path = parts.path.rstrip("/")
    if path.endswith("/openai"):
        path = f"{path}/v1"
    elif not path.endswith("/v1"):
        path += API_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")) if endpoint else ""


class FoundryPlatform(OpenAIPlatform):
    """Microsoft Foundry, with the resource of ``AZURE_OPENAI_ENDPOINT``."""

    id: HostedProvider = "foundry"
    name = "Microsoft Foundry"
    poll_s = 20.0
    max_direct_bytes = 100 * 10**6
    targets: Mapping[HostedMethod, TargetName] = {
        "supervised": "foundry-sft", "dpo": "foundry-dpo", "reinforcement": "foundry-rft"
    }  # fmt: skip

    def _get_address(self, environment: Mapping[str, str]) -> str:
        variable = PLATFORMS[self.id].address_variable
        address = complete_endpoint(environment.get(variable, ""))
        if not address:
            raise ProviderError(
                "key",
                f"{variable} is not set.",
                "Set it to the endpoint that the page of your resource at https://ai.azure.com shows.",
                code="no_endpoint",
            )
        return address

    def _get_settings(self, plan: Plan) -> Foundry:
        return plan.foundry

    def check_plan(self, plan: Plan) -> list[str]:
        """Check live what can be checked before anything is uploaded; return cautions."""
        settings = self._get_settings(plan)
        if settings.suffix and "." in settings.suffix:
            raise ProviderError(
                "rejected", "foundry.suffix has a dot, which Foundry does not accept.", "Remove it.",
                code="setting",
            )  # fmt: skip
        training_type = settings.trainingType.lower()
        hosted = find_listed(plan.model.name, "foundry")
        if hosted and not hosted.closed and training_type != "globalstandard":
            raise ProviderError(
                "rejected",
                f"Foundry trains {hosted.name} only with trainingType GlobalStandard.",
                "Set foundry.trainingType to GlobalStandard.",
                code="setting",
            )
        regions = _describe_regions() if training_type == "standard" else []
        return [*super().check_plan(plan), *regions, *self._describe_costs(plan)]

    def _describe_costs(self, plan: Plan) -> list[str]:
        """Return cautions on what Foundry bills besides tokens."""
        hosting = (
            f"The tuned model answers only while it is deployed, which costs {_format_hosting()}."
        )
        if plan.foundry.method != "reinforcement":
            return [hosting]
        return [
            "Reinforcement is billed by the hour. Foundry pauses the job at $5,000; once resumed, it has"
            + " no limit.",
            hosting,
        ]

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        """Return the body of the request that creates the job; it has no secret."""
        training_type = self._get_settings(plan).trainingType
        return {**super().build_request(plan, remote), "trainingType": training_type}

    def get_endpoint(
        self, model: str, plan: Plan, *, checkpoint: int | None = None
    ) -> Endpoint | None:
        """Return the plan's deployment for a model: the base model's, or the tuned one's.

        Without one, a deployment with the name of the model is looked for: it is asked for a token.
        That of a checkpoint has the name that ``describe_deployment`` gives it, or its model's.
        """
        is_base = model in (plan.model.name, self.get_model_id(plan))
        name = plan.foundry.base_deployment if is_base else plan.foundry.deployment
        names = [model, plan.model.name] if is_base else [model]
        if checkpoint is not None:
            name, names = "", [name_checkpoint_deployment(model, checkpoint), model]
        if not name:
            name = next(filter(self._is_deployed, dict.fromkeys(names)), None)
        if not name:
            return None
        key_variable = PLATFORMS[self.id].key_variable
        return Endpoint(address=self.endpoint, served_name=name, key_variable=key_variable)

    def _is_deployed(self, name: str) -> bool:
        ask = functools.partial(
            self.reader.chat.completions.create,
            model=name, messages=[{"role": "user", "content": "Hi"}], max_completion_tokens=16,
        )  # fmt: skip
        try:
            self.call("look for a deployment", ask)
        except ProviderError as error:
            if error.kind not in ("missing", "rejected"):
                raise
            return error.kind == "rejected"  # a refusal of the prompt comes from a model
        return True

    def describe_deployment(
        self, plan: Plan, tuned_model: str, run_id: str, checkpoint: int | None = None
    ) -> list[str]:
        """Return lines with the commands that deploy the tuned model of a run, or that of a
        checkpoint, evaluate it, list deployments, and delete one.

        Deployments are made with the Azure CLI: the key of the API may not make or list them.
        """
        name = plan.foundry.deployment or "ftwizard-tuned"
        picked = f"--served-model {shlex.quote(make_visible(name))}"
        if checkpoint is not None:
            name = name_checkpoint_deployment(tuned_model, checkpoint)
            picked = f"--checkpoint {checkpoint}"
        chosen = f"{self._get_account()} --deployment-name {shlex.quote(name)}"
        model = shlex.quote(make_visible(tuned_model, 200))
        create = (
            f"{_DEPLOYMENT} create {chosen} --model-name {model} --model-version 1"
            " --model-format {format} --sku-capacity 1 --sku-name {sku}"
        )
        hosted = find_listed(plan.model.name, "foundry")
        if hosted and not hosted.closed:
            create = create.format(format="OpenAI-OSS", sku="GlobalStandard")
            makes = [f"Deploy it, for {_format_hosting()} until it is deleted:", create]
        else:
            makes = [
                "Deploy it for an evaluation, without a fee by the hour; Azure deletes it after 24 h:",
                create.format(format="OpenAI", sku="DeveloperTier"),
                f"Or deploy it to keep, for {_format_hosting()} until it is deleted:",
                create.format(format="OpenAI", sku="GlobalStandard"),
            ]
        return [
            *makes,
            f"Then evaluate it: ftwizard eval {run_id} {picked}",
            *self.describe_teardown(name),
        ]

    def describe_teardown(self, name: str = "NAME") -> list[str]:
        """Return lines with the commands that list deployments and delete the one of that name."""
        chosen = f"{self._get_account()} --deployment-name {shlex.quote(name)}"
        return [
            "List what is deployed and billed:",
            f"{_DEPLOYMENT} list {self._get_account()} --output table",
            "Delete it, which ends the billing:",
            f"{_DEPLOYMENT} delete {chosen}",
        ]

    def _get_account(self) -> str:
        return f"--resource-group RESOURCE_GROUP --name {shlex.quote(self._get_resource())}"

    def _get_resource(self) -> str:
        """Return the name of the resource, by the host of its endpoint."""
        host = urlsplit(self.endpoint).hostname or ""
        is_azure = host.endswith(
            (_PROJECT_HOST, ".openai.azure.com", ".cognitiveservices.azure.com")
        )
        return host.partition(".")[0] if is_azure else "RESOURCE"


def _describe_regions() -> list[str]:
    """Return a caution on where the type Standard is offered: no call tells a resource's region."""
    return [
        f"trainingType Standard is offered in {fact.text} only (as of {fact.as_of})."
        for fact in catalog().platform("foundry").regions
    ]


def _format_hosting() -> str:
    """Return the fee of a deployment by the hour, with its date."""
    fee, _ = prices.packaged().rates("foundry", ["all"], "hosting")
    return f"{format_dollars(fee.usd)} per hour (as of {fee.as_of})" if fee else "a fee by the hour"
