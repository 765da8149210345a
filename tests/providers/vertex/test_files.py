"""Objects in a bucket: checks, uploads and look-ups."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ftwizard.providers.vertex.files import CHUNK_BYTES, compute_crc32c, covers
from tests.doubles.vertex_service import BUCKET, PROJECT_NUMBER, Bucket
from tests.providers.vertex.world import TAG, MakeWorld, World, ignore, refused


def test_a_file_is_named_by_its_whole_address(world: World) -> None:
    name = world.platform.name_file
    assert (
        name(world.make_plan(), TAG, "train.jsonl") == f"gs://{BUCKET}/ftwizard/{TAG}/train.jsonl"
    )
    plan = world.make_plan(bucket=f"gs://{BUCKET}/", prefix="/a/b/")
    assert name(plan, TAG, "train.jsonl") == f"gs://{BUCKET}/a/b/{TAG}/train.jsonl"
    assert name(world.make_plan(prefix=""), TAG, "x.jsonl") == f"gs://{BUCKET}/{TAG}/x.jsonl"
    with refused("rejected", "vertex.bucket", code="plan_setting"):
        name(world.make_plan(bucket=None), TAG, "train.jsonl")
    with refused("rejected", "vertex.prefix", code="bucket_name"):
        name(world.make_plan(bucket="rows/train"), TAG, "train.jsonl")


def test_a_file_is_uploaded_found_and_deleted(world: World) -> None:
    platform, path = world.platform, world.write()
    name = platform.name_file(world.make_plan(), TAG, "train.jsonl")
    assert platform.find_file(name) is None
    assert platform.check_file(name).state == "failed"
    reported: list[tuple[int, int]] = []
    assert platform.upload(path, name, lambda done, total: reported.append((done, total))) == name
    size = path.stat().st_size
    assert reported[-1] == (size, size)
    assert platform.find_file(name) == name
    assert platform.check_file(name).state == "ready"
    assert world.control.list_files()[0]["bytes"] == size
    platform.delete_file(name)
    assert platform.find_file(name) is None
    platform.delete_file(name)


def test_a_large_file_is_sent_in_parts_that_are_sent_again(world: World) -> None:
    path = world.folder / "large.jsonl"
    path.write_bytes(b"0123456789abcdef" * (CHUNK_BYTES // 8) + b"end")
    name = world.platform.name_file(world.make_plan(), TAG, "train.jsonl")
    world.fail_next("upload_part", status=503)
    reported: list[int] = []
    world.platform.upload(path, name, lambda done, total: reported.append(done))
    assert world.count("upload_part") >= 3
    assert all(first < second for first, second in itertools.pairwise(reported))
    stored = world.control.list_files()[0]
    assert stored["bytes"] == path.stat().st_size
    assert stored["crc32c"] == compute_crc32c(path)


def test_an_upload_whose_reply_was_lost_is_not_sent_twice(world: World) -> None:
    path = world.write()
    name = world.platform.name_file(world.make_plan(), TAG, "train.jsonl")
    world.fail_next("upload", "drop_reply")
    assert world.platform.upload(path, name, ignore) == name
    assert len(world.control.list_files()) == 1


def test_another_object_is_never_overwritten(world: World) -> None:
    name = world.platform.name_file(world.make_plan(), TAG, "train.jsonl")
    world.platform.upload(world.write(), name, ignore)
    assert world.platform.upload(world.write(), name, ignore) == name
    with refused("rejected", "other content", code="exists"):
        world.platform.upload(world.write(count=3), name, ignore)


def test_an_upload_without_the_right_to_it(make_world: MakeWorld) -> None:
    world = make_world(buckets={BUCKET: Bucket(permissions=("storage.objects.get",))})
    name = world.platform.name_file(world.make_plan(), TAG, "train.jsonl")
    with refused("permission", "roles/storage.objectUser"):
        world.platform.upload(world.write(), name, ignore)


@pytest.mark.parametrize(
    ("where", "regions", "location", "is_covered"),
    [
        ("US-CENTRAL1", [], "us-central1", True),
        ("US", [], "us-central1", True),
        ("EU", [], "europe-west4", True),
        ("NAM4", ["US-CENTRAL1", "US-EAST1"], "us-central1", True),
        ("US", [], "global", True),
        ("ASIA", [], "global", False),
        ("EU", [], "us-central1", False),
        ("EUROPE-WEST1", [], "europe-west4", False),
    ],
)
def test_where_a_bucket_serves(
    where: str, regions: list[str], location: str, is_covered: bool
) -> None:
    assert covers(where, regions, location) is is_covered


@pytest.mark.parametrize(
    ("bucket", "word"),
    [
        ({"project_number": "99"}, f"Grant service-{PROJECT_NUMBER}@gcp-sa-aiplatform"),
        ({"location": "ASIA-EAST1"}, "is in ASIA-EAST1, the job in us-central1"),
        ({"permissions": ("storage.objects.create", "storage.objects.get", "storage.objects.list",
                          "storage.objects.delete")}, "was not checked"),
        ({"permissions": ("storage.buckets.get", "storage.objects.create", "storage.objects.get")},
         "may not list and delete objects"),
    ],
)  # fmt: skip
def test_a_bucket_that_may_not_do_is_a_caution(
    make_world: MakeWorld, bucket: dict[str, Any], word: str
) -> None:
    world = make_world(buckets={BUCKET: Bucket(**bucket)})
    assert any(word in text for text in world.platform.check_plan(world.make_plan()))


def test_a_bucket_that_cannot_be_used(make_world: MakeWorld) -> None:
    world = make_world(buckets={BUCKET: Bucket(permissions=("storage.buckets.get",))})
    with refused("permission", "may not write and read objects", code="bucket_rights"):
        world.platform.check_plan(world.make_plan())
    with refused("missing", "gcloud storage buckets create", code="no_such_bucket"):
        world.platform.check_plan(world.make_plan(bucket="nobody-has-it"))
    with refused("rejected", code="plan_setting"):
        world.platform.check_plan(world.make_plan(bucket=None))
