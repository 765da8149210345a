"""One row edited: its text, its problems, and the new file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ftwizard.data import row_edit
from ftwizard.errors import FtwizardError

ROW = '{"prompt": "a \\u00e9\u202e", "completion": "b", "n": 1.50}'
BROKEN = b'{"prompt": "x\x1b[2J", "comp\xff'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    other = b'{"prompt":"odd  spacing" ,"completion":"kept"}'
    path.write_bytes(b"\r\n".join([ROW.encode(), b"", other, BROKEN, b'{"prompt": "last"}']))
    return path


def test_json_row_is_indented_with_hidden_characters_as_escapes(file: Path) -> None:
    row = row_edit.read_row(file, 1)
    assert row.is_json
    assert row.text.splitlines()[1] == '  "prompt": "a \\u00e9\\u202e",'
    assert '"n": 1.50' in row.text, "numbers stay as written"
    assert json.loads(row.text) == json.loads(ROW)


def test_broken_row_is_raw_text_without_control_characters(file: Path) -> None:
    row = row_edit.read_row(file, 4)
    assert not row.is_json
    assert row.text == '{"prompt": "x\\u001b[2J", "comp\\xff'


def test_only_the_edited_line_changes(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes().split(b"\n")
    new = json.dumps({"prompt": "x", "completion": "fixed"}, indent=2)
    edited = row_edit.replace_row(file, 4, new, tmp_path / "new.jsonl")
    after = (tmp_path / "new.jsonl").read_bytes().split(b"\n")
    assert after[:3] == before[:3] and after[4:] == [before[4], b""]
    assert after[3] == b'{"prompt": "x", "completion": "fixed"}'
    assert file.read_bytes().split(b"\n") == before, "the file itself is not touched"
    assert (edited.rows, edited.left_out) == (4, 0)
    assert [row_edit.describe_difference(part) for part in edited.differences] == [
        "the row was not valid JSON and is now"
    ]


def test_differences_name_every_edited_part(tmp_path: Path) -> None:
    before = {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant"}],
        "id": 1,
        "x": 2,
    }
    after = {"messages": [{"role": "user", "content": "b"}], "id": True, "y": 3}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(before))
    edited = row_edit.replace_row(path, 1, json.dumps(after), tmp_path / "new.jsonl")
    assert [(part.kind, part.at) for part in edited.differences] == [
        ("removed", "x"), ("added", "y"), ("removed", "messages[1]"),
        ("changed", "messages[0].content"), ("changed", "id"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl.gz"])
def test_other_containers_become_json_lines(name: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(4)]
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_text("prompt,completion\n" + "".join(f"q{n},a{n}\n" for n in range(4)))
        line = 3
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        line = 2
    else:
        path.write_text(json.dumps(rows, indent=1))
        line = 6
    row = row_edit.read_row(path, line)
    text = row.text.replace("a1", "new")
    edited = row_edit.replace_row(path, line, text, tmp_path / "new.jsonl")
    assert edited.rows == 4 and [part.at for part in edited.differences] == ["completion"]
    written = [json.loads(each) for each in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert written == [*rows[:1], {"prompt": "q1", "completion": "new"}, *rows[2:]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  \n", "empty"),
        ("3", "JSON object"),
        ('{\n  "a": 1,\n}', "line 3, column 1"),
        ('{"a": 1, "a": 2}', "uplicate key"),
        (ROW, "unchanged"),
    ],
)
def test_unusable_text_writes_nothing(text: str, message: str, file: Path, tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match=message):
        row_edit.replace_row(file, 1, text, tmp_path / "new.jsonl")
    assert not (tmp_path / "new.jsonl").exists()


def test_truncated_text_is_continued_at_its_end() -> None:
    problem = row_edit.find_text_problem('{"a": [1,\n "text that ends early\n')
    assert problem and (problem.line, problem.column) == (2, len(' "text that ends early') + 1)
    syntax = row_edit.find_text_problem('{"a": 1,\n "b" 2}')
    assert syntax and (syntax.line, syntax.column) == (2, 6)


def test_existing_file_and_missing_row_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match="input file"):
        row_edit.replace_row(file, 1, "{}", file)
    with pytest.raises(FtwizardError, match="no row at line 2"):
        row_edit.read_row(file, 2)


def test_file_in_another_encoding_is_written_as_utf8(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "new.jsonl"
    rows = [{"prompt": f"Größe {n}", "completion": "für"} for n in range(3)]
    path.write_bytes("\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode("cp1252"))
    text = row_edit.read_row(path, 2, "windows-1252").text
    assert "Größe 1" in text
    row_edit.replace_row(path, 2, text.replace("für", "ß"), out, "windows-1252")
    written = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert written == [rows[0], {**rows[1], "completion": "ß"}, rows[2]]


def test_rows_are_dropped_by_their_lines(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 1}\n\n{"a":2}\n{"a": 3}')
    out = tmp_path / "fewer.jsonl"
    dropped = row_edit.drop_rows(rows, [1], out)
    assert (dropped.rows, dropped.dropped) == (2, 1)
    assert out.read_text() == '{"a":2}\n{"a": 3}\n'
    row_edit.drop_rows(rows, [1], tmp_path / "part.jsonl", keep={1, 3})
    assert (tmp_path / "part.jsonl").read_text() == '{"a":2}\n'
    for lines, message in (([2], "no row at line 2"), ([1, 3, 4], "none would be left")):
        with pytest.raises(FtwizardError, match=message):
            row_edit.drop_rows(rows, lines, tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()
    table = tmp_path / "rows.csv"
    table.write_text("prompt,completion\na,b\nc,d\n")
    row_edit.drop_rows(table, [2], tmp_path / "table.jsonl")
    assert json.loads((tmp_path / "table.jsonl").read_text()) == {"prompt": "c", "completion": "d"}


def test_remaining_rows_are_read_with_the_encoding_of_the_plan(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "fewer.jsonl"
    path.write_bytes('{"prompt": "a"}\n{"prompt": "für"}\n'.encode("cp1252"))
    row_edit.drop_rows(path, [1], out, "windows-1252")
    assert json.loads(row_edit.read_row(out, 1, "windows-1252").text) == {"prompt": "für"}
