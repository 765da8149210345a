"""Jobs at Vertex AI, from their creation to their end."""

from __future__ import annotations

import msgspec
import pytest

from ftwizard.plan import hosted_checks
from ftwizard.providers import launcher
from ftwizard.providers.vertex import jobs
from tests.doubles.vertex_service import (
    BUCKET,
    NO_ENDPOINT,
    PROJECT,
    PROJECT_NUMBER,
    Bucket,
    VertexFailure,
    VertexPace,
)
from tests.providers.vertex.world import (
    GEMINI,
    OPEN,
    OPEN_ID,
    TAG,
    MakeWorld,
    World,
    refused,
)


def test_a_job_is_created_and_succeeds(world: World) -> None:
    plan = world.make_plan(epoch_count=2, adapter_size=4, suffix="support")
    remote, status = world.finish(plan)
    assert status.state == "succeeded"
    assert status.tag == TAG
    assert status.model == GEMINI
    assert status.training_file == remote.files["train"].id
    assert status.settings["epoch_count"] == 2
    assert status.settings["adapter_size"] == 4
    assert status.tuned_model is not None
    assert status.tuned_model.startswith(f"projects/{PROJECT_NUMBER}/locations/us/endpoints/")
    assert status.url is not None
    assert status.url.startswith("https://console.cloud.google.com/vertex-ai/generative/")
    job = world.control.list_jobs()[0]
    assert job["tunedModelDisplayName"] == f"support-{TAG}"
    stats = job["tuningDataStats"]["supervisedTuningDataStats"]
    assert status.trained_tokens == 2 * int(stats["totalBillableTokenCount"])
    assert status.finished is not None
    assert status.created is not None
    assert status.finished >= status.created


def test_a_job_of_an_open_model_writes_to_the_bucket(world: World) -> None:
    remote, status = world.finish(world.make_plan(OPEN, adapter_size=8, learning_rate=1e-4))
    assert status.state == "succeeded"
    assert status.model == OPEN_ID
    assert status.settings["learning_rate"] == 1e-4
    assert world.platform.list_checkpoints(status.id)
    assert remote.request is not None
    assert remote.request["output_uri"].endswith(f"/{TAG}/out")


@pytest.mark.parametrize("action", ["drop_reply", "truncate", "reply_after"])
def test_a_lost_reply_may_have_acted_and_the_job_is_found(world: World, action: str) -> None:
    plan = world.make_plan()
    remote = world.make_remote(plan)
    remote = msgspec.structs.replace(remote, request=world.platform.build_request(plan, remote))
    assert remote.request is not None
    assert world.platform.find_job(remote) is None
    world.fail_next("create_job", action, status=503)
    with refused("unreachable", "looks the job up") as errors:
        world.platform.create_job(remote.request)
    assert errors[0].may_have_acted
    assert world.count("create_job") == 1
    job = world.platform.find_job(remote)
    assert job is not None
    assert job.tag == TAG


@pytest.mark.parametrize(
    ("fault", "kind", "acted"),
    [
        ({"action": "drop_request"}, "unreachable", True),
        ({"status": 429}, "quota", False),
        ({"status": 400}, "rejected", False),
        ({"status": 500}, "unreachable", True),
        ({"status": 200, "body": "<html>proxy</html>"}, "unreachable", True),
    ],
)
def test_a_creation_is_never_repeated(
    world: World, fault: dict[str, object], kind: str, acted: bool
) -> None:
    plan = world.make_plan()
    request = world.platform.build_request(plan, world.make_remote(plan))
    world.fail_next("create_job", **fault)
    with refused(kind) as errors:
        world.platform.create_job(request)
    assert errors[0].may_have_acted is acted
    assert world.count("create_job") == 1


def test_a_job_that_is_listed_late_is_found_then(make_world: MakeWorld) -> None:
    world = make_world(list_delay=1)
    remote, status = world.create()
    assert world.platform.find_job(remote) is None
    job = world.platform.find_job(remote)
    assert job is not None
    assert job.id == status.id


def test_another_run_is_not_taken_for_this_one(world: World) -> None:
    remote, first = world.create()
    _, second = world.create(tag=TAG[::-1])
    job = world.platform.find_job(remote)
    assert job is not None
    assert job.id == first.id != second.id


def test_a_job_that_more_may_hide_is_not_taken_for_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, _ = world.create()
    world.create(tag=TAG[::-1])
    monkeypatch.setattr(jobs, "MAX_JOBS", 2)
    assert world.platform.find_job(remote) is not None
    other = msgspec.structs.replace(remote, tag="0" * 32, files={})
    with refused("rejected", "more", code="too_many_jobs"):
        world.platform.find_job(other)


def test_a_job_from_elsewhere_makes_a_plan_without_problems(world: World) -> None:
    for model in (GEMINI, OPEN):
        _, status = world.create(
            world.make_plan(model, epoch_count=5, adapter_size=8), tag=model[:5]
        )
        plan = launcher._make_adopted_plan("vertex", status)
        assert list(hosted_checks.find_problems(plan, "vertex")) == []
        assert plan.vertex.epoch_count == 5
        assert plan.vertex.adapter_size == 8
        assert plan.vertex.bucket == BUCKET
        assert plan.vertex.location == "us-central1"


def test_a_job_is_followed_once_under_all_its_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launcher, "_start", lambda folder, plan: None)
    _, status = world.create()
    number = status.id.rpartition("/")[2]
    folder = launcher.adopt(number, "vertex")
    by_id = status.id.replace(PROJECT_NUMBER, PROJECT)
    for other in (number, status.id, by_id):
        assert launcher.adopt(other, "vertex").path == folder.path


def test_a_job_waits_for_quota(make_world: MakeWorld) -> None:
    world = make_world(max_running=1, pace=VertexPace(clock="manual"))
    _, first = world.create()
    world.control.advance(2, first.id)
    waits = "runs here already"
    assert any(waits in text for text in world.platform.check_plan(world.make_plan()))
    assert not any(waits in text for text in world.platform.check_plan(world.make_plan(OPEN)))
    _, second = world.create(tag=TAG[::-1])
    world.control.advance(1, second.id)
    status = world.platform.get_job(second.id)
    assert status.state == "pending"
    assert status.status == "RUNNING: WAITING_FOR_QUOTA"
    events = world.platform.list_events(second.id, frozenset())
    assert any(event.level == "warning" and "quota" in event.message for event in events)


def test_events_come_once_each_and_in_order(world: World) -> None:
    _, status = world.create(world.make_plan(epoch_count=4))
    read: dict[str, str] = {}
    for _ in range(30):
        events = world.platform.list_events(status.id, frozenset(read))
        assert not any(event.id in read for event in events)
        read |= {event.id: event.message for event in events}
        if world.platform.get_job(status.id).state == "succeeded":
            break
    read |= {
        event.id: event.message for event in world.platform.list_events(status.id, frozenset(read))
    }
    assert next(iter(read)) == "created"
    assert list(read)[-1] == "SUCCEEDED"
    assert "12 rows" in read["dataset"]
    assert "https://console.cloud.google.com/vertex-ai/experiments/" in read["experiment"]
    assert any(key.startswith("epoch-") for key in read)


def test_checkpoints_have_endpoints_of_their_own(world: World) -> None:
    _, status = world.finish(world.make_plan(epoch_count=3, export_last_checkpoint_only=False))
    checkpoints = world.platform.list_checkpoints(status.id)
    assert [checkpoint.epoch for checkpoint in checkpoints] == [1, 2, 3]
    assert len({checkpoint.model for checkpoint in checkpoints}) == 3
    assert status.tuned_model in {checkpoint.model for checkpoint in checkpoints}


def test_a_canceled_job_may_be_canceled_again(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.create()
    world.platform.cancel_job(status.id)
    while (state := world.platform.get_job(status.id).state) != "cancelled":
        assert state == "running"
    world.platform.cancel_job(status.id)


def test_a_refused_cancel_of_a_running_job_is_an_error(world: World) -> None:
    _, status = world.create()
    world.fail_next("cancel_job", status=400)
    with refused("rejected", "cancel the job"):
        world.platform.cancel_job(status.id)


def test_a_failed_job_says_why(make_world: MakeWorld) -> None:
    message = "List of found errors:\t1.Field: x; Message: Row 3 has no text.\t"
    world = make_world(failure=VertexFailure(code=3, message=message))
    _, status = world.finish()
    assert status.state == "failed"
    assert status.error_code == "INVALID_ARGUMENT"
    assert "Row 3 has no text" in status.error
    assert "ftwizard check" in status.hint
    events = world.platform.list_events(status.id, frozenset())
    assert events[-1].level == "error"
    assert "Row 3" in events[-1].message


def test_a_failed_job_may_have_a_model(make_world: MakeWorld) -> None:
    world = make_world(failure=NO_ENDPOINT)
    _, status = world.finish()
    assert status.state == "failed"
    assert status.tuned_model is not None
    assert "/models/" in status.tuned_model
    assert "probably billed" in status.hint
    assert status.trained_tokens


def test_a_missing_right_to_the_bucket_names_the_account(make_world: MakeWorld) -> None:
    world = make_world(buckets={BUCKET: Bucket(is_open_to_agents=False)})
    _, status = world.finish()
    assert status.state == "failed"
    assert "roles/storage.objectUser" in status.hint


def test_a_job_ends_when_its_endpoint_is_there(make_world: MakeWorld) -> None:
    world = make_world(endpoint_polls=2)
    _, status = world.create()
    states = []
    while status.state in ("pending", "running"):
        states.append(status.status)
        status = world.platform.get_job(status.id)
    assert "SUCCEEDED: no endpoint yet" in states
    assert status.tuned_model is not None
    assert "/endpoints/" in status.tuned_model


def test_an_unknown_state_ends_nothing(make_world: MakeWorld) -> None:
    world = make_world(odd_state="JOB_STATE_REBALANCING", odd_fields=True)
    _, status = world.create()
    states = {}
    for _ in range(40):
        status = world.platform.get_job(status.id)
        states[status.status] = status.state
        if status.state == "succeeded":
            break
    assert states["REBALANCING"] == "running"
    assert status.state == "succeeded"


def test_a_job_is_found_by_its_number(world: World) -> None:
    _, status = world.create()
    assert world.platform.get_job(status.id.rpartition("/")[2]).id == status.id
    with refused("rejected", "not the name of a tuning job"):
        world.platform.get_job("ftjob-1")
    with refused("missing"):
        world.platform.get_job(status.id[:-3] + "000")


@pytest.mark.parametrize(
    "fault",
    [{"action": "drop_request"}, {"action": "drop_reply"}, {"action": "truncate"}, {"status": 503},
     {"status": 429, "headers": {"Retry-After": "0"}}],
)  # fmt: skip
@pytest.mark.parametrize("call", ["get_job", "list_jobs", "cancel_job"])
def test_reading_survives_a_broken_connection(
    world: World, call: str, fault: dict[str, object]
) -> None:
    remote, status = world.create()
    world.fail_next(call, **fault)
    if call == "list_jobs":
        assert world.platform.find_job(remote) is not None
    elif call == "cancel_job":
        world.platform.cancel_job(status.id)
    else:
        assert world.platform.get_job(status.id).id == status.id
