"""Plans and answers for OpenAI's scripted service."""

from __future__ import annotations

from typing import Any, cast

from ftwizard.plan.schema import Data, Files, Model, OpenAI, Plan
from ftwizard.providers.openai.platform import OpenAIPlatform
from ftwizard.providers.platforms import get_platform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.providers.scripted_service import Reply, ScriptedService

KEY = "sk-proj-Zx81kQ0vTTs93mmP4rUd"
JOB: dict[str, Any] = {
    "id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1_790_000_000, "status": "running",
    "model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1", "metadata": {"ftwizard_run": "tag-1"},
    "hyperparameters": {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.8},
    "organization_id": "org-1", "result_files": [], "seed": 7, "error": {}, "trained_tokens": None,
    "fine_tuned_model": None, "finished_at": None, "estimated_finish": None,
}  # fmt: skip


def connect(service: ScriptedService) -> OpenAIPlatform:
    platform = get_platform("openai", {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": service.address})
    return cast(OpenAIPlatform, platform)


def make_plan(settings: OpenAI | None = None, model: str = "gpt-4.1-mini") -> Plan:
    return Plan(
        provider="openai", data=Data(files=Files(train="train.jsonl")), model=Model(name=model),
        openai=settings or OpenAI(),
    )  # fmt: skip


def make_remote(validation: bool = True) -> RemoteJob:
    files = {"train": RemoteFile(path="t", name="t.jsonl", rows=10, size_bytes=1, id="file-1")}
    if validation:
        files["validation"] = RemoteFile(
            path="v", name="v.jsonl", rows=10, size_bytes=1, id="file-2"
        )
    model = "gpt-4.1-mini-2025-04-14"
    return RemoteJob(provider="openai", tag="tag-1", model=model, files=files)


def make_page(items: list[Any], has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": items, "has_more": has_more}


def make_error(status: int, code: str | None, message: str, param: str | None = None) -> Reply:
    body = {
        "error": {"message": message, "type": "invalid_request_error", "code": code, "param": param}
    }
    return Reply(status=status, body=body)


def allow_checks(service: ScriptedService, shutdown: str | None = None) -> None:
    model = {"id": "gpt-4.1-mini-2025-04-14", "object": "model", "created": 1, "owned_by": "openai"}
    service.on("GET /models/gpt-4.1-mini-2025-04-14", model | {"shutdown_date": shutdown})
    service.on("GET /fine_tuning/jobs", make_page([]))


GRADER = {
    "type": "string_check", "name": "exact", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{ item.answer }}",
}  # fmt: skip


def make_reinforcement() -> Plan:
    settings = OpenAI(method="reinforcement", grader=GRADER, eval_interval=5)
    return make_plan(settings, "o4-mini")
