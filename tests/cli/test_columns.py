"""``--columns`` and ``--encoding`` in every command that reads a data file, and ``columns``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.__main__ import main
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file

COLUMNS = "prompt=question,completion=gold reply"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = {"question": "Où est le café {}?", "gold reply": "Là-bas, numéro {}."}
    lines = (json.dumps(row, ensure_ascii=False).replace("{}", str(n)) for n in range(12))
    path.write_bytes("\n".join(lines).encode("cp1252"))
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(list(argv))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def read(path: Path) -> tuple[str, ...]:
    return str(path), "--columns", COLUMNS, "--encoding", "windows-1252"


def test_check_show_convert_and_split(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows.read_bytes()
    code, text = run(capsys, "check", *read(rows))
    assert code == 0 and "12 rows, 12 usable (prompt-completion)" in text
    code, text = run(capsys, "show", *read(rows), "--line", "3")
    assert code == 0 and "Où est le café 2?" in text
    out = tmp_path / "out.jsonl"
    code, text = run(capsys, "convert", *read(rows), "--target", "openai-sft", "--out", str(out))
    assert code == 0
    assert json.loads(out.read_text().splitlines()[3])["messages"][1]["content"] == (
        "Là-bas, numéro 3."
    )
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    argv = ("--out-train", str(train), "--out-validation", str(validation), "--validation", "0.2")
    assert run(capsys, "split", *read(rows), *argv)[0] == 0
    parts = [json.loads(line) for path in (train, validation) for line in path.open()]
    assert len(parts) == 12 and all(row.keys() == {"prompt", "completion"} for row in parts)
    fixed = tmp_path / "fixed.jsonl"
    code, text = run(capsys, "check", *read(rows), "--fix", str(fixed))
    assert code == 0 and "12 of 12 rows written" in text
    assert run(capsys, "check", str(fixed))[0] == 0
    assert rows.read_bytes() == before


def test_advise_and_estimate(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "advise", *read(rows))
    assert code == 0 and "12 of 12 rows usable" in text
    argv = (*read(rows), "--model", "gpt-4.1-mini", "--json")
    code, text = run(capsys, "estimate", *argv)
    assert code == 0 and json.loads(text)["counted"]["examples"]["value"] == 12
    plan = rows.with_name("plan.yaml")
    plan.write_text(PLAN.format(data="format: auto"))
    code, text = run(capsys, "estimate", str(plan), "--encoding", "cp1252")
    assert code == 2 and "cannot be combined with a plan" in text


def test_a_hosted_target_needs_a_conversion(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "check", *read(rows), "--target", "openai-sft")
    assert code == 1 and "needs_conversion" in text


def test_columns_shows_the_guess_and_the_first_row(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, "columns", str(rows), "--encoding", "windows-1252")
    assert code == 0
    assert "no known format" in text and "gold reply  text: Là-bas, numéro 0." in text
    assert "the nearest guess reads it, prompt=question,completion=gold reply" in text
    assert f"ftwizard check {rows} --columns '{COLUMNS}' --encoding windows-1252" in text
    code, text = run(capsys, "columns", str(rows), "--encoding", "cp1252", "--json")
    document = json.loads(text)
    assert document["guess"]["prompt"] == "question" and document["format"] is None
    assert document["rows"][0]["question"] == "Où est le café 0?"
    assert [column["name"] for column in document["columns"]] == ["question", "gold reply"]


def test_columns_with_a_wrong_name_gives_the_nearest(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = (
        "columns",
        str(rows),
        "--encoding",
        "cp1252",
        "--columns",
        "prompt=qestion,completion=x",
    )
    code, text = run(capsys, *argv)
    assert code == 1 and "question for qestion" in text


def test_columns_shows_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "ghp_" + "Zk3QmV9xT1bLw8RpYd4n" + "Hc6SgJ2uFa7eKo5N"
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"request": f"My token is {secret}", "reply": "Thanks."}) + "\n")
    for argv in (("columns", str(path)), ("columns", str(path), "--json")):
        assert secret not in run(capsys, *argv)[1]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--columns", "promt=a", "Did you mean prompt"), ("--encoding", "utf-9", "utf-")],
)
def test_invalid_options_are_usage_errors(
    option: str, value: str, words: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, "check", str(rows), option, value)
    assert code == 2 and words in text


PLAN = "data: {{files: {{train: rows.jsonl}}, {data}}}\nmodel: {{name: owner/model}}\n"


def test_plan_keeps_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    columns = 'columns: {prompt: "{title}\\n\\n{body}", completion: reply.text}'
    path.write_text(PLAN.format(data=f"{columns}, encoding: windows-1252"))
    plan = plan_file.load(path)
    assert plan.data.columns.prompt == "{title}\n\n{body}"
    assert plan.data.read_options.encoding == "windows-1252"
    assert plan_file.parse(plan_file.dump(plan)) == plan
    assert "columns" not in plan_file.dump(plan_file.parse(PLAN.format(data="format: auto")))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("columns: {promt: a}", "Did you mean data.columns.prompt?"),
        ("columns: {prompt: 'a[', completion: b}", "data.columns: prompt"),
        ("columns: {system: a}", "yields no rows"),
        ("columns: {messages: a, roles: {x: boss}}", "not one of"),
        ("encoding: windows-1259", "data.encoding"),
    ],
)
def test_plan_with_an_unusable_mapping_is_refused(data: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(data=data))
    with pytest.raises(FtwizardError) as error:
        plan_file.load(path)
    assert words in error.value.text
