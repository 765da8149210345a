"""Rows of any length in the test set of a real model: they hold nothing up, and a stop is obeyed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.pace import GRACE_S
from tests.e2e.cli import ok
from tests.e2e.workspace import SAMPLE, Workspace
from tests.helpers.jobs import events, until, until_ended

pytestmark = pytest.mark.slow
LONG_STORY = "It is a long story. " * 1200


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the answers of other tests out."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "own-cache"))


def write_plan(workspace: Workspace, question: str, team: str, **recipe: Any) -> Path:
    """Write a plan whose test set has one row with this question and answer, at line 5."""
    answer = json.dumps({"team": team, "priority": "normal", "refund": False})
    lines = (SAMPLE / "validation.jsonl").read_text().splitlines()[:8]
    row = {"messages": [{"role": "user", "content": question},
                        {"role": "assistant", "content": answer}]}  # fmt: skip
    lines.insert(4, json.dumps(row))
    (workspace.root / "test.jsonl").write_text("\n".join(lines) + "\n")
    path = workspace.plan(finish=True, rows=16, **recipe)
    body = json.loads(path.read_text())
    body["data"]["files"]["test"] = "test.jsonl"
    body["finish"] = {"compare": True, "merge": False}
    path.write_text(json.dumps(body))
    return path


def test_a_row_of_36_000_characters_holds_nothing_up(workspace: Workspace) -> None:
    folder = workspace.train(write_plan(workspace, "Why?", "It is a long story. " * 1800), "long")
    until(folder, lambda _: bool(events(folder, "log")), 300)
    codes = {event["code"]: event for event in events(folder, "finding")}
    assert "line 5 (target)" in codes["items_too_long"]["message"]
    items = [json.loads(line) for line in (folder.evaluations / "items.jsonl").open()]
    limits = {item["max_tokens"] for item in items if item["set"] == "target"}
    assert len(limits) == 1 and max(limits) < 200, "the others have the limit of short answers"
    assert sum(item["set"] == "target" for item in items) == 8
    assert until_ended(folder, 300).end_reason == "finished"


def write_prompt(workspace: Workspace) -> Path:
    """Write a plan that asks a prompt of 7,200 tokens, after the 22 others."""
    return write_plan(workspace, LONG_STORY, "billing", max_length=8192)


def write_validation(workspace: Workspace) -> Path:
    """Write a plan whose validation rows are as long: each takes many seconds."""
    path = write_plan(workspace, LONG_STORY, "billing", max_length=8192, evaluation_steps=1)
    body = json.loads(path.read_text())
    line = (workspace.root / "test.jsonl").read_text().splitlines()[4]
    (workspace.root / "validation.jsonl").write_text(f"{line}\n" * 4)
    body["data"]["files"] = {
        "train": body["data"]["files"]["train"],
        "validation": "validation.jsonl",
    }
    body["finish"]["compare"] = False
    path.write_text(json.dumps(body))
    return path


def write_pairs(workspace: Workspace) -> Path:
    """Write a plan whose test rows are pairs with answers of 1,800 tokens, which the model reads."""
    sides = {
        name: [{"role": "assistant", "content": f"{name}. {LONG_STORY[:6000]}"}]
        for name in ("chosen", "rejected")
    }
    row = {"prompt": [{"role": "user", "content": "Tell me."}], **sides}
    path = workspace.plan(objective="dpo", max_length=8192)
    for name in ("plan", "test"):
        lines = [
            json.dumps(row | {"prompt": [{"role": "user", "content": f"Tell {n}."}]})
            for n in range(4)
        ]
        (workspace.root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    body = json.loads(path.read_text())
    body["data"]["files"]["test"] = "test.jsonl"
    body |= {
        "finish": {"compare": True, "merge": False, "max_new_tokens": 2},
        "allow": ["no-validation"],
    }
    path.write_text(json.dumps(body))
    return path


@pytest.mark.parametrize(
    ("write", "begins", "next_step"),
    [
        (write_prompt, {"done": 22}, "No checkpoint was saved. Start again:"),
        (write_validation, {"phase": "evaluating"}, "Continue from step 1:"),
        (write_pairs, {"what": "base model, probabilities"}, "No checkpoint was saved. Start again:"),
    ],
)  # fmt: skip
def test_a_stop_in_long_work_is_obeyed_at_once(
    workspace: Workspace,
    write: Callable[[Workspace], Path],
    begins: dict[str, Any],
    next_step: str,
) -> None:
    """It would take minutes."""
    folder = workspace.train(write(workspace), "asked")
    until(folder, lambda _: any(begins.items() <= e.items() for e in events(folder, "phase")), 300)
    time.sleep(2)
    began = time.monotonic()
    shown = ok("stop", "asked")
    assert time.monotonic() - began < GRACE_S / 2, "seconds, on a quiet machine"
    assert "was stopped" in shown and next_step in shown
