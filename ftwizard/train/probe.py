"""Measured memory and speed: a few steps with the longest rows, with typical rows, an evaluation.

A probe runs in a separate process, whose folder is deleted with it, so that fragmented memory or a
kill by the kernel affects nothing else. The first attempt reads the rows and saves those that it
needs in the folder, so that an attempt with a smaller batch starts with loading the model.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.estimate import batching, training_setup
from ftwizard.estimate.probe_cache import ProbeMeasurements
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Worker, WorkResult
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.train import model_loading, peak_memory, predict, runtime, trainer
from ftwizard.train.encoder import EncodedRow, Encoder
from ftwizard.train.inputs import TrainingInputs, prepare
from ftwizard.train.peak_memory import PeakMemoryMeter

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


class StepTimer(TrainerCallback):
    """Times ``steps`` steps with the longest rows, then as many with typical rows.

    The first of several steps is not counted: it allocates the optimizer's state and warms up the
    libraries. Steps with typical rows end after ``max_typical_s`` seconds.
    """

    def __init__(
        self, worker: Worker, meter: PeakMemoryMeter, steps: int, max_typical_s: float
    ) -> None:
        self._worker = worker
        self._meter = meter
        self._steps = steps
        self._max_typical_s = max_typical_s
        self._step_started = 0.0
        self.at_longest: list[float] = []
        self.typical: list[float] = []
        self.peak = 0
        """Peak memory with the longest rows, in bytes."""
        self.allocated: int | None = None
        self.precision = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        self._report(0)
        self._step_started = time.perf_counter()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._worker.check_stop()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if self._meter.on_gpu:
            import torch

            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds, self._step_started = now - self._step_started, now
        step = state.global_step
        if step <= self._steps:
            if step > 1 or self._steps == 1:
                self.at_longest.append(seconds)
            self.peak, self.allocated = self._meter.peak(), self._meter.allocated()
        else:
            self.typical.append(seconds)
            if sum(self.typical) >= self._max_typical_s:
                control.should_training_stop = True
        self._report(step)
        return control

    def _report(self, step: int) -> None:
        is_longest = step < self._steps
        self._worker.phase(
            "measuring",
            what="steps with the longest rows" if is_longest else "steps with typical rows",
            done=step if is_longest else step - self._steps,
            total=self._steps,
            unit="steps",
        )


def run(worker: Worker) -> WorkResult:
    """Measure the memory and speed of the folder's plan; the result holds ``ProbeMeasurements``."""
    _prefer_for_oom_kill()
    _exit_with_parent(worker.folder)
    plan = plan_file.load(worker.folder.plan, begun=True)
    steps = int(worker.record.inputs["steps"])
    sample = _load_sample(worker, plan, steps)
    batch, passes = effective_batch(
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
    total = training_setup.total_steps(
        len(sample.lengths), planned.batch_size, planned.gradient_accumulation, planned.epochs
    )
    evaluations = predict.count_evaluations(planned, total) if sample.validation else 0
    predicted = predict.predict(
        plan,
        Path(sample.base),
        tokens=sum(sample.rows) * planned.epochs,
        lengths={
            "train": batching.from_counts(sample.rows),
            "validation": batching.from_counts(sample.validation_lengths),
        },
        trained=trained,
    )
    return WorkResult(
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
        runtime.silence_libraries()
        return msgspec.json.decode(path.read_bytes(), type=ProbeSample)
    ready = prepare(worker, plan, keeps=False)
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
        longest=[sequences[i] for i in longest(lengths, count)],
        typical=[sequences[i] for i in shuffled(lengths, count * steps, plan.recipe.seed)],
        validation=[
            validation[i] for i in longest(validation_lengths, min(batch, len(validation)))
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


def _prepare(plan: Plan, sample: ProbeSample, sequences: list[ProbeSequence]) -> TrainingInputs:
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
    return TrainingInputs(
        source=hub.ModelSource(
            kind="folder", name=sample.base, fingerprint="", description=sample.base
        ),
        base=base,
        encoder=Encoder(model_loading.load_tokenizer(base), model_loading.read_stop_ids(base)),
        encoded=encoded,
        reports={},
        unreadable={},
        train=Dataset.from_dict(columns),
        total=1,
    )


def _split_rows(sequence: ProbeSequence) -> list[EncodedRow]:
    rows, start = [], 0
    for length in sequence.seq_lengths:
        span = slice(start, start + length)
        rows.append(
            EncodedRow(line=0, input_ids=sequence.input_ids[span], labels=sequence.labels[span])
        )
        start += length
    return rows


def _measure(
    worker: Worker, plan: Plan, sample: ProbeSample, steps: int
) -> tuple[ProbeMeasurements, int]:
    """Run the steps; return the measurements and the number of trainable parameters."""
    import torch

    recipe = plan.recipe
    size, flat = recipe.batch_size * recipe.gradient_accumulation, recipe.packing
    at_longest = list((sample.longest * size)[:size])
    typical = list((sample.typical * size)[: size * steps])
    ready = _prepare(plan, sample, at_longest * steps + typical)

    import trl.trainer.sft_trainer  # noqa: F401 (before the meter, to exclude libraries)

    meter = PeakMemoryMeter()
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
        return sum(tokens_per_pass(lengths, recipe.batch_size, flat=flat))

    long_step = count_tokens(at_longest)
    done = len(timer.typical)
    typical_steps = [count_tokens(typical[i * size : (i + 1) * size]) for i in range(done)]
    useful = sum(len(sequence.input_ids) for sequence in typical[: size * done])
    step_s = min(timer.at_longest)
    validation = count_tokens(sample.validation[: recipe.batch_size])
    on_gpu = meter.on_gpu
    measured = ProbeMeasurements(
        device=torch.cuda.get_device_name() if on_gpu else _describe_cpu(),
        device_memory=torch.cuda.mem_get_info()[1] if on_gpu else _total_memory(),
        precision=timer.precision,
        memory_source=peak_memory.source(),
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
        epoch_tokens=tokens_per_epoch(sample.lengths, recipe.batch_size, recipe.seed, flat=flat),
        validation_tokens=sum(
            tokens_per_pass(sample.validation_lengths, recipe.batch_size, flat=flat)
        ),
    )
    return measured, predict.count_trainable(engine.model)


def _evaluate(worker: Worker, engine: Any) -> float:
    worker.phase("measuring", what="one evaluation step")
    began = time.perf_counter()
    engine.evaluate()  # reads the loss, so the GPU has finished
    return time.perf_counter() - began


def _describe_cpu() -> str:
    import torch

    from ftwizard.text import format_count

    return f"CPU, {format_count(torch.get_num_threads(), 'thread')}"


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


def halve(batch_size: int, accumulation: int) -> tuple[int, int]:
    """Return the next smaller batch, with the accumulation for the same rows per optimizer step.

    That is half the batch, or the largest divisor below it.
    """
    rows_per_step = batch_size * accumulation
    smaller = next(size for size in range(batch_size // 2, 0, -1) if batch_size % size == 0)
    return smaller, rows_per_step // smaller


def effective_batch(batch_size: int, accumulation: int, sequences: int) -> tuple[int, int]:
    """Return the batch and accumulation that an epoch of ``sequences`` reaches."""
    batch = min(batch_size, sequences)
    return batch, min(accumulation, -(-sequences // batch))


def longest(lengths: Sequence[int], count: int) -> list[int]:
    """Return the indices of the ``count`` longest, longest first, repeating them if too few."""
    ranked = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return list(islice(cycle(ranked), count))


def shuffled(lengths: Sequence[int], count: int, seed: int) -> list[int]:
    """Return the first ``count`` indices of a shuffled epoch, repeating it if too few."""
    indices = list(range(len(lengths)))
    random.Random(seed).shuffle(indices)
    return list(islice(cycle(indices), count))


def tokens_per_pass(lengths: Sequence[int], batch_size: int, *, flat: bool) -> list[int]:
    """Return the tokens of each forward pass over ``lengths`` in order, including padding.

    Rows are padded to the longest of their batch, or laid end to end if ``flat``, as with packing.
    """
    parts = (lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size))
    return [sum(part) if flat else len(part) * max(part) for part in parts]


def tokens_per_epoch(lengths: Sequence[int], batch_size: int, seed: int, *, flat: bool) -> int:
    """Return the tokens of all forward passes of a shuffled epoch, including padding."""
    order = shuffled(lengths, len(lengths), seed)
    return sum(tokens_per_pass([lengths[index] for index in order], batch_size, flat=flat))
