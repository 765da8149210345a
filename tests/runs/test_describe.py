"""Descriptions of a run's end, parent and trained rows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ftwizard.jobs.ending import NEXT_STEP
from ftwizard.jobs.folder import JobFolder, Parent, write_json
from ftwizard.jobs.status import Status
from ftwizard.runs import describe
from ftwizard.runs.progress import Progress
from tests.helpers import checkpoints
from tests.helpers.results import make_trained

FOLDER = JobFolder(Path("/runs/one"))


@pytest.mark.parametrize("text", ["Set {x: 1}.", "{", "{0}", "{folder.path.__class__}", "{id"])
def test_braces_in_a_message_are_not_formatted(text: str) -> None:
    status = Status(state="ended", attempt=1, end_reason="crashed", message=text, hint=text)
    assert describe.describe_end(FOLDER, status) == ["✗ Run one crashed.", text, text]


@pytest.mark.parametrize("reason", NEXT_STEP)
def test_every_end_names_the_run_and_fills_placeholders(reason: str) -> None:
    end = describe.describe_end(FOLDER, Status(state="ended", attempt=1, end_reason=reason))
    assert "one" in end[0]
    assert not any("{" in line for line in end)
    assert len(end) == 2 - (not NEXT_STEP[reason])


def test_braces_in_a_folder_name_are_not_formatted() -> None:
    status = Status(state="ended", attempt=1, end_reason="disk_full")
    end = describe.describe_end(JobFolder(Path("/{0}/one")), status)
    assert end[1].startswith("Free disk space for /{0}/one")


@pytest.mark.parametrize(
    ("method", "loss", "says"),
    [
        ("lora", 0.5, "The best weights (step 12) are in {}/adapter."),
        ("full", 0.5, "The best weights (step 12) are in {}/checkpoints/checkpoint-12."),
        ("lora", None, "The newest weights (step 12) are in {}/adapter."),
    ],
)
def test_stopped_run_describes_the_weights_it_keeps(
    tmp_path: Path, method: str, loss: float | None, says: str
) -> None:
    folder = JobFolder(tmp_path)
    status = Status(state="ended", attempt=1, end_reason="stopped")
    assert len(describe.describe_end(folder, status)) == 2, "nothing was trained yet"
    write_json(folder.trained, make_trained(method=method, step=12, eval_loss=loss))
    assert len(describe.describe_end(folder, status)) == 2, "the weights are missing"
    folder.adapter.mkdir()
    (folder.checkpoints / "checkpoint-12").mkdir(parents=True)
    assert says.format(tmp_path) in describe.describe_end(folder, status)


def test_parent_description_lists_the_changed_settings() -> None:
    changes = {"recipe.learning_rate": (2e-4, 1e-4)}
    assert describe.describe_parent(Parent(id="one", step=40, changes=changes)) == (
        "one, from step 40: learning_rate 0.0002 → 0.0001"
    )
    changes = {"recipe.gradient_accumulation": (1.0, 2.0)}
    assert describe.describe_parent(Parent(id="one", step=0, changes=changes)) == (
        "one, from the start: gradient_accumulation 1 → 2"
    )


def test_trained_rows_description_counts_rows_left_out() -> None:
    counts = {"train_given": 48, "train_used": 48, "validation_given": 6, "validation_used": 6}
    assert describe.describe_trained_rows(make_trained(rows=counts)) == (
        "all 48 rows trained on; besides, 6 for validation"
    )
    tested = make_trained(rows=counts | {"test_given": 5, "test_used": 5})
    assert "besides, 6 for validation and 5 for the test" in describe.describe_trained_rows(tested)
    training = make_trained(
        rows=counts | {"train_used": 46, "validation_used": 5},
        left_out={"train": [4, 9], "validation": [7]},
        unreadable={"train": 1},
    )
    assert describe.describe_trained_rows(training) == (
        "46 of 48 rows trained on; besides, 5 for validation; "
        "2 rows left out, no trainable tokens (lines 4, 9); "
        "1 validation row left out, no trainable tokens (line 7); "
        "1 unreadable row skipped"
    )
    many = make_trained(rows=counts | {"train_used": 8}, left_out={"train": list(range(1, 41))})
    assert "40 rows left out" in describe.describe_trained_rows(many)
    assert "(lines 1, 2, 3, 4, 5…)" in describe.describe_trained_rows(many)
    older = make_trained(rows=counts | {"train_used": 47})
    assert "1 row left out, no trainable tokens" in describe.describe_trained_rows(older)
    mixed = make_trained(rows=counts | {"mix_given": 3, "mix_used": 2}, left_out={"mix": [8]})
    assert describe.describe_trained_rows(mixed) == (
        "all 48 rows trained on; besides, 6 for validation; 2 general rows mixed in; "
        "1 general row left out, no trainable tokens (line 8)"
    )
    assert describe.describe_trained_rows(make_trained(rows={})) == ""


@pytest.mark.parametrize(
    ("fields", "elapsed_s", "text"),
    [
        ({"phase": "loading", "what": "model"}, 12, "12 s"),
        ({"phase": "evaluating", "done": 1, "total": 9}, 12, "12 s"),
        ({"phase": "saving"}, 0.2, ""),
        ({"phase": "training", "step": 0, "total": 9}, 2, ""),
        ({"phase": "training", "step": 0, "total": 9}, 75, "first step: 1 min 15 s"),
        ({"phase": "training", "step": 3, "total": 9}, 75, "this step: 1 min 15 s"),
        (None, 75, "1 min 15 s"),
    ],
)
def test_wait_is_described_where_the_bar_may_stand(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object] | None, elapsed_s: float, text: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000 + elapsed_s)
    progress = Progress()
    if fields:
        progress.feed([{"kind": "phase", "t": 1000.0, "attempt": 1, **fields}])
    status = Status(state="running", attempt=1, started=1000.0)
    assert describe.describe_wait(progress, status) == text


def test_refused_training_says_from_where_it_continues(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "one")
    status = Status(
        state="ended", attempt=1, end_reason="refused", message="A.", hint="Correct it."
    )
    assert describe.describe_end(folder, status)[-1] == "Correct it."
    checkpoints.save(folder.checkpoints, 6)
    assert describe.describe_end(folder, status)[-2:] == [
        "Correct it.",
        "After that, continue from step 6: ftwizard resume one",
    ]
