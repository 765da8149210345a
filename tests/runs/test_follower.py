"""Follower of a run's folder: log, machine readings, damaged files and long runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.follower import LOG_TAIL_BYTES, Follower
from ftwizard.runs.result import read_result
from ftwizard.runs.summary import ProgressReader
from tests.screens.runs_helpers import make_run


@pytest.fixture
def job(home: Path) -> JobFolder:
    return make_run(home, "one", steps=3)


def test_log_shows_the_end_of_an_overlong_line(job: JobFolder) -> None:
    for end in ("", "\n", "\r\n"):
        job.log.write_bytes(b"before\n" + b"x" * 1_000_000 + b"end" + end.encode())
        (line,) = Follower(job).log(5)
        assert line.startswith("xxx") and line.endswith("xend")
        assert len(line) < 20_000


def test_log_shows_the_last_state_of_a_progress_bar(job: JobFolder) -> None:
    job.log.write_bytes(
        b"loading\r\n  1%|   |\r 50%|#  |\r100%|###|\nsaved\n\n\r\n12%|  |\r13%|  |\r"
    )
    assert Follower(job).log(9) == ["loading", "100%|###|", "saved", "13%|  |"]


def test_log_replaces_invalid_utf_8(job: JobFolder) -> None:
    job.log.write_bytes(b"a\xff\xfeb\n\xe2\x82")
    assert Follower(job).log(5) == ["a\ufffd\ufffdb", "\ufffd"]


def test_torn_machine_readings_are_skipped(job: JobFolder) -> None:
    file = job.machine("here")
    file.write_bytes(b'{"t":1}\n{"t":2\n[3]\n{"t":4}\n{"t":5')
    assert Follower(job).machine() == [{"t": 1}, {"t": 4}]
    file.write_bytes(b"x" * 1_000_000 + b"\n")
    assert Follower(job).machine() == []


def test_removed_folder_is_reported_as_gone(job: JobFolder) -> None:
    follower = Follower(job)
    job.events.unlink()
    assert not follower.read(1.0)
    job.job.unlink()
    follower.read_state()
    assert follower.is_gone
    assert follower.log(3) == [] and follower.machine() == []


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\r\n \ntwo", ["one", "two"]),
        (b"  0%|   \r 50%|#  \r100%|###\nnext\n", ["100%|###", "next"]),
        (b"\r  0%|   \r 50%|#  \r", [" 50%|#  "]),
        (b"100%|###\r        \r\nnext", ["100%|###", "next"]),
        (b"\r\r\n\r", []),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
        (b"\r 50%|#" * LOG_TAIL_BYTES, [" 50%|#"]),
    ],
)
def test_log_lines_keep_only_the_last_bar_state(home: Path, log: bytes, lines: list[str]) -> None:
    job = make_run(home, "one")
    job.log.write_bytes(log)
    assert Follower(job).log(10) == lines


def test_log_returns_the_last_lines(home: Path) -> None:
    job = make_run(home, "one")
    assert Follower(job).log(3) == []
    job.log.write_text("".join(f"line {number}\r\n" for number in range(9)))
    assert Follower(job).log(2) == ["line 7", "line 8"]


def test_run_with_damaged_files_is_lost(job: JobFolder) -> None:
    for damage in (b"", b"{", b'{"state":"\xff"}', b"\0" * 100, b"[]", b"null", b"1"):
        for file in (job.state, job.result, job.events):
            file.write_bytes(damage)
        follower = Follower(job)
        assert not follower.read(1.0)
        assert follower.status.state == "ended" and follower.status.end_reason == "lost"
        assert read_result(job) is None


def test_long_run_shows_its_summary_until_fully_read(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 5_000
    with job.events.open("wb") as file:
        file.write(b'{"t":1,"attempt":1,"kind":"phase","phase":"training","step":0,"total":9999}\n')
        for step in range(1, steps + 1):
            kind, name = ("eval", "eval_loss") if step % 100 == 0 else ("log", "loss")
            line = {"t": step, "attempt": 1, "kind": kind, "step": step, name: 1 + 1 / step}
            file.write(json.dumps(line).encode() + b"\n")
    monkeypatch.setattr("ftwizard.runs.follower.MIN_LONG_BYTES", 1000)
    assert not Follower(job).is_behind, "without a summary there is nothing to show at first"
    reader = ProgressReader(job)
    reader.read()
    reader.write()
    follower = Follower(job)
    assert follower.is_behind and follower.shown is not follower.progress
    shown = follower.shown.losses
    assert shown.first_x == 1 and shown.last_x == steps - 1
    assert follower.run_status.total_steps == 9999
    while follower.read(0.01):
        assert follower.is_behind
    assert not follower.is_behind and follower.shown is follower.progress
    assert len(follower.progress.losses) == steps - steps // 100
