"""An edited ``plan.yaml``: what a resumed run takes over, what it refuses, and the child run instead."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ftwizard import locations
from ftwizard.cli import parser
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, State, write_json
from ftwizard.models.hub import ModelSource
from ftwizard.plan import changes, plan_file
from ftwizard.train import child_plan, launcher, resumed_plan
from ftwizard.train.child_plan import Request
from tests.helpers import training
from tests.helpers.checkpoints import save
from tests.helpers.jobs import end_all, events, until_ended

PLAN = """\
data: {files: {train: ../../rows.jsonl}}
model: {name: owner/model}
recipe: {batch_size: 2, gradient_accumulation: 3, epochs: 2, max_length: 200}
budget: {hours: 3}
samples: {count: 0}
"""


@pytest.fixture
def run(home: Path) -> Iterator[JobFolder]:
    """Return a run that was stopped before its first step, as the launcher leaves one.

    Its model cannot be fetched here, so that a started worker ends at once.
    """
    folder = JobFolder(locations.runs_folder() / "one")
    folder.attempt(1).parent.mkdir(parents=True)
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in training.rows(30)))
    folder.plan.write_text(PLAN)
    plan = changes.pin_defaults(plan_file.load(folder.plan))
    folder.plan.write_text(plan_file.dump(plan))
    source = ModelSource(
        kind="hub", name="owner/model", fingerprint="0", description="owner/model", commit="0"
    )
    record = JobRecord(
        kind="train", argv=[], version="0", created=0, plan=msgspec.to_builtins(plan),
        hashes=launcher.hash_data(plan) | {"model": "0"},
        inputs={"model": msgspec.to_builtins(source)},
    )  # fmt: skip
    write_json(folder.job, record)
    write_json(folder.attempt(1), Attempt(number=1, started=0, host="", argv=[], plan=record.plan))
    write_json(folder.state, State(state="ended", attempt=1, end_reason="stopped", started=0))
    yield folder
    end_all(locations.runs_folder())


def edit(run: JobFolder, *texts: str) -> None:
    """Edit the plan as with an editor."""
    plan = changes.set_values(plan_file.parse(run.plan.read_text()), texts)
    run.plan.write_text("# edited\n" + plan_file.dump(plan))


REFUSED = {
    "learning_rate=1e-4": "recipe.learning_rate 0.0002 → 0.0001",
    "alpha=64": "recipe.alpha 32 → 64",
    "recipe.seed=7": "recipe.seed 42 → 7",
    "batch_size=1": "recipe.batch_size 2 → 1",
    "epochs=3": "recipe.epochs 2 → 3",
    "max_length=40": "recipe.max_length 200 → 40",
    "rank=8": "recipe.rank 16 → 8",
    "method=full": "recipe.method lora → full",
    "target_modules=[q_proj, v_proj]": "recipe.target_modules not set → [q_proj, v_proj]",
    "data.split.seed=7": "data.split.seed 42 → 7",
    "max_rows=20": "data.max_rows not set → 20",
    "evaluation_steps=3": "recipe.evaluation_steps not set → 3",
    "gate.gain=0": "gate.gain 0.05 → 0",
    "max_general_loss=0.5": "gate.max_general_loss 0.05 → 0.5",
    "safety=false": "evaluate.safety true → false",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_resume_refuses_what_the_run_was_trained_with(run: JobFolder, setting: str) -> None:
    edit(run, setting, "budget.hours=5")
    text = run.plan.read_text()
    with pytest.raises(FtwizardError) as caught:
        launcher.resume(run, None)
    error = caught.value
    assert (error.exit_code, error.code) == (DECLINED, changes.PLAN_CHANGED)
    assert f"edited: {REFUSED[setting]}." in error.message
    is_gate = setting.startswith(("gate", "max_general", "safety"))
    assert ("Gate and sets are fixed once a run has begun" in error.message) == is_gate
    assert "alone would take effect: budget.hours 3 → 5." in error.message
    assert error.hint == (
        "Start a child run with the new settings: ftwizard branch one --edited   "
        "Or continue without the edits: ftwizard resume one --restore-plan"
    )
    assert run.newest_attempt() == 1 and run.plan.read_text() == text
    plan, differences = child_plan.build(run, Request(edited=True))
    assert changes.find_changes(plan_file.load(run.plan), plan).keys() <= {"recipe.learning_rate"}
    assert differences.keys() >= set(error.document["changes"])


@pytest.mark.parametrize(
    ("begun", "edits"),
    [
        ([], ["epochs=9"]),
        (["finish.compare=false", "data.split.test=0"], ["finish.compare=true"]),
    ],
)
def test_printed_command_names_what_the_child_needs(
    run: JobFolder, begun: list[str], edits: list[str]
) -> None:
    plan = changes.set_values(child_plan.read_used(run), begun)
    run.plan.write_text(plan_file.dump(plan))
    attempt = msgspec.structs.replace(run.read_attempt(1), plan=msgspec.to_builtins(plan))
    write_json(run.attempt(1), attempt)
    edit(run, *edits)
    with pytest.raises(FtwizardError) as caught:
        launcher.resume(run, None)
    (command,) = re.findall(r"ftwizard (branch .*?)   ", caught.value.hint)
    arguments = parser.parser().parse_args([*shlex.split(command), "--name", "kid"])
    request = Request(edited=arguments.edited, settings=arguments.set, allow=arguments.allow)
    plan, differences = child_plan.build(run, request)
    assert differences.keys() >= {
        changes._find_name(text.partition("=")[0], "local") for text in edits
    }
    assert plan.test_share == 0.1


def test_resume_takes_over_and_records_harmless_changes(run: JobFolder) -> None:
    edit(run, "budget.hours=", "budget.minutes=30", "samples.count=2", "finish.merge=false",
         "patience=7", "finish.compare=false")  # fmt: skip
    attempt = launcher.resume(run, None)
    assert attempt.number == 2
    assert run.read_attempt(2).changes == {
        "budget.minutes": (None, 30.0), "budget.hours": (3.0, None),
        "samples.count": (0, 2), "recipe.patience": (3, 7),
        "finish.merge": (True, False), "finish.compare": (True, False),
    }  # fmt: skip
    used = plan_file.read_recorded(run)
    assert used and used.budget.minutes == 30 and used.recipe.patience == 7
    assert used.test_share == 0.1, "the test set is not trained on because it is not compared"
    until_ended(run)
    # The same plan once more is not a change, whatever view wrote or read it meanwhile.
    assert resumed_plan.read(run)[1] == {}
    edit(run, "rank=8")
    assert plan_file.read_run(run) == used, "views show what was used, not what was edited"


def test_untouched_plan_is_resumed_without_a_word(run: JobFolder) -> None:
    assert launcher.resume(run, None).changes == {}
    assert plan_file.read_recorded(run) == plan_file.load(run.plan)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("rank: 16", "rnk: 16", "recipe.rnk is not a setting"),
        ("rank: 16", "rank: [", "plan.yaml, line"),
        ("rank: 16", "rank: 0", "recipe.rank is 0"),
        ("rank: 16", "rank: 16\n  rank: 8", "plan.yaml, line"),
        ("", None, "does not exist"),
    ],
)
def test_broken_or_missing_plan_loses_nothing(
    run: JobFolder, old: str, new: str | None, problem: str
) -> None:
    text = run.plan.read_text()
    if new is None:
        run.plan.unlink()
    else:
        run.plan.write_text(text.replace(old, new))
    with pytest.raises(FtwizardError, match="ftwizard resume one --restore-plan") as caught:
        raise_text(run)
    assert problem in caught.value.message and "\n" not in caught.value.message
    beginning = "Continue without" if new is None else " Or continue without"
    assert beginning in caught.value.hint and caught.value.hint.count("ontinue") == 1
    moved = resumed_plan.restore(run)
    assert run.plan.read_text() == text
    assert (moved.read_text() if moved else None) == (new and text.replace(old, new))
    assert resumed_plan.read(run)[1] == {}
    assert resumed_plan.restore(run) is None, "nothing is left to restore"


def raise_text(run: JobFolder) -> None:
    """Resume; raise the error with its whole text, which ``match`` searches."""
    try:
        launcher.resume(run, None)
    except FtwizardError as error:
        error.args = (error.text,)
        raise


def test_folder_instead_of_a_plan_is_moved_aside(run: JobFolder) -> None:
    text = run.plan.read_text()
    run.plan.unlink()
    run.plan.mkdir()
    with pytest.raises(FtwizardError, match="is a folder"):
        launcher.resume(run, None)
    moved = resumed_plan.restore(run)
    assert moved and moved.is_dir() and run.plan.read_text() == text


def test_restoring_twice_keeps_both_edited_plans(run: JobFolder) -> None:
    names = []
    for rank in (8, 4):
        edit(run, f"rank={rank}")
        moved = resumed_plan.restore(run)
        assert moved and plan_file.parse(moved.read_text()).recipe.rank == rank
        names.append(moved.name)
    assert names == ["plan.edited.yaml", "plan.edited-2.yaml"]


def test_run_of_an_earlier_version_continues_with_its_plan(run: JobFolder) -> None:
    for path in (run.job, run.attempt(1)):
        record = json.loads(path.read_text())
        del record["plan"]
        path.write_text(json.dumps(record))
    with pytest.raises(FtwizardError, match="no second copy"):
        resumed_plan.restore(run)
    edit(run, "patience=5")
    attempt = launcher.resume(run, None)
    assert attempt.changes == {}, "what it began with is unknown, so nothing is claimed"
    until_ended(run)
    edit(run, "rank=8")
    with pytest.raises(FtwizardError, match="rank 16 → 8"):
        launcher.resume(run, None)


def test_moved_data_resumes_but_other_rows_do_not(run: JobFolder, home: Path) -> None:
    rows = (home / "rows.jsonl").rename(home / "moved.jsonl")
    edit(run, f"data.files.train={rows}")
    assert list(launcher.resume(run, None).changes) == ["data.files.train"]
    until_ended(run)
    other = home / "other.jsonl"
    other.write_text(rows.read_text().replace("cat", "dog"))
    edit(run, f"data.files.train={other}")
    with pytest.raises(FtwizardError, match="Changed since"):
        launcher.resume(run, None)
    assert run.newest_attempt() == 2
    launcher.branch(run, "kid", Request(edited=True))
    child = JobFolder(locations.runs_folder() / "kid").read_job()
    assert child.hashes["train"] != run.read_job().hashes["train"]
    assert child.hashes["model"] == run.read_job().hashes["model"]


def test_worker_trains_with_the_recorded_plan_not_with_a_later_edit(tmp_path: Path) -> None:
    folder = training.train(tmp_path, "first", learning_rate=5e-3)
    plan = plan_file.load(folder.plan, begun=True)
    second = tmp_path / "second"
    second.mkdir()
    for name in ("job.json", "plan.yaml"):
        shutil.copy(folder.path / name, second)
    run = JobFolder(second)
    run.attempt(1).parent.mkdir()
    write_json(
        run.attempt(1),
        Attempt(number=1, started=0, host="", argv=[], plan=msgspec.to_builtins(plan)),
    )
    edit(run, "learning_rate=1e-9", "epochs=2", "rank=2")
    training.again(run)
    assert training.losses(run) == training.losses(folder)
    assert len(events(run, "log")) == len(events(folder, "log"))


@pytest.mark.parametrize(
    ("size", "accumulation", "expected"),
    [
        (4, 1, (2, 2)),
        (2, 3, (1, 6)),
        (3, 1, (1, 3)),
        (5, 2, (2, 5)),
        (6, 1, (3, 2)),
        (7, 4, (2, 14)),
    ],
)
def test_smaller_batch_keeps_the_examples_per_step(
    run: JobFolder, size: int, accumulation: int, expected: tuple[int, int]
) -> None:
    recipe = msgspec.structs.replace(
        child_plan.read_used(run).recipe, batch_size=size, gradient_accumulation=accumulation
    )
    smaller = child_plan.halve_batch(recipe, run.id)
    assert (smaller.batch_size, smaller.gradient_accumulation) == expected
    assert size * accumulation == expected[0] * expected[1] and expected[0] <= size / 2


def test_batch_of_one_cannot_be_smaller(run: JobFolder) -> None:
    with pytest.raises(FtwizardError, match="is 1 already") as caught:
        child_plan.build(run, Request(settings=["batch_size=1"], smaller_batch=True))
    assert "ftwizard branch one --set recipe.max_length=100" in caught.value.hint


def test_other_method_takes_its_own_learning_rate(run: JobFolder) -> None:
    for settings, rate in (
        (["method=full"], 2e-5),
        (["method=full", "learning_rate=2e-4"], 2e-4),
        (["method=full", "learning_rate="], 2e-5),
        (["method=qlora"], 2e-4),
        (["rank=8"], 2e-4),
    ):
        plan, _ = child_plan.build(run, Request(settings=settings))
        assert plan.recipe.learning_rate == rate, settings


def test_more_epochs_than_the_parent_are_asked_about(run: JobFolder) -> None:
    with pytest.raises(FtwizardError, match="memorization") as caught:
        child_plan.build(run, Request(settings=["epochs=9"]))
    assert caught.value.exit_code == DECLINED
    plan, _ = child_plan.build(run, Request(settings=["epochs=9"], allow=["many-epochs"]))
    assert plan.recipe.epochs == 9


def test_relative_file_is_of_the_current_folder(
    run: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.jsonl").write_text("{}\n")
    plan, _ = child_plan.build(run, Request(settings=["files.train=new.jsonl"]))
    assert plan.data.files.train == str(tmp_path / "new.jsonl")


@pytest.mark.parametrize(
    ("kept", "end_reason", "step"),
    [
        ([], "out_of_memory", 0),
        ([(10, None), (40, None)], "out_of_memory", 40),
        ([(10, 0.5), (40, 0.7)], "out_of_memory", 10),
        ([(10, None), (40, None)], "nan", 0),
        ([(10, 0.5), (40, None)], "nan", 10),
    ],
)
def test_child_starts_where_it_can(
    run: JobFolder, kept: list[tuple[int, float | None]], end_reason: str, step: int
) -> None:
    for number, eval_loss in kept:
        save(run.checkpoints, number, eval_loss)
    beginning = launcher.find_beginning(run, None, (), end_reason)
    assert beginning.step == step and (beginning.weights is None) == (step == 0)
    base = launcher.find_beginning(run, None, ["recipe.rank"], end_reason)
    assert base == launcher.Beginning(0, None)
    with pytest.raises(FtwizardError, match=r"another recipe\.rank"):
        launcher.find_beginning(run, "40", ["recipe.rank"])
