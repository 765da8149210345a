"""Together by its official SDK, against a double of its service."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import together._base_client
from together import types

from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Data, Files, Model, Plan, Split, Together, Wandb
from ftwizard.providers.base import JobStatus, Platform, ProviderError
from ftwizard.providers.platforms import get_platform
from ftwizard.providers.together.platform import TogetherPlatform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles.together_service import (
    KEY,
    LLAMA,
    QWEN,
    Fault,
    Scenario,
    TogetherService,
    serve_together,
)  # fmt: skip
from tests.doubles.together_service import Model as TunableModel
from tests.paths import TESTS

WANDB_KEY = "0123456789abcdef0123456789abcdef01234567"
ROWS = [
    {"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": f"A{n}"}]}
    for n in range(12)
]
PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"Q{n}"}]},
        "preferred_output": [{"role": "assistant", "content": "Yes."}],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }
    for n in range(12)
]
CREATE = "/v1/fine-tunes"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK and the platform repeat requests without a pause."""
    monkeypatch.setattr(together._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(together._base_client, "MAX_RETRY_DELAY", 0.001)
    monkeypatch.setattr("ftwizard.providers.together.client.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("ftwizard.providers.together.endpoints.STOP_POLL_S", 0.001)


class World:
    """A service, the platform that speaks to it, and a run."""

    def __init__(self, service: TogetherService, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.environment = {
            "TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": service.address, "WANDB_API_KEY": WANDB_KEY,
        }  # fmt: skip
        self.platform = TogetherPlatform(self.environment)

    def make_plan(self, model: str = LLAMA, *, validation: bool = True, **settings: Any) -> Plan:
        split = Split(validation=0.1 if validation else 0.0)
        return Plan(
            provider="together",
            data=Data(files=Files(train="train.jsonl"), split=split),
            model=Model(name=model),
            together=Together(**settings),
        )

    def write(self, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def upload(self, rows: list[dict[str, Any]], name: str) -> str:
        file_id = self.platform.upload(self.write(rows), name, lambda done, total: None)
        while self.platform.check_file(file_id).state == "pending":
            pass
        return file_id

    def make_remote(self, tag: str = "run-1", rows: list[dict[str, Any]] = ROWS) -> RemoteJob:
        names = {"train": f"{tag}-train.jsonl", "validation": f"{tag}-validation.jsonl"}
        files = {}
        for part, name in names.items():
            part_rows = rows if part == "train" else rows[:4]
            file_id = self.upload(part_rows, name)
            files[part] = RemoteFile(path=name, name=name, rows=1, size_bytes=1, id=file_id)
        return RemoteJob(provider="together", tag=tag, model=LLAMA, files=files)

    def create(self, remote: RemoteJob | None = None, **settings: Any) -> JobStatus:
        remote = remote or self.make_remote()
        request = self.platform.build_request(self.make_plan(**settings), remote)
        return self.platform.create_job(request)

    def finish(self, **settings: Any) -> tuple[RemoteJob, JobStatus]:
        """Create a job and look at it until it has ended."""
        remote = self.make_remote(rows=PAIRS if settings.get("training_method") == "dpo" else ROWS)
        status = self.create(remote, **settings)
        while status.state in ("pending", "running"):
            status = self.platform.get_job(status.id)
        return msgspec.structs.replace(remote, job_id=status.id), status

    def fail_next(self, **fault: Any) -> None:
        self.service.scenario.faults.append(Fault(**fault))

    def count_creates(self) -> int:
        return self.service.count("POST", CREATE)


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(**scenario: Any) -> World:
            service = stack.enter_context(serve_together(Scenario(**scenario)))
            return World(service, tmp_path)

        yield make


@contextmanager
def refused(kind: str, *parts: str) -> Iterator[None]:
    """Expect a ProviderError of a kind, with some words and a next step, and without a key."""
    with pytest.raises(ProviderError) as caught:
        yield
    error = caught.value
    assert error.kind == kind
    assert error.hint
    for part in parts:
        assert part in error.text
    assert KEY not in error.text
    assert WANDB_KEY not in error.text
    assert "\n" not in error.text


def test_from_rows_to_a_finished_job(make_world: MakeWorld) -> None:
    world = make_world()
    platform: Platform = get_platform("together", world.environment)
    plan = world.make_plan(n_checkpoints=2)
    assert any("canceled" in caution for caution in platform.check_plan(plan))
    remote = world.make_remote()
    request = platform.build_request(plan, remote)
    price = platform.estimate_price(request)
    assert price.total is not None and price.allowed is True and price.limit == 100.0
    status = platform.create_job(request)
    assert (status.state, status.tuned_model) == ("pending", None)
    words, states, ids = [], [], set[str]()
    while status.state in ("pending", "running"):
        status = platform.get_job(status.id)
        words.append(status.status)
        states.append(status.state)
        events = platform.list_events(status.id, frozenset(ids))
        assert not ids & {event.id for event in events}
        ids |= {event.id for event in events}
    assert list(dict.fromkeys(words)) == [
        "pending", "queued", "running", "compressing", "uploading", "completed",
    ]  # fmt: skip
    assert list(dict.fromkeys(states)) == ["pending", "running", "succeeded"]
    assert status.url == f"https://api.together.ai/jobs/{status.id}"
    assert status.tuned_model and status.trained_tokens and status.finished and status.created
    assert status.price is not None and status.price.value == pytest.approx(price.total.value)
    assert platform.list_events(status.id, frozenset(ids)) == []
    assert world.count_creates() == 1


def test_events_and_metrics_are_oldest_first_in_our_names(make_world: MakeWorld) -> None:
    world = make_world(
        newest_first=True, extra_events=[{"type": "warp_drive", "message": "Engaged"}]
    )
    _, status = world.finish()
    events = world.platform.list_events(status.id, frozenset())
    assert len({event.id for event in events}) == len(events)
    times = [event.t for event in events if event.t]
    assert times == sorted(times)
    steps = [event.step for event in events if "loss" in event.metrics]
    assert steps == list(range(1, 21))
    first = next(event for event in events if event.step == 1)
    assert {"loss", "learning_rate", "grad_norm", "epoch"} <= set(first.metrics)
    assert [event.step for event in events if "eval_loss" in event.metrics] == list(range(2, 21, 2))
    names = [event.type for event in events]
    assert names.index("training_start") < names.index("metrics")
    assert names[-1] == "job_complete"
    assert events[names.index("warp_drive")].message == "Engaged"


def test_checkpoints_have_the_losses_of_their_steps(make_world: MakeWorld) -> None:
    world = make_world(eval_losses=[2.0, 1.5])
    _, status = world.finish(n_checkpoints=2, n_evals=2)
    checkpoints = world.platform.list_checkpoints(status.id)
    assert [(point.step, point.eval_loss) for point in checkpoints] == [(10, 2.0), (20, 1.5)]
    assert checkpoints[0].id == f"{status.id}:10"
    assert checkpoints[0].loss == pytest.approx(0.5 + 1.5 * 0.9**10)


def test_the_request_is_what_the_plan_says(make_world: MakeWorld) -> None:
    world = make_world()
    world.finish(
        lora_r=8, lora_alpha=8, lora_dropout=0.1, n_epochs=2, n_evals=5, batch_size=16, learning_rate=2e-4,
        lr_scheduler_type="linear", warmup_ratio=0.1, packing=False, max_seq_length=1024, random_seed=7,
        early_stopping_enabled=True, early_stopping_patience=3, train_on_inputs=False, suffix="legs",
    )  # fmt: skip
    (job,) = world.service.jobs.values()
    sent = job.request
    assert sent["training_type"] == {
        "type": "Lora", "lora_r": 8, "lora_alpha": 8, "lora_dropout": 0.1,
        "lora_trainable_modules": "all-linear",
    }  # fmt: skip
    assert sent["training_method"] == {"method": "sft", "train_on_inputs": False}
    assert sent["lr_scheduler"] == {
        "lr_scheduler_type": "linear",
        "lr_scheduler_args": {"min_lr_ratio": 0.0},
    }
    assert (sent["n_epochs"], sent["n_evals"], sent["batch_size"]) == (2, 5, 16)
    assert (sent["early_stopping_enabled"], sent["early_stopping_patience"]) == (True, 3)
    assert (sent["random_seed"], sent["max_seq_length"], sent["packing"]) == (7, 1024, False)
    assert sent["suffix"].startswith("legs-") and len(sent["suffix"]) <= 40
    assert "wandb_key" not in sent


def test_full_and_preference_jobs(make_world: MakeWorld) -> None:
    world = make_world()
    plan = world.make_plan(training_method="dpo")
    assert world.platform.get_target(plan) == "together-dpo"
    assert world.platform.get_method(plan) == "preference"
    _, status = world.finish(training_method="dpo", lora=False, dpo_beta=0.2)
    (job,) = world.service.jobs.values()
    assert job.request["training_type"] == {"type": "Full"}
    assert job.request["training_method"]["dpo_beta"] == 0.2
    assert status.state == "succeeded"


def test_a_job_continues_from_a_checkpoint(make_world: MakeWorld) -> None:
    world = make_world()
    remote, first = world.finish()
    other = msgspec.structs.replace(remote, tag="run-2")
    world.create(other, from_checkpoint=f"{first.id}:10")
    job = list(world.service.jobs.values())[-1]
    assert job.request["from_checkpoint"] == f"{first.id}:10"
    assert "model" not in job.request and "training_type" not in job.request


def test_the_rank_is_the_models_own_by_default(make_world: MakeWorld) -> None:
    world = make_world(models={LLAMA: TunableModel(max_rank=16, default_rank=8)})
    world.create()
    (job,) = world.service.jobs.values()
    assert job.request["training_type"]["lora_r"] == 8
    assert job.request["training_type"]["lora_alpha"] == 16


def test_the_key_of_wandb_is_only_sent(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    plan = world.make_plan(wandb=Wandb(project="legs", name="first"))
    request = world.platform.build_request(plan, remote)
    assert WANDB_KEY not in json.dumps(request)
    world.platform.create_job(request)
    (job,) = world.service.jobs.values()
    assert (job.request["wandb_key"], job.request["wandb_project_name"]) == (WANDB_KEY, "legs")


# A request that creates is sent once.


@pytest.mark.parametrize(
    ("fault", "jobs"),
    [
        ({"drop": "after"}, 1),
        ({"drop": "half"}, 1),
        ({"drop": "before"}, 0),
        ({"status": 500}, 0),
        ({"status": 504}, 0),
    ],
)
def test_a_lost_reply_makes_no_second_job(
    make_world: MakeWorld, fault: dict[str, Any], jobs: int
) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(method="POST", path=f"{CREATE}$", **fault)
    with pytest.raises(ProviderError) as caught:
        world.create(remote)
    assert caught.value.may_have_acted
    assert caught.value.kind == "unreachable"
    assert world.count_creates() == 1
    status = world.platform.find_job(remote)
    assert (status is not None) == bool(jobs) == bool(world.service.jobs)
    if status is not None:
        assert status.id in world.service.jobs
        assert status.tag == remote.tag


def test_a_conflict_may_mean_that_the_job_exists(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(method="POST", path=f"{CREATE}$", status=409, acts=True)
    with pytest.raises(ProviderError) as caught:
        world.create(remote)
    assert (caught.value.kind, caught.value.may_have_acted) == ("rejected", True)
    assert world.platform.find_job(remote) is not None


@pytest.mark.parametrize(
    ("status", "kind"), [(402, "quota"), (403, "permission"), (422, "rejected")]
)
def test_a_refused_job_does_not_exist(make_world: MakeWorld, status: int, kind: str) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(method="POST", path=f"{CREATE}$", status=status)
    with pytest.raises(ProviderError) as caught:
        world.create(remote)
    assert (caught.value.kind, caught.value.may_have_acted) == (kind, False)
    assert world.count_creates() == 1


def test_a_limit_of_requests_names_its_pause(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(method="POST", path=f"{CREATE}$", status=429, retry_after=7)
    with pytest.raises(ProviderError) as caught:
        world.create(remote)
    assert (caught.value.kind, caught.value.retry_after_s) == ("unreachable", 7.0)
    assert not caught.value.may_have_acted
    assert world.count_creates() == 1


@pytest.mark.parametrize("path", ["/limits", "/estimate-price"])
def test_what_precedes_a_job_is_repeated(make_world: MakeWorld, path: str) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(path=path, drop="after")
    world.create(remote)
    assert world.count_creates() == 1


def test_a_price_that_never_comes_creates_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(path="/estimate-price", drop="before", times=99)
    with pytest.raises(ProviderError) as caught:
        world.create(remote)
    assert not caught.value.may_have_acted
    assert world.count_creates() == 0


def test_a_service_that_is_away_did_not_act(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    request = world.platform.build_request(world.make_plan(), remote)
    away = TogetherPlatform({**world.environment, "TOGETHER_BASE_URL": "http://127.0.0.1:9"})
    with refused("unreachable", "127.0.0.1:9"):
        away.create_job(request)


def test_an_answer_from_something_else_is_not_a_job(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    world.fail_next(method="POST", path=f"{CREATE}$", status=200, body={"hello": "proxy"})
    with pytest.raises(ProviderError) as caught:
        world.create(remote)
    assert caught.value.may_have_acted


@pytest.mark.parametrize("body", ["<html>proxy</html>", 1])
def test_a_page_of_a_proxy_is_an_outage(make_world: MakeWorld, body: Any) -> None:
    world = make_world()
    remote = world.make_remote()
    request = world.platform.build_request(world.make_plan(), remote)
    job = world.create(remote)
    for call, *arguments in (
        (world.platform.get_job, job.id),
        (world.platform.find_job, remote),
        (world.platform.list_checkpoints, job.id),
        (world.platform.check_file, "file-1"),
        (world.platform.estimate_price, request),
    ):
        world.fail_next(status=200, body=body, times=9)
        with refused("unreachable", "not from the API of Together"):
            call(*arguments)
        world.service.scenario.faults.clear()


@pytest.mark.parametrize("has_suffix", [True, False])
def test_two_runs_with_the_same_rows_have_their_own_jobs(
    make_world: MakeWorld, has_suffix: bool
) -> None:
    world = make_world(has_suffix=has_suffix)
    first, second = world.make_remote("run-1"), world.make_remote("run-2")
    assert first.files["train"].id == second.files["train"].id
    created = world.create(first)
    status = world.platform.find_job(first)
    assert status is not None and status.id == created.id
    assert world.platform.find_job(second) is None
    created = world.create(second)
    requested = msgspec.structs.replace(second, requested=time.time())
    status = world.platform.find_job(requested)
    assert status is not None and status.id == created.id


def test_a_job_is_found_although_its_suffix_was_changed(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    created = world.create(remote)
    (job,) = world.service.jobs.values()
    job.request["suffix"], job.output = "shortened", "acme/llama-shortened"
    status = world.platform.find_job(remote)
    assert status is not None and status.id == created.id


def test_the_sdk_by_itself_makes_a_second_job(make_world: MakeWorld) -> None:
    """The hazard that the platform avoids: the double does not merge two equal requests."""
    world = make_world()
    remote = world.make_remote()
    world.fail_next(method="POST", path=f"{CREATE}$", drop="after")
    client = together.Together(api_key=KEY, base_url=world.service.address)
    client.fine_tuning.create(
        training_file=str(remote.files["train"].id), model=LLAMA, lora=True, train_on_inputs="auto"
    )
    assert len(world.service.jobs) == 2


def test_a_job_that_advances_by_time(make_world: MakeWorld) -> None:
    world = make_world(advance="time", state_s=0.001)
    _, status = world.finish()
    assert status.state == "succeeded"


# Every call that reads works where the network drops once.


@pytest.mark.parametrize("drop", ["before", "after", "half"])
@pytest.mark.parametrize(
    "call",
    [
        lambda world, job: world.platform.list_models(),
        lambda world, job: world.platform.check_plan(world.make_plan()),
        lambda world, job: world.platform.find_file("run-1-train.jsonl"),
        lambda world, job: world.platform.get_job(job),
        lambda world, job: world.platform.list_events(job, frozenset()),
        lambda world, job: world.platform.list_checkpoints(job) == [],
        lambda world, job: world.platform.get_endpoint(QWEN, world.make_plan()),
        lambda world, job: world.platform.list_billed() == [],
        lambda world, job: world.platform.cancel_job(job) is None,
    ],
)
def test_reading_survives_a_broken_connection(
    make_world: MakeWorld, call: Callable[[World, str], Any], drop: str
) -> None:
    world = make_world()
    job = world.create().id
    world.fail_next(drop=drop)
    assert call(world, job)


@pytest.mark.parametrize("path", ["/v1/files$", "/_storage/", "/preprocess$"])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_an_upload_can_be_repeated(make_world: MakeWorld, path: str, drop: str) -> None:
    world = make_world()
    world.fail_next(method="PUT" if "storage" in path else "POST", path=path, drop=drop)
    file = world.write(ROWS)
    for _ in range(3):
        file_id = world.platform.find_file("a.jsonl")
        if file_id is None:
            try:
                file_id = world.platform.upload(file, "a.jsonl", lambda done, total: None)
            except ProviderError as error:
                assert error.kind == "unreachable"
                continue
        break
    assert file_id is not None
    assert world.service.files[file_id].data == file.read_bytes()


# Keys and errors


def test_a_key_is_needed() -> None:
    with refused("key", "TOGETHER_API_KEY"):
        TogetherPlatform({})


def test_a_wrong_key_is_named_but_not_shown(make_world: MakeWorld) -> None:
    world = make_world()
    platform = TogetherPlatform({**world.environment, "TOGETHER_API_KEY": "sk-wrong-key"})
    calls: list[Callable[[], object]] = [
        lambda: platform.check_plan(world.make_plan()),
        lambda: platform.upload(world.write(ROWS), "a.jsonl", lambda done, total: None),
        lambda: platform.get_job("ft-1"),
        platform.list_models,
        platform.list_billed,
    ]
    for call in calls:
        with refused("key", "TOGETHER_API_KEY", "https://api.together.ai/settings/api-keys"):
            call()


def test_an_echoed_key_is_removed(make_world: MakeWorld) -> None:
    world = make_world()
    body = {"error": {"message": f"Bad key {KEY}\x1b[2J and {WANDB_KEY}", "code": None}}
    world.fail_next(status=400, body=body)
    with refused("rejected", "[key]"):
        world.platform.get_job("ft-1")


def test_an_account_without_the_right(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    world.service.scenario.forbidden = True
    with refused("permission", "does not have access to fine-tuning"):
        world.create(remote)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ({"message": "plain message"}, "plain message"),
        ({"error": "only text"}, "only text"),
        ("<html>", "HTTP 400"),
    ],
)
def test_errors_of_any_shape(make_world: MakeWorld, body: Any, text: str) -> None:
    world = make_world()
    world.fail_next(status=400, body=body)
    with refused("rejected", text):
        world.platform.get_job("ft-1")


def test_the_address_may_end_with_v1(make_world: MakeWorld) -> None:
    world = make_world()
    environment = {**world.environment, "TOGETHER_BASE_URL": f"{world.service.address}/v1/"}
    platform = TogetherPlatform(environment)
    assert platform.endpoint == f"{world.service.address}/v1"
    assert [model.id for model in platform.list_models()] == [LLAMA, QWEN]


def test_models_answer_at_an_address_of_their_own() -> None:
    platform = TogetherPlatform({"TOGETHER_API_KEY": KEY})
    assert platform.endpoint == "https://api.together.ai/v1"
    assert platform.chat_address == "https://api-inference.together.ai/v1"


def test_a_certificate_of_another_time_names_the_clock(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()

    def fail(*_: object, **__: object) -> None:
        raise httpx.ConnectError("certificate verify failed: certificate is not yet valid")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", fail)
    with refused("unreachable", "clock"):
        world.platform.get_job("ft-1")


# Before a job


def test_a_model_that_is_not_tunable_is_named_with_a_near_one(make_world: MakeWorld) -> None:
    world = make_world()
    with refused("missing", "Qwen/Qwen3-8", f"Did you mean {QWEN}"):
        world.platform.check_plan(world.make_plan("Qwen/Qwen3-8"))


def test_the_first_page_of_models_is_not_all(make_world: MakeWorld) -> None:
    world = make_world(models={f"x/m{n}": TunableModel() for n in range(7)}, page_size=3)
    assert len(world.platform.list_models()) == 7


def test_a_service_without_the_catalog_still_lists_its_models(make_world: MakeWorld) -> None:
    world = make_world(has_v2=False)
    assert [model.id for model in world.platform.list_models()] == [LLAMA, QWEN]
    assert world.platform.get_endpoint(LLAMA, world.make_plan()) is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lora_r": 128}, "together.lora_r is 128; 1–64 is allowed"),
        ({"n_epochs": 50}, "together.n_epochs is 50; 1–20 is allowed"),
        ({"learning_rate": 0.5}, "together.learning_rate is 0.5"),
        ({"n_checkpoints": 99}, "together.n_checkpoints is 99"),
        ({"lora_trainable_modules": "q_proj,w_up"}, "has w_up; this model has k_proj"),
        ({"batch_size": 64}, "batch size of 64"),
        ({"batch_size": 2}, "batch size of 2"),
        ({"max_seq_length": 100_000}, "8192"),
    ],
)
def test_settings_outside_the_limits(
    make_world: MakeWorld, settings: dict[str, Any], text: str
) -> None:
    world = make_world()
    with refused("rejected", text):
        world.platform.check_plan(world.make_plan(**settings))


def test_methods_that_a_model_does_not_have(make_world: MakeWorld) -> None:
    world = make_world(models={LLAMA: TunableModel(full=False, max_seq_length_dpo=0)})
    with refused("rejected", "only LoRA"):
        world.platform.check_plan(world.make_plan(lora=False))
    with refused("rejected", "only sft"):
        world.platform.check_plan(world.make_plan(training_method="dpo"))


def test_cautions(make_world: MakeWorld) -> None:
    world = make_world()
    environment = {**world.environment, "WANDB_API_KEY": ""}
    plan = world.make_plan(validation=False, n_evals=4, wandb=Wandb(project="p", tags=("a",)))
    text = " ".join(TogetherPlatform(environment).check_plan(plan))
    for part in (
        "billed" if "billed" in text else "bills",
        "n_evals",
        "WANDB_API_KEY",
        "wandb.tags",
    ):
        assert part in text


def test_a_file_that_the_service_refuses(make_world: MakeWorld) -> None:
    world = make_world()
    file_id = world.upload([{"messages": [{"role": "robot", "content": "Hi"}]}], "bad.jsonl")
    status = world.platform.check_file(file_id)
    assert status.state == "failed"
    assert "Invalid role 'robot'" in status.reason
    remote = world.make_remote()
    files = {"train": msgspec.structs.replace(remote.files["train"], id=file_id)}
    with refused("rejected", "training file"):
        world.platform.estimate_price(
            world.platform.build_request(
                world.make_plan(), msgspec.structs.replace(remote, files=files)
            )
        )


def test_a_check_that_breaks_is_a_failure(make_world: MakeWorld) -> None:
    world = make_world(validation_error="worker died", validation_status="FAILED")
    status = world.platform.check_file(world.upload(ROWS, "a.jsonl"))
    assert (status.state, status.reason) == ("failed", "worker died")


def test_a_price_needs_a_checked_file(make_world: MakeWorld) -> None:
    world = make_world()
    file_id = world.platform.upload(world.write(ROWS), "a.jsonl", lambda done, total: None)
    file = RemoteFile(path="", name="a.jsonl", rows=1, size_bytes=1, id=file_id)
    remote = RemoteJob(provider="together", tag="t", model=LLAMA, files={"train": file})
    request = world.platform.build_request(world.make_plan(), remote)
    assert world.platform.estimate_price(request).total is None
    with refused("rejected", "has not been validated"):
        world.platform.create_job(request)


def test_a_job_above_the_balance(make_world: MakeWorld) -> None:
    world = make_world(balance_usd=1e-9)
    remote = world.make_remote()
    price = world.platform.estimate_price(world.platform.build_request(world.make_plan(), remote))
    assert price.allowed is False and price.limit == 1e-9
    world.service.scenario.refuses_unfunded = True
    with refused("quota", "billing"):
        world.create(remote)


def test_uploads_report_their_bytes_and_send_no_key_to_the_storage(make_world: MakeWorld) -> None:
    world = make_world()
    path, reports = world.write(ROWS), list[tuple[int, int]]()
    file_id = world.platform.upload(path, "a.jsonl", lambda *pair: reports.append(pair))
    size = path.stat().st_size
    assert reports[-1] == (size, size)
    assert world.platform.find_file("a.jsonl") == file_id
    assert world.platform.find_file("b.jsonl") is None
    (put,) = [request for request in world.service.requests if request["method"] == "PUT"]
    assert put["authorization"] is None
    world.platform.delete_file(file_id)
    world.platform.delete_file(file_id)
    assert world.platform.find_file("a.jsonl") is None


def test_an_upload_that_something_else_answers(make_world: MakeWorld) -> None:
    world = make_world()
    world.fail_next(path="/preprocess$", status=200, body=[])
    with refused("unreachable"):
        world.platform.upload(world.write(ROWS), "a.jsonl", lambda done, total: None)


def test_the_sdk_prints_nothing(make_world: MakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    settings: dict[str, Any] = {"training_method": "dpo", "simpo_gamma": 0.5}
    world.platform.check_plan(world.make_plan(**settings))
    world.create(world.make_remote(rows=PAIRS), **settings)
    assert capfd.readouterr() == ("", "")
    (job,) = world.service.jobs.values()
    assert job.request["training_method"]["dpo_reference_free"] is True


@pytest.mark.parametrize("address", ["ftp://x", "api.together.ai", "http://"])
def test_an_address_that_is_none(address: str) -> None:
    with refused("unreachable", "TOGETHER_BASE_URL"):
        TogetherPlatform({"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": address})


# Ends of a job


def test_a_failed_job_says_why(make_world: MakeWorld) -> None:
    world = make_world(
        end="user_error", error_type="job_user_error", error_message="Bad\x1b[31m rows."
    )
    _, status = world.finish()
    assert (status.status, status.state, status.error_code) == (
        "user_error",
        "failed",
        "job_user_error",
    )
    assert status.error.startswith("Bad") and "\x1b" not in status.error
    assert status.hint and status.tuned_model is None
    assert world.platform.list_events(status.id, frozenset())[-1].level == "error"


def test_a_job_without_funds(make_world: MakeWorld) -> None:
    world = make_world(balance_usd=1e-9)
    _, status = world.finish()
    assert (status.state, status.error_code) == ("failed", "billing_limit")
    assert "credit" in status.hint


def test_a_canceled_job_costs_what_it_did(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    status = world.create(remote)
    whole = world.platform.estimate_price(
        world.platform.build_request(world.make_plan(), remote)
    ).total
    for _ in range(4):
        status = world.platform.get_job(status.id)
    world.platform.cancel_job(status.id)
    words = [(status := world.platform.get_job(status.id)).status for _ in range(3)]
    assert words == ["cancel_requested", "cancelled", "cancelled"]
    assert status.state == "cancelled"
    assert whole is not None and status.price is not None
    assert 0 < status.price.value < whole.value
    world.platform.cancel_job(status.id)  # has ended: no error


def test_canceling_a_job_that_does_not_exist(make_world: MakeWorld) -> None:
    with refused("missing", "ft-9"):
        make_world().platform.cancel_job("ft-9")


def test_an_unknown_status_is_a_running_job(make_world: MakeWorld) -> None:
    world = make_world(running_status="defragmenting")
    status = world.create()
    for _ in range(3):
        status = world.platform.get_job(status.id)
    assert (status.status, status.state) == ("defragmenting", "running")


def test_a_job_cannot_be_paused(make_world: MakeWorld) -> None:
    world = make_world()
    assert not world.platform.can_pause
    with refused("rejected", "pause"):
        world.platform.pause_job("ft-1")


# Endpoints


def test_a_tuned_model_is_deployed_and_removed(make_world: MakeWorld) -> None:
    world = make_world()
    plan = world.make_plan()
    _, status = world.finish()
    assert status.tuned_model is not None
    platform = world.platform
    assert platform.get_endpoint(status.tuned_model, plan) is None
    assert platform.list_billed() == []
    resource = platform.create_endpoint(status.tuned_model)
    assert resource.price is not None
    assert (resource.price.value, resource.price.unit) == (3.99, "USD per hour")
    (deployment,) = next(iter(world.service.registry.endpoints.values())).deployments.values()
    assert deployment.idle_minutes == 60
    assert [(item.id, item.price) for item in platform.list_billed()] == [
        (resource.id, resource.price)
    ]
    endpoint = None
    while endpoint is None:
        endpoint = platform.get_endpoint(status.tuned_model, plan)
    assert endpoint.address == f"{world.service.address}/v1"
    assert endpoint.key_variable == "TOGETHER_API_KEY"
    answer = ask(endpoint.address, endpoint.served_name, "Q3")
    assert answer == "A3"
    platform.delete_billed(resource)
    platform.delete_billed(resource)
    assert platform.list_billed() == []
    assert world.service.registry.endpoints == {}


def ask(address: str, model: str, prompt: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{address}/chat/completions", json=body, headers=headers).json()
    text: str = answer["choices"][0]["message"]["content"]
    return text


def test_models_that_answer_without_a_deployment(make_world: MakeWorld) -> None:
    world = make_world(serves_tuned=True)
    _, status = world.finish()
    assert status.tuned_model is not None
    tuned = world.platform.get_endpoint(status.tuned_model, world.make_plan())
    base = world.platform.get_endpoint(QWEN, world.make_plan())
    assert tuned is not None and base is not None
    assert ask(tuned.address, tuned.served_name, "Q1") == "A1"
    assert ask(base.address, base.served_name, "Q1") == "I am not sure."


def test_an_endpoint_whose_deployment_fails_is_deleted(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.finish()
    assert status.tuned_model is not None
    world.fail_next(method="POST", path="/deployments$", status=500)
    with refused("unreachable"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.service.registry.endpoints == {}
    assert world.service.count("POST", "/v2/.*/deployments") == 1


def test_a_lost_reply_leaves_no_deployment(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.finish()
    assert status.tuned_model is not None
    world.fail_next(method="POST", path="/deployments$", drop="after")
    with refused("unreachable"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.platform.list_billed() == []
    world.fail_next(method="POST", path="/endpoints$", drop="after")
    with refused("unreachable"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.platform.list_billed() == []
    # The endpoint whose reply was lost is used, and a second command deploys nothing more.
    resource = world.platform.create_endpoint(status.tuned_model)
    assert world.platform.create_endpoint(status.tuned_model).id == resource.id
    (endpoint,) = world.service.registry.endpoints.values()
    assert len(endpoint.deployments) == 1


def test_a_model_without_hardware(make_world: MakeWorld) -> None:
    world = make_world(models={LLAMA: TunableModel(deployable=False)})
    _, status = world.finish()
    assert status.tuned_model is not None
    with refused("missing", "no hardware"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.service.registry.endpoints == {}


def test_the_double_speaks_the_types_of_the_sdk(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.finish(n_checkpoints=2)
    assert status.tuned_model is not None
    world.platform.create_endpoint(status.tuned_model)
    endpoint = next(iter(world.service.registry.endpoints))
    base = "/v2/projects/proj_acme/endpoints"
    shapes: list[tuple[str, Any]] = [
        ("/v1/files", types.FileList),
        ("/v1/fine-tunes", types.FineTuningListResponse),
        (f"/v1/fine-tunes/{status.id}", types.FinetuneResponse),
        (f"/v1/fine-tunes/{status.id}/events", types.FineTuningListEventsResponse),
        (f"/v1/fine-tunes/{status.id}/metrics", types.FineTuningListMetricsResponse),
        (f"/v1/fine-tunes/{status.id}/checkpoints", types.FineTuningListCheckpointsResponse),
        (f"/v1/fine-tunes/models/limits?model_name={LLAMA}", types.FinetuneModelLimits),
        ("/v2/public/inference-instance-types", types.endpoints.HardwareListResponse),
        (f"{base}/{endpoint}", types.Endpoint),
    ]
    headers = {"Authorization": f"Bearer {KEY}"}
    for path, shape in shapes:
        answer = httpx.get(world.service.address + path, headers=headers)
        assert answer.status_code == 200, path
        shape.model_validate(answer.json())


# Downloads


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.adapters import write_adapter, write_llama

    folder = tmp_path_factory.mktemp("adapter")
    return write_adapter(write_llama(folder / "base"), folder / "adapter")


@pytest.fixture
def small_adapter(tmp_path: Path) -> Path:
    """Files with the names of an adapter."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 400)
    return folder


def download(world: World, remote: RemoteJob) -> Path:
    folder = world.folder / "downloaded"
    assert world.platform.download(remote, folder, lambda done, total: None)
    return folder


@pytest.mark.parametrize(
    "scenario", [{}, {"compression": "gz"}, {"compression": "none", "redirects_download": False}]
)
def test_the_adapter_is_what_the_job_made(
    make_world: MakeWorld, adapter: Path, scenario: dict[str, Any]
) -> None:
    from ftwizard.export.adapters import read_adapter

    world = make_world(adapter=str(adapter), **scenario)
    remote, _ = world.finish()
    reports: list[tuple[int, int]] = []
    folder = world.folder / "result" / "adapter"
    assert world.platform.download(remote, folder, lambda *pair: reports.append(pair))
    for path in adapter.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert reports[-1][0] == reports[-1][1] > 0
    assert len(read_adapter(folder).modules) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]


def test_a_full_model_is_downloaded(make_world: MakeWorld, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model-00001-of-00001.safetensors").write_bytes(b"1")
    world = make_world(model_folder=str(model))
    remote, _ = world.finish(lora=False)
    assert {path.name for path in download(world, remote).iterdir()} == {
        "config.json", "model-00001-of-00001.safetensors",
    }  # fmt: skip


def test_a_download_that_breaks_continues(make_world: MakeWorld, small_adapter: Path) -> None:
    world = make_world(adapter=str(small_adapter), compression="none")
    remote, _ = world.finish()
    world.fail_next(path="/_storage/download", drop="half", times=2)
    folder = download(world, remote)
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (small_adapter / weights).read_bytes()


def test_a_download_that_never_ends_is_given_up(make_world: MakeWorld, small_adapter: Path) -> None:
    world = make_world(adapter=str(small_adapter), redirects_download=False)
    remote, _ = world.finish()
    world.fail_next(path="/v1/finetune/download", drop="before", times=99)
    with refused("unreachable"):
        download(world, remote)
    assert not (world.folder / "downloaded").exists()


def test_nothing_to_download(make_world: MakeWorld) -> None:
    world = make_world()
    remote, _ = world.finish()
    folder = world.folder / "downloaded"
    assert not world.platform.download(remote, folder, lambda done, total: None)
    unfinished = msgspec.structs.replace(remote, job_id=world.create(remote).id)
    assert not world.platform.download(unfinished, folder, lambda done, total: None)
    assert not folder.exists()


def test_a_download_does_not_fill_the_disk(
    make_world: MakeWorld, small_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(adapter=str(small_adapter))
    remote, _ = world.finish()
    monkeypatch.setattr(
        "ftwizard.providers.together.downloads.get_free_bytes", lambda path: 100_000_100
    )
    with pytest.raises(FtwizardError, match="does not fit on the disk"):
        download(world, remote)
    assert not (world.folder / "downloaded").exists()


def test_a_damaged_download_leaves_the_old_folder(make_world: MakeWorld, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar.zst"
    broken.write_bytes(b"\x28\xb5\x2f\xfdgarbage")
    world = make_world(archive=str(broken))
    remote, _ = world.finish()
    folder = world.folder / "downloaded"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(FtwizardError, match="damaged"):
        download(world, remote)
    assert [path.name for path in folder.iterdir()] == ["old"]


# The double as a process


def test_the_double_runs_as_a_process(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"balance_usd": 5.0, "models": {QWEN: {"max_rank": 4}}}))
    command = [sys.executable, "-m", "tests.doubles.together_service", "--scenario", str(scenario)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            platform = TogetherPlatform({"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": address})
            assert [model.id for model in platform.list_models()] == [QWEN]
            httpx.post(
                f"{address}/_control/faults", json={"path": "/fine-tunes/ft-1$", "status": 403}
            )
            with refused("permission"):
                platform.get_job("ft-1")
            httpx.post(f"{address}/_control/scenario", json={"keys": ["other"]})
            with refused("key"):
                platform.list_models()
            paths = [item["path"] for item in httpx.get(f"{address}/_control/requests").json()]
            assert paths == ["/v2/supported-models", "/v1/fine-tunes/ft-1", "/v2/supported-models"]
        finally:
            process.terminate()
    assert process.returncode == 0
