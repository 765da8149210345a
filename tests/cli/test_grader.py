"""``ftwizard grader`` on real files: exit codes, texts and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.__main__ import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}], "reference_answer": str(n)}
        for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_grader_is_written_tried_and_packed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grader", "new", "g.py", "--kind", "number"]) == 0
    assert "ftwizard grader try g.py --rows ROWS" in capsys.readouterr().out
    assert main(["grader", "try", "g.py", "--rows", "rows.jsonl"]) == 0
    text = capsys.readouterr().out
    assert "right answer" in text
    assert "✓ In each of 10 rows, the right answer scored higher" in text
    assert main(["grader", "lambda", "g.py"]) == 0
    text = capsys.readouterr().out
    assert "zip -j" in text and "--timeout 300" in text and "us-west-2 for open weights" in text
    assert 'import_module("g")' in (folder / "lambda_function.py").read_text()


def test_each_action_prints_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*argv: str) -> dict[str, object]:
        assert main(["grader", *argv, "--json"]) == 0
        document: dict[str, object] = json.loads(capsys.readouterr().out)
        return document

    made = run("new", "g.py")
    assert made == {"path": f"{folder}/g.py", "kind": "exact", "field": "reference_answer"}
    trial = run("try", "g.py", "--rows", "rows.jsonl", "--field", "reference_answer")
    assert (trial["verdict"], trial["findings"]) == ("ok", [])
    function = run("lambda", "g.py", "--region", "us-west-2")
    assert (function["timeout_s"], function["name"]) == (300, "ftwizard-g")


def test_a_grader_that_fails_exits_1_with_the_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "g.py").write_text("def grade(sample, item):\n    return item['answer']\n")
    assert main(["grader", "try", "g.py", "--rows", "rows.jsonl"]) == 1
    text = capsys.readouterr().out
    assert "✗ exception: at lines 1, 2" in text
    assert "KeyError: 'answer' (g.py, line 2)" in text
    assert "Name it in the plan" not in text


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["new", "g.txt"], 2, "does not end in .py"),
        (["new", "rows.py", "--rows", "rows.jsonl"], 2, "--rows is not an option of grader new"),
        (["lambda", "g.py", "--time-limit", "3"], 2, "--time-limit is not an option"),
        (["try", "g.py"], 2, "--rows is missing"),
        (["try", "none.py", "--rows", "rows.jsonl"], 1, "ftwizard grader new"),
        (["try", "g.py", "--rows", "none.jsonl"], 1, "none.jsonl"),
        (["try", "g.py", "--rows", "rows.jsonl", "--field", "x"], 4, "has the field x"),
        (["new", "g.py"], 1, "already exists"),
        (["lambda", "g.py", "--out", "other.py"], 2, "must end in lambda_function.py"),
        (["rows", "g.py"], 2, "Choose from: new, try, lambda"),
    ],
)
def test_wrong_usage_and_unusable_files(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, says: str
) -> None:
    (folder / "g.py").write_text("def grade(sample, item):\n    return 1\n")
    assert main(["grader", *argv]) == code
    assert says in capsys.readouterr().err


def test_a_check_of_prompts_says_nothing_of_tokens_to_train_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "rows.jsonl", "--target", "bedrock-rft"])
    text = capsys.readouterr().out
    assert "for Amazon Bedrock (RFT)" in text and "Tokens:" in text
    assert "rainable" not in text


def test_a_long_line_that_a_grader_prints_is_cut(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "g.py").write_text("print('x' * 1000)\ndef grade(sample, item):\n    return 0\n")
    assert main(["grader", "try", "g.py", "--rows", "rows.jsonl"]) == 1
    assert max(map(len, capsys.readouterr().out.splitlines())) < 250


def test_rows_whose_needed_reference_is_missing_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (folder / "rows.jsonl").read_text()
    (folder / "other.jsonl").write_text(rows.replace("reference_answer", "answer"))
    assert main(["check", "other.jsonl", "--target", "bedrock-rft"]) == 1
    assert "the row has no reference_answer" in capsys.readouterr().out
    (folder / "chat.csv").write_text("prompt,completion\n" + "a,b\n" * 12)
    assert main(["check", "chat.csv", "--target", "bedrock-rft"]) == 1
    assert "--answer-field reference_answer" in capsys.readouterr().out
