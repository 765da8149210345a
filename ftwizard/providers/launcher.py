"""Starts of hosted runs: a new one, a follower that continues, and a job that was created elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import __version__, config, credentials, kept_keys, locations
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.jobs import launch
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord
from ftwizard.plan import changes, checks, hosted_checks, plan_file
from ftwizard.plan.schema import Data, Files, Finish, Model, Plan, Split
from ftwizard.providers import cost, platforms, upload
from ftwizard.providers.access import describe_clear_text
from ftwizard.providers.base import JobStatus, Platform
from ftwizard.providers.consent_text import describe_upload
from ftwizard.providers.grader_trial import answer_prompts
from ftwizard.providers.session import read_poll_s
from ftwizard.quantity import Figure
from ftwizard.runs import remote, store
from ftwizard.runs.remote import RemoteFile, RemoteJob
from ftwizard.text import make_visible
from ftwizard.train import command, dataset, launcher

SILENT_S = 1800.0
"""Silence after which a follower counts as stalled: a job may wait for hours in a queue."""
RESTART_POLLS = (1, 6, 24)
"""Intervals of polling before each further start of a follower that was killed or crashed."""
MAX_RESTART_S = 600.0


class PendingUpload(NamedTuple):
    """What is about to leave the machine, for the user's confirmation."""

    plan: Plan
    report: upload.UploadReport
    cost: Figure | None
    cautions: list[str]
    lines: list[str]
    """What a person should read before."""
    trial: str = ""
    """What the plan's grader scored after the confirmation."""


Confirm = Callable[[PendingUpload], bool]


def start(
    plan: Plan, run_id: str, confirm: Confirm, *, numbered: bool = False
) -> tuple[JobFolder, PendingUpload]:
    """Check and convert the rows, ask, and start the run that uploads them and follows the job.

    ``confirm`` is called before anything leaves the machine, after secrets in the rows were refused
    (exit 3) unless the plan allows them. ``numbered``: where the id is taken, the run gets the next
    free one. Raises FtwizardError, and ProviderError where the platform would refuse the job.
    """
    config.load()
    folder, pending = create(plan, run_id, confirm, numbered=numbered)
    _start(folder, pending.plan)
    return folder, pending


def create(
    plan: Plan, run_id: str, confirm: Confirm, *, numbered: bool = False
) -> tuple[JobFolder, PendingUpload]:
    """Create the run without starting it; see ``start``."""
    plan = changes.pin_defaults(plan_file.copy_mix(plan))
    platform = get_platform(plan)
    path = launcher.choose_path(run_id, numbered=numbered)
    existed = path.exists() and not numbered
    if existed and (path / "job.json").exists():
        raise FtwizardError(f"A run named {run_id} already exists.", "Choose another --name.")
    try:
        pending = _prepare(plan, platform, locations.create_private_folder(path))
        if not confirm(pending):
            raise FtwizardError("Nothing was uploaded.", "", DECLINED)
        trial, cautions = platform.try_grader(plan, path / pending.report.train.path)
        cautions = [*pending.cautions, *cautions]
        pending = pending._replace(cautions=cautions, trial=trial)
        folder = _create(path, plan, platform, pending)
    except BaseException:
        if not existed and not (path / "job.json").exists():
            shutil.rmtree(path, ignore_errors=True)
        raise
    return folder, pending


def preview(plan: Plan) -> PendingUpload:
    """Return what would leave the machine, and what it would cost; nothing is kept or uploaded."""
    plan = changes.pin_defaults(plan_file.copy_mix(plan))
    platform = get_platform(plan)
    root = locations.create_private_folder(locations.runs_folder())
    with tempfile.TemporaryDirectory(prefix=".preview-", dir=root) as path:
        return _prepare(plan, platform, Path(path))


def get_platform(plan: Plan) -> Platform:
    """Return the platform of a plan, by the keys of this environment."""
    if plan.provider == "local":
        raise ValueError("a plan of this machine has no platform")
    return _get_platform(plan.provider)


def _get_platform(provider: HostedProvider) -> Platform:
    """Return a platform; raise FtwizardError for an environment that its follower would refuse."""
    platform = platforms.get_platform(provider)
    read_poll_s(platform.poll_s)
    return platform


def _prepare(plan: Plan, platform: Platform, path: Path) -> PendingUpload:
    checks.check_epochs(plan)

    def keep(rows: dataset.Rows) -> None:
        method = platform.get_method(plan)
        if method == "reinforcement":
            rows = answer_prompts(rows, platform.list_references(plan))
        if plan.finish.compare and method in ("supervised", "reinforcement"):
            dataset.save_test_set(JobFolder(path), rows, plan.evaluate, plan.recipe.seed)

    report = upload.prepare_upload(plan, path, endpoint=platform.endpoint, keep=keep)
    upload.require_no_secrets(plan, report)
    clear_text = describe_clear_text(platform.endpoint)
    cautions = [*filter(None, [clear_text]), *platform.check_plan(plan)]
    predicted = cost.predict_cost(plan, report)
    cost.require_budget(plan, predicted)
    lines = describe_upload(plan, report, predicted, platform, platform.describe_trial(plan))
    return PendingUpload(plan, report, predicted, cautions, lines)


def _create(path: Path, plan: Plan, platform: Platform, pending: PendingUpload) -> JobFolder:
    tag, report = uuid.uuid4().hex, pending.report
    files = {
        Path(part.path).stem: RemoteFile(
            path=part.path, name=platform.name_file(plan, tag, Path(part.path).name),
            rows=part.rows, size_bytes=part.size_bytes,
        )
        for part in report.parts
    }  # fmt: skip
    record = RemoteJob(
        provider=plan.provider, tag=tag, endpoint=platform.endpoint,
        model=platform.get_model_id(plan),
        files=files, predicted_cost=pending.cost,
    )  # fmt: skip
    return _write(path, plan, record, report.hashes)


def _write(path: Path, plan: Plan, record: RemoteJob, hashes: Mapping[str, str]) -> JobFolder:
    job = JobRecord(
        kind="train",
        argv=command.build_argv(path),
        version=__version__,
        created=time.time(),
        hashes=dict(hashes),
        inputs={"silent_s": SILENT_S},
        plan=msgspec.to_builtins(plan),
    )
    encoded = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    return launch.create(
        path,
        job,
        {
            "plan.yaml": plan_file.dump(plan, defaults=not record.adopted).encode(),
            "remote.json": encoded,
        },
    )


def resume(folder: JobFolder, plan: Plan) -> Attempt:
    """Follow the job of a run again.

    Raises FtwizardError where nothing is left to follow: the job has ended.
    """
    launcher.require_resumable(folder)
    if remote.read(folder) is None:
        raise FtwizardError(
            f"{folder.remote} could not be read, so the job of run {folder.id} is unknown.",
            f"Adopt it by its id: ftwizard watch JOB_ID --provider {plan.provider}",
        )
    get_platform(plan)  # without a key, nothing is started
    return _start(folder, plan)


def adopt(job_id: str, provider: HostedProvider, run_id: str | None = None) -> JobFolder:
    """Follow a job that was created elsewhere, in a run of its own; return that.

    A job that a run here follows already is not adopted again.
    """
    platform = _get_platform(provider)
    if folder := _find_follower(job_id, provider):
        return folder
    status = platform.get_job(job_id)
    # A job may have a second name: at Vertex AI its number alone, at Bedrock its ARN.
    if folder := _find_follower(status.id, provider):
        return folder
    plan = _make_adopted_plan(provider, status)
    record = RemoteJob(
        provider=provider, tag=status.tag or "", endpoint=platform.endpoint, model=status.model,
        job_id=status.id, status=status.status, state=status.state, adopted=True,
    )  # fmt: skip
    name = run_id or store.make_id(job_id.rpartition("/")[2])  # an id may be a whole path
    path = launcher.choose_path(name, numbered=run_id is None)
    folder = _write(path, plan, record, {})
    _start(folder, plan)
    return folder


def _find_follower(job_id: str, provider: HostedProvider) -> JobFolder | None:
    """Return the run that follows a job already."""
    for folder in store.list_runs():
        record = remote.read(folder)
        if record and record.provider == provider and record.job_id == job_id:
            return folder
    return None


def _make_adopted_plan(provider: HostedProvider, status: JobStatus) -> Plan:
    """Return what is known of the plan of a job from elsewhere: its rows are at the platform."""
    files = Files(train=status.training_file or "unknown", validation=status.validation_file)
    plan = Plan(
        provider=provider,
        data=Data(files=files, split=Split(validation=0.0, test=0.0)),
        model=Model(name=make_visible(status.model, 200)),
        allow=() if status.validation_file else ("no-validation",),
        finish=Finish(compare=False, merge=False),
    )
    for name, value in status.planned.items():
        plan = _try_setting(plan, name, value)
    return plan


def _try_setting(plan: Plan, name: str, value: Any) -> Plan:
    """Return the plan with a setting of its platform, unless no plan could have that."""
    tree = msgspec.to_builtins(plan)
    tree[plan.provider][name] = make_visible(value, 200) if isinstance(value, str) else value
    try:
        changed = msgspec.convert(tree, Plan)
    except msgspec.ValidationError:
        return plan
    problems = hosted_checks.find_problems(changed, changed.provider)  # type: ignore[arg-type]
    is_wrong = any(problem.setting == f"{plan.provider}.{name}" for problem in problems)
    return plan if is_wrong else changed


def _start(folder: JobFolder, plan: Plan) -> Attempt:
    poll_s = read_poll_s(get_platform(plan).poll_s)
    return launch.start(
        folder,
        command.build_argv(folder.path),
        environment=build_environment(plan),
        plan=msgspec.to_builtins(plan),
        restart_after_s=[min(MAX_RESTART_S, number * poll_s) for number in RESTART_POLLS],
    )


def build_environment(plan: Plan, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a follower, with the keys and credentials of its platform only."""
    if plan.provider == "local":
        raise FtwizardError("A run of this machine has no platform.", "", USAGE)
    keep = set(PLATFORMS[plan.provider].secrets)
    if plan.evaluate.judge.key_variable:
        keep.add(plan.evaluate.judge.key_variable)
    if uses_wandb(plan) and plan.provider == "together":
        keep.add("WANDB_API_KEY")
    base = kept_keys.with_kept_keys(os.environ if base is None else base, plan.provider)
    variables = credentials.without_secrets(base, keep)
    variables["PYTHONUNBUFFERED"] = "1"
    return variables


def uses_wandb(plan: Plan) -> bool:
    """Return whether the platform sends the metrics to Weights & Biases."""
    if not plan.is_hosted:
        return False
    wandb = plan.platform_settings.sent_to_wandb
    return wandb is not None and ("wandb" in plan.report_to or wandb.project is not None)
