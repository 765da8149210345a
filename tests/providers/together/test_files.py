"""Uploads and files at Together."""

from __future__ import annotations

import msgspec
import pytest

from ftwizard.providers.base import ProviderError
from tests.providers.together.world import ROWS, MakeWorld, refused


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
