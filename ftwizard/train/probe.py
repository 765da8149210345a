"""Measured memory and speed: a few steps with the longest rows, with typical rows, an evaluation.

A probe runs in a separate process, whose folder is deleted with it, so that fragmented memory or a
kill by the kernel affects nothing else. The first attempt reads the rows and saves those that it
needs in the folder, so that an attempt with a smaller batch starts with loading the model.
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

MAX_PASSES = 2
"""Forward passes per step. In the second, the gradients of the first are in memory; further passes
take the same memory and time each."""
MAX_TYPICAL_S = 60.0
"""Time limit of the steps with typical rows."""


class ProbeSequence(msgspec.Struct, frozen=True):
    """An item of a batch: a row, or packed rows."""

    input_ids: list[int]
    labels: list[int]
    seq_lengths: list[int]


class ProbeSample(msgspec.Struct, frozen=True, kw_only=True):
    """``sample.json``: the probed sequences, and the lengths of all rows."""

    base: str
    longest: list[ProbeSequence]
    typical: list[ProbeSequence]
    validation: list[ProbeSequence]
    lengths: list[int]
    """Tokens of every training sequence."""
    rows: list[int]
    """Tokens of every training row."""
    validation_lengths: list[int]


def run(worker: Worker) -> Ended:
    """Measure the memory and speed of the folder's plan; the result holds a ``Measured``."""
    _prefer_for_oom_kill()
    _exit_with_parent(worker.folder)
    plan = plans.load(worker.folder.plan, begun=True)
    steps = int(worker.record.inputs["steps"])
    sample = _load_sample(worker, plan, steps)
    batch, passes = longest.effective_batch(
        plan.recipe.batch_size, plan.recipe.gradient_accumulation, len(sample.lengths)
    )
    recipe = msgspec.structs.replace(
        plan.recipe, batch_size=batch, gradient_accumulation=min(passes, MAX_PASSES)
    )
    probed = msgspec.structs.replace(plan, recipe=recipe, report_to=())
    measured, trained = _measure(worker, probed, sample, steps)
    scale = passes / recipe.gradient_accumulation
    measured = msgspec.structs.replace(measured, step_s=measured.step_s * scale)
    planned = plan.recipe
    total = schedule.total_steps(
        len(sample.lengths), planned.batch_size, planned.gradient_accumulation, planned.epochs
    )
    evaluations = prediction.count_evaluations(planned, total) if sample.validation else 0
    predicted = prediction.predict(
        plan,
        Path(sample.base),
        tokens=sum(sample.rows) * planned.epochs,
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
            "evaluations": evaluations,
            "predicted": msgspec.to_builtins(predicted),
        },
    )


def _load_sample(worker: Worker, plan: Plan, steps: int) -> ProbeSample:
    """Return the sample that an earlier attempt saved, or choose it from all rows."""
    path = worker.folder.path / "sample.json"
    if path.exists():
        quiet.silence_libraries()
        return msgspec.json.decode(path.read_bytes(), type=ProbeSample)
    ready = trainer.prepare(worker, plan, keeps=False)
    sequences = [_to_sequence(row) for row in ready.train]
    lengths = [len(sequence.input_ids) for sequence in sequences]
    validation = [
        ProbeSequence(row.input_ids, row.labels, [len(row.input_ids)])
        for row in ready.encoded["validation"]
    ]
    validation_lengths = [len(sequence.input_ids) for sequence in validation]
    batch = plan.recipe.batch_size
    count = batch * min(plan.recipe.gradient_accumulation, MAX_PASSES)
    sample = ProbeSample(
        base=str(ready.base),
        longest=[sequences[i] for i in longest.longest(lengths, count)],
        typical=[sequences[i] for i in longest.shuffled(lengths, count * steps, plan.recipe.seed)],
        validation=[
            validation[i] for i in longest.longest(validation_lengths, min(batch, len(validation)))
        ],
        lengths=lengths,
        rows=[length for sequence in sequences for length in sequence.seq_lengths],
        validation_lengths=validation_lengths,
    )
    write_json(path, sample)
    return sample


def _to_sequence(row: dict[str, Any]) -> ProbeSequence:
    ids = [int(i) for i in row["input_ids"]]
    lengths = row.get("seq_lengths") or [len(ids)]
    return ProbeSequence(ids, [int(i) for i in row["labels"]], [int(n) for n in lengths])


def _prepare(plan: Plan, sample: ProbeSample, sequences: list[ProbeSequence]) -> Prepared:
    """Return the trainer's input, with ``sequences`` in this order."""
    from datasets import Dataset

    base = Path(sample.base)
    columns: dict[str, Any] = {
        "input_ids": [sequence.input_ids for sequence in sequences],
        "labels": [sequence.labels for sequence in sequences],
    }
    if plan.recipe.packing:
        columns["seq_lengths"] = [sequence.seq_lengths for sequence in sequences]
    validation = sample.validation[: plan.recipe.batch_size]
    encoded = {
        "train": [row for sequence in sequences for row in _split_rows(sequence)],
        "validation": [row for sequence in validation for row in _split_rows(sequence)],
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


def _split_rows(sequence: ProbeSequence) -> list[Encoded]:
    rows, start = [], 0
    for length in sequence.seq_lengths:
        span = slice(start, start + length)
        rows.append(
            Encoded(line=0, input_ids=sequence.input_ids[span], labels=sequence.labels[span])
        )
        start += length
    return rows


def _measure(worker: Worker, plan: Plan, sample: ProbeSample, steps: int) -> tuple[Measured, int]:
    """Run the steps; return the measurements and the number of trainable parameters."""
    import torch

    from ftwizard.train.timer import StepTimer

    recipe = plan.recipe
    size, flat = recipe.batch_size * recipe.gradient_accumulation, recipe.packing
    at_longest = list((sample.longest * size)[:size])
    typical = list((sample.typical * size)[: size * steps])
    ready = _prepare(plan, sample, at_longest * steps + typical)

    import trl.trainer.sft_trainer  # noqa: F401 (before the meter, to exclude libraries)

    meter = Meter()
    timer = StepTimer(worker, meter, steps, MAX_TYPICAL_S)
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

    def count_tokens(sequences: list[ProbeSequence]) -> int:
        lengths = [len(sequence.input_ids) for sequence in sequences]
        return sum(longest.tokens_per_pass(lengths, recipe.batch_size, flat=flat))

    long_step = count_tokens(at_longest)
    done = len(timer.typical)
    typical_steps = [count_tokens(typical[i * size : (i + 1) * size]) for i in range(done)]
    useful = sum(len(sequence.input_ids) for sequence in typical[: size * done])
    step_s = min(timer.at_longest)
    validation = count_tokens(sample.validation[: recipe.batch_size])
    on_gpu = meter.on_gpu
    measured = Measured(
        device=torch.cuda.get_device_name() if on_gpu else _describe_cpu(),
        device_memory=torch.cuda.mem_get_info()[1] if on_gpu else _total_memory(),
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
        rates=[
            tokens / seconds for tokens, seconds in zip(typical_steps, timer.typical, strict=True)
        ],
        evaluation_s=evaluation_s,
        evaluation_tokens_per_s=validation / evaluation_s if evaluation_s else None,
        epoch_tokens=longest.tokens_per_epoch(
            sample.lengths, recipe.batch_size, recipe.seed, flat=flat
        ),
        validation_tokens=sum(
            longest.tokens_per_pass(sample.validation_lengths, recipe.batch_size, flat=flat)
        ),
    )
    return measured, prediction.count_trainable(engine.model)


def _evaluate(worker: Worker, engine: Any) -> float:
    worker.phase("measuring", what="one evaluation step")
    began = time.perf_counter()
    engine.evaluate()  # reads the loss, so the GPU has finished
    return time.perf_counter() - began


def _describe_cpu() -> str:
    import torch

    from ftwizard.text import plural

    return f"CPU, {plural(torch.get_num_threads(), 'thread')}"


def _total_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _prefer_for_oom_kill() -> None:
    """Let the kernel kill the probe before any other program when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _exit_with_parent(folder: JobFolder) -> None:
    """Exit and delete the folder when the parent process ends, which closes the pipe."""

    def watch() -> None:
        sys.stdin.buffer.read()
        shutil.rmtree(folder.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.path.parent.rmdir()  # created for this probe, so empty now
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="starter").start()
