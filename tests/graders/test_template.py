"""Template of a grader: its worked examples, and the commands that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli.commands import GRADER_ACTIONS, GRADER_KINDS
from ftwizard.cli.grader import _OPTIONS
from ftwizard.graders.grader_file import read_grader
from ftwizard.graders.template import KINDS, GraderKind, write_template
from ftwizard.graders.trial import read_items, try_grader


def load(kind: GraderKind, field: str = "reference_answer") -> Any:
    names: dict[str, Any] = {}
    exec(compile(write_template("g.py", kind, field), "g.py", "exec"), names)  # noqa: S102
    return names["grade"]


@pytest.mark.parametrize(
    ("kind", "answer", "reference", "score"),
    [
        ("exact", " refund.\n", "Refund", 1.0),
        ("exact", "refund, please", "Refund", 0.0),
        ("exact", "7", 7, 1.0),
        ("number", "3 boxes of 4 make 1,250.", "1250", 1.0),
        ("number", "100.05", 100, 1.0),
        ("number", "100.5", 100, 0.0),
        ("number", "-4", "4", 0.0),
        ("number", "1.5e3", "1500", 1.0),
        ("number", "I do not know", "4", 0.0),
        ("number", "0", "0.0", 1.0),
        ("json", '{"a": 1, "b": 2}', {"b": 2, "a": 1}, 1.0),
        ("json", '```json\n{"a": 1, "b": 3}\n```', '{"a": 1, "b": 2}', 0.5),
        ("json", '{"a": 1, "b": 2, "c": 3, "d": 4}', {"a": 1, "b": 2}, 0.5),
        ("json", "[1, 2]", "[1, 2]", 1.0),
        ("json", "{broken", {"a": 1}, 0.0),
        ("json", "not JSON", "not JSON either", 0.0),
    ],
)
def test_the_examples_score_as_their_words_say(
    kind: GraderKind, answer: str, reference: object, score: float
) -> None:
    assert load(kind)({"output_text": answer}, {"reference_answer": reference}) == score


@pytest.mark.parametrize(
    ("kind", "references"),
    [("exact", ["yes", "no"]), ("number", [1.5, 2]), ("json", [{"a": 1}, {"a": 2}])],
)
def test_each_template_passes_its_own_trial(
    tmp_path: Path, kind: GraderKind, references: list[object]
) -> None:
    path, rows = tmp_path / "g.py", tmp_path / "rows.jsonl"
    path.write_text(write_template("g.py", kind, 'the "answer"'))
    prompt = [{"role": "user", "content": "?"}]
    rows.write_text(
        "".join(json.dumps({"messages": prompt, 'the "answer"': r}) + "\n" for r in references)
    )
    grader = read_grader(path)

    assert grader.fields == ('the "answer"',)
    assert (grader.installed, grader.network) == ([], [])
    assert try_grader(grader, read_items(rows, grader)).verdict == "ok"


def test_the_parser_knows_the_kinds_and_actions() -> None:
    assert GRADER_KINDS == KINDS
    assert set(GRADER_ACTIONS) == set(_OPTIONS)
