"""What check says, in print and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.__main__ import main

ROW = '{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW * 3)
    return path


def test_tokens_that_were_not_counted_are_null(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(rows), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 3
    assert found["tokens"] is None and found["trained_tokens"] is None
    assert main(["check", str(rows)]) == 0
    assert "Tokens: not counted" in capsys.readouterr().out


def test_of_rows_that_cannot_be_used_no_tokens_are_spoken_of(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text('{"prompt": "a", "completion": 3}\n')
    assert main(["check", str(rows)]) == 1
    assert "Tokens" not in capsys.readouterr().out
