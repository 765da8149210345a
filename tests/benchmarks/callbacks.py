"""Time in ftwizard's callbacks, saving and syncing included, compared with step time.

Limit: 2 % of step time. Samples have their own limit: half of the evaluation time, or 1 s each,
and 10 s before the first step. The run trains on the packaged sample, with an evaluation and a
checkpoint every 20 steps.
"""

from __future__ import annotations

import functools
import random
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ftwizard.jobs import worker
from ftwizard.jobs.folder import JobFolder
from tests.benchmarks.workbench import bench, create_run
from tests.helpers.jobs import events

LIMIT_SHARE = 0.02
LONG = 10_000
spent: dict[str, float] = defaultdict(float)


def timed(owner: type, name: str) -> None:
    """Wrap a callback method to add the time of its calls to ``spent``."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(*arguments: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return inner(*arguments, **more)
        finally:
            spent[f"{owner.__name__}.{name}"] += time.perf_counter() - began

    setattr(owner, name, outer)


def main() -> None:
    from ftwizard.cli.work import run_training
    from ftwizard.train import (
        callbacks,
        diagnosis_callback,
        efficiency,
        sample_callback,
        validation_rows,
    )

    for owner in (
        callbacks.Recorder,
        callbacks.RunControl,
        callbacks.OverfitDetector,
        callbacks.CheckpointKeeper,
        efficiency.EfficiencyCallback,
        validation_rows.ValidationRows,
        sample_callback.SampleCallback,
        diagnosis_callback.DiagnosisCallback,
    ):
        for name in [n for n in vars(owner) if n.startswith("on_") or n in ("_collect", "_count")]:
            timed(owner, name)
    with bench(samples=3, evaluation_steps=20) as (path, plan):
        folder = create_run(path, plan)
        worker.run(folder, run_training)
        logs = events(folder, "log")
        (begin,) = [e for e in events(folder, "phase") if e.get("phase") == "training"][:1]
        training = logs[-1]["t"] - begin["t"]
        measured = sum(e.get("eval_runtime", 0) for e in events(folder, "eval"))
        answered = {e["step"]: e["seconds"] for e in events(folder, "sample")}
        steps = training - measured - sum(answered.values())
    sampled = sum(s for name, s in spent.items() if name.startswith("SampleCallback."))
    total = sum(spent.values()) - sampled
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{name:<32} {seconds * 1000:8.1f} ms")
    print(f"{len(logs)} steps took {steps:.1f} s without evaluations; callbacks {total:.3f} s")
    print(
        f"samples {sampled:.1f} s, of which {answered[0]:.1f} s before the first step; "
        f"evaluations {measured:.1f} s"
    )
    print(
        f"ratio of samples to evaluations {(sampled - answered[0]) / measured:.2f}, "
        "limit 0.50 or 1 s each"
    )
    print(f"ratio {total / steps:.2%}, {total / steps / LIMIT_SHARE:.0%} of the limit")
    for every in (50, 500):
        print(
            f"diagnosis of {LONG:,} logs, evaluation every {every} steps: "
            f"{time_diagnosis(every):.2f} s in total; "
            f"these steps take {steps / len(logs) * LONG:.0f} s"
        )


def time_diagnosis(every: int) -> float:
    """Return the seconds of diagnosis over a training of ``LONG`` steps."""
    from transformers import TrainerControl, TrainerState

    from ftwizard.train.diagnosis_callback import DiagnosisCallback

    worker: Any = SimpleNamespace(
        events=SimpleNamespace(write_finding=lambda *_, **__: None),
        folder=JobFolder(Path("/nonexistent")),
    )
    args: Any = SimpleNamespace(
        output_dir="",
        gradient_accumulation_steps=1,
        eval_strategy="steps",
        get_warmup_steps=lambda _: 0,
    )
    chance, callback, control = random.Random(1), DiagnosisCallback(worker, {}), TrainerControl()
    state = TrainerState(max_steps=LONG)
    began = time.perf_counter()
    for step in range(1, LONG + 1):
        state.global_step = step
        loss = 2 - step / LONG + chance.gauss(0, 0.1)
        state.log_history.append(
            {
                "step": step,
                "loss": loss,
                "learning_rate": 1e-4,
                "grad_norm": 1.0,
                "epoch": step / LONG,
            }
        )
        callback.on_log(args, state, control)
        if step % every == 0:
            state.log_history.append({"step": step, "eval_loss": loss, "epoch": step / LONG})
            callback.on_evaluate(args, state, control)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
