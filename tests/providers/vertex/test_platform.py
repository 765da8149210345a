"""Vertex AI as a platform: checks before a job, endpoints, and weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.providers import account
from ftwizard.providers.platforms import get_platform
from ftwizard.providers.vertex import downloads
from ftwizard.providers.vertex.platform import VertexPlatform
from ftwizard.providers.vertex.records import FINAL
from tests.doubles.vertex_service import PROJECT, PROJECT_NUMBER, Fault, VertexPace
from tests.providers.vertex.world import (
    GEMINI,
    OPEN,
    OPEN_ID,
    MakeWorld,
    World,
    ignore,
    refused,
)


def test_it_is_found_by_its_name(world: World) -> None:
    platform = get_platform("vertex", world.environment)
    assert isinstance(platform, VertexPlatform)
    assert platform.endpoint == world.service.address
    assert platform.chat_address == f"vertex://{PROJECT}/us"
    assert VertexPlatform({}).chat_address == "vertex://-/global"
    assert platform.has_steps
    assert not platform.can_pause


def test_the_login_is_described(world: World) -> None:
    login = world.platform.find_login()
    assert login.source == "GOOGLE_APPLICATION_CREDENTIALS"
    assert login.caller.endswith(".iam.gserviceaccount.com")
    assert login.account == PROJECT
    assert login.region == "us-central1"


def test_the_project_of_the_environment_is_the_one_that_is_billed(world: World) -> None:
    platform = VertexPlatform({**world.environment, "GOOGLE_CLOUD_PROJECT": "another-one"})
    assert platform.find_login().account == "another-one"


def test_requests_are_counted_in_the_quota_project_of_the_environment(world: World) -> None:
    platform = VertexPlatform({**world.environment, "GOOGLE_CLOUD_QUOTA_PROJECT": "counted"})
    assert platform.login.credentials.quota_project_id == "counted"
    assert world.platform.login.credentials.quota_project_id is None


def test_a_plan_is_checked_without_creating_anything(world: World) -> None:
    cautions = world.platform.check_plan(world.make_plan())
    assert cautions == [
        "Gemini is tuned without thinking. Base and tuned model are compared with the least thinking."
    ]
    requests = world.control.list_requests()
    assert {request.method for request in requests if request.call != "token"} == {"GET"}


def test_an_account_without_a_bucket_keeps_its_other_cautions(make_world: MakeWorld) -> None:
    world = make_world(pace=VertexPace(clock="manual"))
    world.create()
    report = account.inspect_account("vertex", environment=world.environment)
    assert report.ready, report.error
    assert any("runs here already" in caution for caution in report.cautions)
    assert any("Set vertex.bucket" in caution for caution in report.cautions)


def test_the_right_that_no_request_shows_is_named(make_world: MakeWorld) -> None:
    world = make_world(denied=("aiplatform.tuningJobs.create",))
    report = account.inspect_account("vertex", environment=world.environment)
    assert report.ready
    assert any("aiplatform.tuningJobs.create) was not" in caution for caution in report.cautions)


def test_a_check_outlasts_a_drop_at_each_of_its_calls(world: World) -> None:
    cautions = world.platform.check_plan(world.make_plan())
    calls = {request.call for request in world.control.list_requests() if request.call}
    assert {"token", "list_jobs", "get_bucket", "test_permissions"} <= calls
    for call in sorted(calls):
        world.control.add_fault(Fault(on=call, action="drop_reply"))
        platform = VertexPlatform(world.environment)
        assert platform.check_plan(world.make_plan()) == cautions, call
    assert world.control.list_jobs() == world.control.list_files() == []


def test_an_open_model_names_the_account_that_reads_the_bucket(world: World) -> None:
    cautions = world.platform.check_plan(world.make_plan(OPEN))
    agent = f"service-{PROJECT_NUMBER}@gcp-sa-vertex-moss-ft.iam.gserviceaccount.com"
    assert any(agent in caution for caution in cautions)


@pytest.mark.parametrize(
    ("model", "settings", "word"),
    [
        (GEMINI, {"adapter_size": 32}, "adapter_size is 32"),
        (GEMINI, {"location": "us-west1"}, "us-central1, europe-west4, not in us-west1"),
        (GEMINI, {"location": "global"}, "not in global"),
        ("gemini-9-flash", {"location": "global"}, "not in global"),
        (OPEN, {"adapter_size": 2}, "adapter_size is 2"),
        (OPEN, {"location": "mars-north1"}, "not in mars-north1"),
        ("qwen3-8b", {"adapter_size": 8}, "without an adapter"),
        ("qwen3-8b", {"tuning_mode": "TUNING_MODE_PEFT_ADAPTER"}, "does not have"),
        ("llama-4-scout", {"tuning_mode": "TUNING_MODE_FULL"}, "does not have"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    world: World, model: str, settings: dict[str, object], word: str
) -> None:
    with refused("rejected", word):
        world.platform.check_plan(world.make_plan(model, **settings))


def test_models_that_the_catalog_does_not_have(world: World) -> None:
    with refused("missing", "publisher/model@version", "gemini-3.5-flash"):
        world.platform.check_plan(world.make_plan("llama-9"))
    cautions = world.platform.check_plan(world.make_plan("google/gemma9@gemma-9-1b"))
    assert any("was not checked" in caution for caution in cautions)
    cautions = world.platform.check_plan(world.make_plan("gemini-9-flash"))
    assert any("does not list gemini-9-flash" in caution for caution in cautions)


def test_a_retired_model_that_google_does_not_have_is_closed(world: World) -> None:
    with refused("closed", "gemini-2.5-flash", "It can fine-tune", code="model_shut_down"):
        world.platform.check_plan(world.make_plan("gemini-2.5-flash"))


def test_project_and_location_are_needed(world: World) -> None:
    environment = {
        name: value for name, value in world.environment.items()
        if name not in ("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_PROJECT")
    }  # fmt: skip
    platform = VertexPlatform(environment)
    with refused("rejected", "GOOGLE_CLOUD_LOCATION", code="no_location"):
        platform.check_plan(world.make_plan())
    # The project is that of the credentials.
    assert platform.check_plan(world.make_plan(location="us-central1"))


def test_a_begun_job_stays_where_it_is(world: World) -> None:
    remote, status = world.create()
    moved = VertexPlatform({**world.environment, "GOOGLE_CLOUD_LOCATION": "europe-west4"})
    job = moved.find_job(remote)
    assert job is not None
    assert job.id == status.id
    assert moved.get_job(status.id).id == status.id


def test_a_tuned_model_is_asked_in_the_location_of_its_endpoint(world: World) -> None:
    plan = world.make_plan()
    _, status = world.finish(plan)
    assert status.tuned_model is not None
    tuned = world.platform.get_endpoint(status.tuned_model, plan)
    base = world.platform.get_endpoint(status.model, plan)
    assert tuned is not None
    assert base is not None
    assert tuned.address == f"vertex://{PROJECT_NUMBER}/us"
    assert tuned.served_name == status.tuned_model
    assert base.address == f"vertex://{PROJECT}/us"
    assert base.served_name == GEMINI
    assert tuned.key_variable == ""
    for endpoint in (tuned, base):
        location = endpoint.address.rpartition("/")[2]
        client = world.service.make_client(location)
        answer = client.models.generate_content(model=endpoint.served_name, contents="Q1")
        assert answer.candidates


@pytest.mark.parametrize(
    ("location", "served"),
    [("us-central1", "us"), ("europe-west4", "eu"), ("asia-southeast1", "global"), ("eu", "eu")],
)
def test_where_an_untuned_model_is_asked(world: World, location: str, served: str) -> None:
    endpoint = world.platform.get_endpoint(GEMINI, world.make_plan(location=location))
    assert endpoint is not None
    assert endpoint.address.endswith(f"/{served}")


def test_a_model_without_an_endpoint_is_not_asked(world: World) -> None:
    name = f"projects/{PROJECT_NUMBER}/locations/us-central1/models/1@1"
    with refused("missing", "not ready", code="no_endpoint"):
        world.platform.get_endpoint(name, world.make_plan())
    for model in (name, OPEN_ID, "gs://rows/out/final"):
        with refused("missing", "ftwizard download", code="not_served"):
            world.platform.get_endpoint(model, world.make_plan(OPEN))


@pytest.mark.parametrize(
    ("model", "files"),
    [
        (OPEN, ["adapter_config.json", "adapter_model.safetensors"]),
        ("qwen3-4b", ["config.json", "model.safetensors"]),  # tuned in full
    ],
)
def test_weights_of_an_open_model_are_downloaded_whole(
    world: World, tmp_path: Path, model: str, files: list[str]
) -> None:
    remote, _ = world.finish(world.make_plan(model))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "old").write_text("old")
    reported: list[tuple[int, int]] = []
    assert world.platform.download(remote, folder, lambda *counts: reported.append(counts))
    assert sorted(path.name for path in folder.iterdir()) == files
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert reported[-1] == (total, total)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_checkpoint_of_an_open_model_is_downloaded(world: World, tmp_path: Path) -> None:
    remote, status = world.finish(world.make_plan(OPEN, epoch_count=2, batch_size=4))
    checkpoints = world.platform.list_checkpoints(status.id)
    assert [checkpoint.step for checkpoint in checkpoints] == [3, 6]
    assert [checkpoint.epoch for checkpoint in checkpoints] == [1, 2]
    assert world.platform.download(remote, tmp_path / "first", ignore, step=3)
    assert not world.platform.download(remote, tmp_path / "second", ignore, step=2)
    assert not world.platform.download(remote, tmp_path / "ninth", ignore, step=9)
    assert not (tmp_path / "ninth").exists()


def test_a_download_that_breaks_leaves_the_folder_as_it_was(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "RETRY_S", 0.1)
    remote, _ = world.finish(world.make_plan(OPEN))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "old").write_text("old")
    world.fail_next("download", status=403, skip=1, times=None)
    with refused("permission", "send the weights"):
        world.platform.download(remote, folder, ignore)
    assert [path.name for path in folder.iterdir()] == ["old"]


def test_an_object_with_an_unsafe_name_is_refused(world: World, tmp_path: Path) -> None:
    remote, _ = world.finish(world.make_plan(OPEN))
    assert remote.request is not None
    assert world.service.state is not None
    output = remote.request["output_uri"]
    world.service.state.storage.write(f"{output}/{FINAL}/../../../evil", b"x")
    with pytest.raises(FtwizardError, match="unsafe name"):
        world.platform.download(remote, tmp_path / "weights", ignore)
    assert not (tmp_path / "weights").exists()


def test_weights_of_gemini_stay_at_google(world: World, tmp_path: Path) -> None:
    remote, _ = world.finish()
    assert not world.platform.download(remote, tmp_path / "weights", ignore)
    early = msgspec.structs.replace(remote, job_id=None)
    assert not world.platform.download(early, tmp_path / "weights", ignore)


def test_the_models_are_those_of_the_catalog(world: World) -> None:
    models = {model.id: model for model in world.platform.list_models()}
    assert models[GEMINI].tunable
    assert models[OPEN_ID].tunable
    assert models["gemini-2.5-flash"].shutdown == "2026-10-20"
    assert not models["gemini-2.5-flash"].tunable


@pytest.mark.parametrize("location", ["evil.example/", "evil.example#", "a@evil.example", "US", ""])
def test_nobody_else_chooses_the_host_that_gets_the_token(world: World, location: str) -> None:
    remote, _ = world.create()
    request = {**(remote.request or {}), "location": location}
    with refused("rejected", "not a location", code="location"):
        world.platform.create_job(request)
    with refused("rejected"):
        world.platform.find_job(msgspec.structs.replace(remote, request=request))
    with refused("rejected", "not the name of a tuning job"):
        world.platform.get_job(f"projects/1/locations/{location}/tuningJobs/1")
    with refused("missing"):
        world.platform.get_endpoint(
            f"projects/1/locations/{location}/endpoints/1", world.make_plan()
        )
    with refused("rejected"):
        world.platform.check_plan(world.make_plan("gemini-9", location=location or "?"))
