"""Rows of any length in the test set of a real model: they hold nothing up, and a stop is obeyed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.pace import GRACE_S
from tests.e2e.cli import ok
from tests.e2e.workspace import SAMPLE, Workspace
from tests.helpers.jobs import events, until, until_ended

pytestmark = pytest.mark.slow


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


def test_a_stop_in_a_long_prompt_is_obeyed_at_once(workspace: Workspace) -> None:
    """Training uses rows of its length, so it is asked, after the 22 others; it takes minutes."""
    plan = write_plan(workspace, "It is a long story. " * 1200, "billing", max_length=8192)
    folder = workspace.train(plan, "asked")
    until(folder, lambda _: any(event.get("done") == 22 for event in events(folder, "phase")), 300)
    time.sleep(2)
    began = time.monotonic()
    shown = ok("stop", "asked")
    assert time.monotonic() - began < GRACE_S / 2, "seconds, on a quiet machine"
    assert "was stopped" in shown and "No checkpoint was saved. Start again:" in shown
    assert not events(folder, "log")
