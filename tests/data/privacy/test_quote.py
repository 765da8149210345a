"""Row text in messages and documents: no secrets and no terminal controls."""

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
def test_short_text_is_quoted_without_redaction(text: str, limit: int) -> None:
    assert quote(text, limit) == make_visible(text, limit)


@pytest.mark.parametrize("limit", [4, 20, 30, 40, 80])
def test_quote_omits_every_part_of_a_secret(limit: int) -> None:
    assert TOKEN[:12] not in quote(TOKEN, limit)
    assert TOKEN[:12] not in quote(f"x {TOKEN} " + "y" * 10_000, limit)


@pytest.mark.parametrize("location", ROWS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_check_output_never_shows_a_secret(
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
def test_unknown_format_errors_hide_secrets_in_field_names(
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
def test_json_document_escapes_terminal_controls(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("sys.stdout.write", written.append)
        output.print_json({"text": text})
    document = "".join(written)
    assert json.loads(document) == {"text": text}
    assert not any(make_visible(c) != c for c in document if c != "\n")
