"""File repair: unambiguous fixes, a record of each change, and untouched valid rows."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.__main__ import main
from ftwizard.data import reader
from ftwizard.data.checks import row_checker
from ftwizard.data.documents import Repairs
from ftwizard.data.example import RowProblem
from ftwizard.data.platforms import Target, default_target, get_target
from ftwizard.data.repair.repair import changes_path, repair
from ftwizard.errors import FtwizardError

SFT = get_target("openai-sft")
TOKEN = "ghp_k4eNC0GOH5GWzL6CLT6GTMOUVnLeux70Bffo"


def chat(asked: str = "What is 2 + 2?", answer: str = "4", **more: Any) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer, **more},
        ]
    }


def line(row: Any, **more: Any) -> bytes:
    return json.dumps(row, **more).encode() + b"\n"


def run_repair(
    path: Path, data: bytes, goal: Target = SFT, **more: Any
) -> tuple[Repairs, bytes, list[dict[str, Any]]]:
    """Repair ``data`` and return the report, the new file's bytes and every change."""
    source, out = path / "rows.jsonl", path / "new.jsonl"
    source.write_bytes(data)
    for old in (out, changes_path(out)):
        old.unlink(missing_ok=True)
    result = repair(source, out, goal, **more)
    assert source.read_bytes() == data
    assert result.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    changes = [json.loads(change) for change in changes_path(out).read_bytes().splitlines()]
    return result, out.read_bytes(), changes


def test_valid_rows_are_copied_byte_for_byte_in_order(tmp_path: Path) -> None:
    lines = [
        line(chat("a")),
        line(chat("b"), separators=(",", ":")),
        b'  {"messages" : [{"role":"user","content":"\\u0063"},{"content":"4","role":"assistant"}]} \n',
        line(chat("dé"), ensure_ascii=False),
        b'{"id": 1.50, "messages": [{"role": "user", "content": "e\\/f"}, {"role": "assistant", '
        + b'"content": "4", "weight": 1}]}\n',
    ]
    result, data, changes = run_repair(tmp_path, b"".join(lines))
    assert data == b"".join(lines)
    assert (result.rows_in, result.rows_out, result.changed, result.left_out) == (5, 5, [], [])
    assert changes == []


def test_every_change_is_recorded(tmp_path: Path) -> None:
    token = chat("weiß", f"use {TOKEN}\x1b[0m")
    data = (
        b"\xef\xbb\xbf"
        + line(chat("a")).replace(b"\n", b"\r\n")
        + b"\n"
        + line(chat("b")).rstrip() + line(chat("c"))
        + line(chat("d")).replace(b'"user"', b'"User "')
        + repr(chat("e", "it's")).encode() + b"\n"
        + line(chat("a"))
        + line(token)
        + line(chat("f", " "))
        + line(chat("g"))[:40] + b"\n"
    )  # fmt: skip
    result, out, changes = run_repair(tmp_path, data)
    rows = [json.loads(row) for row in out.splitlines()]
    assert rows == [
        chat("a"), chat("b"), chat("c"), chat("d"), chat("e", "it's"), chat("weiß", f"use {TOKEN}"),
    ]  # fmt: skip
    assert out.startswith(line(chat("a")))
    assert out.endswith(line(chat("weiß", f"use {TOKEN}")))  # ASCII, like the original line
    assert (result.rows_in, result.rows_out) == (8, 6)
    assert [(item.code, item.count, item.lines) for item in result.left_out] == [
        ("empty_assistant", 1, [8]),
        ("invalid_json", 1, [9]),
    ]
    assert sorted((item.code, item.count, item.lines) for item in result.changed) == [
        ("blank_line", 1, [2]),
        ("bom", 1, []),
        ("control_char", 1, [7]),
        ("duplicate", 1, [6]),
        ("extra_data", 1, [3]),
        ("invalid_json", 1, [5]),
        ("line_end", 1, [1]),
        ("unknown_role", 1, [4]),
    ]
    of_rows = [
        (c["line"], c["code"], c["where"], c["was"], c["now"]) for c in changes if "line" in c
    ]
    assert of_rows == [
        (3, "extra_data", "", "2 objects on one line", "one object per line"),
        (4, "unknown_role", "messages[0].role", "“User ”", "user"),
        (5, "invalid_json", "", "a Python literal", "JSON"),
        (6, "duplicate", "", "the same as line 1", ""),
        (7, "control_char", "messages[1].content", "␛[0m", ""),
        (8, "empty_assistant", "", "the row", None),
        (9, "invalid_json", "", "the row", None),
    ]
    assert TOKEN not in json.dumps(changes)


def test_secrets_are_replaced_only_with_redact(tmp_path: Path) -> None:
    data = line(chat("a")) + line(chat("b", f"use {TOKEN}"))
    assert run_repair(tmp_path, data)[1] == data
    result, out, changes = run_repair(tmp_path, data, redact=True)
    assert out == line(chat("a")) + line(chat("b", "use [redacted: GitHub token]"))
    assert [(item.code, item.lines) for item in result.changed] == [("secret", [2])]
    assert changes[0]["now"] == "[redacted: GitHub token]" and TOKEN not in str(changes)


def test_duplicates_are_removed_even_with_different_json(tmp_path: Path) -> None:
    rows = [chat("a"), {"id": 2, **chat("a")}, chat("A"), chat("a", weight=0), chat("a", "5")]
    data = b"".join(map(line, rows)) + line(chat("a"), separators=(",", ":"))
    result, out, _ = run_repair(tmp_path, data, get_target("trl-sft"))
    assert [json.loads(row) for row in out.splitlines()] == [rows[0], rows[2], rows[4]]
    assert {item.code: item.lines for item in result.left_out} == {"nothing_to_train": [4]}
    assert [(item.code, item.lines) for item in result.changed] == [("duplicate", [2, 6])]


def test_prompts_with_different_reference_answers_are_kept(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "reference_answer": n} for n in (1, 2, 1)]
    _, out, _ = run_repair(
        tmp_path, b"".join(map(line, rows)), get_target("openai-rft"), format="prompt"
    )
    assert out == line(rows[0]) + line(rows[1])


@pytest.mark.parametrize(
    ("pack", "codes"),
    [
        (lambda text: text.encode("utf-16"), ["encoding"]),
        (lambda text: gzip.compress(text.encode()), ["compressed"]),
        (lambda text: json.dumps([json.loads(row) for row in text.splitlines()], indent=2).encode(),
         ["needs_conversion"]),
        (lambda text: json.dumps([json.loads(row) for row in text.splitlines()]).encode(),
         ["needs_conversion"]),
        (lambda text: text.replace("\n", "\r").encode(), ["line_end"]),
    ],
)  # fmt: skip
def test_any_container_is_repaired_to_json_lines(
    tmp_path: Path, pack: Callable[[str], bytes], codes: list[str]
) -> None:
    rows = [chat("a"), chat("b", "two\nlines")]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    result, out, _ = run_repair(tmp_path, pack(text))
    assert out.decode() == text
    assert [item.code for item in result.changed] == codes


def test_byte_order_mark_follows_the_target(tmp_path: Path) -> None:
    data = line(chat("a"))
    for mark, goal, codes in (
        (b"", "foundry-sft", ["bom_missing"]),
        (b"\xef\xbb\xbf", "foundry-sft", []),
        (b"\xef\xbb\xbf", "openai-sft", ["bom"]),
    ):
        result, out, _ = run_repair(tmp_path, mark + data, get_target(goal))
        assert out == (b"\xef\xbb\xbf" if goal == "foundry-sft" else b"") + data
        assert [item.code for item in result.changed] == codes


def test_repair_never_overwrites_or_writes_partial_files(tmp_path: Path) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "new.jsonl"
    source.write_bytes(line(chat("a", " ")))
    with pytest.raises(FtwizardError, match=r"No row in .* can be kept: every answer is empty"):
        repair(source, out, SFT)
    changes_path(out).write_bytes(b"mine")
    source.write_bytes(line(chat("a")))
    for index in (out, source):
        with pytest.raises(FtwizardError, match=r"already exists|input file"):
            repair(source, index, SFT)
    assert changes_path(out).read_bytes() == b"mine"
    assert not out.exists()


def test_check_fix_command_reports_repairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "new.jsonl"
    source.write_bytes(line(chat("a")) + line(chat("b\x1b[0m")) + line(chat("c", "")))
    command = ["check", str(source), "--target", "openai-sft", "--fix", str(out)]
    assert main([*command, "--json"]) == 1  # a row was left out
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["path"]) == (2, str(out))
    repairs = document["repairs"]
    assert (repairs["rows_in"], repairs["rows_out"], repairs["out"]) == (3, 2, str(out))
    assert [item["code"] for item in repairs["changed"]] == ["control_char"]
    assert [item["lines"] for item in repairs["left_out"]] == [[3]]
    assert Path(repairs["changes"]).exists()
    assert main(command) == 1
    assert "already exists" in capsys.readouterr().err
    again = [*command[:-1], str(tmp_path / "again.jsonl")]
    assert main([*again, "--redact"]) == 1
    text = capsys.readouterr().out
    assert "! fixed, control_char: 1 row, at line 2" in text
    assert "✗ left out, empty_assistant: 1 row, at line 3" in text
    assert "\x1b" not in text
    source.write_bytes(out.read_bytes())
    last = [*command[:-1], str(tmp_path / "last.jsonl")]
    assert main(last) == 0
    assert "nothing to fix" in capsys.readouterr().out
    assert main(["check", str(source), "--redact"]) == 2


def test_rows_that_are_too_long_are_left_out_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows that the check finds too long are the ones that the repair leaves out."""
    source = tmp_path / "rows.jsonl"
    source.write_bytes(line(chat("a")) + line(chat("b", "word " * 7200)) + line(chat("c")))
    command = ["check", str(source), "--target", "trl-sft"]
    assert main([*command, "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [each["lines"] for each in findings if each["code"] == "too_long"] == [[2]]
    assert main(command) == 0
    assert "too_long (1 row, or --leave-out-long)" in capsys.readouterr().out
    assert main([*command, "--leave-out-long"]) == 2
    capsys.readouterr()
    kept, without = str(tmp_path / "kept.jsonl"), str(tmp_path / "without.jsonl")
    assert main([*command, "--fix", kept]) == 0, "never without being asked"
    assert main([*command, "--fix", without, "--leave-out-long"]) == 1
    assert "✗ left out, too_long: 1 row, at line 2" in capsys.readouterr().out
    assert Path(without).read_bytes() == line(chat("a")) + line(chat("c"))
    more = [*command, "--max-length", "20000", "--fix", str(tmp_path / "more.jsonl")]
    assert main([*more, "--leave-out-long"]) == 0


# Rows, and the damage that files do to them.
TEXT = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["cafÃ©", "\x1b[31mred\x1b[0m", "a\u200bb", "\u202eab", "x\x07y", f"k {TOKEN}", "{{name}}", " "]
)
ROLES = st.sampled_from(["user", "assistant", "system", "User", "ASSISTANT ", "robot", "tool"])
CALL = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "g"]), "arguments": st.sampled_from(["{}", '{"a": 1}', "{", {}])}
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES, "content": TEXT},
    optional={
        "weight": st.sampled_from([0, 1, "0", "1", True, 2]),
        "function_call": CALL,
        "tool_calls": st.lists(st.fixed_dictionaries({"function": CALL}), min_size=1, max_size=2),
    },
)
ROWS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3) | st.just(chat()["messages"])},
    optional={"id": st.integers(0, 2), "functions": st.just([{"name": "f", "parameters": {}}])},
)
WRITTEN: list[Callable[[Any], bytes]] = [
    line,
    lambda row: line(row, ensure_ascii=False),
    lambda row: line(row, separators=(",", ":")),
    lambda row: line(row).replace(b"\n", b"\r\n"),
    lambda row: line(row) + b" \n",
    lambda row: repr(row).encode("utf-8", "backslashreplace") + b"\n",
    lambda row: line(row).rstrip() + b",\n",
    lambda row: line(row).rstrip() + line(row),
    lambda row: line(row).replace(b'"content"', b'"content": "a", "content"', 1),
    lambda row: line(row)[:-3] + b"\n",
    lambda row: line({**row, "score": float("nan")}),
    lambda row: line(row).replace(b"}", b", }", 1),
    lambda row: line(row).replace(b"a", b"\xe4"),
]
FILES = st.lists(
    st.tuples(ROWS, st.sampled_from(WRITTEN)).map(lambda both: both[1](both[0])),
    min_size=1,
    max_size=6,
).map(b"".join)


@given(
    before=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    rows=FILES,
    name=st.sampled_from(["openai-sft", "trl-sft", "foundry-sft", "together-sft"]),
    redact=st.booleans(),
)
def test_repaired_file_passes_and_needs_no_second_repair(
    before: bytes, rows: bytes, name: str, redact: bool
) -> None:
    goal = get_target(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        data = before + line(chat("first")) * 9 + rows  # so that the format is certain
        result, out, _ = run_repair(path, data, goal, redact=redact)
        once = path / "once.jsonl"
        once.write_bytes(out)
        assert errors_in(once, goal) == set()
        codes = {item.code for item in result.changed}
        assert (
            not codes & {"control_char", "bidi", "hidden_text", "weight"} & warnings_in(once, goal)
        )
        if redact:
            assert TOKEN.encode() not in out
        # A second repair changes nothing.
        again, twice, changes = run_repair(path, out, goal, redact=redact)
        assert twice == out
        assert (again.changed, again.left_out, changes) == ([], [], [])


def errors_in(path: Path, goal: Target) -> set[str]:
    result = set()
    for _, row in reader.open_reader(path).examples():
        if isinstance(row, RowProblem):
            result.add(row.code)
        else:
            codes = {item.code for item in row_checker.check_row(row, goal)}
            result |= {code for code in codes if goal.severity(code) == "error"}
    return result


def warnings_in(path: Path, goal: Target) -> set[str]:
    return {
        item.code
        for _, row in reader.open_reader(path).examples()
        if not isinstance(row, RowProblem)
        for item in row_checker.check_row(row, goal)
    }


def test_default_target_follows_the_format() -> None:
    for format, name in (
        ("openai-chat", "trl-sft"), ("preference", "trl-dpo"), ("kto", "trl-kto"),
        ("prompt", "trl-grpo"), ("vertex", "vertex-gemini"), (None, "trl-sft"), ("text", "trl-sft"),
    ):  # fmt: skip
        assert default_target(format).name == name


def test_words_for_roles_are_spelled_as_the_format_does(tmp_path: Path) -> None:
    def spoken(key: str, text: str, *roles: str) -> list[dict[str, str]]:
        return [{key: role, text: f"Text {n}"} for n, role in enumerate(roles)]

    words = spoken("role", "content", "Human", "BOT", "customer", "model ")
    fixed = [message["role"] for message in messages_after(tmp_path, {"messages": words})]
    assert fixed == ["user", "assistant", "user", "assistant"]
    turns = spoken("from", "value", "Customer", "chatbot")
    fixed = [turn["from"] for turn in messages_after(tmp_path, {"conversations": turns})]
    assert fixed == ["human", "gpt"]


def messages_after(folder: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a row after its repair for local training."""
    _, out, _ = run_repair(folder, line(row), get_target("trl-sft"))
    (messages,) = json.loads(out).values()
    return list(messages)


def test_tool_calls_given_as_json_text_become_a_list(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    row = chat("a", "")
    row["messages"][1] |= {"content": None, "tool_calls": json.dumps([call])}
    row["messages"] += [
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
        {"role": "assistant", "content": "done", "tool_calls": ""},
    ]
    result, out, changes = run_repair(tmp_path, line(row) + line(chat("b", tool_calls="{")))
    messages = json.loads(out)["messages"]
    assert messages[1]["tool_calls"] == [call] and "tool_calls" not in messages[3]
    assert [(item.code, item.lines) for item in result.changed] == [("tool_call", [1])]
    assert [item.lines for item in result.left_out] == [[2]]
    assert changes[0]["where"] == "messages[1].tool_calls"
