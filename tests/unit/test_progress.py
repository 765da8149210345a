"""What events add up to, also when a resumed attempt replays steps."""

from __future__ import annotations

import math
from typing import Any

from ftwizard.runs import Progress, new_id


def event(kind: str, t: float, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"v": 1, "t": t, "kind": kind, "attempt": attempt, **fields}


def steps(first: int, last: int, attempt: int = 1, loss: float = 1.0) -> list[dict[str, Any]]:
    return [
        event("log", float(s), attempt, step=s, loss=loss, tokens=100 * s, epoch=s / 10)
        for s in range(first, last + 1)
    ]


def test_speed_and_time_left() -> None:
    progress = Progress()
    progress.feed([event("phase", 0, phase="training", step=0, total=30), *steps(1, 10)])
    assert (progress.step, progress.total_steps, progress.phase) == (10, 30, "training")
    assert progress.tokens_per_s == 100
    assert progress.eta_s == 20


def test_a_resumed_attempt_takes_back_what_it_replays() -> None:
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
    assert progress.best_step is None, "step 14 has not happened any more"
    assert list(progress.checkpoints) == [10]


def test_the_best_is_the_first_of_equals_and_never_nan() -> None:
    progress = Progress()
    progress.feed([
        event("eval", 1, step=1, eval_loss="nan"),
        event("eval", 2, step=2, eval_loss=0.5),
        event("eval", 3, step=3, eval_loss=0.5),
        event("eval", 4, step=4, eval_loss="inf"),
    ])  # fmt: skip
    assert progress.best_step == 2
    assert progress.eval_loss == math.inf


def test_an_evaluation_ends_its_phase() -> None:
    progress = Progress()
    progress.feed([
        event("phase", 1, phase="training", step=0, total=9),
        event("phase", 2, phase="evaluating", done=1, total=4, unit="batches"),
    ])  # fmt: skip
    assert (progress.phase, progress.done) == ("evaluating", 1)
    progress.feed([event("eval", 3, step=1, eval_loss=1.0)])
    assert (progress.phase, progress.done) == ("training", None)


def test_a_stop_gets_time_for_a_long_step_and_a_slow_save() -> None:
    progress = Progress()
    assert progress.stop_grace_s == 30
    progress.feed([
        event("log", 0, step=1, loss=1.0),
        event("log", 100, step=2, loss=1.0),
        event("checkpoint", 101, step=2, seconds=20.0),
    ])  # fmt: skip
    assert progress.stop_grace_s == 160


def test_unknown_kinds_are_skipped() -> None:
    progress = Progress()
    progress.feed([event("new", 1, step=3), event("log", 2, step="x"), event("log", 3)])
    assert not progress.losses


def test_ids_are_made_of_safe_letters() -> None:
    assert new_id("Mein Plän!").startswith("Mein-Pl-n-")
    assert new_id("...").startswith("run-")
