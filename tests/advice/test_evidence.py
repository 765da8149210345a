"""Evidence in the data: facts that change, and answers that a program can grade."""

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
from ftwizard.data.findings import Finding
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Recipe
from ftwizard.rewards.answer_kinds import AnsweredRow


def check_rows(folder: Path, rows: list[tuple[str, str]]) -> DataReport:
    """Return the check report of rows with a question and an answer each."""
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
    options = CheckOptions(
        format="auto", target="trl-sft", max_length=Recipe().max_length, count=None, near=True
    )
    return run.check_files(file, options)


PROSE = [(f"Question number {n}?", f"Well, that is a longer story about thing {n}, told so.")
         for n in range(40)]  # fmt: skip


def test_evidence_takes_rows_tokens_and_lengths_from_the_check(tmp_path: Path) -> None:
    result = evidence.read_evidence(check_rows(tmp_path, PROSE))
    assert (result.rows, result.usable, result.changing, result.rft) == (40, 40, 0, None)
    assert result.tokens is not None and result.tokens.unit == "tokens" and result.tokens.source
    assert result.lengths is not None and result.lengths.rows == 40
    assert evidence.warn_of_facts(result) is None


def test_warning_depends_on_the_share_of_changing_facts(tmp_path: Path) -> None:
    prices = [(f"What is item {n}?", f"It costs ${n}9.99 as of 3 March 2026.") for n in range(30)]
    few = evidence.read_evidence(check_rows(tmp_path, [*PROSE, *prices[:4]]))
    assert few.changing == 4 and evidence.warn_of_facts(few) is None
    some = evidence.warn_of_facts(
        evidence.read_evidence(check_rows(tmp_path, [*PROSE, *prices[:12]]))
    )
    assert some is not None and not some.wrong_tool
    assert "12 rows of 52 (23%)" in some.message and some.lines == (*range(41, 49),)
    most = evidence.warn_of_facts(evidence.read_evidence(check_rows(tmp_path, prices)))
    assert most is not None and most.wrong_tool and "wrong tool" in most.message


def to_rows(answers: list[str]) -> list[AnsweredRow]:
    return [AnsweredRow(line, answer, []) for line, answer in enumerate(answers, 1)]


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("number", [f"{n} apples and {n} more.\n#### {2 * n}" for n in range(30)]),
        ("number", [f"So the answer is: {n}.5" for n in range(30)]),
        ("number", [str(n) for n in range(30)]),
        ("json", [json.dumps({"id": n, "kind": "refund"}) for n in range(30)]),
        ("code", [f"```python\nprint({n})\n```" for n in range(30)]),
        (
            "code",
            [
                f"SELECT name FROM people WHERE age > {n} ORDER BY name, city, street"
                for n in range(30)
            ],
        ),
        ("code", [f"def add_{n}(a, b):\n    return a + b" for n in range(30)]),
        ("choice", ["refund", "complaint", "question"] * 10),
    ],
)
def test_gradable_answers_suggest_rft(kind: str, answers: list[str]) -> None:
    gradable = evidence.detect_gradable(to_rows(answers))
    assert gradable is not None and gradable.kind == kind and gradable.share == 1
    text = evidence.suggest_rft(gradable)
    assert text is not None and text.source and text.as_of and "RFT" in text.reason
    assert any("Bedrock" in item for item in text.where)


@pytest.mark.parametrize(
    "answers",
    [
        [], ["7"] * 5, [answer for _, answer in PROSE],
        ["7"] * 15 + [f"It is a long story, told at length, and number {n} of it." for n in range(15)],
        [f"{{not json {n}, and this is where the long text of the answer goes on" for n in range(30)],
    ],
)  # fmt: skip
def test_ungradable_answers_do_not_suggest_rft(answers: list[str]) -> None:
    gradable = evidence.detect_gradable(to_rows(answers))
    assert gradable is None and evidence.suggest_rft(gradable) is None


@given(st.lists(st.text(max_size=200), max_size=60))
def test_gradable_share_and_sample_size_stay_in_range(answers: list[str]) -> None:
    gradable = evidence.detect_gradable(to_rows(answers))
    assert gradable is None or (0.9 <= gradable.share <= 1 and gradable.looked_at >= 20)


def test_check_report_of_json_answers_suggests_rft(tmp_path: Path) -> None:
    rows = [(f"Extract {n}", json.dumps({"id": n})) for n in range(30)]
    result = evidence.read_evidence(check_rows(tmp_path, rows))
    assert result.verifiable is not None and result.verifiable.kind == "json"
    assert result.rft is not None


def test_a_column_that_is_not_read_is_no_answer_of_texts(tmp_path: Path) -> None:
    rows = [{"text": f"Note number {n} of the day.", "answer": "accept"} for n in range(30)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run.check_files(file, CheckOptions(count="no", near=False))
    assert report.format == "text" and evidence.read_evidence(report).rft is None


@pytest.mark.parametrize(
    ("kind", "command"),
    [("number", "--kind number"), ("json", "--kind json"), ("choice", "--kind exact"),
     ("quote", "--kind exact"), ("code", "")],
)  # fmt: skip
def test_a_suggestion_has_the_command_for_a_template_of_its_kind(
    kind: evidence.Kind, command: str
) -> None:
    gradable = evidence.GradableAnswers(kind=kind, share=1, looked_at=30)
    rft = evidence.suggest_rft(gradable)
    assert rft is not None and rft.command.endswith(command) and bool(rft.command) == bool(command)
    assert rft.command in evidence.describe_template(rft)


def test_short_texts_from_the_prompt_are_verifiable_and_small_talk_is_not(tmp_path: Path) -> None:
    names = [(f"Who signed order {n}? Signed: Ada{n} Byron.", f"Ada{n} Byron") for n in range(30)]
    quoted = evidence.read_evidence(check_rows(tmp_path, names))
    assert quoted.verifiable is not None and quoted.verifiable.kind == "quote"
    talk = [(f"hey, number {n} here", f"sure thing, friend {n} of mine") for n in range(30)]
    assert evidence.read_evidence(check_rows(tmp_path, talk)).rft is None


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [("reference_answer", '{"id": %s}', "json"), ("answer", "%s", "number"), ("id", "%s", None)],
)
def test_rows_for_reinforcement_have_their_answers_in_a_field(
    tmp_path: Path, field: str, value: str, kind: str | None
) -> None:
    file = tmp_path / "rows.jsonl"
    prompt = [{"role": "user", "content": "?"}]
    rows = [{"messages": prompt, field: json.loads(value % n)} for n in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run.check_files(file, CheckOptions(target="openai-rft", count="no", near=False))
    verifiable = evidence.read_evidence(report).verifiable
    assert (verifiable.kind if verifiable else None) == kind


@pytest.mark.parametrize(
    "changes",
    [{"rows": "x"}, {"findings": [{}]}, {"tokens": 3}, {"preview": [3]}, {"path": None}],
)
def test_malformed_check_report_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = tmp_path / "report.json"
    document = msgspec.to_builtins(check_rows(tmp_path, PROSE))
    file.write_text(json.dumps(document))
    assert advise_data.read_evidence(str(file)).rows == 40
    file.write_text(json.dumps(document | changes))
    with pytest.raises(FtwizardError) as error:
        advise_data.read_evidence(str(file))
    assert "not a data check report" in error.value.message


def test_facts_about_one_subject_warn_with_what_to_do_instead(tmp_path: Path) -> None:
    report = check_rows(tmp_path, PROSE)
    for count, share, asks in ((30, "75%", "ask for facts"), (12, "30%", "may ask for facts")):
        subject = Finding(
            code="subject_facts", message="", fix="", count=count, lines=[1, 2], severity="info"
        )
        data = evidence.read_evidence(msgspec.structs.replace(report, findings=[subject]))
        warning = evidence.warn_of_facts(data)
        assert warning is not None and warning.kind == "subject"
        assert warning.wrong_tool == (count == 30) and warning.lines == (1, 2)
        assert f"{count} rows of 40 ({share}) {asks} about one subject" in warning.message
        assert "retrieval (RAG)" in warning.message and "still makes sense" in warning.message
