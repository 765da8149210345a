"""Summary of a run: the same progress as from all events, whatever happens to its file."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftwizard.diagnosis import diagnose
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import HeldFolder, JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import loss_curves, progress, store, summary
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import Progress
from ftwizard.runs.summary import ProgressReader, read_progress
from ftwizard.timeseries import Series, ThinSeries
from tests.diagnosis.test_real_runs import RUNS, read
from tests.helpers import curves, disks
from tests.helpers.progress import describe, read_whole
from tests.screens.runs_helpers import make_run

NUMBERS = st.one_of(st.floats(0.01, 5), st.sampled_from(["nan", "inf", None, "x", 3]))
STEPS = st.integers(0, 40)
FIELDS = {
    "log": st.fixed_dictionaries({
        "step": STEPS, "loss": NUMBERS, "grad_norm": NUMBERS, "learning_rate": NUMBERS,
        "epoch": NUMBERS, "tokens": st.integers(0, 10_000),
    }),
    "eval": st.fixed_dictionaries({"step": STEPS, "eval_loss": NUMBERS, "eval_rows": NUMBERS}),
    "phase": st.fixed_dictionaries({
        "phase": st.sampled_from(["training", "evaluating", "fetching", "saving"]),
        "step": STEPS, "total": st.integers(0, 60), "what": st.sampled_from([None, "a"]),
    }),
    "finding": st.fixed_dictionaries({
        "step": STEPS, "code": st.sampled_from(["healthy", "spike"]), "message": st.text(max_size=9),
        "verdict": st.booleans(), "update": st.booleans(),
    }),
    "checkpoint": st.fixed_dictionaries({"step": STEPS, "seconds": NUMBERS, "eval_loss": NUMBERS}),
    "sample": st.fixed_dictionaries({"step": STEPS, "index": STEPS, "answer": st.text(max_size=5)}),
}  # fmt: skip
EVENTS = st.lists(
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda kind: st.tuples(st.just(kind), FIELDS[kind], st.integers(0, 3))
    ),
    max_size=60,
)


def write_lines(folder: JobFolder, drawn: list[tuple[str, dict[str, Any], int]]) -> list[bytes]:
    """Return events as lines; each third number of seconds begins another attempt."""
    attempt, t, lines = 1, 1000.0, []
    for kind, fields, seconds in drawn:
        attempt, t = attempt + (seconds == 3), t + seconds
        event = {"v": 1, "t": t, "m": t / 2, "kind": kind, "attempt": attempt, **fields}
        lines.append(msgspec.json.encode(event) + b"\n")
    return lines


@given(drawn=EVENTS, cut=st.floats(0, 1), more=st.floats(0, 1), points=st.sampled_from([4, 8, 90]))
@example(drawn=[("log", {"step": 1, "loss": 2.0}, 1)], cut=1.0, more=1.0, points=8)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_summary_and_rest_give_what_all_events_give(
    home: Path, tmp_path: Path, drawn: list[tuple[str, dict[str, Any], int]], cut: float,
    more: float, points: int,
) -> None:  # fmt: skip
    folder = home / "runs" / "some"
    job = JobFolder(folder) if folder.exists() else make_run(home, "some", steps=0)
    job.summary.unlink(missing_ok=True)
    lines = write_lines(job, drawn)
    data = b"".join(lines)
    at = round(cut * len(data))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MAX_POINTS", "MAX_EVALUATIONS", "MAX_OTHER_POINTS"):
            patch.setattr(progress, name, points)
        patch.setattr(progress, "HEAD_POINTS", points // 2)
        job.events.write_bytes(data[:at])
        reader = ProgressReader(job)
        reader.read()
        reader.write()
        # The next worker continues this summary; it is killed as well.
        job.events.write_bytes(data[: max(at, round(more * len(data)))])
        second = ProgressReader(job)
        assert second.events.offset == reader.events.offset
        second.read()
        second.write()
        job.events.write_bytes(data)
        assert ProgressReader(job).events.offset == second.events.offset
        assert describe(read_progress(job)) == describe(read_whole(job))


@given(drawn=EVENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_short_run_has_the_status_and_curve_of_all_its_points(
    home: Path, drawn: list[tuple[str, dict[str, Any], int]]
) -> None:
    folder = home / "runs" / "some"
    job = JobFolder(folder) if folder.exists() else make_run(home, "some", steps=0)
    job.events.write_bytes(b"".join(write_lines(job, drawn)))
    full = Progress()
    full.feed(EventReader(job.events).read())
    result = read_progress(job)
    status = observe(job)
    ours, theirs = (
        msgspec.structs.replace(store.make_status(job, status, item), age_s=None)
        for item in (result, full)
    )
    assert repr(ours) == repr(theirs)
    result_curve, full_curve = (loss_curves.from_progress(item) for item in (result, full))
    # Of epochs, only the newest value counts.
    assert repr(result_curve) == repr(full_curve)
    assert result.findings == full.findings


def make_long(folder: JobFolder, steps: int = 6000, attempts: int = 2) -> None:
    """Write events with an evaluation each 50 steps, the best of them in the middle."""
    lines = []
    for attempt in range(1, attempts + 1):
        begin = steps * (attempt - 1) // attempts
        total = steps * attempt // attempts
        lines.append({"kind": "phase", "phase": "training", "step": begin, "total": total})
        for step in range(begin + 1, total + 1):
            loss = 1 + 1 / step + (step * 7919 % 101) / 1000
            lines.append({"kind": "log", "step": step, "loss": loss, "tokens": 9 * step})
            if step % 50 == 0:
                lines.append({"kind": "eval", "step": step, "eval_loss": 2 + abs(step - 3150)})
        for line in lines:
            line.setdefault("attempt", attempt)
    with folder.events.open("wb") as file:
        for index, line in enumerate(lines):
            event = {"v": 1, "t": 1000.0 + index, "m": index, **line}
            file.write(msgspec.json.encode(event) + b"\n")


def test_long_run_without_a_summary_is_read_whole(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftwizard.__main__ import main

    folder = make_run(home, "long", steps=0)
    make_long(folder)
    assert describe(read_progress(folder)) == describe(read_whole(folder))
    assert main(["watch", "long", "--plain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("100 earlier evaluations not shown" in line for line in lines) and len(lines) < 30


def spoil(kind: str, folder: JobFolder) -> None:
    """Damage a summary, or make it belong to something else."""
    data = folder.summary.read_bytes()
    events = folder.events.read_bytes()
    if kind == "torn":
        folder.summary.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        folder.summary.write_bytes(b"")
    elif kind == "flipped":
        folder.summary.write_bytes(data[:900] + bytes([data[900] ^ 4]) + data[901:])
    elif kind == "garbage":
        folder.summary.write_bytes(os.urandom(5000))
    elif kind == "a folder":
        folder.summary.unlink()
        folder.summary.mkdir()
    elif kind == "truncated events":
        folder.events.write_bytes(events[: len(events) // 2])
    elif kind == "other events":
        folder.events.write_bytes(events.replace(b'"t":1', b'"t":2'))
    elif kind == "events that were written anew":
        folder.events.write_bytes(events[: len(events) // 2])
        with folder.events.open("ab") as file:
            file.write(events[: len(events) // 2].replace(b'"t":1', b'"t":3') * 2)


@pytest.mark.parametrize(
    "kind", ["torn", "empty", "flipped", "garbage", "a folder", "truncated events", "other events",
             "events that were written anew"],
)  # fmt: skip
def test_summary_that_does_not_fit_is_ignored(home: Path, kind: str) -> None:
    folder = make_run(home, "some", steps=0)
    make_long(folder, 200)
    reader = ProgressReader(folder)
    reader.read()
    reader.write()
    assert ProgressReader(folder).events.offset == folder.events.stat().st_size
    spoil(kind, folder)
    reader = ProgressReader(folder)
    assert reader.events.offset == 0
    assert describe(reader.read()) == describe(read_whole(folder))


def test_events_truncated_while_they_are_followed_begin_anew(home: Path) -> None:
    folder = make_run(home, "some", steps=0)
    make_long(folder, 200)
    reader = ProgressReader(folder)
    reader.read()
    data = folder.events.read_bytes()
    folder.events.write_bytes(data[: len(data) // 2])
    assert describe(reader.read()) == describe(read_whole(folder))
    reader.write()
    assert describe(read_progress(folder)) == describe(read_whole(folder))


def test_summary_far_behind_the_events_is_continued(home: Path) -> None:
    folder = make_run(home, "some", steps=0)
    make_long(folder)
    data = folder.events.read_bytes()
    folder.events.write_bytes(data[:3000])
    reader = ProgressReader(folder)
    reader.read()
    reader.write()
    folder.events.write_bytes(data)
    assert 0 < ProgressReader(folder).events.offset <= 3000
    assert describe(read_progress(folder)) == describe(read_whole(folder))


CHILD = """
import sys, time
from pathlib import Path
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import summary
summary.INTERVAL_S = 0.01
folder = JobFolder(Path(sys.argv[1]))
attempt = int(sys.argv[2])
events, writer = EventWriter(folder.events, attempt), summary.SummaryWriter(folder)
events.write("phase", phase="training", step=0, total=100000)
for step in range(1, int(sys.argv[3]) + 1):
    events.write("log", step=step, loss=1 / step, tokens=step)
    if step % 10 == 0:
        events.write("eval", step=step, eval_loss=2 / step)
    if step % 20 == 0:
        time.sleep(0.002)
events.write("done", end_reason="finished")
print("closing", flush=True)
writer.close()
events.close()
"""


def start_child(folder: JobFolder, attempt: int, steps: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder.path), str(attempt), str(steps)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_worker_killed_between_an_event_and_its_summary_loses_nothing(home: Path) -> None:
    folder = make_run(home, "some", steps=0)
    folder.events.unlink()
    for attempt, pause in enumerate((0.0, 0.013, 0.05, 0.2), 1):
        child = start_child(folder, attempt, 10**9)
        before = folder.summary.stat().st_mtime_ns if folder.summary.exists() else 0
        while not folder.summary.exists() or folder.summary.stat().st_mtime_ns == before:
            assert child.poll() is None, child.communicate()
            time.sleep(0.001)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert ProgressReader(folder).events.offset > 0
        assert describe(read_progress(folder)) == describe(read_whole(folder))
    assert len(list(folder.path.glob(".progress*"))) <= 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a separate file system of 200 kB."""
    with disks.mount(tmp_path, "200k") as disk:
        yield disk


def test_full_disk_only_leaves_the_summary_behind(tiny_disk: Path) -> None:
    folder = make_run(tiny_disk, "some", steps=0)
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(100_000))
    child = start_child(folder, 1, 600)
    output, errors = child.communicate(timeout=60)
    assert (child.returncode, output, errors) == (0, "closing\n", "")
    assert os.statvfs(tiny_disk).f_bavail == 0
    assert not list(folder.path.glob(".progress*"))
    assert describe(read_progress(folder)) == describe(read_whole(folder))
    filler.unlink()
    assert start_child(folder, 2, 20).wait(60) == 0
    assert ProgressReader(folder).events.offset == folder.events.stat().st_size


def test_writer_follows_a_moved_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "INTERVAL_S", 0.01)
    old = make_run(home, "some", steps=3)
    writer = summary.SummaryWriter(HeldFolder(old.path))
    while not old.summary.exists():
        time.sleep(0.001)
    new = JobFolder(old.path.rename(home / "elsewhere"))
    events = EventWriter(new.events, 2)
    events.write("log", step=4, loss=0.5)
    events.close()
    writer.close()
    assert ProgressReader(new).events.offset == new.events.stat().st_size
    assert describe(read_progress(new)) == describe(read_whole(new))
    assert not old.path.exists()


def test_writer_leaves_no_folder_where_a_run_was_removed(home: Path) -> None:
    folder = make_run(home, "some", steps=3)
    writer = summary.SummaryWriter(folder)
    moved = folder.path.rename(home / "elsewhere")
    writer.close()
    assert not folder.path.exists() and not list(moved.glob("*progress*"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_recorded_run_has_the_same_verdict_from_its_summary(tmp_path: Path, path: Path) -> None:
    recorded, _ = read(path)
    folder = JobFolder(tmp_path)
    events = EventWriter(folder.events, 1)
    events.write("phase", phase="training", step=0, total=recorded["total_steps"])
    for row in recorded["history"]:
        events.write("eval" if "eval_loss" in row else "log", **row)
    events.close()
    full = Progress()
    full.feed(EventReader(folder.events).read())
    reader = ProgressReader(folder)
    reader.read()
    reader.write()
    assert ProgressReader(folder).events.offset == folder.events.stat().st_size
    assert diagnose(loss_curves.from_progress(read_progress(folder))) == diagnose(
        loss_curves.from_progress(full)
    )


@pytest.mark.parametrize(
    "kind", [curves.healthy, curves.flattening, curves.overfitting, curves.staircase,
             curves.running_away, curves.one_spike, curves.still, curves.slow_start],
)  # fmt: skip
def test_thinned_curve_has_the_verdict_of_all_its_points(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curves of 600 steps, each drawn over 9,000 logged steps."""
    drawn, length = curves.drawn, 9000

    def stretch(train: Any, evals: Any, **options: Any) -> Any:
        scale = 600 / length
        warmup = round(options.pop("warmup", 0) / scale)
        return drawn(
            lambda step: train(step * scale),
            evals and (lambda step: evals(step * scale)),
            **{**options, "steps": length, "every": 1, "warmup": warmup},
        )

    monkeypatch.setattr(curves, "drawn", stretch)
    curve = kind(0)
    whole, thin = Progress(), Progress(is_summary=True)
    rates, norms, evals = (dict(p) for p in (curve.learning_rate, curve.grad_norm, curve.evals))
    events = []
    for step, loss in curve.train:
        fields = {"loss": loss, "learning_rate": rates[step], "grad_norm": norms[step]}
        events.append({"t": step, "kind": "log", "step": int(step), **fields})
        if step in evals:
            row = {"t": step, "kind": "eval", "step": int(step), "eval_loss": evals[step]}
            events.append(row)
    for result in (whole, thin):
        result.feed([{"t": 0, "kind": "phase", "phase": "training", "total": length}, *events])
    assert len(thin.losses) <= progress.MAX_POINTS < len(whole.losses)
    verdict, other = (diagnose(loss_curves.from_progress(item)) for item in (whole, thin))
    assert (other.pattern, other.best_step) == (verdict.pattern, verdict.best_step)


@given(
    values=st.lists(st.one_of(st.floats(-9, 9), st.just(math.nan)), max_size=200),
    head=st.integers(0, 5), extra=st.integers(2, 20), cut=st.integers(0, 250),
)  # fmt: skip
def test_thin_series_is_bounded_and_keeps_its_first_and_newest_values(
    values: list[float], head: int, extra: int, cut: int
) -> None:
    thin, series = ThinSeries(head + extra, head), Series()
    for x, y in enumerate(values):
        thin.append(x, y)
        series.append(x, y)
    assert len(thin) <= head + extra
    everything = dict(series.points(0, 200))
    assert all(repr(y) == repr(everything[x]) for x, y in thin.points(0, 200))
    assert list(thin.xs)[:head] == list(series.xs)[:head] and thin.last_x == series.last_x
    if len(values) <= head + extra // 2 * 2:
        assert repr(list(thin.ys)) == repr(list(series.ys))
    had_gap = any(map(math.isnan, values))
    assert any(map(math.isnan, thin.ys)) == had_gap
    thin.cut_after(cut)
    thin.append(max(cut, len(values)), 1.0)
    assert thin.last == 1.0 and len(thin) <= head + extra
    copy = Series()
    copy.replace(thin.xs, thin.ys)
    for n in (1, 7):
        assert copy.columns(0, 250, n) == thin.columns(0, 250, n)
        assert copy.gaps(0, 250, n) == thin.gaps(0, 250, n)


def test_follower_of_a_list_is_bounded_and_begins_with_the_summary(home: Path) -> None:
    folder = make_run(home, "some", steps=0)
    make_long(folder)
    whole = read_whole(folder)
    first = Follower(folder, is_summary=True)
    while first.read(0.01):
        pass
    assert describe(first.progress) == describe(whole)
    reader = ProgressReader(folder)
    reader.read()
    reader.write()
    second = Follower(folder, is_summary=True)
    assert describe(second.progress) == describe(whole), "before anything is read"
    assert not second.read(1.0) and not second.is_behind
    assert second.run_status.best_step == 3150
    EventWriter(folder.events, 2).write("log", step=6001, loss=0.25)
    second.read(1.0)
    assert (second.progress.step, second.progress.loss) == (6001, 0.25)
