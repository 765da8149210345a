"""Where the models of a hosted run can be asked now, by the account and the address of this environment.

An address is never taken from a run's folder, which may be somebody else's: a key would be sent to it.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import HOSTED_PROVIDERS, Plan
from ftwizard.providers.base import Endpoint, Platform, ProviderError
from ftwizard.providers.platforms import get_platform
from ftwizard.runs import hosted
from ftwizard.runs.remote import RemoteEndpoint, RemoteJob
from ftwizard.text import make_visible


class Endpoints(NamedTuple):
    """Where a run's models can be asked."""

    tuned: Endpoint
    base: Endpoint | None
    """None if the base model cannot be asked."""


def find_endpoints(
    folder: JobFolder, record: RemoteJob, plan: Plan, *, tuned: str = "", base: str = "",
    checkpoint: int | None = None,
) -> Endpoints:  # fmt: skip
    """Return where the models of a hosted run can be asked.

    ``tuned`` and ``base`` are names under which they are served, where the user gives them, as of a
    deployment. ``checkpoint``: step of the one to ask instead of the result. Raises ProviderError without a key, or if the platform does not answer; FtwizardError
    if there is no tuned model, or if it is not deployed.
    """
    run = make_visible(folder.id, 64)
    if record.tuned_model is None:
        hosted.require_local(folder, "asked")
    provider = next((name for name in HOSTED_PROVIDERS if name == record.provider), None)
    if provider is None:
        raise FtwizardError(f"Run {run} names no known platform.", "Its remote.json was edited.")
    platform = get_platform(provider)
    model, recorded = record.tuned_model or "", record.tuned_endpoint
    if checkpoint is not None:
        kept = hosted.find_checkpoint(folder.id, record, checkpoint)
        if kept == model:  # the last one is the result
            checkpoint = None
        else:
            model, recorded = kept, None
    is_unserved = not tuned and hosted.find_serving(record) == "never"
    if is_unserved and not (recorded and _is_same(platform, recorded)):
        is_here = folder.adapter.is_dir()
        raise FtwizardError(*hosted.describe_unserved(run, record, is_downloaded=is_here))
    served = _find(platform, tuned, recorded, model, plan, checkpoint)
    if served is None:
        subject = "The tuned model" if checkpoint is None else f"Checkpoint {checkpoint}"
        chosen = run if checkpoint is None else f"{run} --checkpoint {checkpoint}"
        raise FtwizardError(
            f"{subject} of run {run} is not deployed at {PLATFORMS[provider].name}, so it cannot be asked.",
            f"Deploy it: ftwizard deploy {chosen}. Under a name of your own: ftwizard eval {chosen} "
            "--served-model NAME",
        )
    with contextlib.suppress(ProviderError):  # the tuned model is what was asked for
        return Endpoints(served, _find(platform, base, record.base_endpoint, record.model, plan))
    return Endpoints(served, None)


def _find(
    platform: Platform, name: str, recorded: RemoteEndpoint | None, model: str, plan: Plan,
    checkpoint: int | None = None,
) -> Endpoint | None:  # fmt: skip
    """Return where a model is served: under ``name``, else as recorded, else as the platform says."""
    if name or (recorded and _is_same(platform, recorded)):
        return Endpoint(
            address=platform.chat_address,
            served_name=name or (recorded.served_name if recorded else ""),
            key_variable=PLATFORMS[platform.id].key_variable,
            requests_per_minute=recorded.requests_per_minute if recorded and not name else None,
        )
    return platform.get_endpoint(model, plan, checkpoint=checkpoint)


def _is_same(platform: Platform, recorded: RemoteEndpoint) -> bool:
    return recorded.address.rstrip("/") == platform.chat_address.rstrip("/")


def record_endpoint(endpoint: Endpoint) -> RemoteEndpoint:
    """Return an endpoint as ``remote.json`` keeps it."""
    return RemoteEndpoint(
        address=endpoint.address, served_name=endpoint.served_name, key_variable=endpoint.key_variable,
        requests_per_minute=endpoint.requests_per_minute,
    )  # fmt: skip
