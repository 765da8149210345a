"""``watch`` and ``diagnose`` of logs of other tools, as text and JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.e2e.cli import run_here
from tests.helpers import logs


@pytest.fixture
def board(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    folder.mkdir()
    records = []
    for step in range(1, 201):
        records.append(logs.event(step, {"train/loss": 2.0 / step**0.5}))
        if step % 20 == 0:
            records.append(logs.event(step, {"eval/loss": 2.1 / step**0.5}))
    path = folder / "events.out.tfevents.1.host"
    path.write_bytes(logs.to_tfrecords(records))
    os.utime(path, (time.time() - 7200,) * 2)  # nothing writes it any more
    return folder


def test_watch_prints_a_log_that_no_longer_changes_and_ends(board: Path) -> None:
    done = run_here("watch", board)
    assert done.returncode == 0, done.stderr
    assert "TensorBoard" in done.stdout and "step 200: validation loss 0.1485" in done.stdout
    assert "best validation 0.1485 at step 200" in done.stdout
    assert "have not changed for long" in done.stdout


def test_run_that_ended_without_validation_is_summarized(tmp_path: Path) -> None:
    rows = [logs.history({"train/loss": 2.0 / n, "train/global_step": n}, n) for n in range(1, 21)]
    path = tmp_path / "run-a.wandb"
    path.write_bytes(logs.to_leveldb_log([*rows, logs.exit_record(0)]))
    done = run_here("watch", path)
    assert done.returncode == 0, done.stderr
    assert "\nstep 20, loss 0.1\n" in done.stdout


def test_document_of_watch_is_a_status(board: Path) -> None:
    done = run_here("watch", board, "--json")
    status = json.loads(done.stdout)
    assert (status["id"], status["folder"]) == ("board", str(board))
    assert (status["step"], status["best_step"], status["state"]) == (200, 200, "running")
    assert status["end_reason"] is None, "nothing says how it ended"


def test_diagnose_reads_folders_and_binary_logs(board: Path) -> None:
    for path in (board, next(board.iterdir())):
        document = json.loads(run_here("diagnose", path, "--json").stdout)
        assert (document["pattern"], document["best_step"]) == ("healthy", 200)


def test_damage_is_named(board: Path) -> None:
    path = next(board.iterdir())
    data = path.read_bytes()
    path.write_bytes(data[:4000] + bytes(40) + data[4040:])
    done = run_here("diagnose", path)
    assert done.returncode == 0 and "damage" in done.stderr


@pytest.mark.parametrize("command", ["watch", "diagnose"])
def test_folder_without_a_curve_is_refused_with_what_is_read(command: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_here(command, tmp_path / "empty")
    assert done.returncode == 1
    assert "contains no loss curve" in done.stderr and "TensorBoard" in done.stderr


def test_name_that_is_neither_run_nor_file(tmp_path: Path) -> None:
    done = run_here("watch", tmp_path / "nothing")
    assert done.returncode == 1 and "was not found" in done.stderr


def test_what_is_damaged_or_missing_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the ten minutes without a change that end the view."""
    board = tmp_path / "events.out.tfevents.1.host"
    board.write_bytes(bytes(range(200)))
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    monkeypatch.setattr("ftwizard.cli.watch._wait_while_read", _leave)
    for path, text in ((board, "is damaged at byte 0"), (empty, "No losses in it yet")):
        done = run_here("watch", path)
        assert done.returncode == 0 and text in done.stdout


def test_damage_that_comes_later_is_said_once(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(board.iterdir())
    os.utime(path)  # still being written
    calls: list[float] = []

    def damage(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == 1:
            path.write_bytes(path.read_bytes() + bytes(range(50)))
        if len(calls) == 3:
            _leave(seconds)

    monkeypatch.setattr("ftwizard.cli.watch._wait_while_read", damage)
    assert run_here("watch", board).stdout.count("is damaged at byte") == 1


def _leave(_seconds: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "content",
    [b"name,age\nx,3\n", b"# made by hand\nname;age\n", b"\xff\x00\x9c\n\x00\n", b"1,2.5\n2,2.4\n"],
)
def test_table_without_a_loss_is_refused_with_its_columns(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    done = run_here("watch", path)
    assert done.returncode == 1
    assert "people.csv contains no loss curve. Its columns: " in done.stderr
