"""Rows in S3: buckets that a job cannot use, uploads, and what is left of one that was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import files
from tests.doubles.aws import BUCKET, EAST, WEST, WEST_BUCKET, AwsFault
from tests.providers.bedrock.conftest import Serve, World
from tests.providers.bedrock.plans import TAG, make_plan, write_rows

NAME = f"s3://{BUCKET}/ftwizard/ftwizard-{TAG}-train.jsonl"


def test_a_file_is_found_once_it_was_uploaded(world: World, tmp_path: Path) -> None:
    platform, path = world.platform, write_rows(tmp_path / "train.jsonl")
    assert platform.name_file(make_plan(), TAG, "train.jsonl") == NAME
    assert platform.find_file(NAME) is None
    assert platform.check_file(NAME).state == "failed"
    reports: list[tuple[int, int]] = []

    assert platform.upload(path, NAME, lambda *report: reports.append(report)) == NAME

    size = path.stat().st_size
    assert reports[-1] == (size, size) and reports == sorted(reports)
    assert platform.find_file(NAME) == NAME
    assert platform.check_file(NAME).state == "ready"
    assert len(world.service.control.list_files()) == 1
    platform.delete_file(NAME)
    platform.delete_file(NAME)
    assert world.service.control.list_files() == []


def test_credentials_that_expired_are_named_where_s3_gives_no_reason(world: World) -> None:
    platform = world.platform
    platform.identify()
    world.service.control.change(expired=True)
    for ask in (platform.find_file, platform.check_file):
        with pytest.raises(ProviderError, match="expired") as failure:
            ask(NAME)
        assert failure.value.kind == "key" and "aws login" in failure.value.hint


def test_a_large_file_replaces_the_parts_of_one_that_was_cut_off(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"x" * (files.PART_BYTES + 100))
    s3 = world.service.make_client("s3")
    key = NAME.removeprefix(f"s3://{BUCKET}/")
    s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    s3.create_multipart_upload(Bucket=BUCKET, Key=f"{key}-of-another")
    reports: list[int] = []

    world.platform.upload(path, NAME, lambda done, total: reports.append(done))

    assert reports[-1] == path.stat().st_size
    left = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [upload["Key"] for upload in left] == [f"{key}-of-another"]


def test_an_upload_that_is_stopped_leaves_no_parts(world: World, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"x" * (files.PART_BYTES + 100))

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        world.platform.upload(path, NAME, stop)
    s3 = world.service.make_client("s3")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    assert world.platform.find_file(NAME) is None


def test_an_upload_that_fails_has_its_cause(serve: Serve, tmp_path: Path) -> None:
    world = serve(denied=("s3:PutObject",))
    path = write_rows(tmp_path / "train.jsonl")
    with pytest.raises(ProviderError) as failure:
        world.platform.upload(path, NAME, lambda done, total: None)
    assert failure.value.kind == "permission" and "s3:PutObject" in failure.value.hint

    with pytest.raises(ProviderError) as failure:
        serve().platform.upload(path, "s3://no-such-bucket/a.jsonl", lambda done, total: None)
    assert failure.value.kind == "missing"


def test_a_lost_answer_to_an_upload_can_be_tried_again(world: World, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl")
    world.service.control.add_fault(AwsFault(on="upload", action="drop_reply"))
    with pytest.raises(ProviderError) as failure:
        world.platform.upload(path, NAME, lambda done, total: None)
    assert failure.value.kind == "unreachable"
    assert world.platform.find_file(NAME) == NAME


def test_a_bucket_that_can_be_used(world: World) -> None:
    assert files.check_bucket(world.platform, BUCKET, EAST) == ""
    assert files.check_bucket(world.platform, WEST_BUCKET, WEST) == ""


def test_the_key_of_a_bucket_is_read(world: World) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1"
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    }
    world.service.make_client("s3").put_bucket_encryption(
        Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]}
    )
    assert files.check_bucket(world.platform, BUCKET, EAST) == key


@pytest.mark.parametrize(
    ("scenario", "name", "kind", "code"),
    [({}, "no-such-bucket", "missing", "no_such_bucket"),
     ({}, WEST_BUCKET, "rejected", "bucket_region"),
     ({"foreign_buckets": {"of-others": "999999999999"}}, "of-others", "rejected", "bucket_owner"),
     ({"denied": ("s3:ListBucket",)}, BUCKET, "permission", "bucket_denied")],
)  # fmt: skip
def test_buckets_that_a_job_cannot_use(
    serve: Serve, scenario: dict[str, object], name: str, kind: str, code: str
) -> None:
    world = serve(**scenario)
    with pytest.raises(ProviderError) as failure:
        files.check_bucket(world.platform, name, EAST)
    assert (failure.value.kind, failure.value.code) == (kind, code)
    assert failure.value.hint


@pytest.mark.parametrize(
    "address", ["b/a.jsonl", "s3://B/a", "s3://bucket/", "s3://bucket/a b", "s3://bucket/a=1",
                "s3://bucket/é", "s3://bucket/" + "a" * 1024],
)  # fmt: skip
def test_addresses_that_no_job_takes(address: str) -> None:
    with pytest.raises(ProviderError):
        files.parse_address(address)
