"""The results page of an evaluated run: verdict, scores, failures, changed answers, forms."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, Parent, write_json
from ftwizard.jobs.status import observe
from ftwizard.rewards.recognized_answers import RecognizedAnswers
from ftwizard.runs import custody, describe
from ftwizard.runs.custody import Hop
from ftwizard.runs.evaluation import Failure, Flip, NearRow
from ftwizard.runs.merge_proof import MergeProof
from ftwizard.runs.verdict import ShipVerdict
from ftwizard.screens.app import FtwizardApp
from tests.helpers.results import make_trained
from tests.screens.frames import (
    assert_frame,
    drive,
    frame,
    wait_for_stable_frame,
    wait_for_text,
)
from tests.screens.monitor.evaluated_runs import (
    LEAK,
    browse,
    evaluate,
    judge,
    open_results,
    write_evaluation,
    write_export,
)
from tests.screens.runs_helpers import PLAN, living, make_run

SIZES = [(80, 24), (160, 50)]


@pytest.mark.parametrize("size", SIZES)
def test_a_model_that_leaks_is_not_to_be_shipped(home: Path, size: tuple[int, int]) -> None:
    healthy = [Failure(name="mode_collapse", found=False), Failure(name="overfitting", found=None)]
    leak = Failure(name="memorization", found=True, evidence=LEAK)
    write_evaluation(home, evaluate([leak, *healthy]))
    shown = drive(FtwizardApp(("run", "one")), size, open_results)
    assert_frame("results-leak-{}x{}".format(*size), hide_files(shown))


def test_the_kind_of_the_answers_is_shown_and_that_it_came_after_training(home: Path) -> None:
    kind = RecognizedAnswers(scorer="numeric", marker="####", rows=98, total=100)
    evaluation = msgspec.structs.replace(evaluate([]), answers=kind, scorer_changed=True)
    write_evaluation(home, evaluation)
    shown = drive(FtwizardApp(("run", "one")), (120, 40), open_results)
    assert "a number after “####” (98 of 100 rows): right or wrong; chosen after training" in shown


@pytest.mark.parametrize("size", SIZES)
def test_changed_answers_are_browsed_broken_first(home: Path, size: tuple[int, int]) -> None:
    write_evaluation(home, evaluate([]))
    shown = drive(FtwizardApp(("run", "one")), size, browse)
    assert_frame("results-changed-{}x{}".format(*size), hide_files(shown))


def test_keys_show_each_changed_answer_once_the_fixed_after_the_broken(home: Path) -> None:
    evaluation = evaluate([])
    write_evaluation(home, evaluation)
    broken = sum(len(result.broken) for result in evaluation.sets.values())
    fixed = sum(len(result.fixed) for result in evaluation.sets.values())
    assert broken and fixed
    titles: list[tuple[str, str]] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        for key in (*["right"] * (broken + 1), "left", "left", "p"):
            await pilot.press(key)
            shown = await wait_for_stable_frame(pilot)
            titles.extend(re.findall(r"answer (\d+) of \d+  . (\w+)", shown))

    drive(FtwizardApp(("run", "one")), (80, 24), play)
    forth = [(str(n), "broken") for n in range(1, broken + 1)] + [(str(broken + 1), "fixed")]
    assert titles == [*forth, *forth[-2:-5:-1]]


def test_small_screen_has_scores_without_their_intervals(home: Path) -> None:
    write_evaluation(home, evaluate([], general=48))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press(*["j"] * 8)

    shown = drive(FtwizardApp(("run", "one")), (60, 16), play)
    assert_frame("results-60x16", hide_files(shown))


def test_what_exists_and_what_is_missing(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    sizes = (100, 90)
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert re.search(r"model +✓ adapter +· missing: merged model\n", shown)
    assert "Enter     Merge it, and prove the merge: ftwizard merge one" in shown
    folder.merged.mkdir()
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert "missing: proof, verification, model card" in shown, (
        "a GGUF only if the plan asks for it"
    )
    assert "Enter     Prove the merged model: ftwizard merge one" in shown
    write_json(
        folder.merged / "proof.json",
        MergeProof(verdict="proved", base="/b", adapter="/a", tensors=3),
    )
    for form in ("gguf:q4_k_m", "broken"):
        write_export(folder, form, {})
    (folder.exports / "broken" / "a.gguf").unlink()
    folder.plan.write_text(f"{PLAN}finish: {{export: [gguf, 'gguf:q4_k_m']}}\n")
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert "Enter     Export it as gguf, about 270 MB: ftwizard export one --to gguf" in shown
    assert "✓ gguf:q4_k_m" in shown and "missing: gguf, verification" in shown
    folder.plan.write_text(PLAN)
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert "Enter     Verify: compare all forms on the same prompts: ftwizard verify one" in shown
    hop = Hop(
        source="adapter", target="merged", ok=False, token_ids_equal=True, cause="base_served",
        max_logprob_difference=3.5,
    )  # fmt: skip
    write_json(folder.path / custody.FILE, custody.Custody(hops=[hop], prompts=20))
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert re.search(r"verify +✗ adapter → merged: tokens equal, log-prob", shown)
    assert "It answers as the base model: the adapter is not in it." in shown
    assert re.search(r"proof +✓ Proved: all 3 tensors", shown)
    assert re.search(r"gguf:q4_k_m  \S+", shown) and "gguf-q4" in shown
    assert "Enter     Verify again: a form differs from what was trained" in shown
    assert "export/broken" not in "".join(shown.split())
    write_json(
        folder.path / custody.FILE, custody.Custody(hops=[msgspec.structs.replace(hop, ok=True)])
    )
    folder.card.write_text("card")
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert "missing" not in shown
    assert "Everything is there: the model can be used." in shown
    assert (
        "".join(shown.split()).count("export/gguf-q4")
        == "".join(shown.split()).count("merged270MB")
        == 1
    )
    assert re.search(r"verify +✓ adapter → merged: same answers\n", shown)
    assert re.search(r"card +\S+", shown) and "s here, or: ftwizard serve one" in shown
    assert re.search("serve .*\n *Enter +Chat: compare the answers of both models yourself", shown)
    os.utime(folder.path / custody.FILE, (1.0, 1.0))
    (folder.merged / "ftwizard.json").touch()
    shown = drive(FtwizardApp(("run", "one")), sizes, open_results)
    assert "Enter     Verify again: the model was merged since: ftwizard verify one" in shown


PROMPT = "My parcel has not arrived after two weeks. What can I do?"
CHOSEN, REJECTED = "I am sorry. I have opened a search for it.", "Wait."
CHANGED = {
    "dpo": Flip(item="1", prompt=PROMPT, expected=CHOSEN, rejected=REJECTED, base=REJECTED,
                tuned=CHOSEN, change=1.0, line=4),
    "grpo": Flip(item="1", prompt=PROMPT, expected="", base=REJECTED, tuned=CHOSEN, change=0.4,
                 line=4, rewards=[-0.5, 1.25]),
}  # fmt: skip


@pytest.mark.parametrize("objective", CHANGED)
def test_changed_answers_show_what_the_run_was_trained_for(home: Path, objective: str) -> None:
    evaluation = evaluate([])
    sets = {"target": msgspec.structs.replace(
        evaluation.sets["target"], broken=[], fixed=[CHANGED[objective]])}  # fmt: skip
    write_evaluation(home, msgspec.structs.replace(evaluation, sets=sets))
    shown = drive(FtwizardApp(("run", "one")), (80, 24), browse)
    assert_frame(f"results-changed-{objective}-80x24", hide_files(shown))


SAMPLE = Flip(item="1", prompt=PROMPT, expected=CHOSEN, base="Ask the carrier.",
              tuned="I have opened a search.", change=0.0, line=4)  # fmt: skip
SAMPLES: dict[str, dict[str, Any]] = {
    "sft": {"change": 0.1},
    "dpo": {"rejected": REJECTED, "base": CHOSEN, "tuned": CHOSEN},
    "grpo": {"rewards": [-0.5, -0.25]},
}


@pytest.mark.parametrize("objective", SAMPLES)
def test_test_rows_show_what_the_run_was_trained_for(home: Path, objective: str) -> None:
    """Where no answer of the test rows changed; those of other sets come first."""
    evaluation = evaluate([])
    target = msgspec.structs.replace(evaluation.sets["target"], broken=[], fixed=[])
    general = msgspec.structs.replace(
        evaluation.sets["general"], broken=evaluation.sets["general"].broken[:1], fixed=[]
    )
    sets = {"target": target, "general": general}
    samples = [msgspec.structs.replace(SAMPLE, **SAMPLES[objective])]
    write_evaluation(home, msgspec.structs.replace(evaluation, sets=sets, samples=samples))

    async def play(pilot: Pilot[Any]) -> None:
        await browse(pilot)
        await wait_for_text(pilot, "answer 1 of 2")
        await pilot.press("right")
        await wait_for_text(pilot, "answer 2 of 2")

    shown = drive(FtwizardApp(("run", "one")), (80, 24), play)
    assert_frame(f"results-row-{objective}-80x24", hide_files(shown))


def test_a_running_evaluation_is_followed(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    judge(folder, 1, {"tuned": ("ship", 1.0)}).unlink()
    job = JobFolder(folder.path / "jobs" / "1-eval")
    (job.path / "attempts").mkdir()
    attempt = Attempt(number=1, started=time.time(), host=os.uname().nodename, argv=["none"])
    write_json(job.attempt(1), attempt)
    events = EventWriter(job.events, 1)
    events.write(
        "phase", phase="comparing", what="tuned model", done=12, total=80, unit="answers", eta_s=95.0
    )  # fmt: skip
    with living(job):
        shown = drive(FtwizardApp(("run", "one")), (100, 40), follow)
    events.close()
    assert "An evaluation is running: comparing: tuned model, 12 of 80 answers" in shown
    assert re.search(r"about\s+1 min 3\d s left", shown)


def test_judged_checkpoints_are_shown_and_one_that_passed_is_merged(home: Path) -> None:
    folder = write_evaluation(home, evaluate([], general=48))
    checkpoints: dict[str, tuple[ShipVerdict, float]] = {
        "checkpoint-20": ("ship", 1.0),
        "checkpoint-30": ("do_not_ship", 1.0),
    }
    judge(folder, 1, checkpoints, {"checkpoint-20": 20, "checkpoint-30": 30})
    shown = drive(FtwizardApp(("run", "one")), (160, 50), open_results)
    assert re.search(
        r"judged +✓ Ship: checkpoint-20  target 80%\n +✗ Do not ship: checkpoint-30  target 80%",
        shown,
    )
    assert "Enter Merge checkpoint 20, which passed: ftwizard merge" in " ".join(shown.split())
    assert str(folder.checkpoints / "checkpoint-20") in "".join(shown.split())


def test_a_stopped_run_with_a_model_opens_its_results(home: Path) -> None:
    folder = make_run(home, "one", end_reason="stopped")

    async def ask(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "r resumes the run")
        assert "shows the results" not in frame(pilot.app)
        await pilot.press("enter")
        await wait_for_text(pilot, "No results yet: the run has neither trained weights")

    drive(FtwizardApp(("run", "one")), (100, 40), ask)
    (folder.path / "adapter").mkdir()
    (home / "base").mkdir()
    (home / "base" / "model.safetensors").touch()
    write_json(folder.trained, make_trained(reason="stopped", base=str(home / "base")))

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "enter shows the results")
        await open_results(pilot)

    shown = drive(FtwizardApp(("run", "one")), (100, 40), play)
    assert re.search(r"ended +■ The", shown) and "ftwizard resume one" in shown
    assert re.search(r"Enter +Evaluate it: compare it with its base.*: ftwizard eval one", shown)
    outcome = "\n".join(describe.describe_outcome(folder, observe(folder)))
    assert "No checkpoint was saved. Start again: ftwizard resume one" in outcome
    assert re.search(r"next +Evaluate it: compare it with its base.*: ftwizard eval one", outcome)
    folder.evaluations.mkdir()
    write_json(folder.evaluation, evaluate([]))
    assert describe.describe_outcome(folder, observe(folder))[0].startswith("✓ Ship")


def test_a_reproduced_run_shows_how_it_compares_with_its_original(home: Path) -> None:
    make_run(home, "first")
    folder = write_evaluation(home, evaluate([]))
    record = folder.read_job()
    write_json(
        folder.job, msgspec.structs.replace(record, parent=Parent(id="first", changes={}, step=0))
    )
    shown = drive(FtwizardApp(("run", "one")), (120, 80), open_results)
    assert re.search(r"original +Same losses as first: 40 steps, 4 evaluations\.", shown)


def test_an_evaluation_that_cannot_be_read_is_no_verdict(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    folder.evaluation.write_text(folder.evaluation.read_text()[:200])
    shown = drive(FtwizardApp(("run", "one")), (80, 24), open_results)
    assert "? The evaluation cannot be read" in shown
    assert "Evaluate again: ftwizard eval one" in " ".join(shown.split())
    assert "helped" not in shown


def test_hostile_text_of_an_answer_is_shown_not_obeyed(home: Path) -> None:
    evil = "[bold]x[/] \x1b]52;c;QQ==\x07"
    flip = Flip(
        item="1", prompt=evil, expected=evil, base=evil, tuned=evil, change=-1.0, category=evil,
        near=[NearRow(line=1, share=0.5, text=evil)],
    )  # fmt: skip
    evaluation = evaluate([])
    target = msgspec.structs.replace(evaluation.sets["target"], broken=[flip])
    write_evaluation(home, msgspec.structs.replace(evaluation, sets={evil: target}))
    shown = drive(FtwizardApp(("run", "one")), (100, 60), open_results)
    assert shown.count("[bold]x[/] ␛]52;c;QQ==") >= 5
    assert "\x1b" not in shown and "\x07" not in shown


async def follow(pilot: Pilot[Any]) -> None:
    await open_results(pilot)
    await wait_for_text(pilot, "12 of 80 answers")
    await pilot.press("enter")
    await wait_for_text(pilot, "The next step needs its verdict")


def hide_files(shown: str) -> str:
    """Leave out the files of the run, and the scroll bar, whose size depends on their names."""
    return re.sub(r" *[▁-▇]$", "", shown.split("\n  rows ")[0], flags=re.MULTILINE)
