"""OpenAI by its real SDK, against a scripted service on loopback."""

from __future__ import annotations

import base64
import datetime
import email.utils
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.plan.schema import Data, Files, Model, OpenAI, Plan, Wandb
from ftwizard.providers.base import Platform, ProviderError
from ftwizard.providers.openai import errors
from ftwizard.providers.openai import files as module
from ftwizard.providers.openai.events import (
    arrange_events,
    convert_metrics,
    get_state,
    parse_results,
)
from ftwizard.providers.openai.graders import dry_run_grader
from ftwizard.providers.openai.models import UNKNOWN_RIGHT
from ftwizard.providers.openai.platform import OpenAIPlatform
from ftwizard.providers.platforms import get_platform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from ftwizard.text import make_visible
from tests.providers.scripted_service import Reply, Request, ScriptedService, run_script

KEY = "sk-proj-Zx81kQ0vTTs93mmP4rUd"
JOB: dict[str, Any] = {
    "id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1_790_000_000, "status": "running",
    "model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1", "metadata": {"ftwizard_run": "tag-1"},
    "hyperparameters": {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.8},
    "organization_id": "org-1", "result_files": [], "seed": 7, "error": {}, "trained_tokens": None,
    "fine_tuned_model": None, "finished_at": None, "estimated_finish": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def running_service() -> Iterator[ScriptedService]:
    with run_script() as running:
        yield running


@pytest.fixture
def service(running_service: ScriptedService) -> ScriptedService:
    running_service.reset()
    return running_service


@pytest.fixture
def platform(service: ScriptedService) -> OpenAIPlatform:
    return connect(service)


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


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("status", "code", "text", "kind", "phrase"),
    [
        (401, "invalid_api_key", f"Incorrect API key provided: {KEY}.", "key", "refused the key"),
        (401, None, "You have insufficient permissions. Missing scopes: api.model.read", "permission",
         "may not create the job"),
        (403, None, "You are not allowed to sample from this model", "permission", "may not create"),
        (403, "training_not_available", "OpenAI is winding down the fine-tuning platform", "closed",
         "2027-01-06"),
        (429, "insufficient_quota", "You exceeded your current quota", "quota", "lack of quota"),
        (400, "exceeded_quota", "over your hard limit", "quota", "lack of quota"),
        (429, "rate_limit_exceeded", "You have too many active fine-tuning jobs", "quota", "jobs"),
        (429, "rate_limit_exceeded", "Rate limit reached for requests", "unreachable", "limits the rate"),
        (400, "model_not_available", "Model gpt-x is not available for fine-tuning", "missing",
         "could not create the job"),
        (404, None, "No such object", "missing", "could not create the job"),
        (400, "invalid_value", "Expected at most 50", "rejected", "parameter: n_epochs"),
        (422, None, "bad", "rejected", "rejected the request"),
        (413, None, "File is too large", "rejected", "too large"),
        (503, None, "The server is overloaded", "unreachable", "error 503"),
    ],
)  # fmt: skip
def test_each_error_has_a_kind_a_cause_and_a_next_step(
    service: ScriptedService, platform: OpenAIPlatform,
    status: int, code: str | None, text: str, kind: str, phrase: str,
) -> None:  # fmt: skip
    service.on("POST /fine_tuning/jobs", make_error(status, code, text, "n_epochs"))

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    error = failure.value
    assert error.kind == kind
    assert phrase in error.message
    assert error.hint
    assert error.may_have_acted == (status >= 500)
    assert service.count("POST /fine_tuning/jobs") == 1


def test_a_closed_service_names_where_the_same_model_lives(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("POST /fine_tuning/jobs", make_error(403, "training_not_available", "winding down"))

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    assert "GPT-4.1-mini at Microsoft Foundry (provider: foundry)" in failure.value.hint
    assert "provider: local" in failure.value.hint
    assert failure.value.candidates == ("foundry", "together", "local")


@pytest.mark.parametrize(
    "echo", [KEY, KEY[:14], f"{KEY[:10]}*****{KEY[-4:]}", f"Bearer {KEY}\n\x1b[31m"]
)
def test_no_error_shows_the_key_or_a_control_character(
    service: ScriptedService, platform: OpenAIPlatform, echo: str
) -> None:
    service.on("GET /models", make_error(401, echo, f"Incorrect API key: {echo}", echo))

    with pytest.raises(ProviderError) as failure:
        platform.list_models()

    shown = repr(failure.value) + failure.value.text + failure.value.code
    assert KEY[:14] not in shown
    assert KEY[-4:] not in shown
    assert failure.value.text.isprintable()


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(lost=True), "connection"),
        (Reply(body=b"<html>proxy", headers={"Content-Type": "text/html"}), "not_json"),
        (Reply(body=b"{bro", headers={"Content-Type": "application/json"}), "not_json"),
        (Reply(body={}), "not_json"),
        (Reply(body=[]), "not_json"),
        (Reply(status=500, body={}), "500"),
    ],
)
def test_a_lost_reply_may_have_created_the_job_and_is_not_sent_again(
    service: ScriptedService, platform: OpenAIPlatform, reply: Reply, code: str
) -> None:
    service.on("POST /fine_tuning/jobs", reply)

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    assert failure.value.may_have_acted
    assert (failure.value.kind, failure.value.code) == ("unreachable", code)
    assert "looks the job up" in failure.value.hint
    assert service.count("POST /fine_tuning/jobs") == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://host.invalid/v1"])
def test_what_was_never_sent_did_not_act(address: str) -> None:
    platform = OpenAIPlatform({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": address})

    with pytest.raises(ProviderError) as failure:
        platform.create_job({"model": "m", "training_file": "f"})

    assert failure.value.kind == "unreachable"
    assert not failure.value.may_have_acted
    assert "OPENAI_BASE_URL" in failure.value.hint


def test_reads_are_tried_again_after_the_time_that_the_service_asks_for(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    limited = Reply(
        status=429, body={"error": {"message": "slow"}}, headers={"retry-after-ms": "5"}
    )
    service.on("GET /fine_tuning/jobs/ftjob-1", limited, limited, JOB)

    assert platform.get_job("ftjob-1").state == "running"
    assert service.count("GET /fine_tuning/jobs/ftjob-1") == 3


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("7", 7), ("-7", 0), ("1e99", 3600), ("inf", 3600), ("nan", None), ("soon", None),
     ("Fri, 31 Dec 2199 00:00:00 GMT", 3600)],
)  # fmt: skip
def test_a_refused_creation_says_how_long_to_wait(
    service: ScriptedService, platform: OpenAIPlatform, header: str, wait_s: float | None
) -> None:
    service.on(
        "POST /fine_tuning/jobs", Reply(status=429, body={}, headers={"Retry-After": header})
    )

    with pytest.raises(ProviderError) as failure:
        platform.create_job({"model": "m", "training_file": "f"})

    assert failure.value.retry_after_s == wait_s


@pytest.mark.parametrize(("code", "phrase"), [(9, "not valid yet"), (10, "has expired")])
def test_a_wrong_clock_is_named(
    platform: OpenAIPlatform, monkeypatch: pytest.MonkeyPatch, code: int, phrase: str
) -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code = code
    connection = openai.APIConnectionError(request=cast(Any, None))
    connection.__cause__ = cause

    error = errors.translate(connection, platform.client.account, "list the models")

    assert phrase in error.message
    assert "clock" in error.hint


@pytest.mark.parametrize("key", ["", "  ", "sk-a b", "sk-é", "sk-a\nb"])
def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(ProviderError) as failure:
        get_platform("openai", {"OPENAI_API_KEY": key})

    assert failure.value.kind == "key"
    assert "OPENAI_API_KEY" in failure.value.message


@pytest.mark.parametrize("address", ["ftp://host/v1", "host", "http://[::1/v1", "http://a:b@h:x/"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ProviderError) as failure:
        get_platform("openai", {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": address})

    assert "OPENAI_BASE_URL" in failure.value.message
    assert "a:b" not in failure.value.text


def test_the_endpoint_has_no_secret() -> None:
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://u:secret@127.0.0.1/v1/?a=b"}
    platform: Platform = get_platform("openai", environment)
    assert platform.endpoint == "http://127.0.0.1/v1"


# --------------------------------------------------------------------------- checks


def test_the_end_of_the_service_is_said_first(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    day = datetime.date.today() + datetime.timedelta(days=20)
    allow_checks(service, shutdown=str(day))

    cautions = platform.check_plan(make_plan())

    assert "2027-01-06" in cautions[0]
    assert any(f"on {day}, in 20 days" in caution for caution in cautions)


def test_a_model_that_was_shut_down_is_refused_with_alternatives(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service, shutdown="2026-10-23")

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan())

    assert failure.value.kind == "closed"
    assert "provider: foundry" in failure.value.hint


def test_a_model_that_the_account_does_not_have_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /models", {"object": "list", "data": [{"id": "gpt-4o-2024-08-06"}]})

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan())

    assert failure.value.kind == "missing"
    assert "gpt-4.1-mini-2025-04-14" in failure.value.message


def test_a_listing_that_is_not_there_is_a_caution_only(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /fine_tuning/jobs", make_page([]))

    assert any("was not checked" in caution for caution in platform.check_plan(make_plan()))


def test_a_key_without_the_right_to_tune_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service)
    service.on("GET /fine_tuning/jobs", make_error(403, None, "Missing scopes: api.fine_tuning"))

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan())

    assert failure.value.kind == "permission"
    assert "fine-tuning" in failure.value.hint


def test_what_no_request_tells_of_the_end_of_the_service_is_a_caution(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service)

    cautions = platform.check_plan(make_plan())

    position = cautions.index(UNKNOWN_RIGHT)
    assert "Only organizations" in cautions[position - 1]


def test_a_wrong_clock_of_this_machine_is_a_caution(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    allow_checks(service)
    service.clock_offset_s = -7_200

    assert any(
        "2 h" in caution and "ahead" in caution for caution in platform.check_plan(make_plan())
    )


@pytest.mark.parametrize("header", [None, "", "yesterday", email.utils.formatdate(1_000)])
def test_a_clock_is_compared_only_with_a_date(header: str | None) -> None:
    assert errors.describe_clock(header, 1_100) == ""


GRADER = {
    "type": "string_check", "name": "exact", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{ item.answer }}",
}  # fmt: skip


def make_reinforcement() -> Plan:
    settings = OpenAI(method="reinforcement", grader=GRADER, eval_interval=5)
    return make_plan(settings, "o4-mini")


def test_a_grader_that_the_platform_rejects_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /models/o4-mini-2025-04-16", {"id": "o4-mini-2025-04-16"})
    service.on("GET /fine_tuning/jobs", make_page([]))
    route = "POST /fine_tuning/alpha/graders/validate"
    service.on(route, make_error(400, "invalid_grader", "unknown operation", "grader"))

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_reinforcement())

    assert "unknown operation" in failure.value.message
    assert "openai.grader" in failure.value.hint
    assert service.requests[-1].json == {"grader": GRADER}


def make_rewards(reward: float, **errors: bool) -> dict[str, Any]:
    metadata = {"errors": errors, "execution_time": 0.1, "name": "exact", "scores": {}, "type": "t"}
    return {"reward": reward, "metadata": metadata, "sub_rewards": {}}


def test_a_dry_run_grades_ten_rows_with_their_own_references(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}], "answer": str(i)} for i in range(12)]
    path = tmp_path / "train.jsonl"
    path.write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    service.on("POST /fine_tuning/alpha/graders/run", make_rewards(1.0))

    trial = dry_run_grader(platform.client, make_reinforcement().openai, path)

    assert (trial.rows, trial.rewards, trial.describe()) == (10, (1.0,) * 10, [])
    assert [request.json["model_sample"] for request in service.requests] == list("0123456789")
    assert service.requests[0].json["item"] == rows[0]


def test_a_dry_run_tells_rewards_of_0_and_failing_rows(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": [], "answer": {"a": 1}}\n' * 3)
    failing = make_rewards(0.0, sample_parse_error=True, other_error=False)
    service.on("POST /fine_tuning/alpha/graders/run", failing, make_rewards(0.0))

    trial = dry_run_grader(platform.client, make_reinforcement().openai, path)

    assert "1 of 3 rows: sample parse error" in trial.describe()[0]
    assert "reward 0" in trial.describe()[1]

    service.on("POST /fine_tuning/alpha/graders/run", failing)
    with pytest.raises(ProviderError, match="all of 3 rows: sample parse error"):
        dry_run_grader(platform.client, make_reinforcement().openai, path)


# ---------------------------------------------------------------------------- files


def test_a_file_is_uploaded_under_its_own_name_with_progress(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x" * 200_000)
    service.on("POST /files", {"id": "file-9", "object": "file"})
    progress: list[tuple[int, int]] = []

    assert (
        platform.upload(path, "run-1-train.jsonl", lambda *step: progress.append(step)) == "file-9"
    )

    body = service.requests[0].body
    assert b'filename="run-1-train.jsonl"' in body
    assert b"x" * 200_000 in body
    assert progress[-1] == (200_000, 200_000)
    assert progress == sorted(progress)


def test_a_lost_upload_is_not_sent_again(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x")
    service.on("POST /files", Reply(lost=True))

    with pytest.raises(ProviderError) as failure:
        platform.upload(path, "a.jsonl", lambda *step: None)

    assert failure.value.may_have_acted
    assert service.count("POST /files") == 1


def test_a_large_file_is_uploaded_in_parts_in_order(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"aaaabbbbcc")
    monkeypatch.setattr(module, "PART_BYTES", 4)
    monkeypatch.setattr(platform, "max_direct_bytes", 5)
    service.on("POST /uploads", {"id": "upload-1"})
    parts = iter(["part-1", "part-2", "part-3"])
    service.on("POST /uploads/upload-1/parts", lambda request: {"id": next(parts)})
    file = {"id": "file-9", "object": "file"}
    service.on("POST /uploads/upload-1/complete", {"id": "upload-1", "file": file})
    progress: list[tuple[int, int]] = []

    assert platform.upload(path, "n.jsonl", lambda *step: progress.append(step)) == "file-9"

    assert progress == [(4, 10), (8, 10), (10, 10)]
    assert service.requests[0].json == {
        "bytes": 10, "filename": "n.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"
    }  # fmt: skip
    assert service.requests[-1].json == {"part_ids": ["part-1", "part-2", "part-3"]}


def test_the_newest_file_of_a_name_that_did_not_fail_is_taken(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    files = [
        {"id": "f4", "filename": "n.jsonl", "created_at": 4, "status": "error"},
        {"id": "f3", "filename": "other.jsonl", "created_at": 3, "status": "processed"},
        {"id": "f1", "filename": "n.jsonl", "created_at": 1, "status": "processed"},
        {"id": "f2", "filename": "n.jsonl", "created_at": 2, "status": "uploaded"},
    ]
    service.on("GET /files", make_page(files[:2], has_more=True), make_page(files[2:]))

    assert platform.find_file("n.jsonl") == "f2"
    assert service.requests[1].query["after"] == ["f3"]
    assert platform.find_file("none.jsonl") is None


@pytest.mark.parametrize(
    ("status", "state"),
    [("uploaded", "pending"), ("pending", "pending"), ("processed", "ready"), ("error", "failed"),
     (None, "ready"), ("archived", "ready")],
)  # fmt: skip
def test_the_state_of_a_file(
    service: ScriptedService, platform: OpenAIPlatform, status: str | None, state: str
) -> None:
    details = "Line 3 is not a\x1b dictionary"
    service.on("GET /files/f1", {"id": "f1", "status": status, "status_details": details})

    file = platform.check_file("f1")

    assert file.state == state
    assert ("Line 3" in file.reason) == (state == "failed")
    assert file.reason.isprintable()


def test_deleting_a_file_that_is_gone_is_no_error(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    platform.delete_file("f1")
    assert service.count("DELETE /files/f1") == 1


# ----------------------------------------------------------------------------- jobs


def test_the_request_is_sent_exactly_as_it_was_built(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    wandb = Wandb(project="p", tags=("a", "b"))
    settings = OpenAI(
        method="dpo", beta=0.2, suffix="s", seed=0, metadata={"why": "test"}, wandb=wandb
    )
    service.on("POST /fine_tuning/jobs", JOB)

    request = platform.build_request(make_plan(settings), make_remote())
    status = platform.create_job(json.loads(json.dumps(request)))

    assert service.requests[0].json == request == {
        "model": "gpt-4.1-mini-2025-04-14",
        "training_file": "file-1",
        "validation_file": "file-2",
        "method": {
            "type": "dpo",
            "dpo": {"hyperparameters": {
                "n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto", "beta": 0.2,
            }},
        },
        "suffix": "s",
        "seed": 0,
        "metadata": {"why": "test", "ftwizard_run": "tag-1"},
        "integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["a", "b"]}}],
    }  # fmt: skip
    assert (status.id, status.tag, status.training_file) == ("ftjob-1", "tag-1", "file-1")


def test_a_reinforcement_request_has_its_grader(platform: OpenAIPlatform, tmp_path: Path) -> None:
    path = tmp_path / "grader.yaml"
    path.write_text(json.dumps(GRADER))
    for grader in (GRADER, str(path)):
        settings = OpenAI(method="reinforcement", grader=grader, reasoning_effort="low")
        method = platform.build_request(make_plan(settings, "o4-mini"), make_remote())["method"]
        assert method["reinforcement"]["grader"] == GRADER
        assert method["reinforcement"]["hyperparameters"]["reasoning_effort"] == "low"


def filter_jobs(jobs: list[dict[str, Any]]) -> Callable[[Request], Any]:
    """Return a script that filters by the tag as the service does."""

    def answer(request: Request) -> Any:
        tag = request.query.get("metadata[ftwizard_run]")
        shown = [job for job in jobs if not tag or job["metadata"] == {"ftwizard_run": tag[0]}]
        return make_page(shown)

    return answer


def test_a_job_is_looked_up_by_its_tag(service: ScriptedService, platform: OpenAIPlatform) -> None:
    other = JOB | {"id": "other", "metadata": {"ftwizard_run": "tag-2"}, "training_file": "file-8"}
    service.on("GET /fine_tuning/jobs", filter_jobs([other, JOB]))

    job = platform.find_job(make_remote())

    assert job is not None
    assert job.id == "ftjob-1"
    assert service.count("GET /fine_tuning/jobs") == 1


@pytest.mark.parametrize("rejects", [False, True])
def test_a_filter_that_is_ignored_or_rejected_fools_nobody(
    service: ScriptedService, platform: OpenAIPlatform, rejects: bool
) -> None:
    other = JOB | {"id": "other", "metadata": None, "training_file": "file-8"}
    untagged = JOB | {"id": "untagged", "metadata": None}
    jobs = [other]

    def answer(request: Request) -> Any:
        filtered = any(name.startswith("metadata") for name in request.query)
        return make_error(400, None, "no filter") if filtered and rejects else make_page(jobs)

    service.on("GET /fine_tuning/jobs", answer)
    assert platform.find_job(make_remote()) is None

    jobs.append(untagged)
    job = platform.find_job(make_remote())
    assert job is not None
    assert job.id == "untagged"


def test_a_job_of_another_run_with_the_same_file_is_not_ours(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    other = JOB | {"metadata": {"ftwizard_run": "tag-2"}}
    service.on("GET /fine_tuning/jobs", make_page([other]))

    assert platform.find_job(make_remote()) is None


@pytest.mark.parametrize("body", [{}, {"data": {}}, b"[" * 3_000 + b"]" * 3_000])
def test_an_answer_without_a_list_is_not_an_empty_list(
    service: ScriptedService, platform: OpenAIPlatform, body: Any
) -> None:
    service.on("GET /fine_tuning/jobs", Reply(body=body))

    with pytest.raises(ProviderError) as caught:
        platform.find_job(make_remote())

    assert caught.value.code == "not_json"


def test_items_that_are_not_jobs_are_ignored(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /fine_tuning/jobs", make_page([1, "a", [], {}, JOB | {"metadata": None}]))

    job = platform.find_job(make_remote())

    assert job is not None
    assert job.id == "ftjob-1"


def test_a_page_that_is_repeated_ends_the_listing(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /fine_tuning/jobs", make_page([JOB | {"metadata": {}}], has_more=True))

    assert platform.find_job(make_remote()) is not None


@pytest.mark.parametrize(
    ("status", "state"),
    [("validating_files", "pending"), ("queued", "pending"), ("pending", "pending"),
     ("running", "running"), ("paused", "paused"), ("succeeded", "succeeded"), ("failed", "failed"),
     ("cancelled", "cancelled"), ("canceled", "cancelled"), ("cancelling", "running"),
     ("defragmenting", "running"), ("Succeeded", "succeeded")],
)  # fmt: skip
def test_the_state_of_a_job(
    service: ScriptedService, platform: OpenAIPlatform, status: str, state: str
) -> None:
    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | {"status": status})

    job = platform.get_job("ftjob-1")

    assert (job.state, job.status) == (state, status)
    assert job.url == "https://platform.openai.com/finetune/ftjob-1"


@given(st.text())
def test_an_unknown_status_never_ends_a_job(status: str) -> None:
    named = {
        "succeeded",
        "completed",
        "failed",
        "error",
        "expired",
        "cancelled",
        "canceled",
        "deleted",
    }
    ended = get_state(status) in ("succeeded", "failed", "cancelled")
    assert ended == (status.strip().lower() in named)


def test_a_job_with_nulls_and_a_hostile_error_is_read(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    error = {"code": "invalid_training_file", "message": f"Line 2\x1b[2J {KEY}", "param": None}
    job = {
        "id": "ftjob-1",
        "status": "failed",
        "error": error,
        "result_files": None,
        "method": None,
    }
    service.on("GET /fine_tuning/jobs/ftjob-1", job)

    status = platform.get_job("ftjob-1")

    assert (status.state, status.error_code) == ("failed", "invalid_training_file")
    assert status.error.isprintable()
    assert KEY not in status.error
    assert "rows" in status.hint
    assert status.result_files == ()


def test_settings_that_the_platform_chose_are_kept(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | {"method": method})

    settings = platform.get_job("ftjob-1").settings

    assert settings == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.8, "seed": 7}


def test_the_settings_of_a_plan_are_read_from_a_job(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": "auto"}}}
    job = {"method": method, "user_provided_suffix": "mine", "hyperparameters": {}}
    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | job)

    planned = platform.get_job("ftjob-1").planned

    assert planned == {
        "method": "dpo", "beta": 0.3, "n_epochs": "auto", "suffix": "mine", "seed": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "reached"), [("cancel", "succeeded"), ("pause", "paused"), ("resume", "running")]
)
def test_a_change_that_was_made_already_is_no_error(
    service: ScriptedService, platform: OpenAIPlatform, verb: str, reached: str
) -> None:
    change = getattr(platform, f"{verb}_job")
    service.on(f"POST /fine_tuning/jobs/ftjob-1/{verb}", make_error(400, None, "Not possible"))
    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | {"status": reached})
    change("ftjob-1")

    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | {"status": "validating_files"})
    if verb != "resume":
        with pytest.raises(ProviderError, match="Not possible"):
            change("ftjob-1")


# --------------------------------------------------------------------------- events


def make_event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"e{number}", "object": "fine_tuning.job.event", "created_at": 1_000 + number,
        "level": "info", "message": f"m{number}", "type": "message", **fields,
    }  # fmt: skip


def test_only_pages_with_new_events_are_read(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    events = [make_event(number) for number in range(9, -1, -1)]
    route = "GET /fine_tuning/jobs/ftjob-1/events"
    service.on(route, make_page(events[:3], True), make_page(events[3:6], True), Reply(status=500))

    new = platform.list_events("ftjob-1", frozenset(f"e{number}" for number in range(5)))

    assert [event.id for event in new] == ["e5", "e6", "e7", "e8", "e9"]
    assert service.count(route) == 2


def test_metrics_and_unknown_events_are_converted(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    data = {"step": 4, "total_steps": 30, "train_loss": 1.5, "train_mean_token_accuracy": 0.6}
    full = {"step": 8, "valid_loss": 1.1, "full_valid_loss": 1.3, "train_loss": "NaN", "x": [1]}
    events = [
        make_event(5, type="moderation_checks", data={"blocked": False}, level="warn"),
        make_event(4, type="metrics", data=full),
        make_event(3, type="metrics", data=data),
        make_event(2, message="Step 2/30: training loss=1.9, validation loss=2.0", data={}),
        make_event(1, data=None, type=None, message=None),
    ]
    service.on("GET /fine_tuning/jobs/ftjob-1/events", make_page(events))

    e1, e2, e3, e4, e5 = platform.list_events("ftjob-1", frozenset())

    assert (e1.type, e1.message, e1.metrics) == ("message", "", {})
    assert (e2.step, e2.total_steps, e2.metrics) == (2, 30, {"loss": 1.9, "eval_loss": 2.0})
    assert (e3.step, e3.total_steps, e3.metrics) == (4, 30, {"loss": 1.5, "accuracy": 0.6})
    assert e4.metrics["eval_loss"] == 1.3
    assert e4.metrics["valid_loss"] == 1.1
    assert str(e4.metrics["loss"]) == "nan"
    assert (e5.type, e5.level, e5.step) == ("moderation_checks", "warning", None)


@st.composite
def raw_events(draw: st.DrawFn) -> list[Any]:
    """Events as they come: newest first, some twice, some steps in several events."""
    steps = draw(st.lists(st.integers(0, 6), min_size=1, max_size=12))
    events = []
    for number, step in enumerate(steps):
        names = draw(st.sets(st.sampled_from(["train_loss", "valid_loss", "full_valid_loss"])))
        data = {"step": step, **{name: float(number) for name in names}}
        events.append(
            SimpleNamespace(id=f"e{number}", created_at=draw(st.integers(0, 4)), data=data)
        )
    return draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=4))))


@given(raw_events(), st.sets(st.sampled_from([f"e{number}" for number in range(12)])))
def test_events_come_once_in_order_with_one_evaluation_a_step(
    raw: list[Any], ignored: set[str]
) -> None:
    events = arrange_events(raw, frozenset(ignored), str)

    assert sorted(event.id for event in events) == sorted({item.id for item in raw} - ignored)
    steps = [event.step or 0 for event in events]
    assert steps == sorted(steps)
    for step in set(steps):
        values = [
            e.metrics["eval_loss"] for e in events if e.step == step and "eval_loss" in e.metrics
        ]
        full = {
            item.data["full_valid_loss"]
            for item in raw
            if item.id not in ignored
            and item.data["step"] == step
            and "full_valid_loss" in item.data
        }
        assert len(values) <= 1
        assert not full or values[0] in full


@given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers())
    )
)
def test_metrics_of_any_form_are_numbers(data: dict[str, Any]) -> None:
    metrics = convert_metrics(data)
    assert all(
        isinstance(value, float) and name == make_visible(name) for name, value in metrics.items()
    )


def test_minus_one_stands_for_no_value_except_in_rewards() -> None:
    data = {"train_loss": 0.5, "valid_loss": -1, "full_valid_loss": -1.0, "valid_reward_mean": -1.0}
    assert convert_metrics(data) == {"loss": 0.5, "eval_reward": -1.0}


def test_checkpoints_are_sorted_and_have_the_loss_of_the_whole_file(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    items = [
        {"id": "c3", "step_number": 30, "fine_tuned_model_checkpoint": "ft:m::x",
         "metrics": {"train_loss": 0.4, "valid_loss": 0.9, "full_valid_loss": 1.1}},
        {"id": "c2", "step_number": 20, "fine_tuned_model_checkpoint": "ft:m::x:ckpt-step-20",
         "metrics": {"train_loss": 0.7, "valid_loss": 1.0}},
        {"id": "c1", "step_number": None, "metrics": None},
    ]  # fmt: skip
    service.on("GET /fine_tuning/jobs/ftjob-1/checkpoints", make_page(items))

    first, last = platform.list_checkpoints("ftjob-1")

    assert (first.step, first.model, first.eval_loss) == (20, "ft:m::x:ckpt-step-20", 1.0)
    assert (last.step, last.loss, last.eval_loss) == (30, 0.4, 1.1)
    assert platform.list_checkpoints("ftjob-without") == []


RESULTS = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.4,,\n2,2.1,0.5,2.3,0.44\n"


@pytest.mark.parametrize("encode", [bytes, base64.b64encode, lambda data: b"\xef\xbb\xbf" + data])
def test_result_files_are_read(
    service: ScriptedService, platform: OpenAIPlatform, encode: Callable[[bytes], bytes]
) -> None:
    service.on("GET /files/r1/content", Reply(body=encode(RESULTS.encode())))
    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | {"result_files": ["gone", "r1"]})

    first, second = platform.read_results(platform.get_job("ftjob-1"))

    assert (first.step, first.metrics) == (1, {"loss": 2.5, "accuracy": 0.4})
    assert second.metrics == {"loss": 2.1, "accuracy": 0.5, "eval_loss": 2.3, "eval_accuracy": 0.44}


@given(st.binary(max_size=200) | st.text(alphabet='step,1\n"x', max_size=80).map(str.encode))
def test_no_result_file_raises(content: bytes) -> None:
    steps = [event.step or 0 for event in parse_results(content)]
    assert steps == sorted(set(steps))


def test_every_model_is_asked_at_the_same_address(platform: OpenAIPlatform) -> None:
    endpoint = platform.get_endpoint("ft:gpt-4.1-mini::x", make_plan())
    assert endpoint is not None
    assert (endpoint.address, endpoint.key_variable) == (platform.endpoint, "OPENAI_API_KEY")
    assert platform.list_billed() == []
