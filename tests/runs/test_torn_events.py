"""Events of a real training, torn at every byte, in every view."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from ftwizard.__main__ import main
from ftwizard.cli import watch
from ftwizard.diagnosis import diagnose
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.runs import loss_curves, store
from ftwizard.runs.follower import Follower
from ftwizard.runs.summary import read_progress
from tests.paths import FIXTURES
from tests.screens.runs_helpers import make_run

DATA = (FIXTURES / "events.jsonl").read_bytes()
LINES = DATA.splitlines(keepends=True)
ENDS = [sum(map(len, LINES[:count])) for count in range(len(LINES) + 1)]
AROUND = {end + more for end in ENDS for more in (-2, -1, 0, 1)}
GARBAGE = {
    "zeros": (bytes(4096), 1),
    "no text": (b"\xff\xfe\x00\xd8{", 1),
    "another object": (b'{"v":1,"t":1,"kind":"log","step":[22],"loss":{}}\n', 0),
    "no object": (b'[]\nnull\n"done"\n1e999\n', 4),
    "half a last word": (
        b'{"v":1,"t":1795599701.2,"kind":"done","attempt":1,"end_reason":"fini', 1,
    ),
    "deep": (b'{"v":1,"t":1,"kind":"log","x":' + b"[" * 5000 + b"\n", 1),
}  # fmt: skip
"""Bytes after the last whole line, and how many torn lines they are."""


@pytest.fixture
def run(home: Path) -> JobFolder:
    """Make a lost run: only its events contain its end reason."""
    folder = make_run(home, "torn")
    write_json(folder.state, State(state="running", attempt=1, started=1795599691.0))
    return folder


def read_brief_status(folder: JobFolder) -> dict[str, Any]:
    """Return the fields of a run's status that every tear is checked for."""
    status = store.read_status(folder)
    return {name: getattr(status, name) for name in ("step", "loss", "eval_loss", "end_reason")}


def summarize(folder: JobFolder) -> dict[str, Any]:
    """Return the summary of a run, after a check that all readers agree."""
    progress = read_progress(folder)
    status = store.read_status(folder)
    record = store.read_record(folder)
    follower = Follower(folder)
    assert not follower.read(10.0)
    for other in (record, follower.run_status):
        assert all(
            getattr(other, name) == getattr(status, name)
            for name in status.__struct_fields__
            if name != "age_s"
        )
    verdict = diagnose(loss_curves.from_progress(progress, folder))
    return {
        "step": status.step, "loss": status.loss, "eval_loss": status.eval_loss,
        "best_step": status.best_step, "total_steps": status.total_steps,
        "end_reason": status.end_reason, "checkpoints": tuple(progress.checkpoints),
        "pattern": verdict.pattern,
    }  # fmt: skip


def expected(whole: list[bytes], *, is_done: bool) -> dict[str, Any]:
    """Return the summary that the whole lines give."""
    events = [json.loads(line) for line in whole]

    def last(kind: str, name: str) -> Any:
        return next((e[name] for e in reversed(events) if e["kind"] == kind and name in e), None)

    evals = [(e["eval_loss"], e["step"]) for e in events if e["kind"] == "eval"]
    begun = [e for e in events if e.get("phase") == "training"]
    return {
        "step": last("log", "step") if last("log", "step") else 0 if begun else None,
        "loss": last("log", "loss"), "eval_loss": last("eval", "eval_loss"),
        "best_step": min(evals)[1] if evals else None,
        "total_steps": begun[-1]["total"] if begun else None,
        "end_reason": "stopped" if is_done else "lost",
        "checkpoints": tuple(e["step"] for e in events if e["kind"] == "checkpoint"),
    }  # fmt: skip


def test_views_report_the_whole_lines_of_a_torn_file(run: JobFolder) -> None:
    run.events.unlink()
    with run.events.open("ab", buffering=0) as file:
        for cut in range(len(DATA) + 1):
            file.write(DATA[cut - 1 : cut] if cut else b"")
            whole = LINES[: sum(end <= cut for end in ENDS[1:])]
            result = summarize(run) if cut in AROUND else read_brief_status(run)
            full_summary = expected(whole, is_done=cut >= len(DATA) - 1)
            assert result.items() <= {**full_summary, "pattern": result.get("pattern")}.items(), cut


def count_torn_lines(folder: JobFolder) -> int:
    follower = Follower(folder)
    assert not follower.read(10.0)
    return follower.torn


@pytest.mark.parametrize(("garbage", "torn"), GARBAGE.values(), ids=GARBAGE)
def test_trailing_garbage_is_counted_as_torn_and_later_events_are_read(
    run: JobFolder, garbage: bytes, torn: int
) -> None:
    for end in ENDS:
        run.events.write_bytes(DATA[:end])
        before = summarize(run)
        run.events.write_bytes(DATA[:end] + garbage)
        assert summarize(run) == before, end
        # A line without an end may still be in writing.
        assert count_torn_lines(run) == (torn if garbage.endswith(b"\n") else 0), end
        # A new writer ends the torn line first; its event is read.
        writer = EventWriter(run.events, 1)
        writer.write("log", step=99, loss=0.25)
        writer.close()
        after = summarize(run)
        assert (after["step"], after["loss"], after["end_reason"]) == (
            99, 0.25, before["end_reason"],
        )  # fmt: skip
        assert count_torn_lines(run) == torn, end


def test_every_command_works_on_a_torn_run(run: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.0)
    for cut in (0, ENDS[3] + 20, ENDS[15] - 1, ENDS[-2] + 60):
        run.events.write_bytes(DATA[:cut] + b"\0" * 64)
        for command in (("runs",), ("status", "torn"), ("diagnose", "torn"), ("watch", "torn")):
            for more in ((), ("--json",)):
                output = io.StringIO()
                with redirect_stdout(output):
                    code = main([*command, *more])
                assert code == (1 if command[0] == "watch" else 0), (command, cut)
                if more:
                    assert json.loads(output.getvalue())
