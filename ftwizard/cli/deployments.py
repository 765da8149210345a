"""``deploy`` and ``teardown``: a tuned model at an endpoint of its platform, and its end."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, cast

import msgspec

from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import DECLINED, FAILED, USAGE, FtwizardError, MissingExtra
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.plan import plan_file
from ftwizard.plan.schema import HOSTED_PROVIDERS, Plan
from ftwizard.runs import default_run, hosted, remote, store
from ftwizard.runs.remote import (
    TUNED_MODEL,
    BilledItem,
    BilledResource,
    RemoteEndpoint,
    RemoteJob,
)
from ftwizard.text import format_dollars, make_visible

if TYPE_CHECKING:
    from ftwizard.providers.base import Endpoint, OwnDeploymentPlatform, Platform

CONFIRMATION = "deploy"
"""The word that a person types before something that is billed by the hour is made."""
DELETED = "deleted"
"""The word that a person types after they deleted a deployment themselves."""


class DeployReport(msgspec.Struct, frozen=True, kw_only=True):
    """``deploy --json``."""

    run: str
    provider: str
    model: str
    endpoint: RemoteEndpoint | None
    """Where it answers; None if it is not deployed by this command."""
    billed: BilledResource | None
    commands: list[str]
    """What to run instead, where ftwizard cannot deploy it."""


class TeardownReport(msgspec.Struct, frozen=True, kw_only=True):
    """``teardown --json``."""

    items: list[BilledItem]
    deleted: list[str]
    """Ids."""
    failed: dict[str, str]
    """Why the others could not be deleted, by id."""
    commands: list[str]
    """What to run for what this command can neither list nor delete."""


def deploy(arguments: argparse.Namespace) -> int:
    """Deploy the tuned model of a run, after a confirmation where it is billed; wait until it answers."""
    folder = run_argument.find(arguments.run, default_run.choose_chatted)
    record = remote.read(folder)
    if record is None:
        raise FtwizardError(
            f"Run {folder.id} trained on this machine.",
            f"Serve it here: ftwizard serve {folder.id}",
            USAGE,
        )
    if record.tuned_model is None or observe(folder).state != "ended":
        raise FtwizardError(
            f"Run {folder.id} has not ended with a model yet.",
            f"Its state: ftwizard status {folder.id}",
        )
    step = arguments.checkpoint
    if step is not None:
        chosen = _choose_checkpoint(folder, record, step)
        step = None if chosen.tuned_model == record.tuned_model else step  # the last is the result
        record = chosen
    serving = hosted.find_serving(record)
    if serving == "at_once":
        return _explain_served(arguments, folder, record)
    if serving == "own_deployment":
        return _explain_commands(arguments, folder, record, step)
    if serving == "never":
        raise FtwizardError(
            *hosted.describe_unserved(folder.id, record, is_downloaded=folder.adapter.is_dir()),
            USAGE,
        )
    return _deploy(arguments, folder, record)


def _choose_checkpoint(folder: JobFolder, record: RemoteJob, step: int) -> RemoteJob:
    """Return a record whose model is that of a checkpoint; it is not for the disk."""
    if hosted.find_serving(record) == "hourly_deployment":
        raise FtwizardError(
            f"{hosted.name_platform(record.provider)} deploys the model of the last step only.",
            f"Download the checkpoint: ftwizard download {folder.id} --checkpoint {step}",
            USAGE,
        )
    model = hosted.find_checkpoint(folder.id, record, step)
    return msgspec.structs.replace(record, tuned_model=model)


def _explain_served(arguments: argparse.Namespace, folder: JobFolder, record: RemoteJob) -> int:
    report = _make_report(folder, record, endpoint=record.tuned_endpoint)
    platform = hosted.name_platform(record.provider)
    line = f"{platform} serves {report.model} without a deployment; only tokens are billed."
    output.print_report(arguments, report, [line, f"Ask it: ftwizard chat {folder.id}"])
    return 0


def _explain_commands(
    arguments: argparse.Namespace, folder: JobFolder, record: RemoteJob, step: int | None
) -> int:
    platform = _get_own_platform(record.provider)
    plan = plan_file.read_run(folder)
    lines = platform.describe_deployment(plan, record.tuned_model or "", folder.id, step)
    report = _make_report(folder, record, commands=lines)
    output.print_report(arguments, report, lines)
    return 0


def _get_own_platform(provider: str) -> OwnDeploymentPlatform:
    from ftwizard.providers.platforms import get_platform

    return cast("OwnDeploymentPlatform", get_platform(cast(HostedProvider, provider)))


def _make_report(
    folder: JobFolder,
    record: RemoteJob,
    *,
    endpoint: RemoteEndpoint | None = None,
    billed: BilledResource | None = None,
    commands: list[str] | None = None,
) -> DeployReport:
    return DeployReport(
        run=folder.id, provider=record.provider, model=make_visible(record.tuned_model or "", 200),
        endpoint=endpoint, billed=billed, commands=commands or [],
    )  # fmt: skip


def _deploy(arguments: argparse.Namespace, folder: JobFolder, record: RemoteJob) -> int:
    from ftwizard.providers import deployments
    from ftwizard.providers.endpoints import record_endpoint

    platform, model = deployments.get_deployer(record.provider), record.tuned_model or ""
    endpoint = platform.get_endpoint(model, plan_file.read_run(folder))
    if endpoint is None:
        quoted = platform.quote_endpoint(model)
        if quoted.is_free:
            print(_describe_free(platform.name, model), file=sys.stderr)
        elif not arguments.yes and not _confirm_price(platform.name, model, quoted):
            print("Nothing was deployed.", file=sys.stderr)
            return DECLINED
        resource = deployments.deploy(folder, quoted, platform)
        endpoint = _wait(folder, resource, platform)
    record = remote.read(folder) or record
    recorded = record_endpoint(endpoint)
    remote.write(folder, msgspec.structs.replace(record, tuned_endpoint=recorded))
    billed = next(iter(record.billed), None)
    report = _make_report(folder, record, endpoint=recorded, billed=billed)
    output.print_report(arguments, report, _describe_endpoint(folder, report))
    return 0


def _describe_free(platform: str, model: str) -> str:
    return (
        f"· {platform} deploys {make_visible(model, 200)}, which takes some minutes and is free while "
        "nobody asks it: only the tokens of its answers are billed."
    )


def _wait(folder: JobFolder, resource: BilledResource, platform: Platform) -> Endpoint:
    """Wait until a deployment answers; if the user stops waiting, it stays, and is billed."""
    from ftwizard.providers import deployments

    with progress.reporter() as say:
        try:
            return deployments.wait_until_it_answers(
                folder, resource, platform, lambda seconds: say("deploying", what=resource.model)
            )
        except KeyboardInterrupt:
            raise FtwizardError(
                f"Not waiting. {hosted.describe_billed(resource)} "
                + ("is being made." if resource.is_free else "is billed."),
                f"Wait for it: ftwizard deploy {folder.id}. Delete it: ftwizard teardown {folder.id}",
                DECLINED,
            ) from None


def _describe_endpoint(folder: JobFolder, report: DeployReport) -> list[str]:
    assert report.endpoint is not None
    name = make_visible(report.endpoint.served_name, 200)
    lines = [
        f"✓ {report.model} answers as {name}",
        f"  at {make_visible(report.endpoint.address, 200)}{_describe_key(report.endpoint)}",
        f"  Evaluate it: ftwizard eval {folder.id}",
    ]
    if report.billed is None:
        return [*lines, "  It needs no deployment: only tokens are billed."]
    billed, end = hosted.describe_billed(report.billed), f"Delete it: ftwizard teardown {folder.id}"
    if report.billed.is_free:
        return [*lines, f"  Only tokens are billed: {billed}. {end}"]
    return [*lines, f"! Billed: {billed}. {end}"]


def _describe_key(endpoint: RemoteEndpoint) -> str:
    return f" (key: {endpoint.key_variable})" if endpoint.key_variable else ""


def _confirm_price(platform: str, model: str, quoted: BilledResource) -> bool:
    """Show what a deployment costs, and let the user type the confirmation."""
    price = f"{format_dollars(quoted.price.value)} per hour" if quoted.price else "an unknown price"
    day = f", {format_dollars(quoted.price.value * 24)} per day" if quoted.price else ""
    output.print_lines(
        output.make_console(stderr=True),
        f"{platform} deploys {make_visible(model, 200)} on hardware of its own: {price}{day}, also "
        + "while nobody asks it.",
        "It is billed until it is deleted: ftwizard teardown. Without requests for 60 minutes, it "
        + "stops by itself.",
    )
    if not sys.stdin.isatty():
        raise FtwizardError(
            "deploy asks for confirmation, which needs a terminal.",
            "To deploy without a question: --yes",
            USAGE,
        )
    try:
        answer = input(f"Type {CONFIRMATION} to start it, anything else to cancel: ")
    except (EOFError, KeyboardInterrupt):
        answer = ""
    return answer.strip().lower() == CONFIRMATION


def teardown(arguments: argparse.Namespace) -> int:
    """List what is billed for as long as it exists, and delete what the user confirms.

    Return 1 if something could not be deleted, 3 if nobody could be asked and something is billed.
    """
    folder = store.find(arguments.run) if arguments.run else None
    items, commands = _list_items(folder, arguments.provider)
    can_ask = not arguments.json and not arguments.yes and sys.stdin.isatty()
    console = output.make_console()
    if not arguments.json:
        output.print_lines(console, *_describe_items(items), *commands)
    deleted: list[str] = []
    failed: dict[str, str] = {}
    for item in items:
        # What somebody else made, and a tuned model, are never deleted without a question.
        is_chosen = item.run is not None and not _is_model(item) and arguments.yes
        if is_chosen or (can_ask and output.confirm(_ask_to_delete(item), default=False)):
            _delete(item, deleted, failed)
    if folder and commands and can_ask:
        _forget(folder)
    if arguments.json:
        report = TeardownReport(items=items, deleted=deleted, failed=failed, commands=commands)
        output.print_json(report)
    else:
        output.print_lines(console, *(f"✓ Deleted: {name}" for name in deleted))
        output.print_lines(console, *(f"✗ {name}: {text}" for name, text in failed.items()))
        output.print_lines(console, *_describe_left(folder, items, deleted))
    return _choose_exit(arguments, items, deleted, failed, can_ask=can_ask)


def _choose_exit(
    arguments: argparse.Namespace, items: list[BilledItem], deleted: list[str],
    failed: dict[str, str], *, can_ask: bool,
) -> int:  # fmt: skip
    if failed:
        return FAILED
    left = [
        item for item in items
        if item.run and not _is_model(item) and _name(item) not in deleted
    ]  # fmt: skip
    if not left or can_ask or arguments.json:
        return 0
    print("Nothing was deleted. To delete what runs here made: --yes", file=sys.stderr)
    return DECLINED


def _list_items(
    folder: JobFolder | None, provider: HostedProvider | None
) -> tuple[list[BilledItem], list[str]]:
    """Return what is billed, and commands for what can neither be listed nor deleted here."""
    from ftwizard.providers import deployments, platforms
    from ftwizard.providers.base import ProviderError

    if folder is not None:
        record = remote.read(folder)
        if record is None:
            raise FtwizardError(
                f"Run {folder.id} trained on this machine: nothing of it is billed.", "", USAGE
            )
        if not deployments.is_deployer(record.provider):
            return [], _list_commands(record, plan_file.read_run(folder))
        return deployments.list_of_run(folder, deployments.get_deployer(record.provider)), []
    items: list[BilledItem] = []
    commands: list[str] = []
    for name in (provider,) if provider else tuple(HOSTED_PROVIDERS):
        if not provider and PLATFORMS[name].serving == "at_once":
            continue  # nothing is billed there
        try:
            platform = platforms.get_platform(name)
        except (ProviderError, MissingExtra):
            if provider:
                raise
            continue  # an account that was never set up here
        try:
            items += deployments.list_of_account(platform)
        except ProviderError:
            # Where there is no key, credentials may be for another use of the cloud.
            if provider or PLATFORMS[name].key_variable or deployments.has_records(name):
                raise
        if PLATFORMS[name].serving == "own_deployment":
            commands += _get_own_platform(name).describe_teardown()
    return items, commands


def _list_commands(record: RemoteJob, plan: Plan) -> list[str]:
    if hosted.find_serving(record) != "own_deployment":
        return []
    served = record.tuned_endpoint.served_name if record.tuned_endpoint else None
    platform = _get_own_platform(record.provider)
    return platform.describe_teardown(served or plan.foundry.deployment or "NAME")


def _describe_items(items: list[BilledItem]) -> list[str]:
    if not items:
        return ["Nothing that ftwizard can list is billed by the hour."]
    lines = []
    for item in items:
        maker = f"run {item.run}" if item.run else "not made by a run here"
        cost = f", about {format_dollars(item.cost)} so far" if item.cost else ""
        if not item.is_billed:
            cost = ", not billed now: it stopped by itself, or was never made"
        model = f"  {make_visible(item.resource.model, 200)}" if item.resource.model else ""
        lines.append(f"{hosted.describe_billed(item.resource)}{cost} ({maker}){model}")
    return lines


def _describe_left(
    folder: JobFolder | None, items: list[BilledItem], deleted: list[str]
) -> list[str]:
    """Describe what is still billed that nobody deletes by the way: tuned models, and files in buckets."""
    kept = [item for item in items if deleted and _is_model(item) and _name(item) not in deleted]
    lines = [f"! Still billed: {hosted.describe_billed(item.resource)}" for item in kept]
    names = {item.run for item in items if item.run}
    runs = [folder] if folder else [store.find(name) for name in sorted(names)]
    for run in runs:
        record = remote.read(run)
        if record and (buckets := hosted.list_buckets(record)):
            lines.append(
                f"Files of run {run.id} stay in {', '.join(buckets)}, whose storage is billed. To delete "
                f"what it uploaded, with the run: ftwizard remove {run.id} --remote-files"
            )
    return lines


def _is_model(item: BilledItem) -> bool:
    return item.resource.kind == TUNED_MODEL


def _ask_to_delete(item: BilledItem) -> str:
    if not _is_model(item):
        return f"Delete {_name(item)}?"
    whose = f" of run {item.run}" if item.run else ""
    return (
        f"Delete the {_name(item)}{whose}, and what serves it? This cannot be undone: its weights are gone "
        "for good, and only a new job, billed again, makes others."
    )


def _name(item: BilledItem) -> str:
    resource = item.resource
    return f"{resource.kind} {make_visible(resource.id or resource.name or '', hosted.MAX_ID)}"


def _delete(item: BilledItem, deleted: list[str], failed: dict[str, str]) -> None:
    from ftwizard.providers import deployments, platforms
    from ftwizard.providers.base import ProviderError

    platform = platforms.get_platform(cast(HostedProvider, item.provider))
    folder = store.find(item.run) if item.run else None
    try:
        with progress.reporter() as say:
            say("deleting", what=_name(item))
            deployments.remove(platform, item.resource, folder)
    except ProviderError as error:
        failed[_name(item)] = error.text
    else:
        deleted.append(_name(item))


def _forget(folder: JobFolder) -> None:
    """Remove a deployment from the record once the user, who alone can delete it, has done so."""
    from ftwizard.providers import deployments

    record = remote.read(folder)
    if record is None or record.tuned_endpoint is None:
        return
    try:
        answer = input(
            f"Type {DELETED} once you have deleted it, anything else to leave the record as it is: "
        )
    except (EOFError, KeyboardInterrupt):
        answer = ""
    if answer.strip().lower() == DELETED:
        deployments.forget_endpoint(folder)
