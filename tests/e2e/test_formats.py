"""Alpaca files and base models, from training to comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ftwizard.runs.conversation import read_rows
from tests.e2e.cli import run
from tests.e2e.workspace import SAMPLE, Workspace
from tests.helpers.jobs import events
from tests.helpers.results import read_target

pytestmark = pytest.mark.slow


def as_alpaca(line: str) -> str:
    messages = json.loads(line)["messages"]
    system, user, answer = (m["content"] for m in messages)
    return json.dumps({"instruction": system, "input": user, "output": answer})


def without_template(model: Path, target: Path) -> Path:
    """Copy a model without its chat template, like a base model."""
    target.mkdir()
    for file in model.iterdir():
        if not file.name.startswith("chat_template"):
            shutil.copyfile(file, target / file.name)
    settings = json.loads((target / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


@pytest.mark.parametrize("base_model", [False, True])
def test_alpaca_file_is_trained_merged_and_compared(
    small_workspace: Workspace, base_model: bool
) -> None:
    lines = (SAMPLE / "train.jsonl").read_text().splitlines()[:30]
    source = small_workspace.root / "alpaca.jsonl"
    source.write_text("\n".join(map(as_alpaca, lines)))
    if base_model:
        small_workspace.model = without_template(
            small_workspace.model, small_workspace.root / "base"
        )
    plan = small_workspace.plan(data=source, rows=30, finish=True, batch_size=4, evaluation_steps=3)
    done = run("train", plan, "--name", "alpaca", "--watch", timeout=900)
    assert done.returncode == 0, done.stdout
    folder = small_workspace.folder("alpaca")
    (reading,) = [e for e in events(folder, "phase") if e.get("part") == "train"]
    assert (reading["format"], reading["rows"]) == ("alpaca", 30)
    data = {e["part"]: e for e in events(folder, "data")}
    assert data["train"]["route"] == ("plain" if base_model else "prefixes")
    assert data["train"]["kept"] == data["train"]["rows"] == 24
    target, rows = read_target(folder), read_rows(folder)
    assert target.n == len(rows) == 3
    assert target.loss_difference and target.loss_difference.value < 0
    assert [m["role"] for m in rows[0].messages] == ["user"]
