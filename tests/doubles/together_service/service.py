"""State and routes of the double of Together's service.

Built to docs.together.ai, the OpenAPI document of togethercomputer/openapi, and the types of the
official SDK.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.doubles.together_service import endpoints
from tests.doubles.together_service.answer import Answer, Refusal, V2Refusal
from tests.doubles.together_service.archive import pack
from tests.doubles.together_service.jobs import ENDED, Job
from tests.doubles.together_service.scenario import Model, Scenario
from tests.doubles.together_service.validation import read_answers, validate

Query = dict[str, str]
_ROUTES: list[tuple[str, re.Pattern[str], str]] = []
_PENDING = ("PENDING", "QUEUED", "RUNNING")


def _route(method: str, path: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    def register(handler: Callable[..., Answer]) -> Callable[..., Answer]:
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
        _ROUTES.append((method, pattern, handler.__name__))
        return handler

    return register


class File:
    """An uploaded file, checked after some looks at it."""

    def __init__(self, name: str, kind: str, purpose: str, checksum: str) -> None:
        self.id = f"file-{uuid.uuid4()}"
        self.name, self.kind, self.purpose, self.checksum = name, kind, purpose, checksum
        self.data: bytes | None = None
        self.status = "PENDING"
        self.report: dict[str, Any] | None = None
        self.looks = 0
        self.created = int(time.time())

    def to_json(self) -> dict[str, Any]:
        record = {
            "id": self.id, "object": "file", "created_at": self.created, "filename": self.name,
            "bytes": len(self.data or b""), "purpose": self.purpose, "FileType": self.kind,
            "processing_status": self.status,
        }  # fmt: skip
        return record | ({"validation_report": self.report} if self.report else {})


class TogetherService:
    """The service with one account; the lock makes each request one step."""

    def __init__(self, scenario: Scenario | None = None) -> None:
        self.scenario = scenario or Scenario()
        self.lock = threading.RLock()
        self.waiting = 0
        """Requests that faults hold back."""
        self._released = threading.Condition(self.lock)
        self._releases = 0
        self.address = ""
        self.requests: list[dict[str, Any]] = []
        self.files: dict[str, File] = {}
        self.jobs: dict[str, Job] = {}
        self.registry = endpoints.Registry(self.scenario)

    def wait_for_release(self) -> None:
        """Wait until the control route lets requests go on."""
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

    def count(self, method: str, path: str) -> int:
        """Return how many requests had this method, and a path that matches whole."""
        return sum(
            request["method"] == method and re.fullmatch(path, request["path"]) is not None
            for request in self.requests
        )

    def answer(
        self, method: str, path: str, query: Query, body: Any, authorization: str | None
    ) -> Answer:
        """Answer a request of the API."""
        try:
            if path.startswith("/_storage/"):
                return self._answer_storage(method, path, body, authorization)
            self._authorize(method, path, authorization)
            if path.startswith(("/v2/", "/v3/")) and not self.scenario.has_v2:
                raise Refusal(404, "Not found")
            for route_method, pattern, name in _ROUTES:
                match = pattern.fullmatch(path)
                if match and route_method == method:
                    answer: Answer = getattr(self, name)(
                        query=query, body=body, **match.groupdict()
                    )
                    return answer
            raise Refusal(404, f"Not found: {method} {path}")
        except Refusal as refusal:
            return refusal.answer

    def _authorize(self, method: str, path: str, authorization: str | None) -> None:
        key = (authorization or "").removeprefix("Bearer ")
        if key not in self.scenario.keys:
            raise Refusal(401, "Invalid API key provided. You can find your API key at "
                          "https://api.together.ai/settings/api-keys.", "invalid_api_key")  # fmt: skip
        if self.scenario.forbidden and method == "POST" and "estimate" not in path:
            raise Refusal(403, "This project does not have access to fine-tuning.", "forbidden")

    # Files

    @_route("POST", "/v1/files")
    def announce_file(self, query: Query, body: dict[str, Any]) -> Answer:
        if body.get("purpose") not in ("fine-tune", "eval", "batch-api", "calibration"):
            raise Refusal(400, f"Invalid purpose {body.get('purpose')!r}")
        name, kind = str(body.get("file_name", "")), body.get("file_type")
        if kind not in ("jsonl", "parquet", "csv") or not name.endswith(f".{kind}"):
            raise Refusal(400, f"Invalid file type {kind!r}")
        for file in self.files.values():
            if file.data is not None and file.checksum == body.get("checksum"):
                return Answer(
                    status=409, body={"file_id": file.id, "error": {"message": "File exists"}}
                )
        file = File(name, str(kind), body["purpose"], str(body.get("checksum")))
        self.files[file.id] = file
        location = f"{self.address}/_storage/{file.id}?X-Amz-Signature=abc"
        headers = {"Location": location, "X-Together-File-Id": file.id}
        return Answer(status=302, headers=headers)

    def _answer_storage(
        self, method: str, path: str, body: Any, authorization: str | None
    ) -> Answer:
        """Answer for the storage behind signed addresses, which refuses a second authorization."""
        name = path.removeprefix("/_storage/")
        if authorization is not None:
            raise Refusal(400, "Only one auth mechanism allowed")
        if method == "GET" and name.startswith("download-"):
            return self._pack_model(self.jobs[name.removeprefix("download-")])
        if method != "PUT" or name not in self.files:
            raise Refusal(403, "Access denied")
        file = self.files[name]
        if hashlib.sha256(body).hexdigest() != file.checksum:
            raise Refusal(400, "The checksum does not match")
        file.data = body
        return Answer(headers={"ETag": '"1"'})

    @_route("POST", "/v1/files/{file_id}/preprocess")
    def preprocess_file(self, query: Query, body: Any, file_id: str) -> Answer:
        file = self._get_file(file_id)
        if file.data is None:
            raise Refusal(400, "The file was not uploaded")
        file.status = "QUEUED"
        return Answer(body=file.to_json())

    def _get_file(self, file_id: str) -> File:
        if file_id not in self.files:
            raise Refusal(404, f"File {file_id} not found")
        return self.files[file_id]

    @_route("GET", "/v1/files")
    def list_files(self, query: Query, body: Any) -> Answer:
        return Answer(body={"data": [file.to_json() for file in self.files.values()]})

    @_route("GET", "/v1/files/{file_id}")
    def get_file(self, query: Query, body: Any, file_id: str) -> Answer:
        file = self._get_file(file_id)
        if file.status in ("QUEUED", "RUNNING"):
            file.looks += 1
            file.status = "RUNNING"
            if file.looks > self.scenario.validation_polls:
                self._validate(file)
        return Answer(body=file.to_json())

    def _validate(self, file: File) -> None:
        scenario = self.scenario
        report = validate(file.data or b"")
        if scenario.validation_error:
            report = {
                "valid": False,
                "error": scenario.validation_error,
                "error_type": "INVALID_FORMAT",
            }
        file.report = report | {"file_id": file.id}
        file.status = "COMPLETED" if report["valid"] else scenario.validation_status

    @_route("DELETE", "/v1/files/{file_id}")
    def delete_file(self, query: Query, body: Any, file_id: str) -> Answer:
        self._get_file(file_id)
        del self.files[file_id]
        return Answer(body={"id": file_id, "deleted": True})

    # Models

    @_route("GET", "/v1/models")
    def list_models(self, query: Query, body: Any) -> Answer:
        data = [
            {"id": name, "object": "model", "type": "chat"}
            for name, model in self.scenario.models.items() if model.serverless
        ]  # fmt: skip
        return Answer(body=data)

    @_route("GET", "/v1/fine-tunes/models/supported")
    def list_tunable(self, query: Query, body: Any) -> Answer:
        return Answer(body={"models": list(self.scenario.models)})

    @_route("GET", "/v1/fine-tunes/models/limits")
    def get_limits(self, query: Query, body: Any) -> Answer:
        name = query.get("model_name", "")
        model = self._find_model(name)
        if model is None:
            return Answer(
                status=404, body={"message": f"Model {name} is not available for fine-tuning."}
            )
        sizes = {
            "max_batch_size": model.max_batch_size, "max_batch_size_dpo": model.max_batch_size_dpo,
            "min_batch_size": model.min_batch_size,
        }  # fmt: skip
        limits = {
            "model_name": name, "max_num_epochs": model.max_epochs, "max_num_evals": model.max_evals,
            "max_num_checkpoints": model.max_checkpoints, "min_learning_rate": model.min_learning_rate,
            "max_learning_rate": model.max_learning_rate, "max_seq_length_sft": model.max_seq_length_sft,
            "max_seq_length_dpo": model.max_seq_length_dpo, "min_max_seq_length": 512,
            "supports_full_training": model.full, "supports_reasoning": False, "supports_tools": True,
            "supports_vision": False, "merge_output_lora": self.scenario.merges_lora,
            "default_gradient_accumulation_steps": 1,
            "lora_training": sizes | {
                "max_rank": model.max_rank, "default_rank": model.default_rank,
                "target_modules": model.target_modules,
            },
        }  # fmt: skip
        return Answer(body=limits | ({"full_training": sizes} if model.full else {}))

    def _find_model(self, name: str) -> Model | None:
        """Return a model by its name, or by a job whose model is continued."""
        name = name.partition(":")[0]
        for job in self.jobs.values():
            if name in (job.id, job.output):
                name = job.request.get("model") or name
        return self.scenario.models.get(name)

    # Jobs

    @_route("POST", "/v1/fine-tunes/estimate-price")
    def estimate_price(self, query: Query, body: dict[str, Any]) -> Answer:
        for part in ("train", "eval"):
            file_id = body.get("training_file" if part == "train" else "validation_file")
            if not file_id:
                continue
            status = self._get_file(file_id).status
            if status != "COMPLETED":
                kind = "not_validated" if status in _PENDING else "invalid"
                reason = f"{part}_file_{kind}"
                return Answer(body={"estimation_available": False, "unavailable_reason": reason})
        train, evaluation, usd = self._price(body)
        return Answer(
            body={
                "estimation_available": True, "estimated_total_price": usd,
                "allowed_to_proceed": usd <= self.scenario.balance_usd,
                "user_limit": self.scenario.balance_usd,
                "estimated_train_token_count": train, "estimated_eval_token_count": evaluation,
            }
        )  # fmt: skip

    def _price(self, body: dict[str, Any]) -> tuple[int, int, float]:
        """Return trained tokens, evaluated tokens, and US dollars."""
        model = self._find_model(body.get("model") or body.get("from_checkpoint") or "")
        if model is None:
            raise Refusal(400, f"Model {body.get('model')} is not available for fine-tuning.")
        train = (
            len(self._get_file(body["training_file"]).data or b"") // 4 * body.get("n_epochs", 1)
        )
        evaluation = 0
        if body.get("validation_file"):
            size = len(self._get_file(body["validation_file"]).data or b"")
            evaluation = size // 4 * (body.get("n_evals") or 0)
        return train, evaluation, (train + evaluation) * model.usd_per_million / 1e6

    @_route("POST", "/v1/fine-tunes")
    def create_job(self, query: Query, body: dict[str, Any]) -> Answer:
        self._check_job(body)
        train, evaluation, usd = self._price(body)
        if usd > self.scenario.balance_usd and self.scenario.refuses_unfunded:
            raise Refusal(
                402, "The job exceeds your credit limit and balance.", "insufficient_balance"
            )
        job = Job(body, self.scenario, train + evaluation, usd)
        self.jobs[job.id] = job
        return Answer(body=job.truncated())

    def _check_job(self, body: dict[str, Any]) -> None:
        """Refuse a job as the service does."""
        if bool(body.get("model")) == bool(body.get("from_checkpoint")):
            raise Refusal(400, "Exactly one of model and from_checkpoint must be set.")
        model = self._find_model(body.get("model") or body["from_checkpoint"])
        if model is None:
            raise Refusal(400, f"Model {body.get('model')} is not available for fine-tuning.")
        for name in ("training_file", "validation_file"):
            if body.get(name):
                status = self._get_file(body[name]).status
                if status != "COMPLETED":
                    raise Refusal(400, f"The {name} {body[name]} has not been validated: {status}.")
        kind = body.get("training_type") or {"type": "Lora"}
        bounds = [
            ("n_epochs", body.get("n_epochs", 1), 1, model.max_epochs),
            ("n_evals", body.get("n_evals") or 0, 0, model.max_evals),
            ("n_checkpoints", body.get("n_checkpoints") or 1, 1, model.max_checkpoints),
            ("learning_rate", body.get("learning_rate", 1e-5), model.min_learning_rate, model.max_learning_rate),
            ("lora_r", kind.get("lora_r", 1), 1, model.max_rank),
            ("len(suffix)", len(body.get("suffix") or ""), 0, 40),
            ("warmup_ratio", body.get("warmup_ratio", 0), 0, 1),
        ]  # fmt: skip
        if isinstance(body.get("batch_size"), int):
            bounds.append(
                ("batch_size", body["batch_size"], model.min_batch_size, model.max_batch_size)
            )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise Refusal(422, f"{name} must be between {low} and {high}, got {value}.")
        if kind["type"] == "Full" and not model.full:
            raise Refusal(400, "Full training is not supported for this model.")
        if (body.get("n_evals") or 0) > 0 and not body.get("validation_file"):
            raise Refusal(400, "n_evals requires a validation_file.")
        self._check_format(body)

    def _check_format(self, body: dict[str, Any]) -> None:
        method = (body.get("training_method") or {"method": "sft"})["method"]
        report = self._get_file(body["training_file"]).report or {}
        is_preference = report.get("dataset_format") == "PREFERENCE_OPENAI"
        if is_preference != (method == "dpo"):
            raise Refusal(400, f"The dataset format does not fit the training method {method}.")

    @_route("GET", "/v1/fine-tunes")
    def list_jobs(self, query: Query, body: Any) -> Answer:
        return Answer(body={"data": [job.truncated() for job in reversed(self.jobs.values())]})

    @_route("GET", "/v1/fine-tunes/{job_id}")
    def get_job(self, query: Query, body: Any, job_id: str) -> Answer:
        job = self._get_job(job_id)
        answer = Answer(body=job.whole())
        job.look()
        return answer

    def _get_job(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise Refusal(404, f"Fine-tune job {job_id} not found")
        return self.jobs[job_id]

    @_route("POST", "/v1/fine-tunes/{job_id}/cancel")
    def cancel_job(self, query: Query, body: Any, job_id: str) -> Answer:
        job = self._get_job(job_id)
        if job.status in ENDED:
            raise Refusal(400, f"The job cannot be cancelled: it is {job.status}.")
        if job.cancel_look is None:
            job.cancel()
        return Answer(body=job.truncated())

    @_route("GET", "/v1/fine-tunes/{job_id}/events")
    def list_events(self, query: Query, body: Any, job_id: str) -> Answer:
        events = self._get_job(job_id).events()
        return Answer(body={"data": events[::-1] if self.scenario.newest_first else events})

    @_route("GET", "/v1/fine-tunes/{job_id}/metrics")
    def list_metrics(self, query: Query, body: Any, job_id: str) -> Answer:
        rows = self._get_job(job_id).metrics()
        first, last = int(query.get("global_step_from", 0)), int(query.get("global_step_to", 10**9))
        rows = [row for row in rows if first <= row["train/global_step"] <= last]
        return Answer(body={"metrics": rows})

    @_route("GET", "/v1/fine-tunes/{job_id}/checkpoints")
    def list_checkpoints(self, query: Query, body: Any, job_id: str) -> Answer:
        return Answer(body={"data": self._get_job(job_id).checkpoints()})

    @_route("GET", "/v1/finetune/download")
    def download(self, query: Query, body: Any) -> Answer:
        job = self._get_job(query.get("ft_id", ""))
        wanted = query.get("checkpoint")
        allowed = ("adapter", "merged") if job.is_lora else ("model_output_path",)
        if wanted not in allowed and "checkpoint_step" not in query:
            raise Refusal(400, f"Invalid checkpoint {wanted!r} for this job.")
        if job.status != "completed":
            raise Refusal(400, "Training job is not downloadable.")
        if self.scenario.redirects_download:
            location = (
                f"{self.address.replace('127.0.0.1', 'localhost')}/_storage/download-{job.id}"
            )
            return Answer(status=307, headers={"Location": location})
        return self._pack_model(job)

    def _pack_model(self, job: Job) -> Answer:
        scenario = self.scenario
        if scenario.archive is not None:
            data = Path(scenario.archive).read_bytes()
        else:
            folder = scenario.adapter if job.is_lora else scenario.model_folder
            if folder is None:
                raise Refusal(404, "The checkpoint was not found.")
            data = pack(Path(folder), scenario.compression)
        return Answer(body=data, headers={"Content-Type": "application/octet-stream"})

    # Chat

    @_route("POST", "/v1/chat/completions")
    def chat(self, query: Query, body: dict[str, Any]) -> Answer:
        name = str(body.get("model", ""))
        text = self._answer_chat(name, body.get("messages") or [])
        message = {"role": "assistant", "content": text, "tool_calls": []}
        usage = {"prompt_tokens": 9, "completion_tokens": len(text.split()), "total_tokens": 9}
        record = {
            "id": uuid.uuid4().hex,
            "created": int(time.time()),
            "model": name,
            "usage": usage,
        }
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return Answer(body=record | {"object": "chat.completion", "choices": [choice]})
        chunks = []
        for word in re.findall(r"\S+\s*", text) or [""]:
            choice = {
                "index": 0,
                "delta": {"role": "assistant", "content": word},
                "finish_reason": None,
            }
            chunks.append(record | {"object": "chat.completion.chunk", "choices": [choice]})
        end = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
        chunks.append(record | {"object": "chat.completion.chunk", "choices": [end]})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
        return Answer(body="".join(lines).encode(), headers={"Content-Type": "text/event-stream"})

    def _answer_chat(self, name: str, messages: list[dict[str, Any]]) -> str:
        if not messages:
            raise Refusal(422, "messages must not be empty")
        prompts = [message["content"] for message in messages if message["role"] == "user"]
        prompt = str(prompts[-1]) if prompts else ""
        job, base = self._find_served(name)
        if job is not None:
            file = self.files.get(job.request["training_file"])
            learned = read_answers(file.data or b"") if file else {}
            answer = (self.scenario.answers | learned).get(prompt)
            if answer is not None:
                return answer
        elif base is None:
            raise Refusal(
                400, f"Unable to access non-serverless model {name}. Please visit "
                f"https://api.together.ai/models/{name} to create and start a new dedicated endpoint "
                "for the model.", "model_not_available",
            )  # fmt: skip
        return self.scenario.base_answers.get(prompt, self.scenario.base_answer)

    def _find_served(self, name: str) -> tuple[Job | None, str | None]:
        """Return the job whose model is served under a name, or the base model."""
        done = [job for job in self.jobs.values() if job.status == "completed"]
        for job in done:
            if name == job.output and self.scenario.serves_tuned:
                return job, None
        for endpoint in self.registry.endpoints.values():
            for deployment in endpoint.ready if endpoint.name == name else []:
                model_id = deployment.model.rpartition("/")[2]
                for job in done:
                    if model_id in (job.adapter_id, job.model_id):
                        return job, None
                return None, model_id
        model = self.scenario.models.get(name)
        return None, name if model and model.serverless else None

    # Version 2: catalog and dedicated endpoints

    @_route("GET", "/v3/whoami")
    def whoami(self, query: Query, body: Any) -> Answer:
        project = {"id": endpoints.PROJECT, "slug": endpoints.SLUG, "name": "acme"}
        return Answer(
            body={
                "type": "project_api_key", "api_key": {"id": "key_1"},
                "organization": {"id": "org_1", "name": "Acme"}, "project": project,
            }
        )  # fmt: skip

    @_route("GET", "/v2/supported-models")
    def list_supported(self, query: Query, body: Any) -> Answer:
        search = query.get("search", "").lower()
        records = [
            _describe_model(number, name, model)
            for number, (name, model) in enumerate(self.scenario.models.items())
            if search in name.lower()
        ]
        product = query.get("product")
        return self._page(
            [record for record in records if product in (None, *record["products"])], query
        )

    def _page(self, records: list[dict[str, Any]], query: Query) -> Answer:
        first = int(query.get("after") or 0)
        last = first + min(
            int(query.get("limit") or self.scenario.page_size), self.scenario.page_size
        )
        cursor = str(last) if last < len(records) else None
        return Answer(body={"object": "list", "data": records[first:last], "next_cursor": cursor})

    @_route("GET", "/v2/public/inference-instance-types")
    def list_hardware(self, query: Query, body: Any) -> Answer:
        return Answer(body={"object": "list", "data": endpoints.list_hardware(self.scenario)})

    @_route("GET", "/v2/projects/{project}/configs")
    def list_configs(self, query: Query, body: Any, project: str) -> Answer:
        self._check_project(project)
        model_id = query.get("referenceModel", "").rpartition("/")[2]
        bases = self.scenario.models
        base = next((job.request.get("model") for job in self.jobs.values()
                     if model_id in (job.adapter_id, job.model_id)), None)  # fmt: skip
        if base is None:
            base = next(
                (name for number, name in enumerate(bases) if model_id == f"ml_base{number}"), None
            )
        is_deployable = base in bases and bases[base].deployable
        return self._page(endpoints.list_configs(model_id) if is_deployable else [], query)

    def _check_project(self, project: str) -> None:
        if project != endpoints.PROJECT:
            raise V2Refusal(403, "no access to the project", 7)

    @_route("GET", "/v2/projects/{project}/endpoints")
    def list_endpoints(self, query: Query, body: Any, project: str) -> Answer:
        self._check_project(project)
        self.registry.look()
        return self._page(
            [endpoint.whole() for endpoint in self.registry.endpoints.values()], query
        )

    @_route("POST", "/v2/projects/{project}/endpoints")
    def create_endpoint(self, query: Query, body: dict[str, Any], project: str) -> Answer:
        self._check_project(project)
        return Answer(body=self.registry.create(body).whole())

    @_route("GET", "/v2/projects/{project}/endpoints/{endpoint}")
    def get_endpoint(self, query: Query, body: Any, project: str, endpoint: str) -> Answer:
        self._check_project(project)
        self.registry.look()
        return Answer(body=self.registry.get(endpoint).whole())

    @_route("PATCH", "/v2/projects/{project}/endpoints/{endpoint}")
    def update_endpoint(self, query: Query, body: Any, project: str, endpoint: str) -> Answer:
        self._check_project(project)
        mask = query.get("updateMask") or query.get("update_mask", "")
        return Answer(body=self.registry.update(endpoint, body or {}, mask).whole())

    @_route("DELETE", "/v2/projects/{project}/endpoints/{endpoint}")
    def delete_endpoint(self, query: Query, body: Any, project: str, endpoint: str) -> Answer:
        self._check_project(project)
        self.registry.delete(endpoint)
        return Answer(body={"id": endpoint})

    @_route("POST", "/v2/projects/{project}/endpoints/{endpoint}/deployments")
    def deploy(self, query: Query, body: dict[str, Any], project: str, endpoint: str) -> Answer:
        self._check_project(project)
        ids = {name for job in self.jobs.values() for name in (job.adapter_id, job.model_id)}
        ids |= {f"ml_base{number}" for number in range(len(self.scenario.models))}
        return Answer(body=self.registry.deploy(endpoint, body, ids).whole())

    @_route("GET", "/v2/projects/{project}/endpoints/{endpoint}/deployments/{deployment}")
    def get_deployment(
        self, query: Query, body: Any, project: str, endpoint: str, deployment: str
    ) -> Answer:
        self._check_project(project)
        self.registry.look()
        return Answer(body=self.registry.get_deployment(endpoint, deployment).whole())

    @_route("PATCH", "/v2/projects/{project}/endpoints/{endpoint}/deployments/{deployment}")
    def scale(
        self, query: Query, body: Any, project: str, endpoint: str, deployment: str
    ) -> Answer:
        self._check_project(project)
        return Answer(body=self.registry.scale(endpoint, deployment, body).whole())

    @_route("DELETE", "/v2/projects/{project}/endpoints/{endpoint}/deployments/{deployment}")
    def undeploy(
        self, query: Query, body: Any, project: str, endpoint: str, deployment: str
    ) -> Answer:
        self._check_project(project)
        self.registry.undeploy(endpoint, deployment)
        return Answer(body={"id": deployment})


def _describe_model(number: int, name: str, model: Model) -> dict[str, Any]:
    products = ["PRODUCT_FINE_TUNING"]
    products += ["PRODUCT_SERVERLESS"] if model.serverless else []
    products += ["PRODUCT_DEDICATED"] if model.deployable else []
    return {
        "id": f"ml_base{number}", "name": name, "baseModel": "", "baseModelId": "", "displayName": name,
        "capabilities": ["CAPABILITY_CHAT"], "deploymentProfiles": [], "displayType": "chat",
        "createdAt": endpoints.now(), "updatedAt": endpoints.now(), "inputModalities": ["MODALITY_TEXT"],
        "outputModalities": ["MODALITY_TEXT"], "products": products, "publisher": "x",
        "status": "SUPPORTED_MODEL_STATUS_SUPPORTED",
    }  # fmt: skip
