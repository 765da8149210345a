"""Comparison of runs: settings, results and results that are not comparable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import base_weights, comparison
from ftwizard.runs.comparison import Comparison
from tests.screens.runs_helpers import make_result, make_run

SAME = {"train": "t", "split": "s", "model": "m", "template": "p"}


def run(home: Path, name: str, recipe: str = "", hashes: Any = SAME, **more: Any) -> JobFolder:
    folder = make_run(home, name, **more)
    folder.plan.write_text(f"data: {{files: {{train: /d.jsonl}}}}\nmodel: {{name: m}}\n{recipe}")
    job = json.loads(folder.job.read_text())
    folder.job.write_text(json.dumps(job | {"hashes": hashes}))
    return folder


def compare_runs(*folders: JobFolder) -> Comparison:
    return comparison.compare([comparison.read_side(item, i) for i, item in enumerate(folders)])


def test_comparison_lists_only_differing_settings(home: Path) -> None:
    result = compare_runs(run(home, "a"), run(home, "b", "recipe: {rank: 8, learning_rate: 1e-4}"))
    assert result.settings == {"recipe.rank": [16, 8], "recipe.learning_rate": [None, 1e-4]}
    assert comparison.format_settings(result)[1] == ("recipe.learning_rate", ["–", "0.0001"])


def test_lower_loss_is_marked_for_same_rows_and_model(home: Path) -> None:
    result = compare_runs(run(home, "a"), run(home, "b", steps=60))
    assert result.comparable == {
        "validation_loss": True, "training_loss": True, "test": True, "test_loss": True
    }  # fmt: skip
    assert result.reasons == []
    rows = dict(comparison.format_scores(result))
    assert rows["best validation loss"] == ["0.105 at 40", "✓ 0.07 at 60"]
    assert rows["tokens"] == ["4,000", "6,000"]


@pytest.mark.parametrize(
    ("hashes", "recipe", "comparable", "says"),
    [
        (SAME | {"model": "other"}, "", False, "tokenizer"),
        (SAME | {"template": "other"}, "", False, "tokenizer"),
        (SAME | {"train": "other"}, "", False, "Different validation rows"),
        (SAME | {"validation": "v"}, "", False, "Different validation rows"),
        (SAME, "recipe: {max_length: 512}", False, "Different max lengths"),
        ({}, "", None, "Not recorded"),
        (SAME | {"split": "x"}, "", True, ""),
    ],
)
def test_best_loss_is_marked_only_when_comparable(
    home: Path, hashes: Any, recipe: str, comparable: bool | None, says: str
) -> None:
    result = compare_runs(run(home, "a"), run(home, "b", recipe, hashes, steps=60))
    assert result.comparable["validation_loss"] is comparable
    assert says in " ".join(result.reasons)
    marked = comparison.find_best(result, "best_eval_loss")
    assert marked == ({1} if comparable else set())


def test_different_validation_share_is_not_comparable(home: Path) -> None:
    other = run(home, "b", hashes=SAME | {"split": "x"})
    files = "files: {train: /d.jsonl}"
    other.plan.write_text(f"data: {{{files}, split: {{validation: 0.2}}}}\nmodel: {{name: m}}\n")
    assert compare_runs(run(home, "a"), other).comparable["validation_loss"] is False


def test_test_set_scores_appear_where_a_run_has_them(home: Path) -> None:
    a, b = run(home, "a"), run(home, "b")
    make_result(a, [{"prompt": [], "expected": "x", "base": "y", "tuned": "x", "line": 1}])
    rows = dict(comparison.format_scores(compare_runs(a, b)))
    assert rows["test loss"] == ["0.25", "–"]
    assert rows["test, right answers"] == ["100%", "–"]


def test_lower_test_loss_is_marked_for_same_rows_and_model(home: Path) -> None:
    folders = {
        "a": run(home, "a"),
        "b": run(home, "b"),
        "other-rows": run(home, "c", hashes=SAME | {"test": "other"}),
        "other-model": run(home, "d", hashes=SAME | {"model": "other"}),
    }
    for folder in folders.values():
        make_result(folder, [{"prompt": [], "expected": "", "base": "", "tuned": "", "line": 1}])
    evaluation = json.loads(folders["a"].evaluation.read_text())
    (loss,) = [e for e in evaluation["target"]["evidence"] if e["measure"] == "loss"]
    loss["tuned"] = 0.5
    folders["a"].evaluation.write_text(json.dumps(evaluation))

    def format_test_loss(other: str) -> list[str]:
        return dict(comparison.format_scores(compare_runs(folders["a"], folders[other])))[
            "test loss"
        ]

    assert format_test_loss("b") == ["0.5", "✓ 0.25"]
    assert format_test_loss("other-rows") == ["0.5", "0.25"]
    assert format_test_loss("other-model") == ["0.5", "0.25"]


def test_run_with_damaged_files_is_still_compared(home: Path) -> None:
    a, b = run(home, "a"), run(home, "b")
    b.plan.write_text("]")
    b.job.write_text("{")
    b.result.write_text('{"attempt": 1, "compare": {"tuned": [3]}}')
    result = compare_runs(a, b)
    assert result.settings == {}
    assert "Could not read the plan of b" in " ".join(result.reasons)
    assert result.comparable["validation_loss"] is None
    assert comparison.to_report(result).runs[1].id == "b"


def test_runs_on_other_weights_of_one_model_are_not_comparable(home: Path, tmp_path: Path) -> None:
    base, sides = tmp_path / "base", []
    base.mkdir()
    for name, content in (("a", b"old"), ("b", b"old"), ("c", b"new")):
        folder = run(home, name)
        (base / "model.safetensors").write_bytes(content)
        base_weights.record_later(folder, base, base_weights.read_stamps(base))
        base_weights.wait()
        sides.append(folder)
    assert compare_runs(*sides[:2]).comparable["validation_loss"] is True
    comparison = compare_runs(*sides)
    assert comparison.comparable["validation_loss"] is comparison.comparable["test_loss"] is False
    assert any("The base weights differ" in reason for reason in comparison.reasons)


def test_fewer_than_two_runs_are_refused(home: Path) -> None:
    run(home, "a")
    with pytest.raises(FtwizardError, match="One run alone"):
        comparison.find_runs(["a", "a"])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)), min_size=2, max_size=5))
def test_find_differences_lists_exactly_the_differing_settings(
    settings: list[dict[str, int]],
) -> None:
    differences = comparison.find_differences(settings)
    expected = [setting for setting in settings if setting]
    for name in "abc":
        assert (name in differences) == (len({item.get(name) for item in expected}) > 1)


def test_each_compared_run_has_its_verdict(home: Path) -> None:
    answer = {"line": 1, "prompt": [], "expected": "yes", "base": "no", "tuned": "yes"}
    folders = run(home, "a"), run(home, "b"), run(home, "c")
    make_result(folders[0], [answer] * 9)
    make_result(folders[1], [{**answer, "tuned": "no"}] * 9)
    assert comparison.format_verdicts(compare_runs(*folders)) == [
        "A  ✓ It helped: 9 of 9 test answers are right, 0 with the base model.",
        "B  ? Cannot tell: 0 of 9 test answers are right, 0 with the base model.",
    ]
    report = comparison.to_report(compare_runs(*folders))
    assert [side.verdict and side.verdict.outcome for side in report.runs] == [
        "helped", "cannot_tell", None,
    ]  # fmt: skip
