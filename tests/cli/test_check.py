"""Output of ``ftwizard check`` as text and as JSON."""

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


def test_check_counts_tokens_by_default(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(rows), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == 3
    assert 0 < document["trained_tokens"]["total"] < document["tokens"]["total"]
    assert document["tokens"]["low"] <= document["tokens"]["total"] <= document["tokens"]["high"]
    assert main(["check", str(rows)]) == 0
    assert "Tokens: about " in capsys.readouterr().out
    assert main(["check", str(rows), "--count", "no", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tokens"] is None and document["trained_tokens"] is None


def write_prompts(path: Path, **columns: str) -> None:
    rows = [{"prompt": f"What is {n} + 2?", **columns, "answer": str(n + 2)} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_prompts_with_answers_are_for_rewards_here(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_prompts(rows, topic="sums")
    assert main(["check", str(rows)]) == 0
    text = capsys.readouterr().out
    assert "with rewards: they get the columns topic and answer." in text
    reward = f"ftwizard rewards numeric_answer --data {rows}"
    assert (
        f"100% of the right answers end in a number. numeric_answer rewards them. Try it: {reward}"
        in text
    )
    for other in ("without answers", "RFT", "rft", "grader", "add the answers"):
        assert other not in text
    assert main(reward.split()[1:]) == 0, "the command works"


def test_prompts_alone_may_go_to_a_grader(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text('{"prompt": "Say hello."}\n' * 3)
    assert main(["check", str(rows)]) == 0
    assert "A platform can train on prompts with a grader" in capsys.readouterr().out


def test_check_omits_tokens_without_usable_rows(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text('{"prompt": "a", "completion": 3}\n')
    assert main(["check", str(rows)]) == 1
    assert "Tokens" not in capsys.readouterr().out


@pytest.mark.parametrize("length", ["-5", "0", "1"])
def test_max_length_below_2_is_refused(
    length: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(rows), "--max-length", length]) == 2
    text = capsys.readouterr()
    assert text.out == "" and "--max-length must be 2 or more." in text.err
    assert main(["check", str(rows), "--max-length", "2"]) == 0


def test_file_without_rows_gives_an_error_and_a_report(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, code in (
        (b"", "file_empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "lfs_pointer"),
        (b'{"colour": "red"}\n', "unknown_format"),
    ):
        rows.write_bytes(data)
        assert main(["check", str(rows), "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        assert document["error"]["message"] == document["findings"][0]["message"]
        assert (document["verdict"], document["format"], document["rows"]) == ("error", None, 0)
        assert [finding["code"] for finding in document["findings"]] == [code]
        assert main(["check", str(rows)]) == 1
        assert capsys.readouterr().err.startswith("ftwizard: ")


def test_check_reports_billed_tokens_for_hosted_targets(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", str(rows), "--target", "openai-sft", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["billed"]["unit"] == "tokens" and document["billed"]["sources"]
    assert document["billed"]["tokens"]["value"] == document["tokens"]["total"]
    main(["check", str(rows), "--target", "openai-sft"])
    assert f"  Billed: {document['tokens']['total']:,} per epoch; " in capsys.readouterr().out
    main(["check", str(rows), "--json"])
    assert json.loads(capsys.readouterr().out)["billed"] is None


def test_each_cause_of_a_finding_has_its_line(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text(f"{ROW}{{'prompt': 1}}\n{ROW}# a comment\n{ROW[:20]}\n")
    assert main(["check", str(rows), "--json"]) == 1
    (result,) = (
        finding
        for finding in json.loads(capsys.readouterr().out)["findings"]
        if finding["code"] == "invalid_json"
    )
    assert result["lines"] == [2, 4, 5] and "Python" in result["message"]
    assert [(item["line"], "comment" in item["message"]) for item in result["also"]] == [
        (4, True), (5, False),
    ]  # fmt: skip
    assert main(["check", str(rows)]) == 1
    text = " ".join(capsys.readouterr().out.split())
    for cause in result["also"]:
        assert f"at line {cause['line']}: {cause['message']}; {cause['fix']}" in text
    points = report_text.describe_finding(msgspec.convert(result, Finding)).plain
    assert all(f"At line {item['line']}: {item['message']}" in points for item in result["also"])
    assert all(item["fix"].rstrip(".") in points for item in (result, *result["also"]))
