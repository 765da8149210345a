"""Trial of a grader on rows: what the scores say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import CANNOT_TELL, FtwizardError
from ftwizard.graders.grader_file import read_grader
from ftwizard.graders.trial import Trial, pick_wrong, read_items, try_grader


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_prompts(count: int = 12, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"{n} + 1?"}], "answer": str(n + 1), **fields}
        for n in range(count)
    ]


def attempt(
    folder: Path, body: str, rows: list[dict[str, Any]] | None = None, time_limit_s: float = 20.0
) -> Trial:
    path = folder / "grader.py"
    path.write_text(f"def grade(sample, item):\n    {body}\n")
    grader = read_grader(path)
    items = read_items(write_rows(folder, rows or make_prompts()), grader)
    return try_grader(grader, items, time_limit_s=time_limit_s)


def test_a_grader_that_tells_right_from_wrong_passes(tmp_path: Path) -> None:
    trial = attempt(tmp_path, "return sample['output_text'] == item['answer']")

    assert (trial.verdict, trial.findings, len(trial.rows)) == ("ok", (), 10)
    assert {row.right_grade.score for row in trial.rows} == {1.0}
    assert {row.wrong_grade.score for row in trial.rows} == {0.0}
    assert [row.line for row in trial.rows] == list(range(1, 11))


@pytest.mark.parametrize(
    ("body", "codes", "says"),
    [
        ("return 0 * len(item['answer'])", ["all_zero"], "All 10 right answers scored 0"),
        ("return 0.5", ["all_equal"], "scored 0.5, the right and the wrong"),
        ("return float(item['answer'] > '1') + 1", ["wrong_as_high"], "10 rows"),
        ("return float('nan')", ["nan"], "NaN"),
        ("return item['none']", ["exception"], "KeyError: 'none' (grader.py, line 2)"),
        ("print('hello\x1b')", ["not_a_number"], "grade returned None"),
    ],
)
def test_what_is_wrong_with_a_grader_is_named(
    tmp_path: Path, body: str, codes: list[str], says: str
) -> None:
    trial = attempt(tmp_path, body)

    assert (trial.verdict, [finding.code for finding in trial.findings]) == ("error", codes)
    assert says in trial.findings[0].message
    assert trial.findings[0].fix
    assert trial.printed.startswith("hello␛\nhello") == ("print" in body)


def test_a_grader_that_fails_on_wrong_answers_only_is_named(tmp_path: Path) -> None:
    trial = attempt(tmp_path, "return {item['answer']: 1.0}[sample['output_text']]")

    assert [finding.code for finding in trial.findings] == ["exception"]
    assert len(trial.findings[0].lines) == 10


def test_a_grader_that_hangs_ends_the_trial_early(tmp_path: Path) -> None:
    body = "import time; time.sleep(600)"
    trial = attempt(tmp_path, body, time_limit_s=0.5)

    assert [finding.code for finding in trial.findings] == ["timeout"]
    assert len(trial.rows) == 1


def test_network_and_slow_answers_are_cautions(tmp_path: Path) -> None:
    body = "import time, socket; time.sleep(1.1); return sample['output_text'] == item['answer']"
    trial = attempt(tmp_path, body, make_prompts(1))

    assert trial.verdict == "warning"
    assert [finding.code for finding in trial.findings] == ["slow", "network"]


def test_the_last_answer_of_a_conversation_is_its_reference(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": str(n)}]}
        for n in range(3)
    ]
    body = "assert len(item['messages']) == 1; return sample['output_text'] == item['reference_answer']"
    assert attempt(tmp_path, body, rows).verdict == "ok"


def test_the_field_with_the_right_answer_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "grader.py").write_text("def grade(sample, item):\n    return 1\n")
    grader = read_grader(tmp_path / "grader.py")
    path = write_rows(tmp_path, make_prompts(2, id=7, right={"a": 1}))

    assert [item.reference for item in read_items(path, grader, field="right")] == ['{"a": 1}'] * 2
    with pytest.raises(FtwizardError, match="has the field none") as failure:
        read_items(path, grader, field="none")
    assert failure.value.exit_code == CANNOT_TELL


def test_rows_without_an_answer_cannot_be_graded(tmp_path: Path) -> None:
    (tmp_path / "grader.py").write_text("def grade(sample, item):\n    return 1\n")
    path = write_rows(tmp_path, [{"messages": [{"role": "user", "content": "?"}]}])
    with pytest.raises(FtwizardError, match="a field with the right answer") as failure:
        read_items(path, read_grader(tmp_path / "grader.py"))
    assert failure.value.exit_code == CANNOT_TELL


@pytest.mark.parametrize(
    ("right", "others", "wrong"),
    [
        ("12", ["12", "12.0", "13"], "13"),
        ("Yes", ["yes", " YES "], "This answer is wrong."),
        ("1,200", ["1200"], "This answer is wrong."),
        ("3", [], "4"),
        ("-2.5", [], "-1.5"),
        ("true", [], "false"),
        ('{"a": 1, "b": 2}', ['{"b": 2, "a": 1}'], "{}"),
        ("[1]", [], "[]"),
    ],
)
def test_a_wrong_answer_has_the_form_of_the_right_one(
    right: str, others: list[str], wrong: str
) -> None:
    assert pick_wrong(right, others) == wrong
