"""The kind of answers of a run: in its test set, and refused before training if no row has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Data, Evaluate, Files, Judge, Model, Plan, Split
from ftwizard.train import dataset


def make_plan(root: Path, evaluate: Evaluate, *, marked: bool = True) -> Plan:
    """Return a plan for 40 worked solutions."""
    path = root / "rows.jsonl"
    path.write_text("".join(
        json.dumps({"prompt": f"{n} + {n}?", "completion": f"We add {n} and {n}, step by step, as we were asked to do.\n{f'#### {2 * n}' if marked else f'That was example {n}, told at length.'}"}) + "\n"
        for n in range(40)
    ))  # fmt: skip
    data = Data(files=Files(train=str(path)), split=Split(validation=0.2, test=0.2))
    return Plan(data=data, model=Model(name="none"), evaluate=evaluate)


def read_kind(root: Path, plan: Plan) -> tuple[str, str]:
    folder = JobFolder(root / "run")
    folder.path.mkdir()
    dataset.save_test_set(folder, dataset.load_rows(plan, {}), plan.evaluate)
    kind = dataset.read_test_set(folder).kind
    assert kind and kind.total == 40
    return kind.scorer, kind.marker or kind.pattern


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (Evaluate(), ("numeric", "####")),
        (Evaluate(scorer="chrf"), ("chrf", "")),
        (Evaluate(answer_pattern="#### (.+)"), ("extracted", "#### (.+)")),
        (Evaluate(scorer="numeric", answer_pattern="#### (.+)"), ("numeric", "#### (.+)")),
    ],
)
def test_the_test_set_has_the_kind_of_all_rows(
    settings: Evaluate, kind: tuple[str, str], tmp_path: Path
) -> None:
    assert read_kind(tmp_path, make_plan(tmp_path, settings)) == kind


def test_a_judge_decides_on_free_text_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    judge = Judge(url="http://127.0.0.1:9/v1", model="m")
    plan = make_plan(tmp_path, Evaluate(judge=judge), marked=False)
    rows = dataset.load_rows(plan, {})
    assert dataset.find_kind(rows, plan.evaluate).scorer == "judge"
    assert dataset.find_kind(rows, Evaluate(judge=judge, scorer="rouge")).scorer == "rouge"
    assert dataset.find_kind(rows, Evaluate()).scorer == "chrf"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (Evaluate(answer_pattern=r"Total: (\d+)"), "evaluate.answer_pattern matches no answer in the test rows"),
        (Evaluate(scorer="boxed"), "evaluate.scorer: boxed finds no answer in the test rows"),
    ],
)  # fmt: skip
def test_a_pattern_that_matches_no_row_is_refused_before_training(
    settings: Evaluate, says: str, tmp_path: Path
) -> None:
    with pytest.raises(FtwizardError, match=says) as error:
        dataset.load_rows(make_plan(tmp_path, settings), {})
    assert "The first row ends: “" in error.value.message and "####" in error.value.message
    assert "remove it" in error.value.hint
