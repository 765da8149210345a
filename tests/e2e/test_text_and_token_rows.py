"""Training on plain text and on pretokenized rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.evaluation_files import read_evaluation
from tests.e2e.cli import as_json_here, ok, ok_here, run_here
from tests.helpers.models import make_tiny, tiny_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def plan_of(folder: Path, model: Path, rows: list[dict[str, Any]]) -> Path:
    write(folder, rows)
    body = {
        "data": {"files": {"train": "rows.jsonl"}},
        "model": {"name": str(model)},
        "recipe": {"epochs": 1, "max_length": 64, "precision": "fp32"},
    }
    (folder / "plan.yaml").write_text(json.dumps(body))
    return folder / "plan.yaml"


def train(plan: Path, home: Path, *more: str) -> dict[str, Any]:
    """Train to the end; return the result."""
    ok("train", plan, "--name", "one", "--watch", *more)
    result: dict[str, Any] = json.loads(JobFolder(home / "runs" / "one").result.read_text())
    return result


def test_plain_text_rows_are_trained_on(tiny: Path, tmp_path: Path, home: Path) -> None:
    rows = [{"text": f"Story {n}: once upon a time."} for n in range(30)]
    text = ok_here("estimate", plan_of(tmp_path, tiny, rows))
    assert "trained on" in text
    plan = plan_of(tmp_path, tiny, [*rows, {"text": "  "}])
    result = train(plan, home, "--allow", "skip-bad-rows")
    trained = result["training"]
    assert trained["rows"]["train_used"] == trained["rows"]["train_given"]
    assert trained["unreadable"] == {"train": 1} and trained["left_out"] == {}
    evaluation = read_evaluation(JobFolder(home / "runs" / "one"))
    assert evaluation and "target" not in evaluation.sets, "plain text has no answers to compare"
    assert "1 unreadable row skipped" in ok("status", "one")


def test_pretokenized_rows_are_trained_with_their_labels(
    tiny: Path, tmp_path: Path, home: Path
) -> None:
    tokenizer = tiny_tokenizer()
    rows = []
    for number in range(30):
        ids = tokenizer(f"Question {number}? Answer.")["input_ids"]
        rows.append({"input_ids": ids, "labels": [-100] * 10 + ids[10:]})
    masked = as_json_here("mask", write(tmp_path, rows), "--model", tiny, "--row", 1)
    assert masked["route"] == "tokens"
    assert masked["row"]["trained"] == len(rows[0]["input_ids"]) - 10
    trained = train(plan_of(tmp_path, tiny, rows), home)["training"]
    assert trained["rows"]["train_used"] == trained["rows"]["train_given"]
    rows[3]["input_ids"][2] = 9_999
    refused = run_here("mask", write(tmp_path, rows), "--model", tiny)
    assert refused.returncode == 1
    assert "model_mismatch: 1 row, at line 4" in refused.stdout
