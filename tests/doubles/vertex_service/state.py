"""State of the double: jobs, requests, faults, and how jobs move on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tests.doubles.openai_service.scenario import Fault
from tests.doubles.vertex_service.bucket import Storage, split_uri
from tests.doubles.vertex_service.jobs import TUNING, Job, choose_settings, count_stats
from tests.doubles.vertex_service.login import Logins
from tests.doubles.vertex_service.rows import RowsRejected, read_rows
from tests.doubles.vertex_service.scenario import Scenario, VertexFailure
from tests.doubles.vertex_service.weights import write_adapter, write_model

FINAL = "postprocess/node-0/checkpoints"
SPEC_FIELDS = {"supervised": "supervised_tuning_spec", "reinforcement": "reinforcement_tuning_spec"}


class VertexRequest(msgspec.Struct, kw_only=True):
    """A request that was received; no token is kept."""

    number: int
    method: str
    path: str
    call: str | None
    """Its name, such as ``create_job``; None: there is no such route."""
    query: dict[str, Any]
    body: Any
    """The decoded JSON; of other bodies, their size."""
    has_login: bool
    status: int | None = None
    """None: no reply yet, or none was sent."""
    fault: str | None = None
    """The action of the fault that struck it."""


class ServiceState:
    """The service with one project; the lock makes each request one step."""

    def __init__(self, scenario: Scenario, storage: Storage, logins: Logins) -> None:
        self.scenario, self.storage, self.logins = scenario, storage, logins
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        """By name."""
        self.gone: set[str] = set()
        """Names of models and endpoints that were deleted."""
        self.requests: list[VertexRequest] = []
        self.waiting = 0
        """Requests that faults hold back."""
        self._released = threading.Condition(self.lock)
        self._releases = 0

    # Time

    def look(self, job: Job) -> None:
        """Let a look at a job advance it, where looks are its clock."""
        if job.has_ended:
            job.looks_after_end += 1
        elif self.scenario.pace.clock == "polls":
            if job.cancel_looks is None and TUNING <= job.position < TUNING + job.epochs:
                self.advance(job, self.scenario.pace.epochs or max(1, -(-job.epochs // 4)))
            else:
                self.advance(job, 1)

    def pass_time(self) -> None:
        """Let time advance all jobs, where time is their clock."""
        pace = self.scenario.pace
        for job in self.jobs.values() if pace.clock == "time" else ():
            while not job.has_ended and not job.is_held:
                if time.monotonic() - job.advanced < pace.stage_s or not self.advance(job, 1):
                    break

    def advance(self, job: Job, positions: int) -> bool:
        """Move a job on; return whether it moved."""
        has_moved = False
        for _ in range(positions):
            if job.has_ended or (job.is_held and job.cancel_looks is None):
                break
            has_moved, job.advanced = True, time.monotonic()
            if job.cancel_looks is not None:
                job.cancel_looks -= 1
                if job.cancel_looks <= 0:
                    job.cancel()
            elif job.position == 0 and self._is_full(job):
                job.change("RUNNING", "WAITING_FOR_QUOTA")
            else:
                job.position += 1
                self._enter(job)
        return has_moved

    def _is_full(self, job: Job) -> bool:
        most = self.scenario.max_running
        running = [each for each in self.jobs.values() if each.position and not each.has_ended]
        return most is not None and len(running) >= most

    def _enter(self, job: Job) -> None:
        failure, epochs = job.failure, job.epochs
        if job.position == 1:
            job.change("RUNNING", "PROCESSING_DATASET")
            self._read_dataset(job)
            return
        if job.position <= TUNING + epochs:
            job.change("RUNNING", "TUNING")
            epoch = job.position - TUNING
            if failure and failure.at == "tuning" and epoch >= min(failure.epoch, epochs):
                job.fail(failure.code, failure.message)
            elif epoch == job.hold_at:
                job.is_held = True
        elif job.position == TUNING + epochs + 1:
            job.change("RUNNING", "POST_PROCESSING")
        else:
            self._finish(job)

    def _read_dataset(self, job: Job) -> None:
        failure = job.failure
        if failure and failure.at == "dataset":
            job.fail(failure.code, failure.message)
            return
        spec, field = job.spec, SPEC_FIELDS[job.method]
        for key, name in (
            ("trainingDatasetUri", "training_dataset_uri"),
            ("validationDatasetUri", "validation_dataset_uri"),
        ):
            uri = spec.get(key)
            if not uri:
                continue
            if text := self._find_closed(job, uri):
                return job.fail(7, text)
            data = self.storage.read(uri)
            try:
                if data is None:
                    raise RowsRejected("The dataset does not exist.")
                rows = read_rows(data, method=job.method, is_open=job.model.is_open)
            except RowsRejected as error:
                message = (
                    f"List of found errors:\t1.Field: tuning_job.{field}.{name}; Message: {error}\t"
                )
                return job.fail(3, message)
            if key == "trainingDatasetUri":
                job.rows = rows
            else:
                job.validation_rows = rows
        choose_settings(job)
        count_stats(job, self.scenario.max_example_tokens)

    def _find_closed(self, job: Job, uri: str) -> str:
        """Return why the service's own account cannot read a bucket; empty if it can."""
        bucket = self.scenario.buckets.get(split_uri(uri)[0])
        if bucket is None or bucket.is_open_to_agents:
            return ""
        agent = "gcp-sa-vertex-moss-ft" if job.model.is_open else "gcp-sa-vertex-tune"
        return (
            f"service-{job.project}@{agent}.iam.gserviceaccount.com does not have "
            "storage.objects.get access to the Google Cloud Storage object. Permission "
            "'storage.objects.get' denied on resource (or it may not exist)."
        )

    def _finish(self, job: Job) -> None:
        failure: VertexFailure | None = job.failure
        job.has_model = True
        if failure and failure.at == "endpoint":
            job.fail(failure.code, failure.message)
            return
        if job.model.is_open:
            self._write_weights(job)
        else:
            job.has_endpoint = True
        job.change("SUCCEEDED")

    def _write_weights(self, job: Job) -> None:
        root = f"{job.request['outputUri'].rstrip('/')}/{FINAL}"
        with TemporaryDirectory() as folder:
            weights = self.scenario.adapter
            if job.is_full:
                weights = str(write_model(Path(folder)))
            elif not weights:
                weights = str(write_adapter(Path(folder), job.model.id))
            for epoch in range(max(1, job.epochs - 9), job.epochs + 1):
                self.storage.write_folder(Path(weights), f"{root}/checkpoint-{epoch}")
            self.storage.write_folder(Path(weights), f"{root}/final")

    def cancel(self, job: Job) -> None:
        """Begin to cancel a job."""
        if self.scenario.cancel_polls <= 0:
            job.cancel()
        else:
            job.cancel_looks = self.scenario.cancel_polls
            job.change("CANCELLING")

    # Faults

    def take_fault(self, call: str) -> Fault | None:
        """Return the fault that strikes a call; None if none does."""
        for fault in self.scenario.faults:
            if fault.on != call and not (fault.on.endswith("*") and call.startswith(fault.on[:-1])):
                continue
            if fault.skip:
                fault.skip -= 1
            elif fault.times is None or fault.times > 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def wait_for_release(self) -> None:
        """Wait until the control lets requests go on."""
        with self.lock:
            count = self._releases
            self.waiting += 1
            self._released.wait_for(lambda: self._releases > count)
            self.waiting -= 1

    def release(self) -> None:
        """Let all requests that wait go on."""
        with self.lock:
            self._releases += 1
            self._released.notify_all()
