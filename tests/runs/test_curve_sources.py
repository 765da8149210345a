"""Curves in files of other tools: what they are, how they grow, and what is no curve."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX import SummaryWriter

from ftwizard.errors import FtwizardError
from ftwizard.runs.curve_follower import CurveFollower, describe_source
from ftwizard.runs.curve_sources import open_source
from ftwizard.runs.logged_rows import RowConverter
from tests.helpers import logs


def follow(path: Path) -> CurveFollower:
    follower = CurveFollower(open_source(path))
    follower.read_all()
    follower.read_state()
    return follower


def write_state(path: Path, step: int, total: int = 100, *, scale: float = 1.0) -> None:
    """Write the log history of a trainer at a step, evaluated each 10."""
    history: list[dict[str, Any]] = []
    for at in range(1, step + 1):
        history.append(
            {"step": at, "loss": scale * 3 / at**0.5, "epoch": at / 50, "grad_norm": 1.0}
        )
        if at % 10 == 0:
            history.append({"step": at, "eval_loss": scale * 3.1 / at**0.5, "epoch": at / 50})
    if step == total:
        history.append({"step": at, "train_runtime": 5.0, "train_loss": 99.0})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log_history": history, "global_step": step, "max_steps": total}))


def write_board(folder: Path, steps: range) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{steps[0]:010}.host"
    records = [logs.event(s, {"train/loss": 3 / s, "train/learning_rate": 1e-4}) for s in steps]
    records += [logs.event(s, {"eval/loss": 3.5 / s}) for s in steps if s % 5 == 0]
    path.write_bytes(logs.to_tfrecords(records))
    return path


def write_wandb(path: Path, count: int, code: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [
        logs.history({"train/loss": 3 / s, "train/global_step": s, "_timestamp": 1e9 + s}, s - 1)
        for s in range(1, count + 1)
    ]
    records += [] if code is None else [logs.exit_record(code)]
    path.write_bytes(logs.to_leveldb_log(records))
    return path


def test_output_folder_of_a_trainer_grows(tmp_path: Path) -> None:
    write_state(tmp_path / "checkpoint-20/trainer_state.json", 20)
    follower = follow(tmp_path)
    status = follower.run_status
    assert (status.state, status.step, status.total_steps) == ("running", 20, 100)
    assert (status.best_step, status.epoch) == (20, 0.4)
    assert list(follower.progress.checkpoints) == [20]
    write_state(tmp_path / "checkpoint-100/trainer_state.json", 100)
    follower.read_all()
    follower.read_state()
    status = follower.run_status
    assert (status.state, status.end_reason, status.step) == ("ended", "finished", 100)
    assert list(follower.progress.losses.xs) == list(range(1, 101)), "the summary is no loss"
    assert status.loss == pytest.approx(0.3)
    assert follower.progress.findings, "the same diagnosis"
    assert follower.progress.checkpoints == {20: None, 100: None}


def test_state_written_anew_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    write_state(path, 50)
    follower = follow(path)
    write_state(path, 30, scale=2.0)
    follower.read_all()
    assert follower.progress.step == 30 and follower.progress.loss == pytest.approx(6 / 30**0.5)


@pytest.mark.parametrize(
    "text", ["", "{", '{"log_history": 3}', "[]", "null", '{"log_history": [1, null]}']
)
def test_state_that_is_being_written_is_read_later(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(text)
    follower = follow(path)
    assert follower.progress.step is None
    write_state(path, 10)
    follower.read_all()
    assert follower.progress.step == 10 and not follower.source.damage


def test_tensorboard_folder_of_two_attempts(tmp_path: Path) -> None:
    write_board(tmp_path, range(1, 31))
    follower = follow(tmp_path)
    assert follower.progress.step == 30 and len(follower.progress.evaluations) == 6
    assert follower.progress.learning_rate is not None
    write_board(tmp_path, range(20, 41))  # resumed from step 19
    follower.read_all()
    assert list(follower.progress.losses.xs) == list(range(1, 41))


def log_step(writer: SummaryWriter, step: int, **values: float) -> None:
    """Log a row as transformers' TensorBoardCallback does."""
    for name, value in {**values, "epoch": step / 50}.items():
        prefix, _, rest = name.partition("_")
        writer.add_scalar(f"eval/{rest}" if prefix == "eval" else f"train/{name}", value, step)


def test_summary_in_tensorboard_ends_the_training_and_hides_nothing(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_text("args", "{}")
        for step in range(1, 31):
            log_step(writer, step, loss=3 / step, grad_norm=1.0)
        log_step(writer, 30, train_runtime=9.0, total_flos=1e12, train_loss=9.0)
        log_step(writer, 30, eval_loss=0.25, eval_runtime=0.5)  # trainer.evaluate(), afterwards
    follower = follow(tmp_path)
    progress = follower.progress
    assert progress.step == 30 and progress.loss == pytest.approx(0.1)
    assert (list(progress.evaluations.xs), list(progress.evaluations.ys)) == ([30], [0.25])
    assert follower.status.end_reason == "finished"
    (first,) = tmp_path.iterdir()
    first.rename(tmp_path / "events.out.tfevents.0000000001.host")
    with SummaryWriter(str(tmp_path)) as writer:
        log_step(writer, 21, loss=0.5)  # resumed from step 20
    assert follow(tmp_path).status.state == "running"


def test_end_of_a_log_makes_its_verdict_final(tmp_path: Path) -> None:
    """A verdict that is new with the last evaluation, which no later diagnosis can confirm."""
    path = tmp_path / "events.out.tfevents.1.host"

    def log(steps: range) -> None:
        for step in steps:
            values = {"train/loss": 0.5 + 2 / step}
            records.append(logs.event(step, values))
            if step % 10 == 0:
                records.append(logs.event(step, {"eval/loss": 0.6 + 2.2 / step}))
        path.write_bytes(logs.to_tfrecords(records))

    records: list[bytes] = []
    log(range(1, 31))
    follower = follow(tmp_path)
    log(range(31, 41))
    follower.read_all()
    assert "3 evaluations so far" in follower.progress.findings[-1]["message"]
    records.append(logs.event(40, {"train/train_runtime": 9.0}))
    log(range(0))
    follower.read_all()
    assert "Both losses fall" in follower.progress.findings[-1]["message"]


def test_long_logs_of_other_values_are_read_through(tmp_path: Path) -> None:
    table = tmp_path / "log.csv"
    table.write_text("loss,step\n" + "a,\n" * 200_000 + "b,5\n")
    assert follow(table).progress.losses.last is None
    board = tmp_path / "events.out.tfevents.1"
    text = (
        logs.field(1, 1e9)
        + logs.field(2, 1)
        + logs.field(5, logs.field(1, logs.field(1, "x" * 900)))
    )
    last = logs.event(7, {"train/loss": 0.5})
    board.write_bytes(logs.to_tfrecords([text]) * 3000 + logs.to_tfrecords([last]))
    follower = CurveFollower(open_source(board))
    follower.read_all()
    assert (follower.progress.step, follower.progress.loss) == (7, 0.5)


def test_wandb_run_says_how_it_ended(tmp_path: Path) -> None:
    path = write_wandb(tmp_path / "wandb/offline-run-1/run-a.wandb", 25)
    follower = follow(tmp_path / "wandb")
    assert (follower.run_status.step, follower.status.state) == (25, "running")
    write_wandb(path, 30, code=1)
    follower.read_all()
    follower.read_state()
    assert (follower.progress.step, follower.status.end_reason) == (30, "crashed")
    assert "exit code 1" in follower.status.message


def test_table_grows_and_its_last_line_may_lack_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,val_loss\n1,2.5,\n2,2.25,2.4\n3,2.1")
    follower = follow(path)
    assert list(follower.progress.losses.ys) == [2.5, 2.25, 2.1]
    with path.open("a") as file:
        file.write("25,2.3\n4,2.0,\n")
    follower.read_all()
    assert list(follower.progress.losses.ys) == [2.5, 2.25, 2.125, 2.0]
    assert follower.progress.best_step == 3
    path.write_text("step;loss\n1;0,5\n")
    follower.read_all()
    assert list(follower.progress.losses.ys) == [0.5]


def test_epochs_count_where_a_table_has_no_steps(tmp_path: Path) -> None:
    path = tmp_path / "keras.csv"
    path.write_text("epoch,loss,val_loss\n0,2.0,2.1\n1,1.5,1.7\n2,1.2,1.6\n")
    progress = follow(path).progress
    assert list(progress.losses.xs) == [0, 1, 2] and progress.best_step == 2


def test_overfitting_is_found_in_any_of_them(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = []
    for step in range(1, 301):
        row = {"global_step": step, "train_loss": 2.5 * math.exp(-step / 80)}
        if step % 10 == 0:
            row["val_loss"] = 1.2 + (step - 90) ** 2 / 9000
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    follower = follow(path)
    assert "overfit" in {finding["code"] for finding in follower.progress.findings}
    assert follower.progress.best_step == 90


def test_files_that_stopped_changing_are_not_called_running(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,2.5\n2,2.0\n")
    assert not follow(path).is_quiet
    os.utime(path, (time.time() - 3600,) * 2)
    follower = follow(path)
    assert follower.is_quiet and follower.run_status.eta_s is None
    assert "Not changed for 1 h" in " ".join(describe_source(follower))
    path.unlink()
    follower.read_all()
    follower.read_state()
    assert follower.is_gone


def test_nothing_is_written(tmp_path: Path) -> None:
    write_state(tmp_path / "out/checkpoint-20/trainer_state.json", 20)
    write_board(tmp_path / "board", range(1, 10))
    write_wandb(tmp_path / "wandb/run-1/run-a.wandb", 5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for name in ("out", "board", "wandb"):
        follow(tmp_path / name)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_folder_with_several_runs_names_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_board(tmp_path / name, range(1, 5))
    with pytest.raises(FtwizardError) as error:
        open_source(tmp_path)
    assert "contains 2 curves" in error.value.message and error.value.exit_code == 1
    assert str(tmp_path / "a") in error.value.hint and str(tmp_path / "b") in error.value.hint


def test_logs_of_one_output_folder_are_one_run(tmp_path: Path) -> None:
    write_state(tmp_path / "checkpoint-20/trainer_state.json", 20)
    board = write_board(tmp_path / "runs/Dec01_host", range(1, 30))
    os.utime(board, (time.time() - 60,) * 2)  # it grows with each step, the state at checkpoints
    follower = follow(tmp_path)
    assert follower.source.kind == "TensorBoard"
    status = follower.run_status
    assert (status.step, status.total_steps, status.state) == (29, 100, "running")
    assert list(follower.progress.checkpoints) == [20]
    write_state(tmp_path / "checkpoint-100/trainer_state.json", 100)
    follower.read_state()
    assert follower.status.end_reason == "finished"


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt", "config.json", ""])
def test_what_is_no_log_is_refused_with_what_is(tmp_path: Path, name: str) -> None:
    if name:
        (tmp_path / name).write_text("{}")
    with pytest.raises(FtwizardError, match=r"not a log|no loss curve") as error:
        open_source(tmp_path / name)
    assert "trainer_state.json" in error.value.hint and "W&B" in error.value.hint


def test_first_name_in_use_keeps_its_meaning() -> None:
    rows = RowConverter()
    (first,) = rows.convert({"step": 1, "loss": 2.0, "train_loss": 9.0, "rewards/chosen": 1.0}, 5.0)
    assert (first["loss"], first["train_loss"], first["rewards_chosen"]) == (2.0, 9.0, 1.0)
    (later,) = rows.convert({"step": 2, "train_loss": 9.0}, 5.0)
    assert "loss" not in later
    assert rows.convert({"step": math.nan, "loss": 1.0}, 5.0) == []


NAMES = st.sampled_from(
    ["step", "loss", "eval_loss", "epoch", "eval_a_loss", "_timestamp", "x/y", "", "kind"]
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
                   st.lists(st.integers(), max_size=2))  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=20))
def test_any_rows_can_be_followed(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    state, lines = tmp_path / "trainer_state.json", tmp_path / "log.jsonl"
    state.write_text(json.dumps({"log_history": rows, "max_steps": 10, "global_step": 3}))
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in (state, lines):
        follow(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_can_be_followed(tmp_path: Path, data: bytes) -> None:
    for name in ("a.csv", "b.jsonl", "trainer_state.json", "run-a.wandb", "x.tfevents.1"):
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(FtwizardError):  # a table without a loss
            follow(tmp_path / name)
