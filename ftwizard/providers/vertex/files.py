"""Objects in a bucket of Cloud Storage: checks of the bucket, uploads, and look-ups.

The id of a file is its address, ``gs://BUCKET/OBJECT``. Its name has the tag of the run, so no other run
has the object.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
from google.api_core.exceptions import PreconditionFailed
from google.cloud.storage.retry import DEFAULT_RETRY

from ftwizard.plan.schema import Plan
from ftwizard.providers.base import PLAN_SETTING, FileStatus, ProviderError, tolerate
from ftwizard.providers.vertex.client import VertexClient
from ftwizard.providers.vertex.models import get_model_id, is_gemini
from ftwizard.text import make_visible

SCHEME = "gs://"
CHUNK_BYTES = 8 * 2**20
"""Larger files are uploaded in parts, of which each can be sent again."""
TIMEOUT_S = 60.0
RETRY_S = 120.0
"""Time in which a part is sent again."""
RIGHTS = {
    "storage.objects.create": "write", "storage.objects.get": "read", "storage.objects.list": "list",
    "storage.objects.delete": "delete",
}  # fmt: skip
"""What the caller needs to be allowed in the bucket."""
NEEDED = ("storage.objects.create", "storage.objects.get")
_ADDRESS = re.compile(r"gs://(?P<bucket>[^/]+)/(?P<name>.+)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_AREAS = {"US": "us-", "EU": "europe-", "ASIA": "asia-"}
"""Multi-regions of Cloud Storage, with how the regions in them begin."""
_NUMBER = re.compile(r"service-(\d+)@")
_AGENT = "service-{number}@gcp-sa-{name}.iam.gserviceaccount.com"


class ObjectAddress(NamedTuple):
    """Where an object is."""

    bucket: str
    name: str


def parse_address(address: str) -> ObjectAddress:
    """Return bucket and name of ``gs://BUCKET/OBJECT``; raise ProviderError for anything else."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ProviderError(
            "rejected", f"{make_visible(address, 100)} is not the address of an object in a bucket.",
            "It must be gs://BUCKET/OBJECT.", code="address",
        )  # fmt: skip
    return ObjectAddress(match["bucket"], match["name"])


def require_bucket(plan: Plan) -> str:
    """Return the name of the plan's bucket; raise ProviderError without one, or with a wrong one."""
    name = (plan.vertex.bucket or "").strip().removeprefix(SCHEME).rstrip("/")
    if not name:
        raise ProviderError(
            "rejected", "No bucket is set, and Vertex AI reads rows from one only.",
            "Set vertex.bucket in the plan. To create one where the job runs: gcloud storage buckets"
            " create gs://NAME --location=LOCATION", code=PLAN_SETTING,
        )  # fmt: skip
    if not _BUCKET.fullmatch(name):
        raise ProviderError(
            "rejected", f"vertex.bucket is not the name of a bucket: {make_visible(name, 80)}.",
            "Use its name only. A folder in it is vertex.prefix.", code="bucket_name",
        )  # fmt: skip
    return name


def name_file(client: VertexClient, plan: Plan, tag: str, name: str) -> str:
    """Return the address of a run's file."""
    folders = (plan.vertex.prefix.strip("/"), tag, name)
    return f"{SCHEME}{require_bucket(plan)}/{'/'.join(filter(None, folders))}"


def find_project_number(client: VertexClient, project: str) -> str:
    """Return the number of a project, which the name of its account for storage has; empty if that
    cannot be looked up."""
    if project.isdecimal():
        return project
    with tolerate("permission", "missing", "rejected", "quota", "unreachable"):
        account = client.call(
            "look up the project",
            lambda: client.storage.get_service_account_email(
                project=project, timeout=TIMEOUT_S, retry=None
            ),
        )
        match = _NUMBER.match(str(account))
        return match[1] if match else ""
    return ""


def check_bucket(client: VertexClient, plan: Plan, location: str, number: str = "") -> list[str]:
    """Check that the bucket exists, that the caller may use it, where and whose it is; return cautions.

    ``number``: that of the job's project; empty if unknown. Raises ProviderError
    where the upload would fail.
    """
    bucket = client.storage.bucket(require_bucket(plan))
    action = f"look up the bucket {bucket.name}"
    details = True
    try:
        client.read(action, lambda: bucket.reload(timeout=TIMEOUT_S, retry=None))
    except ProviderError as error:
        if error.kind == "missing":
            raise _missing_bucket(bucket.name, location) from None
        if error.kind != "permission":
            raise
        details = False
    cautions = _check_rights(client, bucket)
    if not details:
        unseen = (
            f"This Google account may not see where {bucket.name} is, so that was not checked. It"
            f" should be in {location}."
        )
        return [*cautions, unseen]
    cautions += _describe_bucket(bucket, location)
    owner = make_visible(str(bucket.project_number or ""), 40)
    if number and owner and owner != number:
        agents = describe_agents(bucket.name, number, is_gemini=is_gemini(get_model_id(plan)))
        cautions.append(
            f"The bucket {bucket.name} is of another project ({owner}), where Google's accounts of this"
            f" one have no rights. {agents}"
        )
    return cautions


def _missing_bucket(name: str, location: str) -> ProviderError:
    area = "US" if location == "global" else location
    return ProviderError(
        "missing", f"There is no bucket {name}.",
        f"Check vertex.bucket, or create it: gcloud storage buckets create {SCHEME}{name}"
        f" --location={area}", code="no_such_bucket",
    )  # fmt: skip


def _check_rights(client: VertexClient, bucket: Any) -> list[str]:
    def ask() -> list[str]:
        return list(bucket.test_iam_permissions(list(RIGHTS), timeout=TIMEOUT_S, retry=None))

    try:
        rights = client.read(f"use the bucket {bucket.name}", ask)
    except ProviderError as error:
        if error.kind != "missing":
            raise
        return []  # an emulator, which has no rights
    lacking = [right for right in RIGHTS if right not in rights]
    if any(right in NEEDED for right in lacking):
        verbs = " and ".join(RIGHTS[right] for right in lacking if right in NEEDED)
        raise ProviderError(
            "permission", f"This Google account may not {verbs} objects in the bucket {bucket.name}.",
            "Ask for the role Storage Object User (roles/storage.objectUser) on it.",
            code="bucket_rights",
        )  # fmt: skip
    verbs = " and ".join(RIGHTS[right] for right in lacking)
    return [f"This Google account may not {verbs} objects in {bucket.name}."] if verbs else []


def _describe_bucket(bucket: Any, location: str) -> Iterator[str]:
    """Yield what of a bucket may keep a job from reading it."""
    where = make_visible(str(bucket.location or ""), 40)
    if where and not covers(where, list(bucket.data_locations or ()), location):
        yield (
            f"The bucket {bucket.name} is in {where}, the job in {location}. Jobs with a distant bucket"
            " have failed, or never started."
        )
    if bucket.requester_pays:
        yield f"The bucket {bucket.name} bills who reads it, and the job may be refused for that."
    if bucket.retention_period:
        yield f"The bucket {bucket.name} keeps objects for a fixed time, so the rows cannot be deleted."


def covers(bucket_location: str, data_locations: list[str], location: str) -> bool:
    """Return whether a bucket is where a job in ``location`` reads: the region, or an area around it."""
    where, wanted = bucket_location.upper(), location.lower()
    if wanted == "global":
        return where in ("US", "EU") or where.lower() in ("us-central1", "europe-west4")
    if where.lower() == wanted or wanted in [each.lower() for each in data_locations]:
        return True
    return where in _AREAS and wanted.startswith(_AREAS[where])


def describe_agents(bucket: str, number: str, *, is_gemini: bool) -> str:
    """Return which accounts of Google read the bucket, with the project's number."""
    names = ("aiplatform", "vertex-tune") if is_gemini else ("vertex-moss-ft",)
    agents = " and ".join(_AGENT.format(number=number, name=name) for name in names)
    return f"Grant {agents} the role roles/storage.objectUser on {SCHEME}{bucket}."


def find_file(client: VertexClient, name: str) -> str | None:
    """Return the address of an uploaded file; None if there is none. An object is whole or absent."""
    return name if _get_object(client, name) is not None else None


def _get_object(client: VertexClient, address: str) -> Any:
    parsed = parse_address(address)
    bucket = client.storage.bucket(parsed.bucket)
    with tolerate("missing"):
        return client.read(
            "look up the file", lambda: bucket.get_blob(parsed.name, timeout=TIMEOUT_S, retry=None)
        )
    return None


def upload(client: VertexClient, path: Path, name: str, report: Callable[[int, int], None]) -> str:
    """Upload a file to the address ``name`` unless it is there; return the address."""
    size = path.stat().st_size
    parsed = parse_address(name)
    bucket = client.storage.bucket(parsed.bucket)
    blob = bucket.blob(parsed.name, chunk_size=CHUNK_BYTES if size > CHUNK_BYTES else None)
    with client.guard("take the file"), _ReportingFile(path, size, report) as file:
        try:
            blob.upload_from_file(
                file, size=size, content_type="application/jsonl", if_generation_match=0,
                timeout=TIMEOUT_S, retry=DEFAULT_RETRY.with_timeout(RETRY_S),
            )  # fmt: skip
            return name
        except PreconditionFailed:  # an object is there: an earlier try, whose reply was lost
            pass
    if not _is_same(_get_object(client, name), path, size):
        raise ProviderError(
            "rejected", f"{make_visible(name, 200)} exists already, with other content.",
            "Remove it, or set another vertex.prefix.", code="exists",
        )  # fmt: skip
    report(size, size)
    return name


def _is_same(blob: Any, path: Path, size: int) -> bool:
    """Return whether an object has the bytes of a file."""
    return blob is not None and blob.size == size and blob.crc32c == compute_crc32c(path)


def compute_crc32c(path: Path) -> str:
    """Return the checksum of a file as Cloud Storage writes it."""
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode()


class _ReportingFile(io.FileIO):
    """A file that reports the most of it that was read: what is sent again counts once."""

    def __init__(self, path: Path, size: int, report: Callable[[int, int], None]) -> None:
        super().__init__(path, "rb")
        self._size, self._report, self._done = size, report, 0

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(-1 if size is None else size)
        done = min(self._size, self.tell())
        if done > self._done:
            self._done = done
            self._report(done, self._size)
        return data


def check_file(client: VertexClient, file_id: str) -> FileStatus:
    """Return whether an object is there; the rows are checked by the job."""
    if _get_object(client, file_id) is None:
        return FileStatus(id=file_id, state="failed", reason="it is not in the bucket any more")
    return FileStatus(id=file_id, state="ready")


def delete_file(client: VertexClient, file_id: str) -> None:
    """Delete an object; one that is gone already is not an error."""
    parsed = parse_address(file_id)
    blob = client.storage.bucket(parsed.bucket).blob(parsed.name)
    with tolerate("missing"):
        client.read("delete the file", lambda: blob.delete(timeout=TIMEOUT_S, retry=None))


def list_objects(client: VertexClient, prefix: str) -> list[Any]:
    """Return the objects under ``gs://BUCKET/FOLDER/``; none without the bucket."""
    parsed = parse_address(prefix)
    bucket = client.storage.bucket(parsed.bucket)
    with tolerate("missing"):
        return client.read(
            "list the files of the job",
            lambda: list(bucket.list_blobs(prefix=parsed.name, timeout=TIMEOUT_S, retry=None)),
        )
    return []
