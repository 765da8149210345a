"""Rows of open weights at Bedrock: which are sent, and which the models are compared on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ftwizard.runs import remote
from ftwizard.train.dataset import SavedTestSet
from tests.helpers.followed_jobs import create_run
from tests.helpers.hosted_doubles import serve_double


def test_no_row_is_set_aside_for_validation_and_the_test_rows_have_their_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_double("mantle") as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        folder = create_run(tmp_path, "mantle", finish={"compare": True})
    record = remote.read(folder)
    assert record is not None
    assert {name: file.rows for name, file in record.files.items()} == {"train": 117}
    saved = msgspec.json.decode((folder.evaluations / "test.json").read_bytes(), type=SavedTestSet)
    assert len(saved.rows) == 13
    for row in saved.rows:
        number = int(row.conversation.messages[0]["content"].split()[2])
        assert row.conversation.answer == str(2 * number)
