"""OpenAI's fine-tuning API by its official SDK; Foundry speaks it as well."""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from ftwizard.catalog.hosted_models import Tuning, check_deprecation, find_model
from ftwizard.data.format_names import TargetName
from ftwizard.plan.schema import HostedMethod, HostedProvider, OpenAI, Plan
from ftwizard.providers.access import check_address, check_key, hide_secrets, is_loopback
from ftwizard.providers.base import (
    Endpoint,
    FileStatus,
    JobEvent,
    JobStatus,
    LiveModel,
    Price,
    ProviderError,
)
from ftwizard.providers.openai import errors
from ftwizard.providers.openai.events import arrange_events, parse_results, to_number
from ftwizard.providers.openai.graders import (
    TRIAL_ROWS,
    GraderTrial,
    find_item_fields,
    find_reference,
    read_first_rows,
)
from ftwizard.providers.openai.jobs import TAG_NAME, convert_checkpoint, convert_job, dump_fields
from ftwizard.providers.openai.settings import build_method, build_wandb, get_grader
from ftwizard.providers.platforms import ACCESS
from ftwizard.runs.remote import TERMINAL, BilledResource, RemoteCheckpoint, RemoteJob
from ftwizard.text import format_bytes, format_count, make_visible

DEFAULT_ADDRESS = "https://api.openai.com/v1"
MAX_RETRIES = 3
"""More tries of a request that only reads; the SDK waits as long as ``Retry-After`` asks."""
TIMEOUT_S, CONNECT_S, UPLOAD_S = 60.0, 10.0, 600.0
PAGE_ITEMS = 100
MAX_PAGES = 1_000
PART_BYTES = 64 * 2**20
MAX_UPLOAD_BYTES = 8 * 2**30
NEAR_S = 180 * 86_400
"""A shutdown within this time is worth a caution."""
UNKNOWN_RIGHT = (
    "Whether this organization still can is known only when a job is created, after the upload."
)
"""What no request tells of an organization that the end of the service may already concern."""
_TUNING: dict[HostedMethod, Tuning] = {
    "supervised": "supervised", "dpo": "preference", "reinforcement": "reinforcement"
}  # fmt: skip
_SUFFIXES: dict[HostedMethod, str] = {"supervised": "sft", "dpo": "dpo", "reinforcement": "rft"}
_BODY = {
    "model", "training_file", "validation_file", "method", "suffix", "seed", "metadata",
    "integrations",
}  # fmt: skip
"""Parameters of the SDK's ``create``; others go into the body as they are."""
_FILE_STATES = {"error": "failed", "failed": "failed", "deleted": "failed", "cancelled": "failed"}
_PENDING_FILES = {"uploaded", "pending", "running", "processing", "notrunning", "queued"}
_Answer = TypeVar("_Answer")


class OpenAIPlatform:
    """OpenAI, with the account of ``OPENAI_API_KEY``."""

    id: HostedProvider = "openai"
    name = "OpenAI"
    poll_s = 10.0
    can_pause = True
    has_loss = True
    max_direct_bytes = 512 * 2**20
    """Larger files are uploaded in parts."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of the SDK; raise ProviderError if one cannot be used."""
        environment = os.environ if environment is None else environment
        access = ACCESS[self.id]
        key = environment.get(access.key_variable, "").strip()
        address = self._get_address(environment)
        check_key(key, access.key_variable, access.key_page)
        check_address(address, access.address_variable)
        self._account = errors.Account(self.id, self.name, address, key)
        self.endpoint = self.chat_address = hide_secrets(address)
        self._reader = openai.OpenAI(
            api_key=key,
            base_url=address,
            organization=environment.get("OPENAI_ORG_ID") or None,
            project=environment.get("OPENAI_PROJECT_ID") or None,
            max_retries=MAX_RETRIES,
            timeout=openai.Timeout(TIMEOUT_S, connect=CONNECT_S),
        )
        # A repeated request to create makes a second paid job if only the reply was lost.
        self._writer = self._reader.with_options(
            max_retries=0, timeout=openai.Timeout(UPLOAD_S, connect=CONNECT_S)
        )

    def _get_address(self, environment: Mapping[str, str]) -> str:
        return environment.get("OPENAI_BASE_URL", "").strip() or DEFAULT_ADDRESS

    def _get_settings(self, plan: Plan) -> OpenAI:
        return plan.openai

    def get_target(self, plan: Plan) -> TargetName:
        """Return the name of the data rules for the plan's method."""
        suffix = _SUFFIXES[self._get_settings(plan).method]
        targets: dict[str, TargetName] = {
            "openai-sft": "openai-sft", "openai-dpo": "openai-dpo", "openai-rft": "openai-rft",
            "foundry-sft": "foundry-sft", "foundry-dpo": "foundry-dpo",
            "foundry-rft": "foundry-rft",
        }  # fmt: skip
        return targets[f"{self.id}-{suffix}"]

    def get_method(self, plan: Plan) -> Tuning:
        """Return the plan's method in our name."""
        return _TUNING[self._get_settings(plan).method]

    # ------------------------------------------------------------------- requests

    def _call(
        self,
        action: str,
        request: Callable[[], _Answer],
        *,
        creates: bool = False,
        model: str = "",
    ) -> _Answer:
        """Send a request; raise ProviderError for every way in which it can fail."""
        try:
            answer = request()
        except openai.OpenAIError as error:
            raise errors.translate(
                error, self._account, action, creates=creates, model=model
            ) from None
        except (ValueError, AttributeError, RecursionError):  # not JSON, or not an object
            raise errors.unreadable(self._account, action, creates=creates) from None
        if answer is None or isinstance(answer, str | list | int | float):
            raise errors.unreadable(self._account, action, creates=creates)
        return answer

    def _iterate_pages(self, action: str, request: Callable[[], Any]) -> Iterator[list[Any]]:
        """Yield pages of a list; end where a service returns a page for the second time."""
        page = self._call(action, request)
        cursors = set()
        for _ in range(MAX_PAGES):
            items = [item for item in self._read_items(action, page) if item is not None]
            cursor = getattr(items[-1], "id", None) if items else None
            if not items or cursor in cursors:
                return
            cursors.add(cursor)
            yield items
            if not page.has_next_page():
                return
            page = self._call(action, page.get_next_page)

    def _read_items(self, action: str, page: Any) -> list[Any]:
        """Return the items of a page. An answer without a list is not an empty one: a job that may
        exist is looked up by it."""
        data = getattr(page, "data", None)
        is_null = data is None and "data" in getattr(page, "model_fields_set", ())
        if not isinstance(data, list) and not is_null:
            raise errors.unreadable(self._account, action)
        return data or []

    def _iterate(self, action: str, request: Callable[[], Any]) -> Iterator[Any]:
        for items in self._iterate_pages(action, request):
            yield from items

    # --------------------------------------------------------------------- checks

    def list_models(self) -> list[LiveModel]:
        """Return the models that this account sees; raise ProviderError for a wrong key."""
        models = self._iterate("list the models", self._reader.models.list)
        return [self._convert_model(model) for model in models if getattr(model, "id", None)]

    def _convert_model(self, model: Any) -> LiveModel:
        return LiveModel(
            id=make_visible(str(model.id), 200),
            shutdown=to_day(getattr(model, "shutdown_date", None)),
        )

    def get_model_id(self, plan: Plan) -> str:
        """Return the platform's id of the plan's model, also where the plan has its short name."""
        hosted = find_model(plan.model.name, "openai")
        return hosted.api or plan.model.name if hosted else plan.model.name

    def check_plan(self, plan: Plan) -> list[str]:
        """Check live what can be checked before anything is uploaded; return cautions.

        What is announced to end comes first. What the platform says now counts more than the catalog.
        Raises ProviderError where the job could not be created.
        """
        settings = self._get_settings(plan)
        self._check_method(plan)
        live = self._check_model(plan)
        return [
            *self._describe_lifecycle(plan.model.name, ends=not live),
            *live,
            *self._check_rights(plan),
            *self._check_grader(settings),
        ]

    def _check_method(self, plan: Plan) -> None:
        """Raise ProviderError if the catalog has the model without the plan's method."""
        hosted = find_model(plan.model.name, self.id)
        method = self.get_method(plan)
        if hosted and method not in hosted.methods:
            own = {ours: name for name, ours in _TUNING.items()}
            names = ", ".join(own[name] for name in hosted.methods)
            raise ProviderError(
                "rejected",
                f"{self.name} does not train {hosted.name} with {self._get_settings(plan).method}"
                f" (as of {hosted.as_of}).",
                f"Set {self.id}.method to {names}, or choose another model.",
                code="method",
            )

    def _describe_lifecycle(self, model: str, *, ends: bool) -> list[str]:
        """Return what the catalog knows of the end of the service and, with ``ends``, of the model."""
        hosted = find_model(model, self.id)
        if hosted is None:
            return []
        lifecycle = check_deprecation(hosted, datetime.date.today())
        cautions = [lifecycle.why_not] if lifecycle.why_not else []
        if lifecycle.until and not lifecycle.why_not:
            cautions.append(
                f"{self.name} accepts no new jobs from {lifecycle.until.date}"
                f" {lifecycle.until.citation}."
            )
        if ends and lifecycle.ends and lifecycle.ends.date > datetime.date.today():
            cautions.append(
                f"{hosted.name} and the models tuned from it are shut down on"
                f" {lifecycle.ends.date} {lifecycle.ends.citation}."
            )
        cautions += lifecycle.cautions
        if lifecycle.cautions:
            cautions.append(UNKNOWN_RIGHT)
        return cautions

    def _check_model(self, plan: Plan) -> list[str]:
        """Check that the account sees the model, and how long it lives; return cautions."""
        name = self.get_model_id(plan)
        shown = make_visible(name, 100)
        action = f"look up the model {shown}"
        try:
            live = self._call(action, functools.partial(self._reader.models.retrieve, name))
            return self._check_live(self._convert_model(live), plan)
        except ProviderError as error:
            if error.kind == "permission":
                return [f"The key may not look up models, so {shown} was not checked."]
            if error.kind != "missing":
                raise
        return self._check_listing(name, plan)

    def _check_listing(self, name: str, plan: Plan) -> list[str]:
        """Look for a model, which could not be looked up by its id, in the list."""
        shown = make_visible(name, 100)
        try:
            models = self.list_models()
        except ProviderError as error:
            if error.kind in ("key", "closed"):
                raise
            return [f"{self.name} does not list its models, so {shown} was not checked."]
        for model in models:
            if model.id == name:
                return self._check_live(model, plan)
        if any(model.id.startswith(f"{name}-20") for model in models):
            return []  # a name without its date
        raise ProviderError(
            "missing",
            f"This account at {self.name} has no model {shown}.",
            f"{errors.hint_models(self.id)} {errors.format_alternatives(plan.model.name, self.id)}",
            code="model_not_found",
        )

    def _check_live(self, model: LiveModel, plan: Plan) -> list[str]:
        """Check the day on which a model is shut down."""
        if model.shutdown is None:
            return []
        day = datetime.date.fromisoformat(model.shutdown)
        days = (day - datetime.date.today()).days
        if days <= 0:
            raise ProviderError(
                "closed",
                f"{self.name} shut down {model.id} on {day}.",
                errors.format_alternatives(plan.model.name, self.id),
                code="model_shut_down",
            )
        if days * 86_400 > NEAR_S:
            return []
        return [
            f"{self.name} shuts down {model.id} on {day}, in {format_count(days, 'day')}, and every"
            + " model tuned from it."
        ]

    def _check_rights(self, plan: Plan) -> list[str]:
        """Check that the key may use fine-tuning; return a caution if the clocks differ."""
        action = "use fine-tuning"
        jobs = self._reader.fine_tuning.jobs.with_raw_response
        answer = self._call(
            action, functools.partial(jobs.list, limit=1), model=self.get_model_id(plan)
        )
        self._call(action, answer.parse)
        caution = errors.describe_clock(answer.headers.get("date"), time.time())
        return [caution] if caution else []

    def _check_grader(self, settings: OpenAI) -> list[str]:
        """Let the platform validate the grader; return cautions."""
        if settings.method != "reinforcement" or settings.grader is None:
            return []
        grader: Any = get_grader(settings, self.id)
        validate = functools.partial(self._writer.fine_tuning.alpha.graders.validate, grader=grader)
        try:
            self._call("validate the grader", validate)
        except ProviderError as error:
            if error.kind in ("missing", "unreachable"):
                return [f"The grader was not validated: {error.message}"]
            if error.kind == "rejected":
                hint = f"Correct {self.id}.grader."
                raise ProviderError("rejected", error.message, hint, code=error.code) from None
            raise
        return []

    def try_grader(self, plan: Plan, path: Path) -> list[str]:
        """Let the plan's grader grade a few rows, and return cautions; none without a grader."""
        settings = self._get_settings(plan)
        if settings.method != "reinforcement" or settings.grader is None:
            return []
        return self.dry_run_grader(plan, path).describe()

    def dry_run_grader(self, plan: Plan, path: Path, count: int = TRIAL_ROWS) -> GraderTrial:
        """Grade the first rows of an upload file, each with its own reference as the answer.

        A grader that asks a model costs its tokens. Raises ProviderError if no row can be graded.
        """
        settings = self._get_settings(plan)
        grader: Any = get_grader(settings, self.id)
        fields = find_item_fields(grader)
        rows = read_first_rows(path, count)
        rewards, messages, failed = [], [], 0
        for row in rows:
            run = functools.partial(
                self._writer.fine_tuning.alpha.graders.run,
                grader=grader, item=row, model_sample=find_reference(row, fields),
            )  # fmt: skip
            answer = self._call("run the grader", run)
            problems = self._list_grader_errors(answer)
            messages += problems
            failed += bool(problems)
            reward = to_number(getattr(answer, "reward", None))
            if not problems and reward is not None:
                rewards.append(reward)
        if rows and failed == len(rows):
            raise ProviderError(
                "rejected",
                f"The grader failed on all of {format_count(failed, 'row')}:"
                f" {'; '.join(dict.fromkeys(messages))}.",
                f"Correct {self.id}.grader.",
                code="grader_failed",
            )
        return GraderTrial(
            rows=len(rows),
            rewards=tuple(rewards),
            errors=tuple(dict.fromkeys(messages)),
            failed=failed,
        )

    def _list_grader_errors(self, answer: Any) -> list[str]:
        """Return what went wrong in one run of a grader."""
        flags = getattr(getattr(answer, "metadata", None), "errors", None)
        values = dump_fields(flags)
        problems = []
        for name, value in values.items():
            if value is True:
                details = values.get(f"{name}_details")
                words = name.removeprefix("api_").replace("_", " ")
                problems.append(f"{words} ({details})" if details else words)
        return [self._account.redact(problem) for problem in problems]

    # ---------------------------------------------------------------------- files

    def find_file(self, name: str) -> str | None:
        """Return the id of the newest uploaded file of that name; None if there is none."""
        request = functools.partial(
            self._reader.files.list, purpose="fine-tune", order="desc", limit=1_000
        )
        files = [
            file
            for file in self._iterate("list the files", request)
            if getattr(file, "filename", None) == name
            and _FILE_STATES.get(str(getattr(file, "status", ""))) != "failed"
        ]
        newest = max(
            files, key=lambda file: to_number(getattr(file, "created_at", 0)) or 0.0, default=None
        )
        return str(newest.id) if newest is not None else None

    def upload(self, path: Path, name: str, report: Callable[[int, int], None]) -> str:
        """Upload a file under ``name``, in parts if it is large; return its id."""
        size = path.stat().st_size
        if size > MAX_UPLOAD_BYTES:
            raise ProviderError(
                "rejected",
                f"{name} has {format_bytes(size)}; {self.name} takes {format_bytes(MAX_UPLOAD_BYTES)}.",
                "Send fewer rows: set data.max_rows in the plan.",
                code="too_large",
            )
        if size > self.max_direct_bytes:
            return self._upload_parts(path, name, size, report)
        with _ReportingFile(path, size, report) as file:
            request = functools.partial(
                self._writer.files.create, file=(name, file), purpose="fine-tune"
            )
            answer = self._call("take the file", request, creates=True)
        return self._require_id(answer, "take the file")

    def _upload_parts(
        self, path: Path, name: str, size: int, report: Callable[[int, int], None]
    ) -> str:
        """Upload a file in parts, of which each can be sent again."""
        action = "take the file"
        uploads = self._reader.uploads
        upload = self._call(
            action,
            functools.partial(
                self._writer.uploads.create, filename=name, bytes=size, mime_type="text/jsonl",
                purpose="fine-tune",
            ),
        )  # fmt: skip
        upload_id = self._require_id(upload, action)
        parts = []
        try:
            with path.open("rb") as file:
                while data := file.read(PART_BYTES):
                    part = self._call(
                        action,
                        functools.partial(
                            uploads.parts.create, upload_id=upload_id, data=data,
                            timeout=openai.Timeout(UPLOAD_S, connect=CONNECT_S),
                        ),
                    )  # fmt: skip
                    parts.append(self._require_id(part, action))
                    report(min(size, len(parts) * PART_BYTES), size)
            complete = functools.partial(
                self._writer.uploads.complete, upload_id=upload_id, part_ids=parts
            )
            answer = self._call(action, complete, creates=True)
        except ProviderError as error:
            if not error.may_have_acted:
                with contextlib.suppress(ProviderError):
                    self._call(action, functools.partial(self._writer.uploads.cancel, upload_id))
            raise
        return self._require_id(getattr(answer, "file", None), action)

    def _require_id(self, answer: Any, action: str) -> str:
        """Return the id of what was created; raise ProviderError if the answer has none."""
        answer_id = getattr(answer, "id", None)
        if not isinstance(answer_id, str) or not answer_id:
            raise errors.unreadable(self._account, action, creates=True)
        return make_visible(answer_id, 200)

    def check_file(self, file_id: str) -> FileStatus:
        """Return whether the platform has accepted a file."""
        request = functools.partial(self._reader.files.retrieve, file_id)
        file = self._call("look up the file", request)
        status = str(getattr(file, "status", "") or "").lower()
        if _FILE_STATES.get(status) == "failed":
            reason = self._account.redact(str(getattr(file, "status_details", None) or ""))
            return FileStatus(
                id=file_id, state="failed", reason=reason or f"its status is {status}"
            )
        return FileStatus(id=file_id, state="pending" if status in _PENDING_FILES else "ready")

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone already is no error."""
        try:
            self._call("delete the file", functools.partial(self._reader.files.delete, file_id))
        except ProviderError as error:
            if error.kind != "missing":
                raise

    # ----------------------------------------------------------------------- jobs

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        """Return the body of the request that creates the job; it has no secret."""
        settings = self._get_settings(plan)
        files = {part: file.id for part, file in remote.files.items() if file.id}
        request: dict[str, Any] = {
            "model": remote.model,
            "training_file": files["train"],
            "method": build_method(settings, self.id),
            "metadata": {**settings.metadata, TAG_NAME: remote.tag},
        }
        if "validation" in files:
            request["validation_file"] = files["validation"]
        if settings.suffix:
            request["suffix"] = settings.suffix
        if settings.seed is not None:
            request["seed"] = settings.seed
        if integration := build_wandb(plan, settings):
            request["integrations"] = [integration]
        return request

    def estimate_price(self, request: Mapping[str, Any]) -> Price:
        """Return an empty estimate: the API has none."""
        return Price()

    def find_job(self, remote: RemoteJob) -> JobStatus | None:
        """Return the job with the tag or the training file of this run; None if there is none.

        A job that still runs or has succeeded comes first, then the newest.
        """
        train = remote.files.get("train")
        training_file = train.id if train else None

        def is_ours(job: Any) -> bool:
            metadata = getattr(job, "metadata", None)
            tag = metadata.get(TAG_NAME) if isinstance(metadata, Mapping) else None
            if tag:
                return bool(tag == remote.tag)
            file_id = getattr(job, "training_file", None)
            return training_file is not None and bool(file_id == training_file)

        jobs = [job for job in self._iterate_own_jobs(remote.tag) if is_ours(job)]
        if not jobs:
            jobs = [job for job in self._iterate_jobs() if is_ours(job)]
        statuses = [self._convert_job(job) for job in jobs]
        return min(
            statuses,
            key=lambda status: (status.state in ("failed", "cancelled"), -(status.created or 0.0)),
            default=None,
        )

    def _iterate_own_jobs(self, tag: str) -> Iterable[Any]:
        """Return the jobs that the platform lists for a tag; none where it cannot filter."""
        request = functools.partial(
            self._reader.fine_tuning.jobs.list, metadata={TAG_NAME: tag}, limit=PAGE_ITEMS
        )
        try:
            return list(self._iterate("list the jobs", request))
        except ProviderError as error:
            if error.kind not in ("rejected", "missing"):
                raise
            return []

    def _iterate_jobs(self) -> Iterator[Any]:
        request = functools.partial(self._reader.fine_tuning.jobs.list, limit=PAGE_ITEMS)
        return self._iterate("list the jobs", request)

    def create_job(self, request: Mapping[str, Any]) -> JobStatus:
        """Create the job, with one request that is never repeated."""
        own: dict[str, Any] = {name: request[name] for name in request if name in _BODY}
        extra = {name: request[name] for name in request if name not in _BODY}
        create = functools.partial(
            self._writer.fine_tuning.jobs.create, **own, extra_body=extra or None
        )
        job = self._call("create the job", create, creates=True, model=str(request.get("model")))
        self._require_id(job, "create the job")
        return self._convert_job(job)

    def get_job(self, job_id: str) -> JobStatus:
        """Return the state of a job."""
        request = functools.partial(self._reader.fine_tuning.jobs.retrieve, job_id)
        job = self._call("look up the job", request)
        if not getattr(job, "status", None):
            raise errors.unreadable(self._account, "look up the job")
        return self._convert_job(job, job_id)

    def _convert_job(self, job: Any, job_id: str = "") -> JobStatus:
        identity = str(getattr(job, "id", "") or job_id)
        return convert_job(job, identity, self._account, self._get_url(identity))

    def _get_url(self, job_id: str) -> str | None:
        host = urlsplit(self.endpoint).hostname or ""
        if host.endswith(".openai.com") or is_loopback(host):
            return f"https://platform.openai.com/finetune/{make_visible(job_id, 200)}"
        return None

    def list_events(self, job_id: str, known: frozenset[str]) -> list[JobEvent]:
        """Return the events that are not in ``known`` by their ids, oldest first.

        The platform lists the newest first, so older pages are read only until a known event.
        """
        request = functools.partial(
            self._reader.fine_tuning.jobs.list_events, job_id, limit=PAGE_ITEMS
        )
        items: list[Any] = []
        for page in self._iterate_pages("list the events of the job", request):
            items += page
            is_newest_first = _get_time(page[0]) > _get_time(page[-1])
            if is_newest_first and any(getattr(item, "id", None) in known for item in page):
                break
        return arrange_events(items, known, self._account.redact)

    def list_checkpoints(self, job_id: str) -> list[RemoteCheckpoint]:
        """Return the checkpoints that the platform keeps, by step."""
        request = functools.partial(
            self._reader.fine_tuning.jobs.checkpoints.list, job_id, limit=PAGE_ITEMS
        )
        checkpoints: dict[str, RemoteCheckpoint] = {}
        try:
            for item in self._iterate("list the checkpoints of the job", request):
                checkpoint = convert_checkpoint(item)
                if checkpoint is not None:
                    checkpoints[checkpoint.id] = checkpoint
        except ProviderError as error:
            if error.kind != "missing":
                raise
        return sorted(checkpoints.values(), key=lambda checkpoint: checkpoint.step)

    def read_results(self, status: JobStatus) -> list[JobEvent]:
        """Return the metrics of all steps from the job's result files; none if they are gone."""
        events: dict[int, JobEvent] = {}
        for file_id in status.result_files:
            request = functools.partial(self._reader.files.content, file_id)
            try:
                content = self._call("read the results of the job", request).read()
            except ProviderError as error:
                if error.kind != "missing":
                    raise
                continue
            events |= {event.step or 0: event for event in parse_results(content)}
        return [events[step] for step in sorted(events)]

    def cancel_job(self, job_id: str) -> None:
        """Cancel a job; one that has ended already is no error."""
        self._change_job("cancel", job_id, TERMINAL)

    def pause_job(self, job_id: str) -> None:
        """Pause a job; one that is paused already is no error."""
        self._change_job("pause", job_id, ("paused",))

    def resume_job(self, job_id: str) -> None:
        """Resume a paused job; one that runs already is no error."""
        self._change_job("resume", job_id, ("running", "pending"))

    def _change_job(self, verb: str, job_id: str, reached: tuple[str, ...]) -> None:
        change = getattr(self._reader.fine_tuning.jobs, verb)
        try:
            self._call(f"{verb} the job", functools.partial(change, job_id))
        except ProviderError as error:
            # The platform refuses what is so already (400, 409), also where only a reply was lost.
            is_refused = error.kind in ("rejected", "unreachable")
            if not is_refused or self.get_job(job_id).state not in reached:
                raise

    # ------------------------------------------------------------------------ use

    def get_endpoint(self, model: str, plan: Plan) -> Endpoint | None:
        """Return where a model can be asked: every model of the account, at the same address."""
        return Endpoint(
            address=self.endpoint, served_name=model, key_variable=ACCESS[self.id].key_variable
        )

    def download(
        self,
        remote: RemoteJob,
        folder: Path,
        report: Callable[[int, int], None],
        step: int | None = None,
    ) -> bool:
        """Return False: the weights cannot be had."""
        return False

    def list_billed(self) -> list[BilledResource]:
        """Return nothing: a tuned model costs nothing by the hour."""
        return []

    def delete_billed(self, resource: BilledResource) -> None:
        """Raise ProviderError: there is nothing that could be deleted."""
        raise ProviderError(
            "missing", f"{self.name} bills nothing by the hour that ftwizard could delete."
        )


class _ReportingFile(io.FileIO):
    """A file that reports how much of it was read."""

    def __init__(self, path: Path, size: int, report: Callable[[int, int], None]) -> None:
        super().__init__(path, "rb")
        self._size, self._report = size, report

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(-1 if size is None else size)
        self._report(min(self._size, self.tell()), self._size)
        return data


def _get_time(item: Any) -> float:
    return to_number(getattr(item, "created_at", None)) or 0.0


def to_day(value: object) -> str | None:
    """Return a date of the platform as ``2027-01-14``: from ISO text or Unix seconds."""
    try:
        if isinstance(value, str):
            return str(datetime.date.fromisoformat(value.strip()[:10]))
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return str(datetime.datetime.fromtimestamp(value, datetime.UTC).date())
    except (ValueError, OverflowError, OSError):
        pass
    return None
