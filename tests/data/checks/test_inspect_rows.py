"""Rows at given lines: lookup, findings of each row, and previews without secrets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.__main__ import main
from ftwizard.data import row_preview
from ftwizard.data.checks import inspect_rows
from ftwizard.data.io import inspect
from tests.screens.hostile import TEXTS, obeyed

TOKEN = "ghp_" + "Zk3QmV9xT1bLw8RpYd4n" + "Hc6SgJ2uFa7eKo5N"


def chat(question: str, answer: str = "Yes.") -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def write(path: Path, *rows: Any) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_inspected_rows_have_examples_raw_text_and_findings(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl", chat("one"), "", '{"messages": [', chat("four", ""), chat("a\x1b")
    )
    result = {
        row.line: row for row in inspect_rows.inspect_rows(path, [5, 1, 3, 4, 2, 99], to="trl-sft")
    }
    assert list(result) == [1, 3, 4, 5], "blank lines and lines beyond the end hold no row"
    assert result[1].example is not None and result[1].example["messages"][0]["content"] == "one"
    assert result[1].findings == [] and json.loads(result[1].raw) == chat("one")
    assert [finding.code for finding in result[3].findings] == ["invalid_json"]
    assert result[3].example is None and result[3].raw == '{"messages": ['
    assert [finding.code for finding in result[4].findings] == ["empty_assistant"]
    assert [finding.severity for finding in result[5].findings] == ["warning"]


@pytest.mark.parametrize("packed", [False, True])
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=120),
    wanted=st.sets(st.integers(0, 140), max_size=12),
)
def test_read_records_returns_rows_at_requested_lines(
    packed: bool, sizes: list[int], wanted: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = (json.dumps(chat("q" * size)) if size % 7 else "" for size in sizes)
    data = "\n".join([json.dumps(chat("first")), *rows]).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    lines = data.split(b"\n")
    result = {
        record.line: record.value
        for record in inspect_rows.read_records(path, inspect.inspect(path), wanted)
    }
    expected = {n: lines[n - 1] for n in wanted if 1 <= n <= len(lines) and lines[n - 1]}
    assert result == expected


@pytest.mark.parametrize(
    "row",
    [
        json.dumps(chat(f"my token is {TOKEN}")),
        json.dumps(chat(f"my token is {TOKEN}")).replace("ghp_", "gh\\u0070_"),
        '{"messages": [{"role": "user", "content": "my token is ' + TOKEN,
        '{"messages": [{"role": "user", "content": "my token is gh\\u0070' + TOKEN[3:],
        json.dumps(chat("q " + "x" * (row_preview.MAX_CHARACTERS - 60) + f" {TOKEN} ")),
    ],
)
def test_secrets_are_redacted_in_inspected_rows(row: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", chat("one"), row)
    (result,) = inspect_rows.inspect_rows(path, [2])
    assert TOKEN[6:16] not in result.raw + json.dumps(result.example)


def test_long_texts_are_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", chat("x" * 100_000))
    (result,) = inspect_rows.inspect_rows(path, [1])
    assert result.example is not None
    assert len(result.raw) == row_preview.MAX_CHARACTERS + 1
    assert len(result.example["messages"][0]["content"]) == row_preview.MAX_CHARACTERS + 1


def test_csv_rows_can_be_inspected(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"a\nb",c\nd,e\n')
    result = inspect_rows.inspect_rows(path, range(1, 9))
    assert [json.loads(row.raw) for row in result] == [
        {"prompt": "a\nb", "completion": "c"},
        {"prompt": "d", "completion": "e"},
    ]


def test_show_command_escapes_terminal_controls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for text in TEXTS.values() if "\ud800" not in text]
    path = write(tmp_path / "rows.jsonl", *map(chat, texts), '{"messages": \x9b[')
    lines = [part for n in range(1, len(texts) + 2) for part in ("--line", str(n))]
    assert main(["show", str(path), *lines]) == 0
    output = capsys.readouterr().out
    assert output.count("assistant\n  Yes.") == len(texts)
    assert "✗ invalid_json: " in output
    assert not obeyed(output.replace("\t", ""))


def test_show_command_rejects_missing_line_but_json_omits_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "rows.jsonl", chat("one"))
    assert main(["show", str(path), "--line", "7"]) == 1
    assert "has no row at line 7" in capsys.readouterr().err
    assert main(["show", str(path), "--line", "7", "--line", "1", "--json"]) == 0
    assert [row["line"] for row in json.loads(capsys.readouterr().out)["rows"]] == [1]


def test_file_findings_reappear_in_inspected_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "rows.jsonl", chat("one"), chat("two", " "), {"messages": []}, chat("\u202eno"),
        {"prompt": "a", "completion": "b"}, chat(TOKEN), '{"a": 1, "a": 2}', chat("end"),
    )  # fmt: skip
    main(["check", str(path), "--target", "trl-sft", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert len(report["findings"]) >= 6
    for finding in report["findings"]:
        for row in inspect_rows.inspect_rows(path, finding["lines"], to="trl-sft"):
            assert finding["code"] in [finding.code for finding in row.findings], finding
