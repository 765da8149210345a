"""The end of the demo: what it says of its verdict, and the step that it takes itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli import demo
from ftwizard.cli.parser import dispatch
from ftwizard.data import bundled_samples
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan import plan_file
from ftwizard.runs import next_steps
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.evaluation import Action, Evaluation, Failure, VerdictReason
from ftwizard.runs.evaluation_files import find_newest
from ftwizard.runs.evaluation_job import Candidate
from ftwizard.runs.result import MergedModel
from ftwizard.runs.verdict import ShipVerdict
from ftwizard.train import command, launcher
from tests.helpers.results import make_run_result, make_trained, write_judgment
from tests.runs.test_ship_verdict import judge
from tests.screens.runs_helpers import make_run

LOST = Failure(name="forgetting", found=True, evidence={"n": 40, "base": 0.5, "tuned": 0.1})
OPEN = Failure(name="forgetting", found=None, needs="items", evidence={"n": 40})
KEPT = Evaluation(verdict="cannot_tell", reasons=[VerdictReason(name="not_compared")])


def forget() -> Evaluation:
    reasons = [VerdictReason(name="failure", failure="forgetting")]
    return Evaluation(
        verdict="do_not_ship", reasons=reasons, failures=[LOST], actions=[Action(kind="scale")]
    )


@pytest.fixture
def run(home: Path) -> JobFolder:
    """Return a finished, merged run that forgot."""
    folder = make_run(home, "one")
    base = home / "base"
    base.mkdir()
    (base / "model.safetensors").touch()
    trained = make_trained(base=str(base))
    write_json(folder.trained, trained)
    write_json(folder.result, make_run_result(training=trained))
    folder.evaluations.mkdir()
    write_json(folder.evaluation, forget())
    return folder


def list_end(evaluation: Evaluation, run: JobFolder, **options: bool) -> list[str]:
    return demo.describe_end(evaluation, next_steps.find_next(run), run.id, **options)


def test_a_model_that_may_be_shipped_gets_its_next_command(run: JobFolder) -> None:
    evaluation = judge()
    assert evaluation.verdict == "ship"
    write_json(run.evaluation, evaluation)
    run.adapter.mkdir()
    *_, following, invitation = list_end(evaluation, run)
    assert following == "Next: Merge it, and prove the merge: ftwizard merge one"
    assert invitation.endswith("ftwizard chat one --base")


def test_what_too_few_items_cannot_prove_is_one_sentence(run: JobFolder) -> None:
    evaluation = judge(failures=[OPEN])
    assert evaluation.verdict == "cannot_tell"
    meaning, _ = list_end(evaluation, run)
    assert meaning.startswith("No failure was found, but") and "larger model" in meaning
    assert meaning.count(".") == 1 and len(meaning.split()) <= 35


def test_an_unproved_gain_is_not_called_a_success(run: JobFolder) -> None:
    following, _ = list_end(KEPT, run)
    assert following.startswith("Next: ")


def test_the_lesson_of_forgetting_says_what_it_shows(run: JobFolder) -> None:
    meaning, remedy, _ = list_end(forget(), run, forgets=True)
    assert "expected" in meaning and remedy.endswith("ftwizard demo")
    meaning, *_ = list_end(KEPT, run, forgets=True)
    assert "expected" not in meaning and meaning.startswith("Nothing was found to be lost")


def test_only_the_lesson_trains_without_general_rows(home: Path) -> None:
    usual, forgetful = (
        plan_file.load(bundled_samples.copy_plan(forgets=forgets)) for forgets in (False, True)
    )
    assert usual.data.mix.share > 0 and forgetful.data.mix.share == 0
    assert usual.recipe.peak_learning_rate < forgetful.recipe.peak_learning_rate
    assert usual.data.files == forgetful.data.files


class Finisher:
    """Ends the demo's training at once with the run ``folder``; records and fakes the steps it takes."""

    def __init__(self, folder: JobFolder, verdicts: dict[float, ShipVerdict]) -> None:
        self.folder = folder
        self.verdicts = verdicts
        self.commands: list[list[str]] = []

    def take(self, argv: list[str], **_: Any) -> Any:
        words = argv[argv.index("ftwizard") + 1 :]
        self.commands.append(words)
        if words[0] == "eval":
            candidates = [
                Candidate(name=f"scale-{scale}", verdict=verdict, scores={}, scale=scale, step=40)
                for scale, verdict in self.verdicts.items()
            ]
            kept = candidates[0].verdict != "do_not_ship"
            write_judgment(self.folder, 1, KEPT if kept else forget(), candidates)
        else:
            scale = float(words[words.index("--scale") + 1])
            self.folder.merged.mkdir(exist_ok=True)
            model = MergedModel(
                folder=str(self.folder.merged), size_bytes=9, dtype="bfloat16", scale=scale
            )
            write_json(self.folder.merged / MARKER, model)
        return type("Done", (), {"returncode": 0})


def play(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, verdicts: dict[float, ShipVerdict], *words: str
) -> Finisher:
    finisher = Finisher(run, verdicts)
    monkeypatch.setattr(command, "check_installed", lambda plan: None)
    monkeypatch.setattr(launcher, "start", lambda *_, **__: run)
    monkeypatch.setattr(subprocess, "run", finisher.take)
    assert dispatch(["demo", "--yes", *words], lambda *_, **__: 9) == 0
    return finisher


def test_a_failure_makes_it_judge_weaker_adapters_and_merge_the_best(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = play(run, monkeypatch, {0.5: "cannot_tell", 1.0: "do_not_ship"})
    assert steps.commands == [
        ["eval", "one", "--sweep"], ["merge", "one", "--scale", "0.5", "--replace"],
    ]  # fmt: skip
    newest = find_newest(run)
    assert newest and newest.scale == 0.5 and newest.evaluation.verdict == "cannot_tell"
    text = capsys.readouterr().out
    first, final = text.index("✗ Do not ship: forgetting"), text.index("? Cannot tell")
    assert first < text.index("ftwizard eval one --sweep") < final
    assert "✗ Do not ship" not in text[final:]


def test_where_no_strength_passes_the_failure_stands(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = play(run, monkeypatch, {0.25: "do_not_ship", 1.0: "do_not_ship"})
    assert steps.commands == [["eval", "one", "--sweep"]]
    assert capsys.readouterr().out.count("✗ Do not ship: forgetting") >= 2


def test_the_lesson_of_forgetting_repairs_nothing(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(run, monkeypatch, {}, "--forget").commands == []
    assert "mixes general rows in" in capsys.readouterr().out


def test_json_is_one_document_of_the_final_state(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(run, monkeypatch, {0.5: "cannot_tell", 1.0: "do_not_ship"}, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["id"] == "one" and document["ship"] == "cannot_tell"
