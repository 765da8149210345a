"""Files at OpenAI: uploads, whole or in parts, and what the platform makes of them."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ftwizard.providers.base import FileStatus, ProviderError, tolerate
from ftwizard.providers.fields import read_number
from ftwizard.providers.openai.client import UPLOAD_TIMEOUT, OpenAIClient
from ftwizard.text import format_bytes

PART_BYTES = 64 * 2**20
MAX_UPLOAD_BYTES = 8 * 2**30
_FILE_STATES = {"error": "failed", "failed": "failed", "deleted": "failed", "cancelled": "failed"}
_PENDING_FILES = {"uploaded", "pending", "running", "processing", "notrunning", "queued"}


def find_file(client: OpenAIClient, name: str) -> str | None:
    """Return the id of the newest uploaded file of that name; None if there is none."""
    request = functools.partial(
        client.reader.files.list, purpose="fine-tune", order="desc", limit=1_000
    )
    files = [
        file
        for file in client.iterate("list the files", request)
        if getattr(file, "filename", None) == name
        and _FILE_STATES.get(str(getattr(file, "status", ""))) != "failed"
    ]
    newest = max(
        files, key=lambda file: read_number(getattr(file, "created_at", 0)) or 0.0, default=None
    )
    return str(newest.id) if newest is not None else None


def upload(client: OpenAIClient, path: Path, name: str, report: Callable[[int, int], None]) -> str:
    """Upload a file under ``name``, in parts if it is large; return its id."""
    size = path.stat().st_size
    if size > MAX_UPLOAD_BYTES:
        raise ProviderError(
            "rejected",
            f"{name} has {format_bytes(size)}; {client.account.name} takes"
            f" {format_bytes(MAX_UPLOAD_BYTES)}.",
            "Send fewer rows: set data.max_rows in the plan.",
            code="too_large",
        )
    if size > client.max_direct_bytes:
        return _upload_parts(client, path, name, size, report)
    with _ReportingFile(path, size, report) as file:
        request = functools.partial(
            client.writer.files.create, file=(name, file), purpose="fine-tune"
        )
        answer = client.call("take the file", request, creates=True)
    return client.require_id(answer, "take the file")


def _upload_parts(
    client: OpenAIClient, path: Path, name: str, size: int, report: Callable[[int, int], None]
) -> str:
    """Upload a file in parts, of which each can be sent again."""
    action = "take the file"
    uploads = client.reader.uploads
    upload = client.call(
        action,
        functools.partial(
            client.writer.uploads.create, filename=name, bytes=size, mime_type="text/jsonl",
            purpose="fine-tune",
        ),
    )  # fmt: skip
    upload_id = client.require_id(upload, action)
    parts = []
    try:
        with path.open("rb") as file:
            while data := file.read(PART_BYTES):
                part = client.call(
                    action,
                    functools.partial(
                        uploads.parts.create, upload_id=upload_id, data=data,
                        timeout=UPLOAD_TIMEOUT,
                    ),
                )  # fmt: skip
                parts.append(client.require_id(part, action))
                report(min(size, len(parts) * PART_BYTES), size)
        complete = functools.partial(
            client.writer.uploads.complete, upload_id=upload_id, part_ids=parts
        )
        answer = client.call(action, complete, creates=True)
    except ProviderError as error:
        if not error.may_have_acted:
            with contextlib.suppress(ProviderError):
                client.call(action, functools.partial(client.writer.uploads.cancel, upload_id))
        raise
    return client.require_id(getattr(answer, "file", None), action)


class _ReportingFile(io.FileIO):
    """A file that reports how much of it was read."""

    def __init__(self, path: Path, size: int, report: Callable[[int, int], None]) -> None:
        super().__init__(path, "rb")
        self._size, self._report = size, report

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(-1 if size is None else size)
        self._report(min(self._size, self.tell()), self._size)
        return data


def check_file(client: OpenAIClient, file_id: str) -> FileStatus:
    """Return whether the platform has accepted a file."""
    request = functools.partial(client.reader.files.retrieve, file_id)
    file = client.call("look up the file", request)
    status = str(getattr(file, "status", "") or "").lower()
    if _FILE_STATES.get(status) == "failed":
        error = getattr(file, "error", None)  # as Azure says it
        details = error.get("message") if isinstance(error, Mapping) else None
        details = getattr(file, "status_details", None) or details or ""
        reason = client.account.redact(str(details))
        return FileStatus(id=file_id, state="failed", reason=reason or f"its status is {status}")
    return FileStatus(id=file_id, state="pending" if status in _PENDING_FILES else "ready")


def delete_file(client: OpenAIClient, file_id: str) -> None:
    """Delete a file; one that is gone already is not an error."""
    with tolerate("missing"):
        client.call("delete the file", functools.partial(client.reader.files.delete, file_id))
