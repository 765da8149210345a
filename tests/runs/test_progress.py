"""Progress of a run from its events, including resumed attempts."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from ftwizard import locations
from ftwizard.cli import watch
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.runs import describe, store
from ftwizard.runs.progress import MAX_ANSWERS, MAX_PROMPTS, Progress


def event(kind: str, t: float, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"v": 1, "t": t, "kind": kind, "attempt": attempt, **fields}


def steps(first: int, last: int, attempt: int = 1, loss: float = 1.0) -> list[dict[str, Any]]:
    return [
        event("log", float(s), attempt, step=s, loss=loss, tokens=100 * s, epoch=s / 10)
        for s in range(first, last + 1)
    ]


def test_progress_computes_speed_and_time_left() -> None:
    progress = Progress()
    progress.feed([event("phase", 0, phase="training", step=0, total=30), *steps(1, 10)])
    assert (progress.step, progress.total_steps, progress.phase) == (10, 30, "training")
    assert progress.tokens_per_s == 100
    assert progress.eta_s == 20


def test_status_names_what_a_run_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, job, progress = JobFolder(tmp_path), Status(state="running", attempt=1), Progress()
    progress.feed([event("phase", 0, phase="training", step=0, total=30), *steps(1, 10)])
    monkeypatch.setattr(time, "time", lambda: 19.0)
    assert store.make_status(folder, job, progress).eta_s == 20
    monkeypatch.setattr(time, "time", lambda: 21.0)
    assert store.make_status(folder, job, progress).eta_s is None, "no longer true"
    slow = {"set": "target", "line": 5, "seconds": 90.0, "usual_s": 2.0}
    progress.feed(
        [event("phase", 11, phase="comparing", what="base model", done=3, total=9, slow=slow)]
    )
    report = store.make_status(folder, job, progress)
    assert report.work == {
        "detail": "base model", "done": 3, "total": 9, "slow_set": "target", "slow_line": 5,
        "slow_s": 90, "usual_s": 2,
    }  # fmt: skip
    assert (
        store.make_status(folder, Status(state="ended", attempt=1), progress).work is msgspec.UNSET
    )
    text = describe.describe_wait(progress, job)
    assert "line 5 (target) takes 1 min 40 s, others 2 s" in text


def test_resumed_attempt_discards_the_steps_it_replays() -> None:
    progress = Progress()
    progress.feed([
        event("phase", 0, phase="training", step=0, total=30),
        *steps(1, 14, loss=2.0),
        event("eval", 14.5, step=14, eval_loss=0.5),
        event("checkpoint", 10.5, step=10, eval_loss=0.9),
        event("phase", 20, 2, phase="training", step=10, total=30),
        *steps(11, 12, attempt=2, loss=3.0),
    ])  # fmt: skip
    losses = dict(progress.losses.points(0, 100))
    assert list(losses) == list(range(1, 13))
    assert (losses[10], losses[11], progress.loss) == (2.0, 3.0, 3.0)
    assert progress.best_step is None, "step 14 was discarded"
    assert list(progress.checkpoints) == [10]


def test_resumed_attempt_discards_later_samples_and_highest_loss_rows() -> None:
    def log_step(step: int, attempt: int = 1) -> list[dict[str, Any]]:
        return [
            event("rows", step + 0.1, attempt, step=step, rows=[{"row": step}, 3]),
            *(event("sample", step + 0.2, attempt, step=step, index=i, prompt="p",
                    answer=f"{i} at {step}, attempt {attempt}") for i in range(2)),
        ]  # fmt: skip

    progress = Progress()
    assert progress.highest_loss_rows is None and progress.samples == {}
    progress.feed([event("phase", 0, phase="training", step=0, total=30)])
    progress.feed([*log_step(0), *log_step(10), *log_step(14)])
    assert progress.highest_loss_rows is not None and progress.highest_loss_rows["step"] == 14
    progress.feed([event("phase", 20, 2, phase="training", step=10, total=30)])
    assert progress.highest_loss_rows is not None and progress.highest_loss_rows["rows"] == [
        {"row": 10}
    ]
    assert {i: [e["step"] for e in result] for i, result in progress.samples.items()} == {
        0: [0, 10], 1: [0, 10],
    }  # fmt: skip
    progress.feed(log_step(10, 2))
    assert [e["answer"] for e in progress.samples[1]] == ["1 at 0, attempt 1", "1 at 10, attempt 2"]


def test_sample_event_ends_the_samples_phase() -> None:
    progress = Progress()
    progress.feed([
        event("phase", 1, phase="training", step=0, total=9),
        event("phase", 2, phase="evaluating", what="samples"),
    ])  # fmt: skip
    assert (progress.phase, progress.detail) == ("evaluating", "samples")
    progress.feed([event("sample", 3, step=0, index=0, prompt="p", answer="a")])
    assert (progress.phase, progress.detail) == ("training", None)


def test_samples_of_a_long_run_are_limited_keeping_the_first() -> None:
    progress = Progress()
    progress.feed([
        event("sample", s, step=s, index=i, answer="a") for s in range(600) for i in range(0, 200, 2)
    ])  # fmt: skip
    assert len(progress.samples) == MAX_PROMPTS
    for sample in progress.samples.values():
        assert len(sample) == MAX_ANSWERS
        assert (sample[0]["step"], sample[1]["step"], sample[-1]["step"]) == (0, 201, 599)
    progress.feed([
        event("sample", 1, step=1, index=-1, answer="a"), event("sample", 1, step=1, index=0),
        event("rows", 1, step=1, rows="no list"), event("rows", 1, step="x", rows=[]),
    ])  # fmt: skip
    assert progress.highest_loss_rows is None and -1 not in progress.samples


def test_best_step_is_the_first_of_equals_and_never_nan() -> None:
    progress = Progress()
    progress.feed([
        event("eval", 1, step=1, eval_loss="nan"),
        event("eval", 2, step=2, eval_loss=0.5),
        event("eval", 3, step=3, eval_loss=0.5),
        event("eval", 4, step=4, eval_loss="inf"),
    ])  # fmt: skip
    assert progress.best_step == 2
    assert progress.eval_loss == math.inf


def test_eval_event_ends_the_evaluation_phase() -> None:
    progress = Progress()
    progress.feed([
        event("phase", 1, phase="training", step=0, total=9),
        event("phase", 2, phase="evaluating", done=1, total=4, unit="batches"),
    ])  # fmt: skip
    assert (progress.phase, progress.done) == ("evaluating", 1)
    progress.feed([event("eval", 3, step=1, eval_loss=1.0)])
    assert (progress.phase, progress.done) == ("training", None)


def test_checkpoint_event_ends_the_saving_phase() -> None:
    progress = Progress()
    progress.feed([
        event("phase", 1, phase="training", step=0, total=9),
        *steps(1, 1),
        event("phase", 2, phase="saving"),
    ])  # fmt: skip
    assert (progress.phase, progress.wait_s(Instant(4))) == ("saving", 2)
    progress.feed([event("checkpoint", 5, step=1, seconds=3.0)])
    assert (progress.phase, progress.wait_s(Instant(9))) == ("training", 4)


def test_bar_does_not_stand_at_its_end_after_the_last_step() -> None:
    progress = Progress()
    progress.feed([event("phase", 1, phase="training", step=0, total=9), *steps(1, 8)])
    assert progress.share == pytest.approx(8 / 9)
    progress.feed([event("phase", 8, phase="evaluating", done=1, total=4, unit="batches")])
    assert progress.share == pytest.approx(8 / 9), "in between, the training's share stays"
    progress.feed(steps(9, 9))
    progress.feed([event("phase", 9, phase="evaluating", done=1, total=4, unit="batches")])
    assert progress.share == pytest.approx(1 / 4)
    for phase in ("saving", "merging"):
        progress.feed([event("phase", 10, phase=phase)])
        assert progress.share is None


def test_phase_and_its_part_begin_when_they_change() -> None:
    progress = Progress()
    for t, what, since in ((3, "base model", 3), (9, "base model", 3), (12, "tuned model", 12)):
        progress.feed([event("phase", t, phase="comparing", what=what, done=t, total=20)])
        assert progress.wait_s(Instant(t + 1)) == t + 1 - since


def test_unknown_kinds_and_invalid_logs_are_skipped() -> None:
    progress = Progress()
    progress.feed([event("new", 1, step=3), event("log", 2, step="x"), event("log", 3)])
    assert not progress.losses


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)  # no line has lone surrogates
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text
    | st.sampled_from(["nan", "inf", "-inf", 10**400, -(10**400), 2**53, 1e308, 5e-324]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner),
    max_leaves=6,
)  # fmt: skip
_fields = ("v", "attempt", "step", "loss", "eval_loss", "epoch", "tokens", "learning_rate",
           "grad_norm", "seconds", "path", "code", "severity", "message", "phase", "what", "done",
           "total", "unit")  # fmt: skip
_phases = st.sampled_from(["training", "evaluating", "loading"]) | _junk
_events = st.builds(
    lambda head, rest: {**rest, **head},
    st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from(["phase", "log", "eval", "checkpoint", "finding"]) | _junk,
            "t": st.floats(0, 2e9) | _junk,
            "phase": _phases,
            "step": st.integers(0, 50) | _junk,
            "attempt": st.integers(1, 3) | _junk,
        },
    ),
    st.dictionaries(st.sampled_from(_fields) | _text, _junk | st.floats(0, 10)),
)


def render_every_view(progress: Progress) -> None:
    """Render progress as status, watch and the monitor do."""
    folder = JobFolder(locations.runs_folder() / "x")
    status = Status(state="running", attempt=1)
    msgspec.json.encode(store.make_status(folder, status, progress))
    out = Console(file=io.StringIO(), markup=False)
    watch._EventLog(out).show(progress)
    out.print(watch._draw(folder, status, progress))
    watch._format_step(progress)
    describe.describe_progress(progress)
    for event in progress.findings:
        assert event.get("step") is None or 0 <= event["step"] < 2**53


@given(st.lists(_events, max_size=12))
@example([event("phase", 0, phase="training", step="x", total=[])])
@example([event("log", 0, step=10**400, loss=1.0), event("log", 0, step=True, loss=1.0)])
@example([event("log", 0, step=1, loss={}), event("eval", 1, step=1, eval_loss=[1])])
@example([
    event("phase", 0, phase="training", total=2**53 - 1),
    event("log", 0, step=1), event("log", 2e11, step=2, tokens=1e308),
])  # fmt: skip
def test_every_view_renders_any_event(events: list[dict[str, Any]]) -> None:
    progress = Progress()
    for event in events:
        progress.feed([event])
        render_every_view(progress)
    for whole in (progress.step, progress.total_steps, progress.attempt, progress.best_step):
        assert whole is None or type(whole) is int
    for figure in (progress.epoch, progress.done, progress.total, progress.updated):
        assert figure is None or (type(figure) is float and 0 <= figure < math.inf)
    for words_ in (progress.phase, progress.detail, progress.unit):
        assert words_ is None or type(words_) is str


def test_invalid_field_does_not_drop_the_others() -> None:
    progress = Progress()
    progress.feed([
        event("phase", 0, phase="training", step=0, total=30),
        {"t": 1.0, "kind": "log", "attempt": [], "step": 1, "loss": 0.5, "epoch": "no", "tokens": {}},
        {"t": "later", "kind": "log", "step": 2, "loss": 0.1},
    ])  # fmt: skip
    assert (progress.step, progress.total_steps, progress.loss, progress.epoch) == (
        1,
        30,
        0.5,
        None,
    )


def test_steps_reported_at_once_count_as_one_moment_for_speed() -> None:
    """A follower copies bursts: 30 steps each 10 seconds are 3 steps a second, not thousands."""
    progress = Progress()
    progress.feed([event("phase", 0, phase="training", step=0, total=300)])
    for burst in range(4):
        for step in range(30 * burst + 1, 30 * burst + 31):
            copied = event("log", 10.0 * burst + step * 1e-5, step=step, loss=1.0, id=f"e{step}")
            progress.feed([copied])
    assert progress.eta_s == pytest.approx((300 - 120) / 3, rel=0.01)
