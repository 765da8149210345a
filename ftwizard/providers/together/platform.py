"""Together, by its official SDK: uploads, jobs, their metrics, adapters and dedicated endpoints.

The SDK repeats requests by itself, also those that create. So the client that creates a job repeats
nothing; what it asks for before, limits and price, is asked again here.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from together import APIError, APIStatusError, NotFoundError, Together
from together.lib.resources.files import FileUploadProgress
from together.types.finetune_model_limits import FinetuneModelLimits

from ftwizard.catalog.hosted_models import Tuning
from ftwizard.data.format_names import TargetName
from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import get_free_bytes
from ftwizard.plan.schema import HostedProvider, Plan
from ftwizard.providers.access import check_address, check_key, hide_secrets
from ftwizard.providers.archives import MIN_FREE_BYTES, unpack
from ftwizard.providers.base import (
    Endpoint,
    FileStatus,
    JobEvent,
    JobStatus,
    LiveModel,
    Price,
    ProviderError,
)  # fmt: skip
from ftwizard.providers.together import endpoints, records
from ftwizard.providers.together import request as requests
from ftwizard.providers.together.errors import KEYS_PAGE, translate_errors
from ftwizard.quantity import Figure, today
from ftwizard.runs.remote import BilledResource, RemoteCheckpoint, RemoteJob
from ftwizard.text import format_bytes, make_visible

KEY_VARIABLE = "TOGETHER_API_KEY"
ADDRESS_VARIABLE = "TOGETHER_BASE_URL"
WANDB_KEY_VARIABLE = "WANDB_API_KEY"
INFERENCE = "https://api-inference.together.ai/v1"
"""Where models answer, unless ``TOGETHER_BASE_URL`` names another service."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MODEL_FILES = ("config.json", "*.safetensors")
MAX_CLOCK_ERROR_S = 300.0
"""Difference between the clocks here and there that is tolerated."""
OVERLAP_STEPS = 100
"""Steps before the last one whose metrics are read again: an evaluation is logged late."""
_ATTEMPTS = 3
_FIRST_WAIT_S = 1.0
_CREATE_PATH = "/v1/fine-tunes"
_SUPPORTED_PATH = "/v1/fine-tunes/models/supported"
_DOWNLOAD_TIMEOUT_S = 300.0
_MAX_RESUMES = 5
_FILE_STATES = ("COMPLETED", "RUNNING", "QUEUED", "PENDING", "INVALID_FORMAT", "FAILED")
"""Of two files of one name, the one whose state comes first is meant."""
_SERVING_CAUTION = (
    "Answers of the tuned model may need a dedicated endpoint, which Together bills by the minute "
    "until it is deleted."
)
_PRICE_UNKNOWN_AS_INVALID = ("train_file_invalid", "eval_file_invalid")


class TogetherPlatform:
    """Together, with the account of ``TOGETHER_API_KEY``; see ``Platform``."""

    id: HostedProvider = "together"
    name = "Together"
    poll_s = 20.0
    can_pause = False
    has_loss = True

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read key and address from ``environment`` (default: the process's); nothing is sent.

        Raises ProviderError (``key``) without a key.
        """
        self._environment = os.environ if environment is None else environment
        key = self._environment.get(KEY_VARIABLE, "").strip()
        check_key(key, KEY_VARIABLE, KEYS_PAGE)
        # The SDK's paths begin with /v1; addresses for other clients end with it.
        address = self._environment.get(ADDRESS_VARIABLE, "").strip().rstrip("/")
        self._address = address.removesuffix("/v1") or None
        if self._address:
            check_address(self._address, ADDRESS_VARIABLE)
        project = self._environment.get("TOGETHER_PROJECT_ID", "").strip() or None
        self._client = Together(api_key=key, base_url=self._address, project_id=project)
        self._creator = self._client.with_options(max_retries=0)
        self.endpoint = f"{hide_secrets(str(self._client.base_url))}/v1"
        self.chat_address = self.endpoint if self._address else INFERENCE

    @property
    def _secrets(self) -> tuple[str, ...]:
        names = (KEY_VARIABLE, WANDB_KEY_VARIABLE)
        return tuple(value for name in names if (value := self._environment.get(name, "").strip()))

    def get_target(self, plan: Plan) -> TargetName:
        return "together-dpo" if plan.together.training_method == "dpo" else "together-sft"

    def get_model_id(self, plan: Plan) -> str:
        """Return the name of the plan's model, which is its id."""
        return plan.model.name

    def get_method(self, plan: Plan) -> Tuning:
        return "preference" if plan.together.training_method == "dpo" else "supervised"

    def list_models(self) -> list[LiveModel]:
        with translate_errors(self._secrets):
            return [LiveModel(id=name, tunable=True) for name in self._list_tunable()]

    def _list_tunable(self) -> list[str]:
        """Return the models that jobs can be created with."""
        try:
            listed = self._client.models.list_supported(product="PRODUCT_FINE_TUNING")
            names = [str(model.name) for model in listed if getattr(model, "name", None)]
        except NotFoundError:
            names = []
        if not names:
            # The list of the fine-tuning API itself, which this SDK has no method for.
            answer = self._client.get(_SUPPORTED_PATH, cast_to=object)
            models = answer.get("models") if isinstance(answer, dict) else None
            names = [str(name) for name in models or []]
        return [make_visible(name, 120) for name in dict.fromkeys(names)]

    def check_plan(self, plan: Plan) -> list[str]:
        with translate_errors(self._secrets):
            self._client.files.list()  # refuses a wrong key
        model = plan.model.name
        limits = self._read_limits(plan.together.from_checkpoint or model, model)
        problems = requests.find_problems(plan, limits)
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
        if wants_wandb and not self._environment.get(WANDB_KEY_VARIABLE):
            cautions.append(
                f"{WANDB_KEY_VARIABLE} is not set, so Weights & Biases gets no metrics."
            )
        if settings.wandb.tags:
            cautions.append("Together sends no tags to Weights & Biases: wandb.tags has no effect.")
        return cautions

    def _read_limits(self, source: str, model: str) -> FinetuneModelLimits:
        """Return the limits of a model, or of the job that another continues."""
        try:
            with translate_errors(self._secrets):
                return self._client.fine_tuning.model_limits(model_name=source.partition(":")[0])
        except ProviderError as error:
            if error.kind != "missing":
                raise
        raise ProviderError(
            "missing", f"Together does not fine-tune {make_visible(source, 80)}.",
            self._suggest_model(model), code="model_not_supported",
        )  # fmt: skip

    def _suggest_model(self, model: str) -> str:
        try:
            names = [live.id for live in self.list_models()]
        except ProviderError:
            names = []
        near = difflib.get_close_matches(model, names, 3, 0.5)
        also = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{also}See what it fine-tunes: ftwizard doctor --provider together"

    def try_grader(self, plan: Plan, path: Path) -> list[str]:
        """Return nothing: Together has no reinforcement fine-tuning."""
        return []

    def find_file(self, name: str) -> str | None:
        with translate_errors(self._secrets):
            listed = self._client.files.list().to_dict(mode="json", warnings=False)
        files = [item for item in records.get_list(listed, "data") if item.get("filename") == name]
        # One that is pending and empty was announced, but its bytes never came.
        files = [
            item for item in files
            if item.get("processing_status") != "PENDING" or records.get_count(item, "bytes")
        ]  # fmt: skip
        files.sort(key=_rank_file)
        file_id = records.get_text(files[0], "id") if files else None
        if file_id and files[0].get("processing_status") == "PENDING":
            return file_id if self._start_validation(file_id) else None
        return file_id

    def _start_validation(self, file_id: str) -> bool:
        """Ask for the validation of a file, which an upload that broke after its bytes did not do.

        Return False if the service has not all of it.
        """
        try:
            with translate_errors(self._secrets):
                self._client.post(f"/v1/files/{file_id}/preprocess", cast_to=object)
        except ProviderError as error:
            if error.kind not in ("rejected", "missing"):
                raise
            return False
        return True

    def upload(self, path: Path, name: str, report: Callable[[int, int], None]) -> str:
        def progress(event: FileUploadProgress) -> None:
            report(event.uploaded_bytes, event.total_bytes)

        # The SDK sends the file's own name. Its check reads every row again and accepts what the
        # service refuses; ftwizard's own has passed before.
        with tempfile.TemporaryDirectory() as folder, translate_errors(self._secrets):
            link = Path(folder) / Path(name).name
            link.symlink_to(path.absolute())
            try:
                uploaded = self._client.files.upload(
                    link, purpose="fine-tune", check=False, progress_callback=progress
                )
            except Exception as error:
                if type(error) is not Exception and not isinstance(error, AssertionError):
                    raise
                # So the SDK reports a part of a large file, and an answer that is not a file.
                raise httpx.RemoteProtocolError(str(error)) from error
        file_id = self._require_id(uploaded, "The upload")
        is_older = getattr(uploaded, "filename", name) != name
        if is_older and getattr(uploaded, "processing_status", "") == "PENDING":
            self._start_validation(file_id)
        return file_id

    def _require_id(self, answer: object, action: str, *, may_have_acted: bool = False) -> str:
        identity = getattr(answer, "id", None)
        if isinstance(identity, str) and identity:
            return identity
        raise ProviderError(
            "unreachable", f"{action} was answered by {self.endpoint}, but not as Together does.",
            "Check TOGETHER_BASE_URL and the proxies between here and there.",
            code="bad_answer", may_have_acted=may_have_acted,
        )  # fmt: skip

    def check_file(self, file_id: str) -> FileStatus:
        with translate_errors(self._secrets):
            file = self._client.files.retrieve(file_id).to_dict(mode="json", warnings=False)
        status = file.get("processing_status")
        if status in ("INVALID_FORMAT", "FAILED"):
            validation = file.get("validation_report")
            error = (
                records.get_text(validation, "error") if isinstance(validation, Mapping) else None
            )
            return FileStatus(id=file_id, state="failed", reason=error or str(status).lower())
        # A service without validation of files has no such status.
        is_ready = status == "COMPLETED" or (status is None and file.get("Processed") is not False)
        return FileStatus(id=file_id, state="ready" if is_ready else "pending")

    def delete_file(self, file_id: str) -> None:
        try:
            with translate_errors(self._secrets):
                self._client.files.delete(file_id)
        except ProviderError as error:
            if error.kind != "missing":
                raise

    def build_request(self, plan: Plan, remote: RemoteJob) -> dict[str, Any]:
        return requests.build_request(plan, remote)

    def estimate_price(self, request: Mapping[str, Any]) -> Price:
        with translate_errors(self._secrets):
            answer = self._client.fine_tuning.estimate_price(
                **requests.build_price_parameters(request)
            )
            estimate = answer.to_dict(mode="json", warnings=False)
        reason = records.get_text(estimate, "unavailable_reason")
        if reason in _PRICE_UNKNOWN_AS_INVALID:
            part = "training" if reason.startswith("train") else "validation"
            raise ProviderError(
                "rejected", f"Together does not accept the {part} file.",
                "Check it: ftwizard check FILE --target together-sft", code=reason,
            )  # fmt: skip
        usd = records.read_number(estimate.get("estimated_total_price"))
        allowed = estimate.get("allowed_to_proceed")
        return Price(
            total=None if usd is None else Figure(
                value=usd, unit="USD", source="Together's estimate for the job", as_of=today()
            ),
            allowed=allowed if isinstance(allowed, bool) else None,
            limit=records.read_number(estimate.get("user_limit")),
        )  # fmt: skip

    def find_job(self, remote: RemoteJob) -> JobStatus | None:
        with translate_errors(self._secrets):
            listed = self._client.fine_tuning.list().to_dict(mode="json", warnings=False)
        jobs = records.get_list(listed, "data")
        jobs.sort(key=lambda job: records.read_time(job.get("created_at")) or 0.0)
        own = [job for job in jobs if requests.has_mark(job, remote.tag)] or self._find_by_file(
            jobs, remote
        )
        return records.read_job(own[0], remote.tag) if own else None

    def _find_by_file(
        self, jobs: list[Mapping[str, Any]], remote: RemoteJob
    ) -> list[Mapping[str, Any]]:
        """Return jobs without the mark of the run that train on its file: those of no other run.

        Together gives runs with the same rows one file, under the name of the first of them. That
        one's jobs are known by it; a later one's by their time.
        """
        train = remote.files.get("train")
        if train is None or train.id is None:
            return []
        own = [job for job in jobs if job.get("training_file") == train.id]
        if not own or self._owns_file(train.id, train.name):
            return own
        later = [job for job in own if not requests.has_any_mark(job) and _is_later(job, remote)]
        return later[-1:]

    def _owns_file(self, file_id: str, name: str) -> bool:
        try:
            with translate_errors(self._secrets):
                file = self._client.files.retrieve(file_id).to_dict(mode="json", warnings=False)
        except ProviderError as error:
            if error.kind != "missing":
                raise
            return False
        return file.get("filename") == name

    def create_job(self, request: Mapping[str, Any]) -> JobStatus:
        source = str(request.get("model") or request["from_checkpoint"])
        limits = self._read_limits(source, source)
        arguments = requests.with_rank(request, limits)
        arguments |= self._read_wandb_secrets(request)
        try:
            requests.check_by_sdk(arguments, limits)
        except (TypeError, AttributeError):
            raise ProviderError(
                "unreachable",
                f"{self.endpoint} names incomplete limits for {make_visible(source, 80)}.",
                "Check TOGETHER_BASE_URL and the proxies between here and there.",
                code="bad_answer",
            ) from None
        except ValueError as error:
            raise ProviderError(
                "rejected", f"Together's SDK refuses the job: {make_visible(str(error), 300)}.",
                "Change the plan as it says.", code="refused_by_sdk",
            ) from None  # fmt: skip
        job = self._create_once(arguments, limits)
        self._require_id(job, "The creation of the job", may_have_acted=True)
        return records.read_job(job.to_dict(mode="json", warnings=False))

    def _create_once(self, arguments: Mapping[str, Any], limits: FinetuneModelLimits) -> Any:
        """Create the job. What fails before the request that creates it is tried again."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_WAIT_S * 2**attempt)
            try:
                silent = contextlib.redirect_stdout(io.StringIO())  # the SDK prints on SimPO
                with translate_errors(self._secrets, acts=_creates), silent:
                    return self._creator.fine_tuning.create(model_limits=limits, **arguments)
            except ProviderError as error:
                # Not sent yet: the SDK asks for the price first, which may be asked again.
                is_before = error.kind == "unreachable" and not error.may_have_acted
                if not is_before or attempt == _ATTEMPTS - 1 or error.retry_after_s:
                    raise
        raise AssertionError("unreachable")

    def _read_wandb_secrets(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Return what a W&B integration needs from the environment, which is never written down."""
        key = self._environment.get(WANDB_KEY_VARIABLE, "").strip()
        if not request.get("wandb_project_name") or not key:
            return {}
        address = self._environment.get("WANDB_BASE_URL", "").strip()
        return {"wandb_api_key": key} | ({"wandb_base_url": address} if address else {})

    def get_job(self, job_id: str) -> JobStatus:
        return records.read_job(self._read_job(job_id))

    def _read_job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the service sends it, with its events if it failed: they say why."""
        with translate_errors(self._secrets):
            job = self._client.fine_tuning.retrieve(job_id).to_dict(mode="json", warnings=False)
            if str(job.get("status")) in ("error", "user_error", "failed") and not job.get(
                "events"
            ):
                listed = self._client.fine_tuning.list_events(job_id)
                job["events"] = listed.to_dict(mode="json", warnings=False).get("data")
        return job

    def list_events(self, job_id: str, known: frozenset[str]) -> list[JobEvent]:
        last = records.find_last_step(known)
        with translate_errors(self._secrets):
            try:
                answer = self._client.fine_tuning.list_events(job_id)
                events = records.get_list(answer.to_dict(mode="json", warnings=False), "data")
            except NotFoundError:  # a service without events may have metrics
                events = []
            rows = self._read_metrics(job_id, max(0, last - OVERLAP_STEPS))
        merged = records.read_events(events, rows)
        return [event for event in merged if event.id not in known]

    def _read_metrics(self, job_id: str, first: int = 0) -> list[Mapping[str, Any]]:
        """Return the metrics from a step on; none where the service has none yet."""
        filters: dict[str, Any] = {"global_step_from": first} if first else {}
        try:
            answer = self._client.fine_tuning.list_metrics(job_id, **filters)
        except NotFoundError:
            return []
        return records.get_list(answer.to_dict(mode="json", warnings=False), "metrics")

    def list_checkpoints(self, job_id: str) -> list[RemoteCheckpoint]:
        with translate_errors(self._secrets):
            answer = self._client.fine_tuning.list_checkpoints(job_id)
            checkpoints = records.get_list(answer.to_dict(mode="json", warnings=False), "data")
            metrics = self._read_metrics(job_id) if checkpoints else []
        return records.read_checkpoints(job_id, checkpoints, metrics)

    def read_results(self, status: JobStatus) -> list[JobEvent]:
        """Return none: the events have the metrics of all steps."""
        return []

    def cancel_job(self, job_id: str) -> None:
        try:
            with translate_errors(self._secrets):
                self._client.fine_tuning.cancel(job_id)
        except ProviderError as error:
            has_ended = error.kind == "rejected" and self.get_job(job_id).state in (
                "succeeded", "failed", "cancelled",
            )  # fmt: skip
            if not has_ended:
                raise

    def pause_job(self, job_id: str) -> None:
        raise _cannot_pause()

    def resume_job(self, job_id: str) -> None:
        raise _cannot_pause()

    def get_endpoint(self, model: str, plan: Plan) -> Endpoint | None:
        with translate_errors(self._secrets):
            served = model if self._answers(model) else self._find_served_name(model)
        if served is None:
            return None
        return Endpoint(address=self.chat_address, served_name=served, key_variable=KEY_VARIABLE)

    def _answers(self, model: str) -> bool:
        """Return whether a model is served without a deployment: it is asked for one token."""
        try:
            self._client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=1
            )
        except APIStatusError as error:
            if error.status_code in (401, 403, 408, 429) or error.status_code >= 500:
                raise
            # 404 or code model_not_available: it would have to be deployed. Another refusal of the
            # prompt comes from a model that is there.
            return error.status_code != 404 and _get_code(error) not in (
                "model_not_available", "model_not_found",
            )  # fmt: skip
        return True

    def _find_served_name(self, model: str) -> str | None:
        try:
            client = endpoints.connect_project(self._client)
            return endpoints.find_served_name(client, self._list_registry_ids(model))
        except NotFoundError:  # a service without dedicated endpoints
            return None

    def _list_registry_ids(self, model: str) -> list[str]:
        """Return the ids under which a tuned or a base model can be deployed, the adapter first."""
        listed = self._client.fine_tuning.list().to_dict(mode="json", warnings=False)
        for item in records.get_list(listed, "data"):
            job_id = records.get_text(item, "id")
            if job_id and records.get_text(item, "model_output_name") == model:
                job = self._client.fine_tuning.retrieve(job_id).to_dict(mode="json", warnings=False)
                names = ("adapter_object_id", "model_object_id")
                return [identity for name in names if (identity := records.get_text(job, name))]
        supported = self._client.models.list_supported(search=model)
        return [str(item.id) for item in supported if getattr(item, "name", None) == model]

    def quote_endpoint(self, model: str) -> BilledResource:
        """Return the endpoint that would be made for a model, with its price; nothing is created."""
        with translate_errors(self._secrets):
            client = endpoints.connect_project(self._client)
            return endpoints.quote(client, model, self._list_registry_ids(model))

    def create_endpoint(
        self, model: str, idle_minutes: int = endpoints.IDLE_MINUTES
    ) -> BilledResource:
        """Deploy a model, which is billed until it is deleted or idle; only when a person asks for it.

        Nothing is sent twice. Raises ProviderError (``missing``) if no hardware runs the model.
        """
        with translate_errors(self._secrets, acts=lambda error: error.request.method == "POST"):
            client = endpoints.connect_project(self._client)
            ids = self._list_registry_ids(model)
            return endpoints.create_endpoint(client, model, ids, idle_minutes)

    def list_billed(self) -> list[BilledResource]:
        with translate_errors(self._secrets):
            return endpoints.list_billed(endpoints.connect_project(self._client))

    def delete_billed(self, resource: BilledResource) -> None:
        with translate_errors(self._secrets):
            client = endpoints.connect_project(self._client)
            endpoints.delete_endpoint(client, resource.id)

    def download(
        self,
        remote: RemoteJob,
        folder: Path,
        report: Callable[[int, int], None],
        step: int | None = None,
    ) -> bool:
        if remote.job_id is None:
            return False
        job = self._read_job(remote.job_id)
        if records.read_job(job).state != "succeeded":
            return False
        kind = job.get("training_type")
        is_full = isinstance(kind, Mapping) and kind.get("type") == "Full"
        try:
            self._download_and_unpack(remote.job_id, folder, report, is_full=is_full, step=step)
        except ProviderError as error:
            if error.kind != "missing":
                raise
            return False
        except OSError as error:
            raise FtwizardError(
                f"The download could not be written to {make_visible(str(folder.parent))}: "
                f"{error.strerror}.", "Check the disk and the rights of the folder, then try again.",
            ) from None  # fmt: skip
        return True

    def _download_and_unpack(
        self,
        job_id: str,
        folder: Path,
        report: Callable[[int, int], None],
        *,
        is_full: bool,
        step: int | None,
    ) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            archive = Path(temporary) / "archive"
            selector: dict[str, Any] = {"checkpoint": "model_output_path" if is_full else "adapter"}
            selector |= {} if step is None else {"checkpoint_step": step}
            self._download_archive(job_id, selector, archive, report)
            unpack(archive, folder, MODEL_FILES if is_full else ADAPTER_FILES)

    def _download_archive(
        self, job_id: str, selector: dict[str, Any], path: Path, report: Callable[[int, int], None]
    ) -> None:
        """Download an archive; a connection that breaks is continued where it broke."""
        for attempt in range(_MAX_RESUMES + 1):
            try:
                with translate_errors(self._secrets), path.open("ab") as file:
                    done = file.tell()
                    headers = {"Accept-Encoding": "identity"}
                    if done:
                        headers["Range"] = f"bytes={done}-"
                    stream = self._client.fine_tuning.with_streaming_response.content(
                        ft_id=job_id, extra_headers=headers, timeout=_DOWNLOAD_TIMEOUT_S, **selector
                    )  # fmt: skip
                    with stream as response:
                        _copy_body(response.http_response, file, report)
                    return
            except ProviderError as error:
                if error.kind != "unreachable" or attempt == _MAX_RESUMES:
                    raise
                time.sleep(min(_FIRST_WAIT_S * 2**attempt, 30.0))


def _copy_body(response: httpx.Response, file: Any, report: Callable[[int, int], None]) -> None:
    """Append the rest of a download to a file. Raises httpx.HTTPError if it ends early, and
    FtwizardError if it does not fit on the disk."""
    if response.status_code != 206:
        file.truncate(0)
        file.seek(0)
    done = file.tell()
    length = int(response.headers.get("content-length") or 0)
    total = done + length
    if length > get_free_bytes(Path(file.name).parent) - MIN_FREE_BYTES:
        raise FtwizardError(
            f"The download of {format_bytes(length)} does not fit on the disk.",
            f"Free {format_bytes(length + MIN_FREE_BYTES)}, then download it again.",
        )
    for chunk in response.iter_bytes(1 << 20):
        file.write(chunk)
        done += len(chunk)
        report(done, max(total, done))
    if length and done < total:
        raise httpx.RemoteProtocolError("the download ended early", request=response.request)


def _is_later(job: Mapping[str, Any], remote: RemoteJob) -> bool:
    """Return whether a job may be the one that the run asked for, by the time of its creation."""
    created = records.read_time(job.get("created_at"))
    if created is None or remote.requested is None:
        return False
    return created >= remote.requested - MAX_CLOCK_ERROR_S


def _rank_file(file: Mapping[str, Any]) -> int:
    status = file.get("processing_status")
    return _FILE_STATES.index(status) if status in _FILE_STATES else 0


def _creates(error: APIError) -> bool:
    """Return whether the request that failed was the one that creates the job."""
    return error.request.method == "POST" and error.request.url.path.endswith(_CREATE_PATH)


def _get_code(error: APIStatusError) -> str:
    body = error.body
    fields = body.get("error", body) if isinstance(body, dict) else {}
    return str(fields.get("code") or "") if isinstance(fields, dict) else ""


def _cannot_pause() -> ProviderError:
    return ProviderError(
        "rejected", "Together cannot pause a job.",
        "Cancel it, and continue later with together.from_checkpoint.", code="cannot_pause",
    )  # fmt: skip
