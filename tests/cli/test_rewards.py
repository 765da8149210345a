"""``ftwizard rewards`` on real files: exit codes, texts and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.__main__ import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{n}?", "completion": f"It is {n}"} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.py").write_text(
        "def same(completions, **kwargs):\n"
        "    print('hello')\n"
        "    return [1.0] * len(completions)\n"
    )
    return tmp_path


def test_rewards_are_tried_on_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = "length_limit={max: 4}"
    assert main(["rewards", "numeric_answer", limit, "--data", "rows.jsonl"]) == 0
    text = capsys.readouterr().out
    assert "numeric_answer" in text and "length_limit" in text and "sum" in text
    assert "✓ 10 rows tried" in text
    assert "expected “It is 0”" in text


def test_a_reward_without_a_signal_exits_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rewards", "own.py:same", "--data", "rows.jsonl", "--rows", "3", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "error"
    assert [row["line"] for row in document["rows"]] == [1, 2, 3]
    assert [finding["code"] for finding in document["findings"]] == ["no_signal"]
    assert document["rewards"][0]["expected"] == [1.0, 1.0, 1.0]
    assert document["printed"].startswith("hello")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["numeric_answer"], "--data is missing"),
        (["numeric", "--data", "rows.jsonl"], "Did you mean numeric_answer?"),
        (["length_limit={max", "--data", "rows.jsonl"], "Options of length_limit"),
        (["numeric_answer=3", "--data", "rows.jsonl"], "not a mapping"),
        (["none.py:f", "--data", "rows.jsonl"], "none.py does not exist"),
        (["numeric_answer", "--data", "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_cannot_be_tried_is_named(
    folder: Path, argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rewards", *argv]) > 0
    assert says in capsys.readouterr().err
