"""Uploads and files at OpenAI."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.openai import files as module
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import make_page
from tests.providers.scripted_service import Reply, ScriptedService


def test_a_file_is_uploaded_under_its_own_name_with_progress(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x" * 200_000)
    service.on("POST /files", {"id": "file-9", "object": "file"})
    progress: list[tuple[int, int]] = []

    assert (
        platform.upload(path, "run-1-train.jsonl", lambda *step: progress.append(step)) == "file-9"
    )

    body = service.requests[0].body
    assert b'filename="run-1-train.jsonl"' in body
    assert b"x" * 200_000 in body
    assert progress[-1] == (200_000, 200_000)
    assert progress == sorted(progress)


def test_a_lost_upload_is_not_sent_again(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"x")
    service.on("POST /files", Reply(lost=True))

    with pytest.raises(ProviderError) as failure:
        platform.upload(path, "a.jsonl", lambda *step: None)

    assert failure.value.may_have_acted
    assert service.count("POST /files") == 1


def test_a_large_file_is_uploaded_in_parts_in_order(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"aaaabbbbcc")
    monkeypatch.setattr(module, "PART_BYTES", 4)
    monkeypatch.setattr(platform, "max_direct_bytes", 5)
    service.on("POST /uploads", {"id": "upload-1"})
    parts = iter(["part-1", "part-2", "part-3"])
    service.on("POST /uploads/upload-1/parts", lambda request: {"id": next(parts)})
    file = {"id": "file-9", "object": "file"}
    service.on("POST /uploads/upload-1/complete", {"id": "upload-1", "file": file})
    progress: list[tuple[int, int]] = []

    assert platform.upload(path, "n.jsonl", lambda *step: progress.append(step)) == "file-9"

    assert progress == [(4, 10), (8, 10), (10, 10)]
    assert service.requests[0].json == {
        "bytes": 10, "filename": "n.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"
    }  # fmt: skip
    assert service.requests[-1].json == {"part_ids": ["part-1", "part-2", "part-3"]}


def test_the_newest_file_of_a_name_that_did_not_fail_is_taken(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    files = [
        {"id": "f4", "filename": "n.jsonl", "created_at": 4, "status": "error"},
        {"id": "f3", "filename": "other.jsonl", "created_at": 3, "status": "processed"},
        {"id": "f1", "filename": "n.jsonl", "created_at": 1, "status": "processed"},
        {"id": "f2", "filename": "n.jsonl", "created_at": 2, "status": "uploaded"},
    ]
    service.on("GET /files", make_page(files[:2], has_more=True), make_page(files[2:]))

    assert platform.find_file("n.jsonl") == "f2"
    assert service.requests[1].query["after"] == ["f3"]
    assert platform.find_file("none.jsonl") is None


@pytest.mark.parametrize(
    ("status", "state"),
    [("uploaded", "pending"), ("pending", "pending"), ("processed", "ready"), ("error", "failed"),
     (None, "ready"), ("archived", "ready")],
)  # fmt: skip
def test_the_state_of_a_file(
    service: ScriptedService, platform: OpenAIPlatform, status: str | None, state: str
) -> None:
    details = "Line 3 is not a\x1b dictionary"
    service.on("GET /files/f1", {"id": "f1", "status": status, "status_details": details})

    file = platform.check_file("f1")

    assert file.state == state
    assert ("Line 3" in file.reason) == (state == "failed")
    assert file.reason.isprintable()


def test_a_file_that_failed_at_azure_says_why(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    error = {"code": "invalidPayload", "message": "Line 3 has no messages."}
    service.on("GET /files/f1", {"id": "f1", "status": "error", "error": error})
    assert platform.check_file("f1").reason == "Line 3 has no messages."


def test_deleting_a_file_that_is_gone_is_no_error(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    platform.delete_file("f1")
    assert service.count("DELETE /files/f1") == 1
