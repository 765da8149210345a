"""State of the service: files, uploads, jobs, deployments, and what it was asked."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import threading
import time
import uuid
from typing import Any

import msgspec

from tests.doubles.openai_service.contract import Violation, get_contract
from tests.doubles.openai_service.errors import ServiceError
from tests.doubles.openai_service.rows import (
    MANTLE_EXAMPLES,
    MIN_EXAMPLES,
    FileRejected,
    Part,
    read_rows,
)
from tests.doubles.openai_service.scenario import (
    FOUNDRY_MODELS,
    MANTLE_MODELS,
    OPENAI_MODELS,
    Fault,
    JobFailure,
    ModelInfo,
    Scenario,
)
from tests.doubles.openai_service.training import (
    STARTED,
    TERMINAL,
    Job,
    choose_settings,
    count_billed,
    keep_checkpoint,
    name_checkpoint,
    report_step,
    write_results,
)

VALIDATED = "Files validated, moving job to queued state"


class Request(msgspec.Struct, kw_only=True):
    """A request that was received; no key is kept."""

    number: int
    method: str
    path: str
    route: str | None
    """As in the OpenAPI document; None: there is no such route."""
    query: dict[str, Any]
    body: Any
    """The decoded JSON, or the fields of a form with the sizes of its files."""
    auth: str
    """``bearer``, ``api-key``, ``both`` or ``none``."""
    retry: int
    """Which attempt it is, as the SDK says; 0 is the first."""
    status: int | None = None
    """None: no reply yet, or none was sent."""
    fault: str | None = None
    """The action of the fault that struck it."""


@dataclasses.dataclass
class StoredFile:
    """A file."""

    id: str
    data: bytes
    filename: str
    purpose: str
    created_at: int
    looks: int = 0
    is_processed: bool = False


@dataclasses.dataclass
class Upload:
    """A file that arrives in parts."""

    id: str
    request: dict[str, Any]
    created_at: int
    parts: dict[str, bytes] = dataclasses.field(default_factory=dict)
    status: str = "pending"
    file: str | None = None


class ServiceState:
    """Everything that the service knows. Hold ``lock`` to use it from another thread."""

    def __init__(self, scenario: Scenario, foundry: bool, mantle: bool = False) -> None:
        self.scenario, self.foundry, self.mantle = scenario, foundry, mantle
        self.lock = threading.RLock()
        self.released = threading.Condition(self.lock)
        self.releases = 0
        self.waiting = 0
        """Requests that a fault holds back."""
        self.contract = get_contract(foundry, mantle)
        self.files: dict[str, StoredFile] = {}
        self.uploads: dict[str, Upload] = {}
        self.jobs: dict[str, Job] = {}
        """Oldest first."""
        self.deployments = dict(scenario.deployments)
        """Foundry: models by the names of their deployments."""
        self.requests: list[Request] = []
        self.violations: list[Violation] = []
        self.deleted_models: set[str] = set()

    def now(self) -> int:
        """Return the service's time in Unix seconds."""
        return int(time.time() + self.scenario.clock_offset_s)

    def make_id(self, prefix: str) -> str:
        """Return a new id."""
        if self.mantle and prefix == "file-":
            return str(uuid.uuid4())
        return f"{prefix}{uuid.uuid4().hex if self.foundry else uuid.uuid4().hex[:24]}"

    # Models

    def list_models(self) -> list[ModelInfo]:
        """Return the models that have not been shut down."""
        default: tuple[ModelInfo, ...] = FOUNDRY_MODELS if self.foundry else OPENAI_MODELS
        default = MANTLE_MODELS if self.mantle else default
        scenario = self.scenario
        today = datetime.date.fromisoformat(scenario.today)
        return [
            model
            for model in (
                *(default if scenario.models is None else scenario.models),
                *scenario.extra_models,
            )
            if not model.shutdown or datetime.date.fromisoformat(model.shutdown) > today
        ]

    def find_model(self, name: str) -> ModelInfo | None:
        """Return a base model by its name or alias."""
        models = self.list_models()
        return next((model for model in models if name in (model.id, model.alias)), None)

    def find_tuned(self, name: str) -> Job | None:
        """Return the job that made a tuned model or a checkpoint that can be used."""
        if name in self.deleted_models:
            return None
        for job in self.jobs.values():
            if name == job.fine_tuned_model:
                return job
            if job.status in ("succeeded", self.scenario.paused_status):
                names = [c["fine_tuned_model_checkpoint"] for c in job.checkpoints]
                if name in names:
                    return job
        return None

    # Files

    def add_file(self, data: bytes, filename: str, purpose: str) -> StoredFile:
        """Keep a file."""
        file = StoredFile(self.make_id("file-"), data, filename, purpose, self.now())
        self.files[file.id] = file
        return file

    def get_file(self, file_id: str) -> StoredFile:
        """Return a file; raise ServiceError if there is none."""
        file = self.files.get(file_id)
        if file is None:
            raise ServiceError(404, f"No such File object: {file_id}", param="id")
        return file

    def write_file(self, file: StoredFile) -> dict[str, Any]:
        """Return a file as the service describes it."""
        status = "processed"
        if not file.is_processed:
            status = "pending" if self.foundry else "uploaded"
        document: dict[str, Any] = {
            "object": "file",
            "id": file.id,
            "purpose": file.purpose,
            "filename": file.filename,
            "bytes": len(file.data),
            "created_at": file.created_at,
            "status": status,
        }
        if (
            file.is_processed
            and self.scenario.file_error is not None
            and file.purpose == "fine-tune"
        ):
            document |= {"status": "error", "status_details": self.scenario.file_error}
        return document

    # Jobs

    def get_job(self, job_id: str) -> Job:
        """Return a job; raise ServiceError if there is none."""
        job = self.jobs.get(job_id)
        if job is None:
            raise ServiceError(
                404,
                f"Could not find fine tune: {job_id}",
                param="fine_tune_id",
                code="fine_tune_not_found",
            )
        return job

    def look_at(self, job: Job) -> None:
        """Let a look at a job advance it, where looks are its clock."""
        pace = self.scenario.pace
        if pace.clock == "polls" and not job.is_held:
            self.advance(job, self._count_steps(job) if job.position >= STARTED else 1)

    def _count_steps(self, job: Job) -> int:
        return job.steps_per_look or max(1, -(-job.total_steps // 4))

    def pass_time(self) -> None:
        """Let time advance all jobs, where time is their clock."""
        pace = self.scenario.pace
        if pace.clock != "time":
            return
        for job in self.jobs.values():
            while not job.has_ended and not job.is_held:
                wait = {0: pace.validating_s, 1: pace.queued_s}.get(job.position, pace.step_s)
                if time.monotonic() - job.advanced < wait or not self.advance(job, 1):
                    break

    def advance(self, job: Job, positions: int) -> bool:
        """Move a job on; return whether it moved."""
        has_moved = False
        for _ in range(positions):
            if job.has_ended or job.status == self.scenario.paused_status or job.is_held:
                break
            job.position += 1
            job.advanced = time.monotonic()
            has_moved = True
            self._enter(job)
        return has_moved

    def _enter(self, job: Job) -> None:
        now, failure = self.now(), job.failure
        if job.position == 1:
            self._validate(job)
        elif job.position == STARTED:
            job.status = "running"
            started = "Training started." if self.foundry else "Fine-tuning job started"
            job.add_event(started, now, data=None)
            if self.scenario.odd_events:
                add_odd_events(job, now)
        elif job.position <= STARTED + job.total_steps:
            step = job.position - STARTED
            report_step(job, step, now)
            if failure and failure.at == "running" and step >= min(failure.step, job.total_steps):
                job.fail(failure.code, failure.message, failure.param, now)
            elif step == job.hold_at:
                job.is_held = True
            elif step == job.pause_at:
                self.pause(job)
        else:
            self._finish(job)

    def _validate(self, job: Job) -> None:
        now, failure = self.now(), job.failure
        try:
            job.rows = self._read(job, "training_file", job.training_file)
            if job.validation_file:
                job.validation_rows = self._read(job, "validation_file", job.validation_file)
        except FileRejected as error:
            job.fail(error.code, error.message, error.param, now)
            return
        if failure and failure.at == "validation":
            job.fail(failure.code, failure.message, failure.param, now)
            return
        choose_settings(job)
        job.status = "queued"
        validated = "Preprocessing completed." if self.foundry else VALIDATED
        job.add_event(validated, now)

    def _read(self, job: Job, part: Part, file_id: str) -> list[dict[str, Any]]:
        file = self.files.get(file_id)
        if file is None:
            raise FileRejected(f"invalid_{part}", f"The file {file_id} was deleted.", part)
        bom = self.scenario.bom or ("needed" if self.foundry else "refused")
        least = MANTLE_EXAMPLES if self.mantle else MIN_EXAMPLES
        return read_rows(file.data, job.method, part, bom, least)

    def _finish(self, job: Job) -> None:
        now, failure = self.now(), job.failure
        if not self.foundry:
            job.add_event(f"New fine-tuned model created: {job.tuned_name}", now)
            job.add_event("Evaluating model against our usage policies before enabling", now)
        if failure and failure.at == "moderation":
            message = failure.message.replace("{model}", job.tuned_name)
            job.checkpoints.clear()
            job.fail(failure.code, message, failure.param, now)
            return
        if not self.mantle:
            results = self.add_file(
                write_results(job),
                "results.csv" if job.is_foundry else "step_metrics.csv",
                "fine-tune-results",
            )
            results.is_processed = True
            job.result_files = [results.id]
        job.trained_tokens = count_billed(job)
        job.fine_tuned_model = job.tuned_name
        job.end("succeeded", now)
        if self.foundry:
            job.add_event("Job succeeded.", now)
            job.add_event("Postprocessing started.", now)
            job.add_event(f"Completed results file: {results.id}", now)
            job.add_event("Training hours billed: 0.250", now)
        else:
            job.add_event(f"Moderation checks for snapshot {job.tuned_name} passed.", now)
            job.add_event("The job has successfully completed", now)

    def cancel(self, job: Job) -> None:
        """Cancel a job; raise ServiceError if it has ended."""
        if job.has_ended:
            raise ServiceError(400, f"Job has already completed: {job.id}")
        job.end("cancelled", self.now())
        job.add_event("Fine-tuning job cancelled", self.now())

    def pause(self, job: Job) -> None:
        """Pause a job that runs, with a checkpoint; raise ServiceError otherwise."""
        if job.status != "running":
            raise ServiceError(400, f"Job {job.id} cannot be paused: its status is {job.status}.")
        if job.step and all(c["step_number"] != job.step for c in job.checkpoints):
            keep_checkpoint(job, job.step, self.now())
        job.resumed_status, job.status = job.status, self.scenario.paused_status
        job.add_event("Fine-tuning job paused", self.now())

    def resume(self, job: Job) -> None:
        """Resume a paused job; raise ServiceError otherwise."""
        if job.status != self.scenario.paused_status:
            raise ServiceError(400, f"Job {job.id} cannot be resumed: its status is {job.status}.")
        job.status = job.resumed_status
        job.add_event("Fine-tuning job resumed", self.now())

    def fail(self, job: Job, failure: JobFailure) -> None:
        """Let a job fail now."""
        job.fail(failure.code, failure.message, failure.param, self.now())

    def name_model(self, model: str, job_id: str, suffix: str | None) -> str:
        """Return the name that a job's model will have."""
        if self.foundry:
            name = f"{model}.ft-{job_id.removeprefix('ftjob-')}"
            return f"{name}-{suffix}" if suffix else name
        end = hashlib.sha256(job_id.encode()).hexdigest()[:8]
        return f"ft:{model}:{self.scenario.organization_name}:{suffix or ''}:{end}"

    def count_active_jobs(self) -> int:
        """Return the jobs that have not ended."""
        return sum(job.status not in TERMINAL for job in self.jobs.values())

    # Faults

    def take_fault(self, route: str) -> Fault | None:
        """Return the fault that strikes a request of a route; None if none does."""
        for fault in self.scenario.faults:
            if not (
                fault.on == route or (fault.on.endswith("*") and route.startswith(fault.on[:-1]))
            ):
                continue
            if fault.skip:
                fault.skip -= 1
            elif fault.times is None or fault.times > 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def wait_for_release(self) -> None:
        """Wait until the control route lets requests go on."""
        with self.lock:
            count = self.releases
            self.waiting += 1
            self.released.wait_for(lambda: self.releases > count)
            self.waiting -= 1

    def release(self) -> None:
        """Let all requests that wait go on."""
        with self.lock:
            self.releases += 1
            self.released.notify_all()


def add_odd_events(job: Job, now: int) -> None:
    """Report what no client has seen: an unknown type and level, no data, data of another kind."""
    job.has_odd_events = True
    job.add_event("Preparing", now, kind="preparation")
    job.add_event("Warming up", now, level="notice")
    for data in (None, {}, {"step": None, "train_loss": None}, {"step": "3"}):
        job.add_event("Nothing to report", now, kind="metrics", data=data)


__all__ = ["Job", "Request", "ServiceState", "StoredFile", "Upload", "name_checkpoint"]
