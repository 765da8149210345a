"""What is written for a hosted platform, and what is refused before anything leaves the machine."""

from __future__ import annotations

import codecs
import hashlib
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.providers import upload
from ftwizard.providers.upload import UploadReport
from ftwizard.train import dataset

TOKEN = "ghp_k4eNC0GOH5GWzL6CLT6GTMOUVnLeux70Bffo"
MODELS = {
    "openai": "gpt-4.1-mini", "foundry": "gpt-4.1-mini", "together": "Qwen/Qwen3-8B",
    "bedrock": "llama-3.2-90b",
}  # fmt: skip


def make_chat(number: int, text: str = "") -> dict[str, Any]:
    ask = {"role": "user", "content": f"How many legs have {number * 37} spiders? {text}"}
    return {"messages": [ask, {"role": "assistant", "content": f"They have {number * 37 * 8}."}]}


def make_pair(number: int) -> dict[str, Any]:
    return {
        "prompt": f"How many legs have {number * 37} spiders?",
        "chosen": f"They have {number * 37 * 8}.",
        "rejected": f"About {number}, I think.",
    }


def make_prompt(number: int) -> dict[str, Any]:
    ask = {"role": "user", "content": f"How many legs have {number * 37} spiders?"}
    return {"messages": [ask], "reference": str(number * 37 * 8)}


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def make_plan(
    folder: Path, rows: Sequence[Any], provider: str = "openai", more: str = "", allow: str = ""
) -> Plan:
    write_rows(folder / "rows.jsonl", rows)
    path = folder / "plan.yaml"
    path.write_text(
        f"provider: {provider}\nmodel: {{name: {MODELS[provider]}}}\n"
        + (more if "data:" in more else f"data: {{files: {{train: rows.jsonl}}}}\n{more}")
    )
    return plan_file.load(path, allow.split())


def prepare(plan: Plan, folder: Path, **options: Any) -> UploadReport:
    job = folder / "job"
    job.mkdir(exist_ok=True)
    return upload.prepare_upload(plan, job, **options)


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    data = (folder / "job" / "upload" / f"{name}.jsonl").read_bytes()
    return [json.loads(line) for line in data.removeprefix(codecs.BOM_UTF8).splitlines()]


def test_files_have_the_split_of_local_training(tmp_path: Path) -> None:
    rows = [make_chat(number) for number in range(40)]
    plan = make_plan(tmp_path, rows)
    kept: list[dataset.Rows] = []
    report = prepare(plan, tmp_path, endpoint="https://api.openai.com/v1", keep=kept.append)
    train, validation = read(tmp_path, "train"), read(tmp_path, "validation")
    assert (len(train), len(validation), report.test_rows) == (32, 4, 4)
    sent = [row["messages"][0]["content"] for row in train + validation]
    tests = [row.conversation.messages[0]["content"] for row in kept[0]["test"]]
    assert sorted(sent + tests) == sorted(row["messages"][0]["content"] for row in rows)
    assert report.host == "api.openai.com"
    assert (report.train.rows, report.target) == (32, "openai-sft")


def test_files_are_private_and_recorded_with_hash_and_size(tmp_path: Path) -> None:
    report = prepare(make_plan(tmp_path, [make_chat(number) for number in range(20)]), tmp_path)
    for part in report.parts:
        path = tmp_path / "job" / part.path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256
        assert path.stat().st_size == part.size_bytes
    assert stat.S_IMODE((tmp_path / "job" / "upload").stat().st_mode) == 0o700


def test_tokens_are_counted_as_openai_bills_them(tmp_path: Path) -> None:
    import quicktok

    report = prepare(make_plan(tmp_path, [make_chat(number) for number in range(20)]), tmp_path)
    count = quicktok.get_encoding("o200k_base").count
    tokens = sum(
        3 + count(message["role"]) + count(message["content"])
        for row in read(tmp_path, "train")
        for message in row["messages"]
    )
    assert report.train.tokens is not None
    assert (report.train.tokens.total, report.train.tokens.exact) == (tokens, True)


@pytest.mark.parametrize(("provider", "has_mark"), [("openai", False), ("foundry", True)])
def test_only_foundry_gets_a_byte_order_mark(tmp_path: Path, provider: str, has_mark: bool) -> None:
    plan = make_plan(tmp_path, [make_chat(number) for number in range(20)], provider)
    report = prepare(plan, tmp_path)
    for part in report.parts:
        data = (tmp_path / "job" / part.path).read_bytes()
        assert data.startswith(codecs.BOM_UTF8) is has_mark
        assert data.count(codecs.BOM_UTF8) == has_mark
    assert report.warnings == []


@pytest.mark.parametrize("provider", ["openai", "foundry", "together"])
def test_preferences_are_written_in_the_form_of_the_platform(tmp_path: Path, provider: str) -> None:
    method = "training_method" if provider == "together" else "method"
    rows = [make_pair(number) for number in range(20)]
    plan = make_plan(tmp_path, rows, provider, f"{provider}: {{{method}: dpo}}")
    kept: list[dataset.Rows] = []
    report = prepare(plan, tmp_path, keep=kept.append)
    assert report.method == "preference"
    first = read(tmp_path, "train")[0]
    assert first["input"]["messages"][0]["role"] == "user"
    assert first["preferred_output"][0]["content"].startswith("They have")
    assert first["non_preferred_output"][0]["content"].startswith("About")
    assert all(row.conversation.answer.startswith("They have") for row in kept[0]["test"])


def test_prompts_keep_the_fields_of_the_grader(tmp_path: Path) -> None:
    more = "openai: {method: reinforcement, grader: {type: string_check}}"
    kept: list[dataset.Rows] = []
    plan = make_plan(tmp_path, [make_prompt(number) for number in range(20)], more=more)
    report = prepare(plan, tmp_path, keep=kept.append)
    assert report.method == "reinforcement"
    for row in read(tmp_path, "train"):
        number = int(row["messages"][0]["content"].split()[4])
        assert row["reference"] == str(number * 8)
    for kept_row in kept[0]["test"]:
        assert kept_row.conversation.prompt == kept_row.conversation.messages
        assert kept_row.conversation.answer == ""


@pytest.mark.parametrize("group_by", ["prompts", "near-copies"])
def test_rows_with_the_same_prompt_stay_in_one_part(tmp_path: Path, group_by: str) -> None:
    rows = [make_pair(number % 15) | {"rejected": f"{number}?"} for number in range(45)]
    data = f"data: {{files: {{train: rows.jsonl}}, split: {{group_by: {group_by}}}}}\n"
    plan = make_plan(tmp_path, rows, more=f"{data}openai: {{method: dpo}}")
    kept: list[dataset.Rows] = []
    prepare(plan, tmp_path, keep=kept.append)
    prompts = [
        {row.example.messages[0]["content"] for row in kept[0][part]}
        for part in ("train", "validation", "test")
    ]
    assert all(prompts)
    assert sum(map(len, prompts)) == len(set().union(*prompts))


def test_images_may_be_sent_although_local_training_refuses_them(tmp_path: Path) -> None:
    rows = [make_chat(number) for number in range(30)]
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    for number, row in enumerate(rows):
        text = {"type": "text", "text": f"What is picture {number}?"}
        row["messages"][0]["content"] = [text, image]
    report = prepare(make_plan(tmp_path, rows), tmp_path)
    assert report.train.rows == 24
    assert read(tmp_path, "train")[0]["messages"][0]["content"][1] == image


def test_rows_of_another_kind_are_refused_with_their_lines(tmp_path: Path) -> None:
    rows = [make_chat(number) for number in range(30)]
    rows[4]["messages"].pop()
    rows[7]["messages"][1]["content"] = ""
    with pytest.raises(FtwizardError, match="2 of 30 rows") as error:
        prepare(make_plan(tmp_path, rows), tmp_path)
    assert "line 5" in error.value.message and "line 8" in error.value.message
    assert "--allow skip-bad-rows" in error.value.hint
    assert not list((tmp_path / "job").rglob("*.jsonl"))


def test_skipped_rows_are_reported_by_reason(tmp_path: Path) -> None:
    rows = [make_chat(number) for number in range(30)]
    rows[4]["messages"].pop()
    report = prepare(make_plan(tmp_path, rows, allow="skip-bad-rows"), tmp_path)
    assert sum(part.rows for part in report.parts) + report.test_rows == 29
    (finding,) = report.left_out["train"]
    assert (finding.count, finding.lines) == (1, [5])


def test_conversations_are_refused_for_preferences(tmp_path: Path) -> None:
    plan = make_plan(
        tmp_path, [make_chat(number) for number in range(20)], more="openai: {method: dpo}"
    )
    with pytest.raises(FtwizardError, match="20 of 20 rows") as error:
        prepare(plan, tmp_path)
    assert "pair of chosen and rejected" in error.value.message
    assert "skip-bad-rows" not in error.value.hint


def test_too_few_rows_name_limit_and_command_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match="at least 10") as error:
        prepare(make_plan(tmp_path, [make_chat(number) for number in range(8)]), tmp_path)
    assert f"ftwizard check {tmp_path}/rows.jsonl --target openai-sft" in error.value.hint
    assert not list((tmp_path / "job").rglob("*.jsonl"))


@pytest.mark.parametrize(("count", "is_enough"), [(99, False), (105, True)])
def test_rows_for_llama_at_bedrock_count_together_and_are_short(
    tmp_path: Path, count: int, is_enough: bool
) -> None:
    """A tenth is for validation, so the training file alone has fewer than 100 rows in both cases."""
    rows = [make_chat(number) for number in range(count)]
    rows[3] = make_chat(3, "word " * 11_000)
    more = (
        "data: {files: {train: rows.jsonl}, split: {validation: 0.1, test: 0.0}}\n"
        "bedrock: {region: us-west-2, bucket: acme-rows, role: tuner}\n"
    )
    plan = make_plan(tmp_path, rows, "bedrock", more)
    if not is_enough:
        with pytest.raises(FtwizardError, match="at least 100 for training and validation"):
            prepare(plan, tmp_path)
        return
    report = prepare(plan, tmp_path)
    assert report.train.rows < 100 and report.validation
    assert any("more than 10,000 tokens" in warning for warning in report.warnings)


def test_secrets_are_counted_with_the_lines_of_the_users_files(tmp_path: Path) -> None:
    rows = [make_chat(number) for number in range(30)]
    for number in (2, 11, 20, 21):
        rows[number] = make_chat(number, f"My token is {TOKEN}, mail anna.kowalska@gmail.com.")
    plan = make_plan(tmp_path, rows)
    kept: list[dataset.Rows] = []
    report = prepare(plan, tmp_path, keep=kept.append)
    stay = {row.line for row in kept[0]["test"]}
    lines = [line for line in (3, 12, 21, 22) if line not in stay]
    assert [(group.kind, group.lines) for group in report.secrets] == [("GitHub token", lines)]
    assert [group.kind for group in report.personal] == ["email address"]
    with pytest.raises(FtwizardError, match="GitHub token") as error:
        upload.require_no_secrets(plan, report)
    assert error.value.exit_code == DECLINED
    assert "--allow secrets" in error.value.hint
    assert TOKEN not in error.value.text
    upload.require_no_secrets(plan_file.load(tmp_path / "plan.yaml", ["secrets"]), report)


def test_fields_that_are_not_sent_are_not_searched(tmp_path: Path) -> None:
    rows = [make_chat(number) | {"note": f"token {TOKEN}"} for number in range(20)]
    report = prepare(make_plan(tmp_path, rows), tmp_path)
    assert report.secrets == []
    assert TOKEN not in (tmp_path / "job" / "upload" / "train.jsonl").read_text()
    assert [finding.code for finding in report.changed] == ["extra_keys"]


def test_repeated_preparation_writes_the_same_files(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, [make_chat(number) for number in range(20)])
    first = prepare(plan, tmp_path)
    assert prepare(plan, tmp_path, hashes=first.hashes) == first
    write_rows(tmp_path / "rows.jsonl", [make_chat(number) for number in range(21)])
    with pytest.raises(FtwizardError, match="has changed"):
        prepare(plan, tmp_path, hashes=first.hashes)


def test_general_rows_are_spread_over_the_training_file(tmp_path: Path) -> None:
    data = "data: {files: {train: rows.jsonl}, mix: {share: 0.2}}\n"
    plan = make_plan(tmp_path, [make_chat(number) for number in range(50)], more=data)
    report = prepare(plan, tmp_path)
    assert report.mixed_rows == 10
    own = ["spiders?" in json.dumps(row) for row in read(tmp_path, "train")]
    assert own.count(False) == 10
    assert own[:10].count(False) < 5 and own[-10:].count(False) < 5


def test_validation_rows_above_the_limit_name_the_share(tmp_path: Path) -> None:
    more = "openai: {method: reinforcement, grader: {type: string_check}}"
    data = (
        "data: {files: {train: rows.jsonl}, "
        "split: {validation: 0.5, test: 0.0, group_by: prompts}}\n"
    )
    rows = [make_prompt(number) for number in range(2100)]
    with pytest.raises(FtwizardError, match="at most 1,000 for validation") as error:
        prepare(make_plan(tmp_path, rows, more=data + more), tmp_path)
    assert "data.split.validation" in error.value.hint


def test_overlap_with_the_validation_file_is_a_warning(tmp_path: Path) -> None:
    write_rows(tmp_path / "val.jsonl", [make_chat(number) for number in range(3, 6)])
    data = "data: {files: {train: rows.jsonl, validation: val.jsonl}}\n"
    plan = make_plan(tmp_path, [make_chat(number) for number in range(20)], more=data)
    report = prepare(plan, tmp_path)
    assert report.validation is not None and report.validation.rows == 3
    assert any("rows.jsonl" in warning for warning in report.warnings)


def test_model_without_the_method_is_a_warning(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, [make_chat(number) for number in range(20)])
    model = plan.model.__class__(name="o4-mini")
    report = prepare(plan.__class__(provider="openai", data=plan.data, model=model), tmp_path)
    assert any("only for reinforcement" in warning for warning in report.warnings)


_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(_text, _text), min_size=20, max_size=30))
def test_every_row_is_sent_kept_or_left_out(tmp_path: Path, texts: list[tuple[str, str]]) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{number} {ask}"},
                {"role": "assistant", "content": answer},
            ]
        }
        for number, (ask, answer) in enumerate(texts)
    ]
    plan = make_plan(tmp_path, rows, allow="skip-bad-rows")
    kept: list[dataset.Rows] = []
    try:
        report = prepare(plan, tmp_path, keep=kept.append)
    except FtwizardError as error:  # groups that stay together leave too few rows
        assert "oo few rows" in error.message or "at least 10" in error.message
        return
    left_out = sum(f.count for findings in report.left_out.values() for f in findings)
    assert sum(part.rows for part in report.parts) + report.test_rows + left_out == len(rows)
    by_line = {row.line: row.example for part in kept[0].values() for row in part}
    for name in ("train", "validation"):
        written = read(tmp_path, name) if kept[0][name] else []
        assert [row["messages"] for row in written] == [
            by_line[row.line].messages for row in kept[0][name]
        ]
