"""Files at Together: uploads, and their validation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
from together.lib.resources.files import FileUploadProgress

from ftwizard.providers.base import FileStatus, tolerate
from ftwizard.providers.fields import get_count, get_list, get_text
from ftwizard.providers.together.client import TogetherClient

_FILE_STATES = ("COMPLETED", "RUNNING", "QUEUED", "PENDING", "INVALID_FORMAT", "FAILED")
"""Of two files of one name, the one whose state comes first is meant."""


def find_file(client: TogetherClient, name: str) -> str | None:
    """Return the id of the uploaded file of that name; None if there is none that can be used."""
    listed = client.read(client.sdk.files.list)
    files = [item for item in get_list(listed, "data") if item.get("filename") == name]
    # One that is pending and empty was announced, but its bytes never came.
    files = [
        item for item in files
        if item.get("processing_status") != "PENDING" or get_count(item, "bytes")
    ]  # fmt: skip
    files.sort(key=_rank_file)
    file_id = get_text(files[0], "id") if files else None
    if file_id and files[0].get("processing_status") == "PENDING":
        return file_id if _start_validation(client, file_id) else None
    return file_id


def _start_validation(client: TogetherClient, file_id: str) -> bool:
    """Ask for the validation of a file, which an upload that broke after its bytes did not do.

    Return False if the service has not all of it.
    """
    with tolerate("rejected", "missing"), client.translate():
        client.sdk.post(f"/v1/files/{file_id}/preprocess", cast_to=object)
        return True
    return False


def upload(
    client: TogetherClient, path: Path, name: str, report: Callable[[int, int], None]
) -> str:
    """Upload a file under ``name`` and return its id; ``report`` gets bytes done and total."""

    def progress(event: FileUploadProgress) -> None:
        report(event.uploaded_bytes, event.total_bytes)

    # The SDK sends the file's own name. Its check reads every row again and accepts what the
    # service refuses; ftwizard's own has passed before.
    with tempfile.TemporaryDirectory() as folder, client.translate():
        link = Path(folder) / Path(name).name
        link.symlink_to(path.absolute())
        try:
            uploaded = client.sdk.files.upload(
                link, purpose="fine-tune", check=False, progress_callback=progress
            )
        except Exception as error:
            if type(error) is not Exception and not isinstance(error, AssertionError):
                raise
            # So the SDK reports a part of a large file, and an answer that is not a file.
            raise httpx.RemoteProtocolError(str(error)) from error
    file_id = client.require_id(uploaded, "The upload")
    is_older = getattr(uploaded, "filename", name) != name
    if is_older and getattr(uploaded, "processing_status", "") == "PENDING":
        _start_validation(client, file_id)
    return file_id


def check_file(client: TogetherClient, file_id: str) -> FileStatus:
    """Return whether the platform has accepted a file."""
    file = client.read(lambda: client.sdk.files.retrieve(file_id))
    status = file.get("processing_status")
    if status in ("INVALID_FORMAT", "FAILED"):
        validation = file.get("validation_report")
        error = get_text(validation, "error") if isinstance(validation, Mapping) else None
        return FileStatus(id=file_id, state="failed", reason=error or str(status).lower())
    # A service without validation of files has no such status.
    is_ready = status == "COMPLETED" or (status is None and file.get("Processed") is not False)
    return FileStatus(id=file_id, state="ready" if is_ready else "pending")


def delete_file(client: TogetherClient, file_id: str) -> None:
    """Delete a file; one that is gone already is not an error."""
    with tolerate("missing"), client.translate():
        client.sdk.files.delete(file_id)


def owns_file(client: TogetherClient, file_id: str, name: str) -> bool:
    """Return whether a file has that name."""
    with tolerate("missing"):
        file = client.read(lambda: client.sdk.files.retrieve(file_id))
        return file.get("filename") == name
    return False


def _rank_file(file: Mapping[str, Any]) -> int:
    status = file.get("processing_status")
    return _FILE_STATES.index(status) if status in _FILE_STATES else 0
