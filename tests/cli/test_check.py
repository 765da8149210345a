"""What check says, in print and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ftwizard.__main__ import main
from ftwizard.data.findings import Finding
from ftwizard.screens.wizard.data import report_text

ROW = '{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW * 3)
    return path


def test_tokens_are_counted_unless_told_otherwise(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(rows), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 3
    assert 0 < found["trained_tokens"]["total"] < found["tokens"]["total"]
    assert found["tokens"]["low"] <= found["tokens"]["total"] <= found["tokens"]["high"]
    assert main(["check", str(rows)]) == 0
    assert "Tokens: about " in capsys.readouterr().out
    assert main(["check", str(rows), "--count", "no", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] is None and found["trained_tokens"] is None


def test_of_rows_that_cannot_be_used_no_tokens_are_spoken_of(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text('{"prompt": "a", "completion": 3}\n')
    assert main(["check", str(rows)]) == 1
    assert "Tokens" not in capsys.readouterr().out


@pytest.mark.parametrize("length", ["-5", "0", "1"])
def test_a_length_that_no_row_can_have_is_refused(
    length: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(rows), "--max-length", length]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "--max-length is less than 2." in said.err
    assert main(["check", str(rows), "--max-length", "2"]) == 0


def test_a_file_without_rows_is_an_error_and_a_report(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, code in (
        (b"", "file_empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "lfs_pointer"),
        (b'{"colour": "red"}\n', "unknown_format"),
    ):
        rows.write_bytes(data)
        assert main(["check", str(rows), "--json"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["error"]["message"] == found["findings"][0]["message"]
        assert (found["verdict"], found["format"], found["rows"]) == ("error", None, 0)
        assert [one["code"] for one in found["findings"]] == [code]
        assert main(["check", str(rows)]) == 1
        assert capsys.readouterr().err.startswith("ftwizard: ")


def test_what_a_host_bills_is_said(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(rows), "--target", "openai-sft", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["billed"]["unit"] == "tokens" and found["billed"]["sources"]
    assert found["billed"]["tokens"]["value"] == found["tokens"]["total"]
    main(["check", str(rows), "--target", "openai-sft"])
    assert f"  Billed: {found['tokens']['total']:,} per epoch; " in capsys.readouterr().out
    main(["check", str(rows), "--json"])
    assert json.loads(capsys.readouterr().out)["billed"] is None


def test_each_cause_of_a_finding_is_said_with_its_line(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text(f"{ROW}{{'prompt': 1}}\n{ROW}# a comment\n{ROW[:20]}\n")
    assert main(["check", str(rows), "--json"]) == 1
    (found,) = (
        one
        for one in json.loads(capsys.readouterr().out)["findings"]
        if one["code"] == "invalid_json"
    )
    assert found["lines"] == [2, 4, 5] and "Python" in found["message"]
    assert [(one["line"], "comment" in one["message"]) for one in found["also"]] == [
        (4, True), (5, False),
    ]  # fmt: skip
    assert main(["check", str(rows)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    for cause in found["also"]:
        assert f"at line {cause['line']}: {cause['message']}; {cause['fix']}" in said
    told = report_text.describe_finding(msgspec.convert(found, Finding)).plain
    assert all(f"At line {one['line']}: {one['message']}" in told for one in found["also"])
    assert all(one["fix"].rstrip(".") in told for one in (found, *found["also"]))
