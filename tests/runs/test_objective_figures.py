"""Figures of DPO, KTO and GRPO in status, lists and comparisons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.__main__ import main
from ftwizard.diagnosis import diagnose
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import comparison, loss_curves, objective_figures
from ftwizard.runs.store import read_status
from ftwizard.runs.summary import ProgressReader, read_progress
from tests.helpers.objective_curves import KINDS, list_events
from tests.screens.runs_helpers import make_run


def run(home: Path, name: str, kind: str = "", seed: int = 1) -> JobFolder:
    """Write a run with a curve of a kind; without one, of supervised fine-tuning."""
    folder = make_run(home, name)
    job = json.loads(folder.job.read_text())
    hashes = {"train": "t", "split": "s", "model": "m", "template": "p"}
    folder.job.write_text(json.dumps(job | {"hashes": hashes}))
    if kind:
        folder.events.unlink()
        events = EventWriter(folder.events, 1)
        for event in list_events(KINDS[kind].draw(seed)):
            events.write(**event)
        events.close()
    return folder


def compare(*folders: JobFolder) -> comparison.Comparison:
    return comparison.compare([comparison.read_side(item, i) for i, item in enumerate(folders)])


def test_status_has_the_figures_of_the_objective(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(home, "pairs", "dpo: learns")
    assert main(["status", "pairs", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    curve = KINDS["dpo: learns"].draw(1)
    assert document["objective"] == "dpo"
    assert (
        document["figures"]["eval_rewards_accuracies"]
        == curve.metrics["eval_rewards_accuracies"][-1][1]
    )
    newest = [value for _, value in curve.metrics["rewards_margins"][-10:]]
    assert document["figures"]["rewards_margins"] == pytest.approx(sum(newest) / 10)
    assert main(["status", "pairs"]) == 0
    assert "pair accuracy" in capsys.readouterr().out


def test_status_of_supervised_fine_tuning_is_unchanged(home: Path) -> None:
    status = read_status(run(home, "sft"))
    assert not isinstance(status.objective, str) and not isinstance(status.figures, dict)


def test_figures_are_those_that_matter_for_the_objective(home: Path) -> None:
    def names(kind: str) -> list[str]:
        progress = read_progress(run(home, kind.split(":")[0], kind))
        return [name for name, _ in objective_figures.list_figures(progress)]

    assert names("dpo: learns")[:3] == ["pair accuracy", "validation pairs", "margin"]
    assert names("kto: learns") == ["margin", "chosen", "rejected", "KL"]
    assert names("grpo: learns")[:4] == ["reward", "no signal", "length", "cut off"]


def test_comparison_shows_accuracy_and_reward(home: Path) -> None:
    result = compare(run(home, "a", "dpo: learns"), run(home, "b", "dpo: separated, chosen rise"))
    rows = dict(comparison.format_scores(result))
    assert rows["pair accuracy"][1] == "100%" and "reward" not in rows
    assert result.comparable["validation_loss"] is True and result.reasons == []
    rewards = dict(
        comparison.format_scores(
            compare(run(home, "c", "grpo: learns"), run(home, "d", "grpo: solved"))
        )
    )
    assert float(rewards["reward"][0]) < 0.9 < float(rewards["reward"][1])


def test_losses_of_different_objectives_are_not_compared(home: Path) -> None:
    result = compare(run(home, "a"), run(home, "b", "dpo: learns"))
    assert result.comparable["validation_loss"] is result.comparable["training_loss"] is False
    assert "Different objectives (A SFT, B DPO)" in result.reasons[0]
    assert comparison.find_best(result, "loss") == set()
    rewards = compare(run(home, "c", "grpo: learns"), run(home, "d", "grpo: solved"))
    assert rewards.comparable["training_loss"] is False
    assert rewards.reasons == [
        "The loss of GRPO ranks nothing. Compare rewards, on the same prompts."
    ]


@pytest.mark.parametrize("kind", ["dpo: displaced", "kto: KL explodes", "grpo: reward collapses"])
def test_verdict_on_a_run_is_that_on_its_curve(home: Path, kind: str) -> None:
    """Also from the summary, whose series are thin."""
    folder = run(home, "a", kind)
    curve = KINDS[kind].draw(1)
    for _ in range(2):
        read = loss_curves.from_progress(read_progress(folder))
        assert read.objective == curve.objective
        assert diagnose(read).pattern == KINDS[kind].label
        reader = ProgressReader(folder)
        reader.read()
        reader.write()
