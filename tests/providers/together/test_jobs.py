"""Jobs at Together: sent once, looked up, followed to their end."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
import together._base_client

from ftwizard.providers.base import ProviderError
from ftwizard.providers.together.platform import TogetherPlatform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles.together_service import KEY, LLAMA
from tests.providers.together.world import CREATE, ROWS, MakeWorld, refused


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
