"""Logs for inspect_ai, with hostile rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from msgspec.structs import replace

from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.inspect_log import Recorded, list_facts, make_logs, write_logs
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.results import make_evaluation
from ftwizard.runs.evaluation import Evaluation, Failure, ItemAnswer, ItemScore
from tests.evaluate.test_results import GATE, make_answers, make_items
from tests.paths import FIXTURES

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\x00\u202e\ud800 & \"'"
SCHEMA = json.loads((FIXTURES / "evaluation/inspect_log.schema.json").read_text())
NOON = datetime(2026, 11, 28, 12, 0, 1, tzinfo=UTC)
SHOT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
ARMS = [
    Arm(name="base", model="/models/small"),
    Arm(name="prompted", model="/models/small", system="Be kind.", shots=[SHOT]),
    Arm(name="tuned", model="/models/small", adapter="/runs/x/adapter"),
]


def make_items_of_all_kinds() -> list[Item]:
    items = [*make_items(6), *make_items(4, "general"), *make_items(4, "my/../set \x1b")]
    items[1] = replace(
        items[1], messages=[{"role": "user", "content": HOSTILE}], expected=[HOSTILE]
    )
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    items[2] = replace(
        items[2],
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "parts"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "5", "tool_call_id": "1"},
        ],
        expected=[],
    )
    return items


def record() -> tuple[Recorded, Evaluation]:
    items = make_items_of_all_kinds()
    answers = {
        "base": make_answers(items, 3),
        "prompted": make_answers(items[:6], 4),
        "tuned": make_answers(items, 12, start=2),
    }
    answers["tuned"][1] = replace(answers["tuned"][1], text=HOSTILE)
    answers["tuned"][0] = ItemAnswer(
        item=items[0].id, text="?", ended=False, score=ItemScore(note="the judge gave no grade")
    )
    rows = [(7, "q1", f"{HOSTILE} {items[1].expected[0]}")]
    failures = [Failure(name="mode_collapse", found=None, evidence={"n": 6})]
    evaluation = make_evaluation(items, answers, failures, GATE, rows)
    return Recorded(items, ARMS, answers, NOON), evaluation


def test_logs_of_inspect_follow_its_schema() -> None:
    recorded, evaluation = record()
    logs = {
        name: json.loads(data) for name, data in make_logs(recorded, evaluation.sets, {}).items()
    }
    assert len(logs) == 7
    for log in logs.values():
        jsonschema.validate(log, SCHEMA)
    log = logs["2026-11-28T12-00-01+00-00_target_tuned.json"]
    assert log["results"]["scores"][0]["unscored_samples"] == 1
    metrics = log["results"]["scores"][0]["metrics"]
    assert metrics["mean"]["value"] == evaluation.sets["target"].arms["tuned"].score
    assert metrics["ci_low"]["value"] < metrics["mean"]["value"] <= metrics["ci_high"]["value"]
    unscored, hostile, call = log["samples"][:3]
    assert (
        "scores" not in unscored and unscored["metadata"]["unscored"] == "the judge gave no grade"
    )
    assert unscored["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert hostile["target"] == [HOSTILE.replace("\ud800", "?")]
    assert [message["role"] for message in call["input"]] == ["system", "user", "assistant", "tool"]
    assert '"name": "f"' in call["input"][2]["content"] and call["input"][1]["content"] == "parts"


def test_the_logs_name_what_they_were_made_from() -> None:
    recorded, evaluation = record()
    facts = dict(list_facts(recorded, {"train": "abc123", "unknown": "x"}))
    assert [*facts][:5] == [
        "date", "base model", "prompted model", "tuned model", "training data",
    ]  # fmt: skip
    for data in make_logs(recorded, evaluation.sets, facts).values():
        made_from = json.loads(data)["eval"]["metadata"]
        assert made_from["tuned model"] == "/models/small with /runs/x/adapter"
        assert made_from["training data"] == "abc123"
    changed = recorded._replace(items=recorded.items[1:])
    assert facts["items"] != dict(list_facts(changed, {}))["items"]


def test_files_are_written_and_earlier_ones_removed(tmp_path: Path) -> None:
    recorded, evaluation = record()
    later = recorded._replace(created=NOON.replace(hour=13))
    write_logs(tmp_path / "inspect", recorded, evaluation.sets, {})
    write_logs(tmp_path / "inspect", later, evaluation.sets, {})
    names = [path.name for path in (tmp_path / "inspect").iterdir()]
    assert len(names) == 7 and all("T13-00" in name for name in names)


@pytest.mark.parametrize("name", ["", "///", "ä b"])
def test_sets_of_any_name_have_a_file(name: str, tmp_path: Path) -> None:
    items = make_items(2, name)
    answers = {"base": make_answers(items, 1)}
    write_logs(tmp_path, Recorded(items, ARMS, answers, NOON), {}, {})
    assert len(list(tmp_path.glob("*_base.json"))) == 1
