"""Rows in S3: the check of the bucket, uploads, and what is left of one that was cut off."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

from ftwizard.providers.base import FileStatus, ProviderError, tolerate
from ftwizard.providers.bedrock.client import BedrockClient, list_regions
from ftwizard.text import make_visible

BAD_REQUEST = "400"
"""Code of an answer without a body, such as to expired credentials."""
PART_BYTES = 8 * 2**20
_URI = re.compile(r"s3://([a-z0-9][-.a-z0-9]{1,61}[a-z0-9])/([-!_*'().a-zA-Z0-9/]+)\Z")
"""An address that a job takes: AWS allows fewer characters in it than in S3 itself."""
_IN_THREAD = TransferConfig(
    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
)
"""The caller writes the progress of an upload to its run, which one thread does."""


def parse_address(address: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://BUCKET/KEY``; raise ProviderError for another address."""
    match = _URI.match(address)
    if match is None or len(address) > 1024:
        raise ProviderError(
            "rejected",
            f"{make_visible(address, 200)} is not the address of a file that Bedrock can read.",
            "Set bedrock.bucket to the name of a bucket, and bedrock.prefix to letters, digits, -, _,"
            " . and /.",
            code="address",
        )
    return match[1], match[2]


def check_bucket(client: BedrockClient, name: str, region: str) -> str:
    """Check that a job in ``region`` can use a bucket; raise ProviderError if it cannot.

    Return the ARN or id of the KMS key that it encrypts with; empty for S3's own.
    """
    s3, owner = client.connect("s3", region), client.identify().account
    shown = make_visible(name, 80)
    action = f"look at the bucket {shown}"
    head = functools.partial(s3.head_bucket, Bucket=name)
    try:
        answer = client.call(action, functools.partial(head, ExpectedBucketOwner=owner))
    except ProviderError as error:
        if error.kind == "missing":
            raise ProviderError(
                "missing", f"There is no bucket {shown}.",
                f"Create it: aws s3 mb s3://{shown} --region {region}", code="no_such_bucket",
            ) from None  # fmt: skip
        if error.code == BAD_REQUEST:
            client.require_valid()
        if error.kind == "permission":
            raise _explain_denied(client, head, shown, owner, action) from None
        raise
    actual = answer.get("BucketRegion")
    if isinstance(actual, str) and actual and actual != region:
        raise ProviderError(
            "rejected",
            f"The bucket {shown} is in {make_visible(actual, 40)}, but the job runs in {region}.",
            f"Use a bucket in {region}: aws s3 mb s3://NAME --region {region}",
            code="bucket_region",
        )
    return _read_kms_key(client, s3, name, owner)


def _explain_denied(
    client: BedrockClient, head: Callable[[], Any], shown: str, owner: str, action: str
) -> ProviderError:
    """Return why a bucket is denied: it belongs to somebody else, or a right is missing."""
    try:
        client.call(action, head)
    except ProviderError as error:
        return ProviderError(
            error.kind,
            f"The bucket {shown} cannot be used: AWS denies access, or it belongs to another account.",
            f"Allow s3:ListBucket on arn:aws:s3:::{shown} in IAM, or use a bucket of account {owner}.",
            code="bucket_denied",
        )
    return ProviderError(
        "rejected",
        f"The bucket {shown} belongs to another account than {owner}.",
        "Use a bucket of your own account: set bedrock.bucket.",
        code="bucket_owner",
    )


def _read_kms_key(client: BedrockClient, s3: Any, name: str, owner: str) -> str:
    """Return the KMS key that a bucket encrypts with; empty for none, or where it cannot be read."""
    read = functools.partial(s3.get_bucket_encryption, Bucket=name, ExpectedBucketOwner=owner)
    try:
        answer = client.call("read how the bucket is encrypted", read)
    except ProviderError as error:
        if error.kind == "key":
            raise
        return ""
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    for rule in rules:
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        if str(default.get("SSEAlgorithm", "")).startswith("aws:kms"):
            return make_visible(str(default.get("KMSMasterKeyID") or "aws/s3"), 200)
    return ""


def find_file(client: BedrockClient, name: str) -> str | None:
    """Return the address of an uploaded file; None if there is none.

    S3 shows a file only once all of it arrived.
    """
    return name if _exists(client, name) else None


def _exists(client: BedrockClient, address: str) -> bool:
    bucket, key = parse_address(address)
    s3, owner = _connect(client), client.identify().account
    head = functools.partial(s3.head_object, Bucket=bucket, Key=key, ExpectedBucketOwner=owner)
    try:
        client.call("look up the file", head)
    except ProviderError as error:
        if error.kind == "missing":
            return False
        if error.code == BAD_REQUEST:
            client.require_valid()
        if error.kind == "permission" and _may_list(client, s3, bucket, owner):
            return False  # S3 says that of a missing key where only its bucket may be looked at
        raise
    return True


def _may_list(client: BedrockClient, s3: Any, bucket: str, owner: str) -> bool:
    head = functools.partial(s3.head_bucket, Bucket=bucket, ExpectedBucketOwner=owner)
    with tolerate("permission", "missing", "rejected"):
        client.call("look at the bucket", head)
        return True
    return False


def upload(client: BedrockClient, path: Path, name: str, report: Callable[[int, int], None]) -> str:
    """Upload a file to the address ``name``, in parts if it is large; return the address.

    A second upload replaces the first, and parts of one that was cut off are deleted.
    """
    bucket, key = parse_address(name)
    s3, owner = _connect(client), client.identify().account
    with tolerate("permission", "missing", "rejected", "unreachable"):
        _abort_parts(client, s3, bucket, key, owner)
    send = functools.partial(
        s3.upload_file, str(path), bucket, key,
        ExtraArgs={"ExpectedBucketOwner": owner, "ContentType": "application/jsonl"},
        Callback=_Progress(path.stat().st_size, report), Config=_IN_THREAD,
    )  # fmt: skip
    client.guard("take the file", send)
    return name


class _Progress:
    """The bytes of an upload that were sent; a part that is sent again counts back first."""

    def __init__(self, size: int, report: Callable[[int, int], None]) -> None:
        self._size, self._report, self._done = size, report, 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            done = min(max(self._done, 0), self._size)
        self._report(done, self._size)


def _abort_parts(client: BedrockClient, s3: Any, bucket: str, key: str, owner: str) -> None:
    """Delete the parts of uploads to a key that were cut off: they are billed, and nobody sees them."""
    listing = functools.partial(
        s3.list_multipart_uploads, Bucket=bucket, Prefix=key, ExpectedBucketOwner=owner
    )
    answer = client.call("look for parts of uploads", listing)
    for item in answer.get("Uploads") or []:
        if item.get("Key") == key and item.get("UploadId"):
            abort = functools.partial(
                s3.abort_multipart_upload, Bucket=bucket, Key=key, UploadId=item["UploadId"],
                ExpectedBucketOwner=owner,
            )  # fmt: skip
            client.call("delete parts of an upload", abort)


def check_file(client: BedrockClient, file_id: str) -> FileStatus:
    """Return whether a file is in the bucket; Bedrock looks into it once the job runs."""
    if _exists(client, file_id):
        return FileStatus(id=file_id, state="ready")
    return FileStatus(id=file_id, state="failed", reason="it is not in the bucket")


def delete_file(client: BedrockClient, file_id: str) -> None:
    """Delete a file; one that is gone already is not an error."""
    bucket, key = parse_address(file_id)
    s3, owner = _connect(client), client.identify().account
    request = functools.partial(s3.delete_object, Bucket=bucket, Key=key, ExpectedBucketOwner=owner)
    with tolerate("missing"):
        client.call("delete the file", request)


def read_files(
    client: BedrockClient, folder: str, endings: tuple[str, ...], max_bytes: int
) -> dict[str, bytes]:
    """Return the files in a folder of a bucket whose names end so, by key; larger ones are left out."""
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    s3, owner = _connect(client), client.identify().account
    listing = functools.partial(
        s3.list_objects_v2, Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=owner
    )
    contents: dict[str, bytes] = {}
    token: dict[str, str] = {}
    while True:
        page = client.call("list what the job wrote", functools.partial(listing, **token))
        for item in page.get("Contents") or []:
            key, size = str(item.get("Key", "")), item.get("Size", 0)
            if key.endswith(endings) and 0 < size <= max_bytes:
                contents[key] = client.guard(
                    "read what the job wrote", functools.partial(_read, s3, bucket, key, owner)
                )
        following = page.get("NextContinuationToken")
        if not isinstance(following, str) or following == token.get("ContinuationToken"):
            return contents
        token = {"ContinuationToken": following}


def _read(s3: Any, bucket: str, key: str, owner: str) -> bytes:
    body: bytes = s3.get_object(Bucket=bucket, Key=key, ExpectedBucketOwner=owner)["Body"].read()
    return body


def _connect(client: BedrockClient) -> Any:
    """Return the client for S3: boto3 follows a bucket to its region."""
    return client.connect("s3", client.region or list_regions()[0])
