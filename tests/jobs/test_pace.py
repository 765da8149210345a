"""The pace of a command: how long a stop may take, and how long it may be silent."""

from __future__ import annotations

from pathlib import Path

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.pace import GRACE_S, MAX_GRACE_S, SILENT_S, Pace, PaceWriter, read_pace


def test_pace_is_the_default_until_the_command_expects_more(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    writer = PaceWriter(folder, 1)
    writer.expect("step", 2.0)
    writer.expect("save", 1.0)
    assert not folder.pace.exists(), "nothing is written for a quick run"
    assert read_pace(folder, 1) == Pace(attempt=1, stop_s=GRACE_S, silent_s=SILENT_S)


def test_stop_may_take_a_long_step_an_evaluation_and_a_slow_save(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    writer = PaceWriter(folder, 1)
    writer.expect("step", 50.0)
    writer.expect("evaluation", 100.0)
    writer.expect("save", 20.0)
    writer.expect("step", 1.0)
    assert read_pace(folder, 1).stop_s == 2 * 50 + 2 * 100 + 3 * 20
    writer.expect("evaluation", 1e9)
    assert read_pace(folder, 1).stop_s == MAX_GRACE_S


def test_resumed_attempt_begins_with_the_stop_time_of_the_one_before(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    PaceWriter(folder, 1).expect("step", 50.0)
    assert read_pace(folder, 2).stop_s == GRACE_S, "not before its command runs"
    PaceWriter(folder, 2).expect("step", 1.0)
    assert read_pace(folder, 2).stop_s == 100


def test_damaged_or_absurd_pace_is_bounded(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    for text in ("", "{", "[]", '{"attempt": 1, "stop_s": "x"}', '{"attempt": 1, "stop_s": 1e999}'):
        folder.pace.write_text(text)
        assert read_pace(folder, 1) == Pace(attempt=1), text
    folder.pace.write_text('{"attempt": 1, "stop_s": 1e300, "silent_s": -5}')
    assert read_pace(folder, 1) == Pace(attempt=1, stop_s=MAX_GRACE_S, silent_s=0.0)
