"""A few real steps at the longest rows, then at rows as they come, then one evaluation step.

It runs in a process of its own, whose folder is removed with it: memory that a failed try left in
pieces, and a kill by the kernel, end nothing else. The first try reads the rows and leaves those
that are stepped through in the folder, so that a try with a smaller batch begins at the model.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import models
from ftwizard import plan as plans
from ftwizard.estimate import batches
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Ended, Worker
from ftwizard.plan import Plan
from ftwizard.probes import Measured
from ftwizard.train import base_model, longest, prediction, quiet, schedule, trainer
from ftwizard.train import meter as metering
from ftwizard.train.meter import Meter
from ftwizard.train.tokenise import Encoded, Encoder
from ftwizard.train.trainer import Prepared

MOST_PASSES = 2
"""Forward passes of a step: with two, the gradients of the first are there in the second; more take
no more memory, and as long each."""
TYPICAL_S = 60.0
"""Steps at rows as they come end after this long."""


class Sequence(msgspec.Struct, frozen=True):
    """What one place of a batch holds: a row, or packed rows."""

    input_ids: list[int]
    labels: list[int]
    seq_lengths: list[int]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """``sample.json``: what is stepped through, and what it stands for."""

    base: str
    longest: list[Sequence]
    drawn: list[Sequence]
    validation: list[Sequence]
    lengths: list[int]
    """Tokens of every sequence that is trained on."""
    rows: list[int]
    """Tokens of every row in them."""
    validation_lengths: list[int]


def run(worker: Worker) -> Ended:
    """Measure what the plan in the folder takes; the result is a ``Measured``."""
    _go_first()
    _end_with(worker.folder)
    plan = plans.load(worker.folder.plan, begun=True)
    steps = int(worker.record.inputs["steps"])
    sample = _sample(worker, plan, steps)
    batch, passes = longest.reached(
        plan.recipe.batch_size, plan.recipe.gradient_accumulation, len(sample.lengths)
    )
    recipe = msgspec.structs.replace(
        plan.recipe, batch_size=batch, gradient_accumulation=min(passes, MOST_PASSES)
    )
    probed = msgspec.structs.replace(plan, recipe=recipe, report_to=())
    found, trained = _measure(worker, probed, sample, steps)
    scale = passes / recipe.gradient_accumulation
    measured = msgspec.structs.replace(found, step_s=found.step_s * scale)
    whole = plan.recipe
    total = schedule.total_steps(
        len(sample.lengths), whole.batch_size, whole.gradient_accumulation, whole.epochs
    )
    looks = prediction.evaluations(whole, total) if sample.validation else 0
    predicted = prediction.estimated(
        plan,
        Path(sample.base),
        tokens=sum(sample.rows) * whole.epochs,
        lengths={
            "train": batches.of_rows(sample.rows),
            "validation": batches.of_rows(sample.validation_lengths),
        },
        trained=trained,
    )
    return Ended(
        "finished",
        {
            "measured": msgspec.to_builtins(measured),
            "evaluations": looks,
            "predicted": msgspec.to_builtins(predicted),
        },
    )


def _sample(worker: Worker, plan: Plan, steps: int) -> Sample:
    """Return what is stepped through: as an earlier try left it, or chosen from all rows."""
    path = worker.folder.path / "sample.json"
    if path.exists():
        quiet.libraries()
        return msgspec.json.decode(path.read_bytes(), type=Sample)
    ready = trainer.prepare(worker, plan, keeps=False)
    held = [_sequence(row) for row in ready.train]
    lengths = [len(one.input_ids) for one in held]
    validation = [
        Sequence(row.input_ids, row.labels, [len(row.input_ids)])
        for row in ready.encoded["validation"]
    ]
    validation_lengths = [len(one.input_ids) for one in validation]
    batch = plan.recipe.batch_size
    count = batch * min(plan.recipe.gradient_accumulation, MOST_PASSES)
    sample = Sample(
        base=str(ready.base),
        longest=[held[i] for i in longest.longest(lengths, count)],
        drawn=[held[i] for i in longest.drawn(lengths, count * steps, plan.recipe.seed)],
        validation=[
            validation[i] for i in longest.longest(validation_lengths, min(batch, len(validation)))
        ],
        lengths=lengths,
        rows=[n for one in held for n in one.seq_lengths],
        validation_lengths=validation_lengths,
    )
    write_json(path, sample)
    return sample


def _sequence(row: dict[str, Any]) -> Sequence:
    ids = [int(i) for i in row["input_ids"]]
    held = row.get("seq_lengths") or [len(ids)]
    return Sequence(ids, [int(i) for i in row["labels"]], [int(n) for n in held])


def _prepared(plan: Plan, sample: Sample, sequences: list[Sequence]) -> Prepared:
    """Return what the trainer takes, with these sequences in this order."""
    from datasets import Dataset

    base = Path(sample.base)
    columns: dict[str, Any] = {
        "input_ids": [one.input_ids for one in sequences],
        "labels": [one.labels for one in sequences],
    }
    if plan.recipe.packing:
        columns["seq_lengths"] = [one.seq_lengths for one in sequences]
    encoded = {
        "train": [row for one in sequences for row in _rows(one)],
        "validation": [
            row for one in sample.validation[: plan.recipe.batch_size] for row in _rows(one)
        ],
    }
    return Prepared(
        source=models.Source(kind="folder", name=sample.base, fingerprint="", said=sample.base),
        base=base,
        encoder=Encoder(base_model.load_tokenizer(base), base_model.stop_ids(base)),
        encoded=encoded,
        reports={},
        unreadable={},
        train=Dataset.from_dict(columns),
        total=1,
    )


def _rows(one: Sequence) -> list[Encoded]:
    rows, start = [], 0
    for length in one.seq_lengths:
        end = start + length
        rows.append(
            Encoded(line=0, input_ids=one.input_ids[start:end], labels=one.labels[start:end])
        )
        start = end
    return rows


def _measure(worker: Worker, plan: Plan, sample: Sample, steps: int) -> tuple[Measured, int]:
    """Take the steps; return what they took, and how many parameters are trained."""
    import torch

    from ftwizard.train.timer import Timer

    recipe = plan.recipe
    size, flat = recipe.batch_size * recipe.gradient_accumulation, recipe.packing
    at_longest = list((sample.longest * size)[:size])
    drawn = list((sample.drawn * size)[: size * steps])
    ready = _prepared(plan, sample, at_longest * steps + drawn)

    import trl.trainer.sft_trainer  # noqa: F401 (before the meter: libraries are no model)

    meter = Meter()
    timer = Timer(worker, meter, steps, TYPICAL_S)
    engine = trainer.build(
        worker, plan, ready, [timer],
        {
            "max_steps": 2 * steps, "train_sampling_strategy": "sequential",
            "eval_strategy": "no", "save_strategy": "no",
        },
    )  # fmt: skip
    loaded = meter.peak()
    meter.restart()
    engine.train()
    training = max(meter.peak(), timer.peak)
    meter.restart()
    evaluation_s = _evaluate(worker, engine) if sample.validation else None
    evaluation = meter.peak() if sample.validation else None

    def tokens(of: list[Sequence]) -> list[int]:
        lengths = [len(one.input_ids) for one in of]
        return longest.batches(lengths, recipe.batch_size, flat=flat)

    long_step = sum(tokens(at_longest))
    each = [sum(tokens(drawn[i * size : (i + 1) * size])) for i in range(len(timer.typical))]
    useful = sum(len(one.input_ids) for one in drawn[: size * len(timer.typical)])
    step_s = min(timer.at_longest)
    validation = sum(tokens(sample.validation[: recipe.batch_size]))
    on_gpu = meter.on_gpu
    measured = Measured(
        device=torch.cuda.get_device_name() if on_gpu else _processors(),
        device_memory=torch.cuda.mem_get_info()[1] if on_gpu else _memory(),
        precision=timer.precision,
        memory_source=metering.source(),
        memory_before=meter.before,
        memory_loaded=loaded,
        memory_training=training,
        memory_evaluation=evaluation,
        memory_allocated=timer.allocated,
        memory_on_device=meter.on_device(),
        longest=max(sample.lengths),
        steps=len(timer.at_longest),
        step_s=step_s,
        tokens_per_s=long_step / step_s,
        useful_tokens_per_s=useful / sum(timer.typical),
        rates=[count / seconds for count, seconds in zip(each, timer.typical, strict=True)],
        evaluation_s=evaluation_s,
        evaluation_tokens_per_s=validation / evaluation_s if evaluation_s else None,
        epoch_tokens=longest.epoch(sample.lengths, recipe.batch_size, recipe.seed, flat=flat),
        validation_tokens=sum(
            longest.batches(sample.validation_lengths, recipe.batch_size, flat=flat)
        ),
    )
    return measured, prediction.trained_in(engine.model)


def _evaluate(worker: Worker, engine: Any) -> float:
    worker.phase("measuring", what="one evaluation step")
    began = time.perf_counter()
    engine.evaluate()  # its loss is read, so that the GPU has done it
    return time.perf_counter() - began


def _processors() -> str:
    import torch

    from ftwizard.text import plural

    return plural(torch.get_num_threads(), "thread") + " of the processors"


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _go_first() -> None:
    """Where memory runs out the kernel is to end the probe, and no other program."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with(folder: JobFolder) -> None:
    """End this process, and remove its folder, when who started it is gone: its pipe then closes."""

    def watch() -> None:
        sys.stdin.buffer.read()
        shutil.rmtree(folder.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.path.parent.rmdir()  # made for it alone, so it is empty now
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="starter").start()
