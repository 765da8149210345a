"""What messages and documents show of a row: no secret, nothing that a terminal obeys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.__main__ import main
from ftwizard.cli import output
from ftwizard.data.privacy.quote import quote
from ftwizard.text import make_visible

TOKEN = "gho" + "_zFyvKpck5JGrCG7UwWusvem6G4qUqEvYRaAk"
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CALL = {"id": "c", "type": "function", "function": {"name": TOKEN, "arguments": "{}"}}
SCHEMA = {"type": "function", "function": {"name": "f", "parameters": {"type": TOKEN}}}
ROWS: dict[str, Any] = {
    "a role": {"messages": [{"role": TOKEN, "content": "a"}, ANSWER]},
    "a key of a message": {"messages": [USER, {**ANSWER, TOKEN: 1}]},
    "a key of the row": {"messages": [USER, ANSWER], TOKEN: 1},
    "a call": {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}], "tools": [SCHEMA]},
    "a part": {"messages": [{"role": "user", "content": [{"type": TOKEN}]}, ANSWER]},
    "a placeholder": {"messages": [USER, {**ANSWER, "content": f"{{{{{TOKEN}}}}}"}]},
}


@given(st.text(max_size=7), st.integers(1, 80))
def test_a_short_text_is_quoted_as_it_is(text: str, limit: int) -> None:
    assert quote(text, limit) == make_visible(text, limit)


@pytest.mark.parametrize("limit", [4, 20, 30, 40, 80])
def test_no_part_of_a_secret_is_quoted(limit: int) -> None:
    assert TOKEN[:12] not in quote(TOKEN, limit)
    assert TOKEN[:12] not in quote(f"x {TOKEN} " + "y" * 10_000, limit)


@pytest.mark.parametrize("location", ROWS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_secret_is_not_shown_wherever_it_stands(
    location: str, form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROWS[location]) + "\n")
    main(["check", str(file), "--target", "openai-sft", *form])
    shown = capsys.readouterr()
    assert TOKEN[4:16] not in shown.out + shown.err


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", json.dumps({TOKEN: "x"}) + "\n"),
        ("rows.jsonl", json.dumps({"a" * 20 + " " + TOKEN: "x"}) + "\n"),
        ("rows.csv", f"{TOKEN},note,more\na,b,c\nd,e,f\n"),
        ("rows.csv", f"prompt,{TOKEN}\na,b\n"),
    ],
)
def test_a_secret_is_not_shown_where_it_names_a_field_of_rows_without_a_format(
    name: str, content: str, form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_text(content)
    for command in (["check", str(file)], ["convert", str(file), "--target", "trl-sft"]):
        main([*command, *form, *(["--out", str(tmp_path / "out")] * (command[0] == "convert"))])
        shown = capsys.readouterr()
        assert shown.out + shown.err
        assert TOKEN[4:12] not in shown.out + shown.err


@given(st.text())
def test_a_document_holds_its_text_and_nothing_a_terminal_obeys(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("sys.stdout.write", written.append)
        output.print_json({"text": text})
    document = "".join(written)
    assert json.loads(document) == {"text": text}
    assert not any(make_visible(c) != c for c in document if c != "\n")
