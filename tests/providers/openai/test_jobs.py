"""Jobs at OpenAI by its real SDK: look-up, state, changes and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import JOB, KEY, make_error, make_page, make_remote
from tests.providers.scripted_service import Reply, Request, ScriptedService


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
