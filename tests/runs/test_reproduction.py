"""A reproduced run compared with its original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.jobs.folder import JobFolder, JobRecord, Parent, write_json
from ftwizard.runs import environment, reproduction
from ftwizard.runs.environment import Environment
from ftwizard.runs.evaluation import ArmScore, Evaluation, SetResult
from ftwizard.runs.reproduction import Reproduction

LOSSES = [2.0, 1.5, 1.25, 1.125]


def make_run(
    home: Path, name: str, losses: list[float], parent: str | None = None, torch: str = "2.13.0"
) -> JobFolder:
    """Write a run with a loss for each step, and an evaluation at each second one."""
    folder = JobFolder(home / "runs" / name)
    folder.path.mkdir(parents=True)
    origin = Parent(id=parent, step=0, changes={}) if parent else None
    write_json(folder.job, JobRecord(kind="train", argv=[], version="0", created=0, parent=origin))
    lines: list[dict[str, Any]] = []
    for step, loss in enumerate(losses, 1):
        lines.append({"v": 1, "t": 0.0, "kind": "log", "step": step, "loss": loss})
        if step % 2 == 0:
            lines.append({"v": 1, "t": 0.0, "kind": "eval", "step": step, "eval_loss": loss})
    folder.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    used = msgspec.structs.replace(environment.observe_environment(), packages={"torch": torch})
    write_json(folder.path / environment.FILE, used)
    return folder


def compare(folder: JobFolder) -> Reproduction:
    compared = reproduction.compare(folder)
    assert compared is not None
    return compared


def test_equal_losses_are_called_the_same(home: Path) -> None:
    make_run(home, "first", LOSSES)
    compared = compare(make_run(home, "again", LOSSES, "first"))
    assert compared.has_same_losses
    assert list(reproduction.describe(compared)) == [
        "Same losses as first: 4 steps, 2 evaluations."
    ]


def test_the_first_and_the_largest_difference_are_named_with_the_versions(home: Path) -> None:
    make_run(home, "first", LOSSES)
    again = make_run(home, "again", [2.0, 1.5, 1.5, 1.0], "first", torch="2.14.0")
    compared = compare(again)
    assert not compared.has_same_losses
    assert (compared.first_difference, compared.max_difference) == (3, 0.25)
    first, versions = reproduction.describe(compared)
    assert "by at most 0.25 from step 3 on" in first
    assert versions == "Versions differ: torch 2.13.0 → 2.14.0"


def test_the_smallest_difference_is_one(home: Path) -> None:
    make_run(home, "first", LOSSES)
    again = make_run(home, "again", [*LOSSES[:3], 1.1250000000000002], "first")
    assert compare(again).first_difference == 4
    assert list(reproduction.describe(compare(again)))[-1] == "No recorded version differs."


def test_steps_of_only_one_run_are_counted_and_not_called_the_same(home: Path) -> None:
    make_run(home, "first", LOSSES[:3])
    compared = compare(make_run(home, "again", LOSSES, "first"))
    assert not compared.has_same_losses
    first, more = reproduction.describe(compared)
    assert first == "Same losses as first where both have any: 3 steps, 1 evaluation."
    assert more == "1 more step in this run."


def test_nan_in_both_is_equal_and_in_one_is_not(home: Path) -> None:
    first = make_run(home, "first", LOSSES)
    text = first.events.read_text().replace("1.125", '"nan"')
    assert text.count('"nan"') == 2
    first.events.write_text(text)
    again = make_run(home, "again", LOSSES, "first")
    assert compare(again).first_difference == 4
    assert compare(again).max_difference == float("inf")
    again.events.write_text(text)
    assert compare(again).has_same_losses


def test_scores_that_differ_are_named(home: Path) -> None:
    runs = make_run(home, "first", LOSSES), make_run(home, "again", LOSSES, "first")
    for folder, score in zip(runs, (0.5, 0.75), strict=True):
        arm = ArmScore(score=score, low=0, high=1, metric="exact", n=4)
        folder.evaluations.mkdir()
        judged = Evaluation(verdict="ship", sets={"target": SetResult(n=4, arms={"tuned": arm})})
        write_json(folder.evaluation, judged)
    compared = compare(runs[1])
    assert compared.differing_scores == {"target score": (0.5, 0.75)}
    assert "Scores differ: target score 0.5 → 0.75" in list(reproduction.describe(compared))


def test_a_branch_and_a_run_whose_original_is_gone_are_not_compared(home: Path) -> None:
    make_run(home, "first", LOSSES)
    branch = make_run(home, "branch", LOSSES, "first")
    origin = Parent(id="first", step=0, changes={"recipe.epochs": (1, 2)})
    write_json(branch.job, msgspec.structs.replace(branch.read_job(), parent=origin))
    assert reproduction.compare(branch) is None
    assert reproduction.compare(make_run(home, "orphan", LOSSES, "deleted")) is None


@pytest.mark.parametrize("change", [{"python": "3.9.1"}, {"cpu": "another"}, {"packages": {}}])
def test_every_part_of_the_environment_counts(change: dict[str, Any]) -> None:
    here: Environment = environment.observe_environment()
    other = msgspec.structs.replace(here, **change)
    assert reproduction.compare_environments(here, other)
    assert reproduction.compare_environments(here, here) == {}
