"""Tests of evaluate/exports/: what lm-eval and inspect_ai read, and the report, with hostile rows."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.exports.html_report import render_report
from ftwizard.evaluate.exports.inspect_log import make_logs
from ftwizard.evaluate.exports.lm_eval_samples import make_samples
from ftwizard.evaluate.exports.recorded import Recorded
from ftwizard.evaluate.exports.write import list_facts, write_exports
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.results import make_evaluation
from ftwizard.runs.evaluation import Evaluation, Failure, Flip, ItemAnswer, ItemScore, SetResult
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


def test_samples_of_lm_eval_join_on_the_hash_of_the_document() -> None:
    files = make_samples(record()[0])
    assert set(files) == {
        f"{arm}/samples_{name}_2026-11-28T12-00-01.jsonl"
        for arm, name in (
            *(
                (arm, name)
                for arm in ("base", "tuned")
                for name in ("target", "general", "my____set__")
            ),
            ("prompted", "target"),
        )
    }
    samples = {
        arm: [
            json.loads(x)
            for x in files[f"{arm}/samples_target_2026-11-28T12-00-01.jsonl"].splitlines()
        ]
        for arm in ("base", "prompted", "tuned")
    }
    base, tuned = samples["base"], samples["tuned"]
    assert [row["doc_hash"] for row in base] == [row["doc_hash"] for row in tuned]
    assert len({row["doc_hash"] for row in base}) == 6
    assert [row["doc_id"] for row in base] == list(range(6))
    first = base[0]
    assert first["doc_hash"] == _hash(json.dumps(first["doc"], indent=2, ensure_ascii=False))
    assert first["target_hash"] == _hash(first["target"])
    assert first["prompt_hash"] == _hash(first["arguments"]["gen_args_0"]["arg_0"])
    assert first["resps"] == [["answer 0"]] and first["filtered_resps"] == ["answer 0"]
    assert (first["filter"], first["metrics"], first["acc"]) == ("none", ["score", "acc"], 1.0)
    assert tuned[0]["metrics"] == [] and "acc" not in tuned[0], "it could not be scored"
    prompt = json.loads(samples["prompted"][0]["arguments"]["gen_args_0"]["arg_0"])
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
    kinds = [{key: type(value) for key, value in row["doc"].items()} for row in tuned]
    assert all(kind == kinds[0] for kind in kinds), "datasets loads only rows of one shape"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def test_logs_of_inspect_follow_its_schema() -> None:
    recorded, evaluation = record()
    logs = {name: json.loads(data) for name, data in make_logs(recorded, evaluation.sets).items()}
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


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "ul", "li", "table",
    "thead", "tbody", "tr", "th", "td", "svg", "line", "text", "g", "rect", "circle", "div", "pre",
    "details", "summary",
}  # fmt: skip


def check_page(html: str) -> Page:
    """Fail if a page has scripts, loads anything, or shows controls."""
    page = Page(html)
    assert set(page.tags) <= ALLOWED
    names = {name for name, _ in page.attributes}
    assert not any(name.startswith("on") or name in ("href", "src", "style") for name in names)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", html)
    assert "url(" not in html and "@import" not in html
    html.encode()
    return page


def test_the_report_shows_all_and_runs_nothing() -> None:
    _, evaluation = record()
    page = check_page(render_report(evaluation, f"run {HOSTILE}", [("base model", HOSTILE)]))
    assert "<script>alert(1)</script>" in page.text, "as text"
    assert "my/../set ␛" in page.text
    for text in ("Scores", "Gate", "what the set can show", "Made from",
                 "training row, line 7", "Mode collapse", "prompted", "95% intervals"):  # fmt: skip
        assert text in page.text, text
    assert page.tags.count("circle") == 6 and page.tags.count("rect") == 1


def test_many_flips_are_folded_and_long_answers_cut() -> None:
    flip = Flip(item="i", prompt="p", expected="", base="b", tuned="t" * 9000, change=-1.0)
    result = SetResult(n=300, arms={}, broken=[flip] * 300, fixed=[flip])
    evaluation = Evaluation(verdict="cannot_tell", sets={"general": result})
    page = check_page(render_report(evaluation, "run"))
    assert page.tags.count("details") == 2
    assert "195 more" in page.text and "100 more are in evaluation.json." in page.text
    assert "t" * 4000 + "…" in page.text and "t" * 4001 not in page.text


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_escaped(first: str, second: str) -> None:
    flip = Flip(item=first, prompt=first, expected=second, base=second, tuned=first, change=0.5)
    result = SetResult(n=1, arms={}, fixed=[flip])
    evaluation = Evaluation(verdict="ship", sets={second: result})
    check_page(render_report(evaluation, first, [(first, second)]))


def test_an_evaluation_without_anything_has_a_report() -> None:
    page = check_page(render_report(Evaluation(verdict="cannot_tell"), "run"))
    assert "? Cannot tell" in page.text and "svg" not in page.tags


def test_the_report_names_what_it_was_made_from() -> None:
    recorded, evaluation = record()
    facts = list_facts(recorded, {"train": "abc123", "unknown": "x"})
    page = check_page(render_report(evaluation, "run", facts))
    names = [name for name, _ in facts]
    assert names[:5] == ["date", "base model", "prompted model", "tuned model", "training data"]
    assert "/models/small with /runs/x/adapter" in page.text and "abc123" in page.text
    changed = recorded._replace(items=recorded.items[1:])
    assert dict(facts)["items"] != dict(list_facts(changed, {}))["items"]


def test_files_are_written_and_earlier_ones_removed(tmp_path: Path) -> None:
    recorded, evaluation = record()
    later = recorded._replace(created=NOON.replace(hour=13))
    write_exports(tmp_path, evaluation, recorded, "run")
    write_exports(tmp_path, evaluation, later, "run")
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(names) == 15 and not any("T12-00" in name for name in names)
    assert (
        "report.html" in names and "lm-eval/tuned/samples_target_2026-11-28T13-00-01.jsonl" in names
    )


@pytest.mark.parametrize("name", ["", "///", "ä b"])
def test_sets_of_any_name_have_a_file(name: str, tmp_path: Path) -> None:
    items = make_items(2, name)
    answers = {"base": make_answers(items, 1)}
    write_exports(tmp_path, Evaluation(verdict="ship"), Recorded(items, ARMS, answers, NOON), "run")
    assert len(list(tmp_path.glob("lm-eval/base/samples_*.jsonl"))) == 1
