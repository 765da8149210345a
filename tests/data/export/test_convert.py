"""Conversion of files to each target's format, with every loss reported."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from ftwizard.__main__ import main
from ftwizard.data import export, reader
from ftwizard.data.checks import row_checker, run
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.export.convert import convert_file
from ftwizard.data.io.read_options import ReadOptions
from ftwizard.data.mapping.options import parse_columns
from ftwizard.data.platforms import Target, all_targets, get_target
from ftwizard.errors import FtwizardError
from tests.helpers.parsed_rows import EXAMPLES

ASKED = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
CHAT = {"messages": [ASKED, ANSWER]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8-sig").splitlines()]


def errors(path: Path, goal: Target) -> list[str]:
    """Return the codes of the errors that a check reports in the file's rows."""
    recorded = []
    for _, row in reader.open_reader(path).examples():
        if isinstance(row, RowProblem):
            recorded.append(row.code)
            continue
        recorded += [
            item.code
            for item in row_checker.check_row(row, goal)
            if goal.severity(item.code) == "error"
        ]
    return recorded


SOURCES: dict[str, list[Any]] = {
    "openai-chat": [CHAT, {"messages": [{"role": "system", "content": "Be brief."}, ASKED, ANSWER]}],
    "sharegpt": [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}],
    "alpaca": [{"instruction": "a", "input": "", "output": "b"}],
    "dolly": [{"instruction": "a", "context": "", "response": "b", "category": "c"}],
    "question-answer": [{"question": "a", "answer": "b"}],
    "query-response": [{"query": "a", "response": "b", "history": [["c", "d"]]}],
    "multiple-choice": [{"query": "a", "choices": ["b", "c"], "gold": 1}],
    "prompt-completion": [{"prompt": "a", "completion": "b"}],
    "vertex": [{"contents": [{"role": "user", "parts": [{"text": "a"}]},
                             {"role": "model", "parts": [{"text": "b"}]}]}],
    "bedrock-converse": [{"messages": [{"role": "user", "content": [{"text": "a"}]},
                                       {"role": "assistant", "content": [{"text": "b"}]}]}],
    "bedrock-claude": [{"system": "s", "messages": [ASKED, ANSWER]}, {"messages": [ASKED, ANSWER]}],
    "preference": [{"prompt": "a", "chosen": "b", "rejected": "c"}],
    "openai-preference": [{"input": {"messages": [ASKED]}, "preferred_output": [ANSWER],
                           "non_preferred_output": [{"role": "assistant", "content": "5"}]}],
    "kto": [{"prompt": "a", "completion": "b", "label": True}],
    "text": [{"text": "Once."}],
    "pretokenized": [{"input_ids": [1, 2], "labels": [-100, 2]}],
    "prompt": [{"prompt": "a", "reference_answer": 4}],
}  # fmt: skip


@pytest.mark.parametrize("name", all_targets())
def test_every_format_converts_to_every_target_that_supports_it(name: str, tmp_path: Path) -> None:
    goal, carried = get_target(name), set()
    for format, rows in SOURCES.items():
        source = write(tmp_path / f"{format}.jsonl", *rows)
        out = tmp_path / f"{format}.out.jsonl"
        try:
            result = convert_file(source, out, goal)
        except FtwizardError as error:
            assert [item["code"] for item in error.document["left_out"]] == ["wrong_kind"]
            assert not out.exists()
            continue
        carried.add(format)
        each = 2 if "preference" in format and goal.method == "kto" else 1
        written = len(rows) * each
        assert (result.rows_in, result.rows_out, result.left_out) == (len(rows), written, [])
        assert result.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
        assert errors(out, goal) == []
        again = tmp_path / f"{format}.again.jsonl"
        convert_file(out, again, goal)
        assert again.read_bytes() == out.read_bytes()
    kinds = {
        "chat": set(SOURCES) - {"preference", "openai-preference", "kto", "text", "pretokenized", "prompt"},
        "preference": {"preference", "openai-preference"},
        "labelled": {"kto", "preference", "openai-preference"},
        "text": {"text"},
        "tokens": {"pretokenized"},
        "prompt": {"prompt"},
    }  # fmt: skip
    assert carried == set().union(*(kinds[kind] for kind in goal.kinds))


def test_good_rows_are_written_and_other_rows_reported(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    source = tmp_path / "rows.jsonl"
    write(
        source,
        CHAT,
        {"messages": [{"role": "user", "content": [image]}, ANSWER]},
        {**CHAT, "id": 7},
        {"messages": [ASKED, {**ANSWER, "content": " "}]},
    )
    with source.open("a") as file:
        file.write('{"messages": [\n\n')
    result = convert_file(source, tmp_path / "out.jsonl", get_target("vertex-open"))
    assert rows_of(tmp_path / "out.jsonl") == [CHAT, CHAT]
    assert (result.rows_in, result.rows_out) == (5, 2)
    assert {item.code: (item.count, item.lines) for item in result.left_out} == {
        "images_unsupported": (1, [2]),
        "empty_assistant": (1, [4]),
        "invalid_json": (1, [5]),
    }
    assert [(item.code, item.lines) for item in result.changed] == [("extra_keys", [3])]
    assert all(item.message and item.fix for item in (*result.left_out, *result.changed))


def test_only_foundry_files_start_with_a_bom(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", CHAT, {"messages": [ASKED, {**ANSWER, "content": "é"}]})
    for name, begins in (("foundry-sft", b"\xef\xbb\xbf{"), ("openai-sft", b'{"messages"')):
        out = tmp_path / name
        convert_file(source, out, get_target(name))
        assert out.read_bytes().startswith(begins)
        assert out.read_bytes().count(b"\xef\xbb\xbf") == (name == "foundry-sft")
        assert "é".encode() in out.read_bytes() and out.read_bytes().endswith(b"}\n")
        convert_file(out, tmp_path / f"{name}.again", get_target("openai-sft"))


def test_any_container_converts_to_json_lines(tmp_path: Path) -> None:
    plain = write(tmp_path / "rows.jsonl", *SOURCES["alpaca"] * 3)
    array = tmp_path / "rows.json"
    array.write_text(json.dumps(SOURCES["alpaca"] * 3, indent=2))
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["instruction", "input", "output"])
        writer.writeheader()
        writer.writerows(SOURCES["alpaca"] * 3)
    wide = tmp_path / "utf16.jsonl"
    wide.write_bytes(plain.read_text().encode("utf-16"))
    made = set()
    for source in (plain, array, packed, table, wide):
        out = tmp_path / f"{source.name}.out"
        convert_file(source, out, get_target("together-sft"))
        made.add(out.read_bytes())
    assert len(made) == 1


def test_explicit_input_and_output_formats_are_used(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", {"instruction": "a", "output": "b", "text": "a b"})
    for format, name, row in (
        ("text", "together-sft", {"text": "a b"}),
        ("alpaca", "together-sft", {"prompt": "a", "completion": "b"}),
    ):
        out = tmp_path / format
        convert_file(source, out, get_target(name), format=format, written_as="prompt-completion")  # type: ignore[arg-type]
        assert rows_of(out) == [row]


def test_convert_never_overwrites_or_writes_partial_files(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", CHAT)
    (tmp_path / "link").hardlink_to(source)
    before = source.read_bytes()
    for out in (source, tmp_path / "link", tmp_path):
        with pytest.raises(FtwizardError):
            convert_file(source, out, get_target("openai-sft"))
    assert source.read_bytes() == before
    preference = write(tmp_path / "pairs.jsonl", *SOURCES["preference"])
    with pytest.raises(FtwizardError, match=r"No row in .*pairs\.jsonl can be written"):
        convert_file(preference, tmp_path / "out", get_target("openai-sft"))
    names = {path.name for path in tmp_path.iterdir()} - {"home"}
    assert names == {"link", "pairs.jsonl", "rows.jsonl"}


def test_convert_command_reports_left_out_and_changed_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "rows.jsonl", {**CHAT, "id": 1}, {"messages": [ASKED]})
    out = tmp_path / "out.jsonl"

    def run(*more: str) -> int:
        out.unlink(missing_ok=True)
        return main(["convert", str(source), "--target", "openai-sft", "--out", str(out), *more])

    assert run("--json") == 1  # a row was left out
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {
        "target",
        "out",
        "rows_in",
        "rows_out",
        "left_out",
        "changed",
        "sha256",
        "unit",
    }
    assert (document["target"], document["out"]) == ("openai-sft", str(out))
    assert (document["rows_in"], document["rows_out"]) == (2, 1)
    assert [(item["code"], item["count"], item["lines"]) for item in document["left_out"]] == [
        ("no_assistant", 1, [2])
    ]
    assert run("--skip-bad") == 0
    text = capsys.readouterr().out
    assert f"{out}: 1 of 2 rows, for OpenAI (SFT)" in text
    assert "✗ left out, no_assistant: 1 row, at line 2" in text
    assert "! changed, extra_keys: 1 row, at line 1" in text
    assert rows_of(out) == [CHAT]
    assert main(["convert", str(source), "--target", "openai-sft", "--out", str(out)]) == 1
    assert "already exists" in capsys.readouterr().err


def test_convert_command_explains_why_no_row_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "pairs.jsonl", *SOURCES["preference"] * 3)
    out = tmp_path / "out"
    command = ["convert", str(source), "--target", "openai-sft", "--out", str(out)]
    assert main([*command, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert "a pair of chosen and rejected answers" in document["error"]["message"]
    assert (document["rows_in"], document["rows_out"], document["sha256"]) == (3, 0, None)
    assert document["left_out"][0]["lines"] == [1, 2, 3]
    assert main([*command, "--as", "prompt-completion"]) == 2
    assert "accepts openai-chat, not prompt-completion" in capsys.readouterr().err
    assert not out.exists()


ODD_REFUSAL = {"role": "assistant", "content": None, "tool_call_id": "", "refusal": [None]}


@given(EXAMPLES)
@example(Example(kind="chat", messages=[ODD_REFUSAL]))
@example(Example(kind="chat", messages=[ASKED, {**ODD_REFUSAL, "content": "4"}]))
@example(Example(kind="chat", messages=[ASKED, {**ODD_REFUSAL, "refusal": " ", "audio": "a"}]))
@example(Example(kind="chat", messages=[ASKED, {**ODD_REFUSAL, "function_call": "f()"}]))
@example(Example(kind="labelled", label=True, messages=[ASKED, ODD_REFUSAL]))
@example(Example(kind="preference", messages=[ASKED], chosen=[ANSWER], rejected=[ODD_REFUSAL]))
def test_find_row_error_returns_the_first_error_of_a_check(row: Example) -> None:
    for target in all_targets().values():
        findings = row_checker.check_row(row, target)
        errors = [error for error in findings if target.severity(error.code) == "error"]
        assert row_checker.find_row_error(row, target) == (errors[0] if errors else None)


def test_answers_become_a_field_for_reinforcement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {**CHAT, "reference_answer": "own"}
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]}  # fmt: skip
    source = write(tmp_path / "rows.jsonl", CHAT, own, {"messages": [ASKED, call]})
    out = tmp_path / "out.jsonl"
    argv = ["convert", str(source), "--out", str(out), "--answer-field", "reference_answer"]

    assert main([*argv, "--target", "openai-rft"]) == 1  # one row was left out

    first, second = rows_of(out)
    assert first == {"messages": [ASKED], "reference_answer": ANSWER["content"]}
    assert second["reference_answer"] == "own"
    assert "left out, wrong_kind: 1 row, at line 3" in capsys.readouterr().out
    out.unlink()
    assert main([*argv, "--target", "openai-sft"]) == 2
    assert "trains on the answers" in capsys.readouterr().err


def test_closing_line_checks_for_the_target_and_places_are_rows_in_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "rows.json", tmp_path / "my rows.jsonl"
    source.write_text(json.dumps([CHAT, {"messages": [ASKED]}]))
    argv = ["convert", str(source), "--target", "openai-sft", "--out", str(out), "--skip-bad"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "no_assistant: 1 row, at row 2" in text and "line 2" not in text
    assert text.rstrip().endswith(f"ftwizard check '{out}' --target openai-sft")


def test_pairs_become_two_labeled_answers_for_kto(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(3)]
    source = write(tmp_path / "pairs.jsonl", *pairs, {**pairs[0], "rejected": ""})
    kto, out = get_target("trl-kto"), tmp_path / "kto.jsonl"
    assert main(["check", str(source), "--target", "trl-kto", "--count", "no"]) == 1
    text = capsys.readouterr().out
    assert f"→ ftwizard convert {source} --target trl-kto --out NEW.jsonl" in text
    report = convert_file(source, out, kto)
    assert (report.rows_in, report.rows_out) == (4, 6)
    assert [item.lines for item in report.left_out] == [[4]]  # both answers, or none
    rows = rows_of(out)
    assert [(row["completion"][0]["content"], row["label"]) for row in rows[:2]] == [
        ("good 0", True),
        ("bad 0", False),
    ]
    checked = run.check_files(out, CheckOptions(target="trl-kto", count="no"))
    assert (checked.verdict, checked.usable, checked.findings) == ("ok", 6, [])


def test_tools_are_kept_in_all_rows_or_in_none(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    calling = {
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
            {"role": "assistant", "content": "done"},
        ],
        "tools": tools,
    }
    nova, plain = get_target("bedrock-nova"), {**CHAT, "tools": tools}
    for rows, keeps in (([plain, calling, plain], True), ([plain, plain], False)):
        out = tmp_path / f"{keeps}.jsonl"
        report = convert_file(write(tmp_path / "rows.jsonl", *rows), out, nova)
        assert [("toolConfig" in row) for row in rows_of(out)] == [keeps] * len(rows)
        code = "tools_unsupported" if keeps else "unused_tools"
        assert [(item.code, item.count) for item in report.changed] == [(code, len(rows))]


def test_prompts_alone_are_for_grpo_unless_a_platform_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [{"prompt": f"solve {n}", "solution": str(n)} for n in range(3)]
    source, out = write(tmp_path / "prompts.jsonl", *prompts), tmp_path / "out.jsonl"
    assert main(["check", str(source), "--count", "no"]) == 0
    text = capsys.readouterr().out
    assert (
        "local training (GRPO)" in text
        and "they get the column solution" in text
        and "completion=COLUMN" in text
    )
    convert_file(source, out, get_target("trl-grpo"))
    assert rows_of(out)[1] == {
        "prompt": [{"role": "user", "content": "solve 1"}],
        "solution": "1",
    }
    mapped = ["--columns", "prompt=prompt,completion=solution"]
    assert main(["check", str(source), "--count", "no", *mapped]) == 0
    assert "prompt-completion" in capsys.readouterr().out


def test_messages_of_one_speaker_are_merged_where_roles_must_alternate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"role": "user", "content": "And 3 + 3?"}
    rows = [
        {"messages": [ASKED, more, ANSWER, {"role": "assistant", "content": "And 6."}]},
        CHAT,
        {"messages": [ASKED, ANSWER, {**ANSWER, "content": "Four.", "weight": 0}]},
        {"messages": [ANSWER, ASKED, ANSWER]},
    ]
    path, out = write(tmp_path / "rows.jsonl", *rows), tmp_path / "out.jsonl"
    report = convert_file(path, out, get_target("together-sft"))
    assert rows_of(out) == [
        {"messages": [{"role": "user", "content": "What is 2 + 2?\n\nAnd 3 + 3?"},
                      {"role": "assistant", "content": "4\n\nAnd 6."}]},
        CHAT,
    ]  # fmt: skip
    assert [(each.code, each.lines) for each in report.changed] == [("merged", [1])]
    left_out = {line: each.code for each in report.left_out for line in each.lines}
    assert left_out == {3: "alternation", 4: "first_role"}
    main(["check", str(path), "--target", "together-sft", "--json", "--no-near", "--count", "no"])
    document = json.loads(capsys.readouterr().out)
    assert document["usable"] == report.rows_out == 2
    assert main(["check", str(out), "--target", "together-sft", "--no-near", "--count", "no"]) == 0


def test_messages_of_one_speaker_stay_where_roles_need_not_alternate(tmp_path: Path) -> None:
    row = {"messages": [ASKED, {"role": "user", "content": "Quickly."}, ANSWER]}
    out = tmp_path / "out.jsonl"
    report = convert_file(write(tmp_path / "rows.jsonl", row), out, get_target("openai-sft"))
    assert (rows_of(out), report.changed) == ([row], [])


def test_pictures_and_tool_calls_stay_whole_in_a_merged_message(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    row = {
        "messages": [
            ASKED,
            {"role": "assistant", "content": "I will add them."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
    }
    example = Example(
        kind="chat",
        messages=[ASKED, {"role": "user", "content": [picture]}, ANSWER],
    )
    line = write_row(example, get_target("together-sft"))
    assert line["messages"][0]["content"] == [{"type": "text", "text": "What is 2 + 2?"}, picture]
    out = tmp_path / "out.jsonl"
    with pytest.raises(FtwizardError, match="alternate"):
        convert_file(write(tmp_path / "rows.jsonl", row), out, get_target("together-sft"))


def write_row(example: Example, target: Target) -> Any:
    return export.write(example, target)[0]


def test_refusal_of_conversations_in_one_text_names_the_mapping(tmp_path: Path) -> None:
    text = "<|im_start|>user\nOpen?<|im_end|>\n<|im_start|>assistant\nUntil six.<|im_end|>\n"
    path, out = write(tmp_path / "rows.jsonl", {"text": text}), tmp_path / "out.jsonl"
    with pytest.raises(FtwizardError, match="plain text") as error:
        convert_file(path, out, get_target("openai-sft"))
    assert "--columns messages=text" in error.value.hint
    columns = parse_columns(["messages=text"])
    convert_file(path, out, get_target("openai-sft"), read=ReadOptions(columns=columns))
    assert [turn["content"] for turn in rows_of(out)[0]["messages"]] == ["Open?", "Until six."]


def test_refusal_of_plain_text_names_no_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"text": "The shop is open until six."})
    with pytest.raises(FtwizardError, match="plain text") as error:
        convert_file(path, tmp_path / "out.jsonl", get_target("openai-sft"))
    assert "--columns" not in error.value.hint
