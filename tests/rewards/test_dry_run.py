"""Dry run of rewards: what is tried, and what it says of rewards that teach nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import CANNOT_TELL, FtwizardError
from ftwizard.rewards.dry_run import DryRun, require_signal, try_rewards
from ftwizard.rewards.reward import Reward
from ftwizard.rewards.rows import read_rows


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_pairs(count: int = 12) -> list[dict[str, Any]]:
    return [{"prompt": f"{n} + 1?", "completion": str(n + 1), "id": f"r{n}"} for n in range(count)]


def attempt(
    folder: Path, *rewards: Reward | str, rows: list[dict[str, Any]] | None = None,
    template: str = "{answer}",
) -> DryRun:  # fmt: skip
    named = [Reward(function=r) if isinstance(r, str) else r for r in rewards]
    prompts = read_rows(write_rows(folder, rows or make_pairs()), 200)
    return try_rewards(named, prompts, template=template)


def write_function(folder: Path, body: str) -> str:
    path = folder / "own.py"
    path.write_text(f"def own(completions, reference_answer, **kwargs):\n    {body}\n")
    return f"{path}:own"


def test_rewards_that_tell_answers_apart_pass(tmp_path: Path) -> None:
    limit = Reward(function="length_limit", weight=0.5, options={"max": 3})
    report = attempt(tmp_path, "numeric_answer", limit)

    assert (report.verdict, report.findings, len(report.rows)) == ("ok", (), 10)
    assert report.total is not None
    assert set(report.total.expected) == {1.5}
    assert set(report.total.other) == {0.5}
    assert set(report.total.empty) == {0.0}
    assert require_signal(report, allowed=False) == []


@pytest.mark.parametrize(
    ("rewards", "verdict", "codes"),
    [
        (["choice_letter"], "error", ["not_applicable"]),
        (["json_valid"], "warning", ["form_only"]),
        ([Reward(function="length_limit", weight=-1, options={"max": 5})], "error", ["empty_as_high"]),
        ([Reward(function="regex_format", options={"pattern": "<a>.*"})], "warning", ["no_signal"]),
    ],
)  # fmt: skip
def test_rewards_without_a_signal_are_named(
    tmp_path: Path, rewards: list[Reward | str], verdict: str, codes: list[str]
) -> None:
    report = attempt(tmp_path, *rewards)

    assert (report.verdict, [finding.code for finding in report.findings]) == (verdict, codes)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("return [0.5] * len(completions)", "no_signal", "gave 0.5 to every answer"),
        ("return [len(c[0]['content']) for c in completions]", None, ""),
        ("return [float(bool(c[0]['content'])) for c in completions]", "other_as_high", "in every row"),
        ("return [None] * len(completions)", "not_applicable", "none of the rows"),
        ("return [1]", "wrong_length", "1 reward for 10"),
        ("return [{}[r] for r in reference_answer]", "exception", "KeyError: '1' (its line 2), for the row at line 1"),
    ],
)  # fmt: skip
def test_functions_of_the_user_are_judged(
    tmp_path: Path, body: str, code: str | None, says: str
) -> None:
    rows = [{"prompt": "?", "completion": "1" * n} for n in range(1, 13)]
    report = attempt(tmp_path, write_function(tmp_path, body), rows=rows)

    errors = [finding for finding in report.findings if finding.severity == "error"]
    if code is None:
        assert errors == []
        return
    assert [finding.code for finding in errors] == [code]
    assert says in errors[0].message
    with pytest.raises(FtwizardError, match="own"):
        if code == "other_as_high":
            raise FtwizardError("own")  # the sum names no function
        require_signal(report, allowed=False)


def test_a_weak_reward_can_be_allowed_but_one_that_fails_cannot(tmp_path: Path) -> None:
    weak = attempt(tmp_path, write_function(tmp_path, "return [1] * len(completions)"))
    with pytest.raises(FtwizardError) as caught:
        require_signal(weak, allowed=False)
    assert "--allow weak-grader" in caught.value.hint
    assert "gave 1 to every answer" in require_signal(weak, allowed=True)[0]

    broken = attempt(tmp_path, write_function(tmp_path, "raise ValueError"))
    with pytest.raises(FtwizardError, match="raised ValueError"):
        require_signal(broken, allowed=True)


def test_a_template_gives_the_rows_answers_their_form(tmp_path: Path) -> None:
    body = "return [float(c[0]['content'] == f'<a>{r}</a>') for c, r in zip(completions, reference_answer)]"
    function = write_function(tmp_path, body)

    assert attempt(tmp_path, function).verdict == "error"
    assert attempt(tmp_path, function, template="<a>{answer}</a>").verdict == "ok"


def test_rows_without_answers_are_tried_with_others(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"{n}?"}], "topic": [n]} for n in range(3)]
    limit = Reward(function="length_limit", options={"max": 9})
    report = attempt(tmp_path, limit, rows=rows)

    assert report.rewards[0].expected == ()
    assert report.rewards[0].other == (1.0, 1.0, 1.0)
    assert report.verdict == "ok"


def test_prompts_get_their_reference_from_a_column(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "answer": n, "source": "x"} for n in range(3)]
    path = write_rows(tmp_path, rows)

    assert [row.reference for row in read_rows(path, 9)] == ["0", "1", "2"]
    assert {row.reference for row in read_rows(path, 9, column="source")} == {"x"}
    assert read_rows(path, 1)[0].columns == {"answer": 0, "source": "x"}


def test_rows_of_other_kinds_have_prompts_and_references(tmp_path: Path) -> None:
    rows = [{"prompt": "a?", "chosen": "yes", "rejected": "no"}]
    assert read_rows(write_rows(tmp_path, rows), 1)[0].reference == "yes"
    with pytest.raises(FtwizardError, match="plain text") as caught:
        read_rows(write_rows(tmp_path, [{"text": "only text"}]), 1)
    assert caught.value.exit_code == CANNOT_TELL
