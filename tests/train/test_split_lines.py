"""The lines of each part of a split, from which a child run without some rows gets its files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from ftwizard.data import row_edit
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Files, Plan
from ftwizard.train import dataset


def make_plan(folder: Path, rows: int, data: dict[str, object]) -> Plan:
    lines = [
        json.dumps({"prompt": f"Question {n}?", "completion": f"{n * n}"}) for n in range(rows)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    path = folder / "plan.yaml"
    body = {"data": {"files": {"train": "rows.jsonl"}, **data}, "model": {"name": str(folder)}}
    path.write_text(json.dumps(body))
    return plan_file.load(path)


def test_files_of_the_parts_give_the_same_split(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, 60, {"max_rows": 20, "split": {"validation": 0.2, "test": 0.1}})
    parts = dataset.list_split_lines(plan)
    assert {part: len(lines) for part, lines in parts.items()} == {
        "train": 42, "validation": 12, "test": 6,
    }  # fmt: skip
    dropped = {min(parts["train"]), min(parts["test"])}
    files = {part: tmp_path / f"new-{part}.jsonl" for part in parts}
    for part, lines in parts.items():
        row_edit.drop_rows(Path(plan.data.files.train), dropped, files[part], keep=lines)
    split = msgspec.structs.replace(plan.data.split, validation=0.0, test=0.0)
    new = Files(**{part: str(file) for part, file in files.items()})
    data = msgspec.structs.replace(plan.data, files=new, split=split, max_rows=None)
    rows = dataset.load_rows(msgspec.structs.replace(plan, data=data), {})
    assert {part: len(rows[part]) for part in rows} == {"train": 41, "validation": 12, "test": 5}


def test_file_without_a_split_has_one_part(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, 8, {})
    (tmp_path / "other.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    other = str(tmp_path / "other.jsonl")
    files = msgspec.structs.replace(plan.data.files, validation=other, test=other)
    data = msgspec.structs.replace(plan.data, files=files)
    parts = dataset.list_split_lines(msgspec.structs.replace(plan, data=data))
    assert parts == {"train": set(range(1, 9))}
