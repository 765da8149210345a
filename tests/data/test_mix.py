"""Mixing general rows into training, without prompts that the user's own rows contain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import bundled_samples, mix, reader
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.strict_yaml import SettingsError
from ftwizard.train import dataset, launcher
from ftwizard.train.encoder import EncodedRow, EncodingError, EncodingReport
from tests.data.test_split import row, texts
from tests.paths import ROOT

GENERAL = [row(n, (f"General question {n}?", f"answer {n}")) for n in range(1, 201)]


def lines(items: list[reader.ParsedRow]) -> list[int]:
    return [item.line for item in items]


@given(st.integers(2, 3000), st.floats(0.01, 0.5), st.integers())
def test_drawn_rows_match_the_share_of_all_training_rows(
    count: int, share: float, seed: int
) -> None:
    train_rows = [row(n, (f"own {n}", "x")) for n in range(min(count, 100))]
    need = mix.count_needed(len(train_rows), share)
    result = mix.draw_rows(GENERAL, share, train_rows, [], seed)
    assert len(result) == min(need, len(GENERAL)) and lines(result) == sorted(set(lines(result)))
    assert result == mix.draw_rows(GENERAL[::-1], share, train_rows, [], seed)
    if 1 < need <= len(GENERAL):
        assert abs(need / (len(train_rows) + need) - share) < 1 / len(train_rows)
        assert mix.describe_shortage(len(result), len(train_rows), share) is None
    assert mix.count_needed(count, 0) == 0


def test_another_seed_draws_different_rows() -> None:
    own = [row(n, (f"own {n}", "x")) for n in range(100)]
    assert mix.draw_rows(GENERAL, 0.1, own, [], 1) != mix.draw_rows(GENERAL, 0.1, own, [], 2)


def test_prompts_of_own_rows_are_never_mixed_in() -> None:
    long = texts(1, 3)
    general = [row(1, ("What  is IT?", "a")), row(2, ("Who?", "b")), row(3, (long[0], "c")),
               row(4, (long[1], "d")), row(5, ("Why?", "e")), row(6, ("why?", "f"))]  # fmt: skip
    own = [row(n, (f"own {n}", "x")) for n in range(100)]
    train_rows = [*own, row(101, ("who?", "y"))]
    eval_rows = [row(1, ("what is it?", "x")), row(2, (long[0] + " please", "x"))]
    for seed in range(10):
        result = mix.draw_rows(general, 0.1, train_rows, eval_rows, seed)
        assert lines(result) == [4, 5], seed
    shortage = mix.describe_shortage(2, 101, 0.1)
    assert shortage and "101 rows would be 11" in shortage and "only 2 usable rows" in shortage


def write(path: Path, prompts: list[str]) -> None:
    path.write_text("".join(
        json.dumps({"prompt": prompt, "completion": f"answer to {prompt}"}) + "\n"
        for prompt in prompts
    ))  # fmt: skip


def make_plan(folder: Path, more: str = "mix: {share: 0.1}") -> schema.Plan:
    write(folder / "rows.jsonl", [f"Own question {n}?" for n in range(100)])
    path = folder / "plan.yaml"
    path.write_text(f"data: {{files: {{train: rows.jsonl}}, {more}}}\nmodel: {{name: owner/m}}\n")
    return plan_file.load(path)


def test_load_rows_returns_mixed_rows_as_a_separate_part(tmp_path: Path) -> None:
    recorded: list[tuple[str, int]] = []
    rows = dataset.load_rows(
        make_plan(tmp_path), {}, lambda part, table: recorded.append((part, len(table.rows)))
    )
    assert {name: len(part) for name, part in rows.items()} == {
        "train": 80, "validation": 10, "test": 10, "mix": 9,
    }  # fmt: skip
    assert recorded == [("train", 100), ("mix", 170)]
    assert dataset.describe_shortage(make_plan(tmp_path), rows) is None
    assert "mix" not in dataset.load_rows(make_plan(tmp_path, "format: auto"), {})


def test_too_small_mix_file_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "few.jsonl", ["Own question 1?", "Something else?"])
    item = make_plan(tmp_path, "mix: {share: 0.1, rows: few.jsonl}")
    rows = dataset.load_rows(item, {})
    assert len(rows["mix"]) == 1
    shortage = dataset.describe_shortage(item, rows)
    assert shortage and "80 rows would be 9" in shortage


class _WordEncoder:
    """Encoder stub that makes each word of an answer a trainable token."""

    route = "plain"
    added: frozenset[str] = frozenset()

    def encode_row(self, row: ParsedRow) -> EncodedRow:
        if "unfit" in row.conversation.answer:
            raise EncodingError(f"Line {row.line}: it does not fit.", "Delete the row.")
        ids = list(range(len(row.conversation.answer.split()) + 1))
        return EncodedRow(line=row.line, input_ids=ids, labels=ids)

    def route_of(self, rows: list[ParsedRow]) -> str:
        return "plain"


class _Worker:
    def __init__(self) -> None:
        self.events = self
        self.written: list[dict[str, Any]] = []

    def write(self, kind: str, **fields: Any) -> None:
        self.written.append({"kind": kind, **fields})

    def phase(self, name: str, **fields: Any) -> None:
        self.write("phase", name=name, **fields)


def encode_parts(
    parts: dataset.Rows,
) -> tuple[dict[str, list[EncodedRow]], dict[str, EncodingReport], _Worker]:
    worker: Any = _Worker()
    encoder: Any = _WordEncoder()
    return (*dataset.encode(worker, encoder, parts, schema.Recipe(max_length=100)), worker)


def test_mixed_rows_are_trained_on_and_counted(tmp_path: Path) -> None:
    parts = dataset.load_rows(make_plan(tmp_path), {})
    tokens, reports, worker = encode_parts(parts)
    assert {name: len(part) for name, part in tokens.items()} == {
        "train": 89, "validation": 10, "test": 10,
    }  # fmt: skip
    assert (reports["train"].used, reports["mix"].used) == (80, 9)
    text = {e["part"]: e for e in worker.written if e["kind"] == "data"}
    assert (text["train"]["rows"], text["train"]["mixed"]) == (80, 9)
    assert text["mix"]["rows"] == 9 and "mixed" not in text["validation"]
    without = dataset.load_rows(make_plan(tmp_path, "format: auto"), {})
    (first, *_) = (e for e in encode_parts(without)[2].written if e["kind"] == "data")
    assert first["mixed"] == 0


def test_encoding_error_of_a_mixed_row_names_its_setting() -> None:
    own = [row(n, (f"own {n}", "x")) for n in range(4)]
    parts = {"train": own, "validation": own[:1], "mix": [row(7, ("q", "unfit"))]}
    with pytest.raises(EncodingError, match=r"data\.mix\.rows: Line 7"):
        encode_parts(parts)


def test_run_copies_packaged_rows_and_detects_changes(tmp_path: Path) -> None:
    kept = plan_file.copy_mix(make_plan(tmp_path))
    copy = Path(kept.data.mix.rows)
    assert copy == bundled_samples.resolve_rows("general") and copy.is_file()
    hashes = launcher.hash_data(kept)
    assert set(hashes) == {"train", "mix", "split"}
    assert dataset.load_rows(kept, hashes)["mix"]
    copy.write_bytes(copy.read_bytes() + b"\n")
    with pytest.raises(FtwizardError, match=r"train\.jsonl has changed since"):
        dataset.load_rows(kept, hashes)
    assert launcher.hash_data(kept)["mix"] != hashes["mix"]


def test_load_rows_rejects_a_changed_data_split(tmp_path: Path) -> None:
    item = make_plan(tmp_path)
    with pytest.raises(FtwizardError, match="data split differs"):
        dataset.load_rows(item, {"split": "0"})
    assert dataset.load_rows(item, launcher.hash_data(item))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("mix: {share: 0.6}", "data.mix.share is 0.6"),
        ("mix: {share: -0.1}", "data.mix.share is -0.1"),
        ("mix: {rows: more.jsonl}", "nothing would be mixed in"),
        ("mix: {rows: ./rows.jsonl, share: 0.1}", "same file as data.files.train"),
        ("mix: {rows: owner/name, share: 0.1}", "data.mix.rows looks like a data set"),
        ("mix: {rows: generl, shar: 0.1}", "data.mix.shar is not a setting"),
        ('mix: {rows: "a\\0b", share: 0.1}', "NUL"),
    ],
)
def test_plan_rejects_invalid_mix_settings(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        make_plan(tmp_path, more)
    assert message in error.value.message


def test_plan_resolves_mix_path_and_round_trips(tmp_path: Path) -> None:
    item = make_plan(tmp_path, "mix: {rows: ../more.jsonl, share: 0.05}")
    assert item.data.split.group_by == "near-copies"
    assert item.data.mix.rows == str(tmp_path.parent / "more.jsonl")
    assert plan_file.parse(plan_file.dump(item)) == item


def general() -> list[dict[str, Any]]:
    file = ROOT / "assets" / "samples" / "general" / "train.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_packaged_general_rows_are_clean_and_unique() -> None:
    result = general()
    table = reader.read_table(bundled_samples.resolve_rows("general"))
    assert len(table.rows) == len(result) >= 150 and not table.problems
    for item in table.rows:
        talk = item.conversation
        assert [m["role"] for m in talk.messages] == ["user", "assistant"] and not talk.tools
        for message in talk.messages:
            assert message["content"] == message["content"].strip() != ""
            assert len(message["content"]) < 600
    prompts = {item["messages"][0]["content"].casefold() for item in result}
    assert len(prompts) == len(result)
    drawn = mix.draw_rows(table.rows, 0.5, [row(n, (f"own {n}", "x")) for n in range(1000)], [], 1)
    assert len(drawn) == len(result)
