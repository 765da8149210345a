"""Deployments of tuned models and whatever else is billed for as long as it exists: their list, and their end.

A run's record names what it is about to deploy before the request is sent, so that nothing that may be
billed is ever without a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import msgspec

from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.providers.base import DeployingPlatform, Endpoint, Platform, ProviderError
from ftwizard.providers.endpoints import record_endpoint
from ftwizard.providers.platforms import get_platform
from ftwizard.providers.session import read_poll_s
from ftwizard.runs import hosted, remote, store
from ftwizard.runs.remote import TUNED_MODEL, BilledItem, BilledResource, RemoteJob
from ftwizard.text import make_visible

POLL_S = 5.0
"""Between two looks at a deployment that starts."""
MAX_START_S = 1800.0
"""Longest wait for a deployment to answer; it may be billed meanwhile."""
MAX_FAILED_LOOKS = 6
"""Looks in a row that the platform does not answer, after which nobody waits any longer."""
MAX_MISSES = 3
"""Looks in which a new deployment is not listed, after which it counts as failed."""


def is_deployer(provider: str) -> bool:
    """Return whether ftwizard itself deploys tuned models at a platform."""
    serving = {name: platform.serving for name, platform in PLATFORMS.items()}
    return serving.get(cast(HostedProvider, provider)) in ("free_deployment", "hourly_deployment")


def get_deployer(provider: str) -> DeployingPlatform:
    """Return a platform where ftwizard itself deploys tuned models; see ``is_deployer``."""
    return cast(DeployingPlatform, get_platform(cast(HostedProvider, provider)))


def deploy(
    folder: JobFolder, quoted: BilledResource, platform: DeployingPlatform
) -> BilledResource:
    """Deploy the tuned model of a run, as quoted, and record it before and after.

    Raises ProviderError. Then the record names what may exist, unless the request did nothing.
    """
    record = _read(folder)
    assert record.tuned_model is not None
    intent = msgspec.structs.replace(quoted, created=time.time())
    _save(folder, [*_without(record.billed, intent), intent])
    try:
        created = platform.create_endpoint(record.tuned_model)
    except ProviderError as error:
        if not error.may_have_acted:
            _save(folder, _without(_read(folder).billed, intent))
        raise
    resource = msgspec.structs.replace(
        created, name=intent.name, price=created.price or intent.price
    )
    _save(folder, [*_without(_read(folder).billed, intent), resource])
    return resource


def wait_until_it_answers(
    folder: JobFolder,
    resource: BilledResource,
    platform: Platform,
    report: Callable[[float], None] = lambda seconds: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Endpoint:
    """Wait until a deployment answers, and record where. ``report`` gets the seconds waited.

    One that fails is deleted. Raises ProviderError for that, and if it does not answer in time.
    """
    record, plan = _read(folder), plan_file.read_run(folder)
    assert record.tuned_model is not None
    start, misses, failed, poll_s = time.monotonic(), 0, 0, read_poll_s(POLL_S)
    while (waited_s := time.monotonic() - start) < MAX_START_S:
        report(waited_s)
        try:
            endpoint = platform.get_endpoint(record.tuned_model, plan)
            listed = set() if endpoint else {item.id for item in platform.list_billed()}
        except ProviderError as error:
            failed += 1
            if error.kind != "unreachable" or failed == MAX_FAILED_LOOKS:
                raise
            sleep(poll_s)
            continue
        failed = 0
        if endpoint:
            record = msgspec.structs.replace(
                _read(folder), tuned_endpoint=record_endpoint(endpoint)
            )
            remote.write(folder, record)
            return endpoint
        misses = 0 if resource.id in listed else misses + 1
        if misses == MAX_MISSES:
            remove(platform, resource, folder)
            raise ProviderError(
                "rejected", f"The deployment of {make_visible(folder.id)} failed at {platform.name}, "
                "and was deleted.", _suggest_after_failure(record), code="deployment_failed",
            )  # fmt: skip
        sleep(poll_s)
    raise ProviderError(
        "unreachable",
        f"{hosted.describe_billed(resource)} does not answer yet."
        + ("" if resource.is_free else " It is billed."),
        f"Wait for it: ftwizard deploy {folder.id}. Delete it: ftwizard teardown {folder.id}",
        code="not_ready",
    )


def _suggest_after_failure(record: RemoteJob) -> str:
    if hosted.has_released_weights(record):
        return "Deploy it again later, or merge its adapter and serve it yourself."
    return "Deploy it again later."


def list_of_run(folder: JobFolder, platform: Platform) -> list[BilledItem]:
    """Return what a run's record says it deployed, with what the account has by the same names; last
    its tuned model, where that is billed.

    What only the record has may have stopped by itself; it is listed, to be deleted for good.
    """
    listed, record = platform.list_billed(), _read(folder)
    items = [_make_item(platform.id, item, listed, folder) for item in record.billed]
    models = [live for live in listed if live.kind == TUNED_MODEL and live.id == record.tuned_model]
    return [*items, *(_make_item(platform.id, model, listed, folder) for model in models)]


def list_of_account(platform: Platform) -> list[BilledItem]:
    """Return what an account has that is billed, with the runs that made it, and what only the records
    of runs here have."""
    listed = platform.list_billed()
    records = list(_list_records(platform.id))
    items = [
        _make_item(platform.id, resource, listed, folder)
        for folder, record in records
        for resource in record.billed
    ]
    own = {item.resource.id for item in items}
    makers = {record.tuned_model: folder for folder, record in records}
    for live in listed:
        if live.id not in own:
            maker = makers.get(live.id) if live.kind == TUNED_MODEL else None
            items.append(_make_item(platform.id, live, listed, maker))
    # A model cannot be deleted before what serves it.
    return sorted(items, key=lambda item: item.resource.kind == TUNED_MODEL)


def has_records(provider: str) -> bool:
    """Return whether a run here made something at a platform that may be billed."""
    return any(record.billed or record.tuned_model for _, record in _list_records(provider))


def remove(platform: Platform, resource: BilledResource, folder: JobFolder | None) -> None:
    """Delete what is billed, and remove it from the record of its run.

    What the account does not list was never created: it is only removed from the record. Raises ProviderError if it
    could not be deleted.
    """
    if not resource.id:
        live = _find_live(resource, platform.list_billed())
        resource = live or resource
    if resource.id:
        platform.delete_billed(resource)
    if folder is None:
        return
    record = _read(folder)
    endpoint = record.tuned_endpoint
    if endpoint and resource.model and endpoint.served_name == resource.model:
        endpoint = None
    billed = tuple(
        kept for kept in record.billed
        if not (_find_live(kept, [resource]) or (not resource.id and kept.name == resource.name))
    )  # fmt: skip
    remote.write(folder, msgspec.structs.replace(record, billed=billed, tuned_endpoint=endpoint))


def forget_endpoint(folder: JobFolder) -> None:
    """Remove the deployment that the user made and deleted from a run's record."""
    remote.write(folder, msgspec.structs.replace(_read(folder), tuned_endpoint=None))


def _find_live(resource: BilledResource, listed: Iterable[BilledResource]) -> BilledResource | None:
    """Return the listed resource with the id of a recorded one, or with its name without an id."""
    for live in listed:
        name = (live.model or "").rpartition("/")[2]
        if live.id == resource.id if resource.id else resource.name in (name, live.name):
            return msgspec.structs.replace(
                live, name=resource.name, created=live.created or resource.created
            )
    return None


def _list_records(provider: str) -> Iterator[tuple[JobFolder, RemoteJob]]:
    for folder in store.list_runs():
        record = remote.read(folder)
        if record and record.provider == provider:
            yield folder, record


def _make_item(
    provider: str, resource: BilledResource, listed: list[BilledResource], run: JobFolder | None
) -> BilledItem:
    live = _find_live(resource, listed)
    return BilledItem(
        provider=provider, resource=live or resource, run=run.id if run else None,
        is_billed=live is not None, cost=hosted.find_cost_so_far(live) if live else None,
    )  # fmt: skip


def _without(billed: Iterable[BilledResource], intent: BilledResource) -> list[BilledResource]:
    return [resource for resource in billed if resource.name != intent.name]


def _read(folder: JobFolder) -> RemoteJob:
    record = remote.read(folder)
    assert record is not None
    return record


def _save(folder: JobFolder, billed: Iterable[BilledResource]) -> None:
    remote.write(folder, msgspec.structs.replace(_read(folder), billed=tuple(billed)))
