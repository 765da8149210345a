"""The data's own evidence: facts that change, answers that a program can judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import evidence
from ftwizard.cli import advise_data
from ftwizard.data.checks import run
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.documents import DataReport
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Recipe


def checked(folder: Path, rows: list[tuple[str, str]]) -> DataReport:
    """Return the report of ``check`` on rows of question and answer."""
    file = folder / "rows.jsonl"
    file.write_text(
        "".join(
            json.dumps({
                "messages": [
                    {"role": "user", "content": question}, {"role": "assistant", "content": answer},
                ]
            }) + "\n"
            for question, answer in rows
        )
    )  # fmt: skip
    asked = CheckOptions(
        format="auto", target="trl-sft", max_length=Recipe().max_length, count=None, near=True
    )
    return run.check_files(file, asked)


PROSE = [(f"Question number {n}?", f"Well, that is a longer story about thing {n}, told so.")
         for n in range(40)]  # fmt: skip


def test_rows_tokens_and_lengths_are_those_of_the_check(tmp_path: Path) -> None:
    result = evidence.read_evidence(checked(tmp_path, PROSE))
    assert (result.rows, result.usable, result.changing, result.rft) == (40, 40, 0, None)
    assert result.tokens is not None and result.tokens.unit == "tokens" and result.tokens.source
    assert result.lengths is not None and result.lengths.rows == 40
    assert evidence.warn_of_facts(result) is None


def test_facts_that_change_raise_the_question_again(tmp_path: Path) -> None:
    prices = [(f"What is item {n}?", f"It costs ${n}9.99 as of 3 March 2026.") for n in range(30)]
    few = evidence.warn_of_facts(evidence.read_evidence(checked(tmp_path, [*PROSE, *prices[:4]])))
    assert few is not None and not few.wrong_tool
    assert "4 rows of 44 (9%)" in few.message and few.lines == (41, 42, 43, 44)
    most = evidence.warn_of_facts(evidence.read_evidence(checked(tmp_path, prices)))
    assert most is not None and most.wrong_tool and "wrong tool" in most.message


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("number", [f"{n} apples and {n} more.\n#### {2 * n}" for n in range(30)]),
        ("number", [f"So the answer is: {n}.5" for n in range(30)]),
        ("number", [str(n) for n in range(30)]),
        ("json", [json.dumps({"id": n, "kind": "refund"}) for n in range(30)]),
        ("code", [f"```python\nprint({n})\n```" for n in range(30)]),
        ("code", [f"def add_{n}(a, b):\n    return a + b" for n in range(30)]),
        ("choice", ["refund", "complaint", "question"] * 10),
    ],
)
def test_answers_that_a_program_can_judge_suggest_rft(kind: str, answers: list[str]) -> None:
    gradable = evidence.detect_gradable(answers)
    assert gradable is not None and gradable.kind == kind and gradable.share == 1
    text = evidence.suggest_rft(gradable)
    assert text is not None and text.source and text.as_of and "RFT" in text.reason
    assert any("Bedrock" in item for item in text.where)


@pytest.mark.parametrize(
    "answers",
    [
        [], ["7"] * 5, [answer for _, answer in PROSE],
        ["7"] * 15 + [f"It is a long story, told at length, and number {n} of it." for n in range(15)],
        [f"{{not json {n}" for n in range(30)],
    ],
)  # fmt: skip
def test_others_do_not(answers: list[str]) -> None:
    gradable = evidence.detect_gradable(answers)
    assert gradable is None and evidence.suggest_rft(gradable) is None


@given(st.lists(st.text(max_size=200), max_size=60))
def test_any_answers_are_looked_at(answers: list[str]) -> None:
    gradable = evidence.detect_gradable(answers)
    assert gradable is None or (0.8 <= gradable.share <= 1 and gradable.looked_at >= 20)


def test_the_check_leads_to_the_suggestion(tmp_path: Path) -> None:
    rows = [(f"Extract {n}", json.dumps({"id": n})) for n in range(30)]
    result = evidence.read_evidence(checked(tmp_path, rows))
    assert result.verifiable is not None and result.verifiable.kind == "json"
    assert result.rft is not None


@pytest.mark.parametrize(
    "changes",
    [{"rows": "x"}, {"findings": [{}]}, {"tokens": 3}, {"preview": [3]}, {"path": None}],
)
def test_another_document_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = tmp_path / "report.json"
    document = msgspec.to_builtins(checked(tmp_path, PROSE))
    file.write_text(json.dumps(document))
    assert advise_data.read_evidence(str(file)).rows == 40
    file.write_text(json.dumps(document | changes))
    with pytest.raises(FtwizardError) as error:
        advise_data.read_evidence(str(file))
    assert "not a data check report" in error.value.message
