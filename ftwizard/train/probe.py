"""Measured memory and speed: a few steps with the longest rows, with typical rows, an evaluation.

A probe runs in a separate process, whose folder is deleted with it, so that fragmented memory or a
kill by the kernel affects nothing else. The first attempt reads the rows and saves those that it
needs in the folder, so that an attempt with a smaller batch starts with loading the model. Several
processes of a plan are started and measured as in its training; of several nodes, those of one.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Sequence
from itertools import accumulate, cycle, islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil
from transformers import TrainerCallback

from ftwizard.estimate import batching, probe_cache, training_machine, training_setup
from ftwizard.estimate.parallelism import ParallelChoice
from ftwizard.estimate.probe_cache import ProbeMeasurements
from ftwizard.estimate.speed_options import SpeedFacts
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Worker, WorkResult
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.text import format_count
from ftwizard.train import (
    loss_check,
    model_loading,
    peak_memory,
    predict,
    rank_launch,
    runtime,
    trainer,
    trainer_rows,
)
from ftwizard.train.encoder import EncodedRow, Encoder
from ftwizard.train.inputs import TrainingInputs, prepare
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.peak_memory import PeakMemoryMeter
from ftwizard.train.probe_runner import SAMPLE, ProbeOutcome, exit_with_starter
from ftwizard.train.rank_group import ALONE, RankGroup

MAX_PASSES = 2
"""Forward passes per step. In the second, the gradients of the first are in memory; further passes
take the same memory and time each."""
MAX_TYPICAL_S = 60.0
"""Time limit of the steps with typical rows."""


class ProbeSample(msgspec.Struct, frozen=True, kw_only=True):
    """``SAMPLE``: the probed sequences, each a row or packed rows, and the lengths of all."""

    base: str
    longest: list[list[EncodedRow]]
    typical: list[list[EncodedRow]]
    validation: list[EncodedRow]
    lengths: list[int]
    """Tokens of every training sequence."""
    rows: list[int]
    """Tokens of every training row."""
    validation_lengths: list[int]
    checked: list[EncodedRow]
    """Training rows whose loss and gradient are compared with those of other settings."""
    parallel: ParallelChoice | None = None
    """How the processes share the model; None for one."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps of a probe gave."""

    measured: ProbeMeasurements
    trained: int
    """Trainable parameters."""
    facts: SpeedFacts | None
    """None of several processes, whose settings are not compared."""


class ProbeTask(msgspec.Struct, frozen=True, kw_only=True):
    """What each of several processes measures."""

    plan: Plan
    """With the batch that is measured."""
    sample: ProbeSample
    steps: int


class StepTimer(TrainerCallback):
    """Times ``steps`` steps with the longest rows, then as many with typical rows.

    The first of several steps is not counted: it allocates the optimizer's state and warms up the
    libraries. Steps with typical rows end after ``MAX_TYPICAL_S``.
    """

    def __init__(self, worker: Worker, meter: PeakMemoryMeter, steps: int) -> None:
        self._worker = worker
        self._meter = meter
        self._steps = steps
        self._step_started = 0.0
        self.at_longest: list[float] = []
        self.typical: list[float] = []
        self.peak = 0
        """Peak memory with the longest rows, in bytes."""
        self.allocated: int | None = None
        self.precision = ""

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        args = moment.args
        self.precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        self._report(0)
        self._step_started = time.perf_counter()

    @with_moment
    def on_step_begin(self, moment: Moment) -> None:
        self._worker.check_stop()

    @with_moment
    def on_step_end(self, moment: Moment) -> None:
        if self._meter.on_gpu:
            import torch

            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds, self._step_started = now - self._step_started, now
        if moment.step <= self._steps:
            if moment.step > 1 or self._steps == 1:
                self.at_longest.append(seconds)
            self.peak, self.allocated = self._meter.peak(), self._meter.allocated()
        else:
            self.typical.append(seconds)
            if sum(self.typical) >= MAX_TYPICAL_S:
                moment.control.should_training_stop = True
        self._report(moment.step)

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
    """Measure the memory and speed of the folder's plan; the result is a ``ProbeOutcome``."""
    _prefer_for_oom_kill()
    exit_with_starter(worker.folder)
    plan = plan_file.load(worker.folder.plan, begun=True)
    steps, recipe = int(worker.record.inputs["steps"]), plan.recipe
    sample = _load_sample(worker, plan, steps)  # chooses how all nodes share the model
    plan = training_machine.train_here(plan)
    count, processes = len(sample.lengths), plan.ranks
    batch, passes = effective_batch(
        recipe.batch_size, recipe.gradient_accumulation, -(-count // processes)
    )
    task = ProbeTask(
        plan=probe_cache.with_batch(plan, batch, min(passes, MAX_PASSES)),
        sample=sample,
        steps=steps,
    )
    if processes > 1:
        rank_launch.fit(worker, task, lambda: None)
        result = msgspec.json.decode(_get_result(worker.folder).read_bytes(), type=Measurement)
    else:
        result = _measure(worker, task, ALONE)
    measured, facts = result.measured, result.facts
    scale = passes / min(passes, MAX_PASSES)
    counts = training_setup.count_steps(count, recipe, processes)
    outcome = ProbeOutcome(
        end_reason="finished",
        attempt=worker.attempt,
        measured=msgspec.structs.replace(measured, step_s=measured.step_s * scale),
        evaluations=predict.count_evaluations(recipe, counts.total) if sample.validation else 0,
        epochs=counts.epochs,
        predicted=predict.predict(
            _with_mode(plan, sample),
            Path(sample.base),
            tokens=sum(sample.rows) * counts.epochs,
            lengths={
                "train": batching.from_counts(sample.rows),
                "validation": batching.from_counts(sample.validation_lengths),
            },
            trained=result.trained,
        ),
        facts=facts and msgspec.structs.replace(facts, steps_per_epoch=counts.per_epoch),
    )
    return WorkResult(outcome)


def _with_mode(plan: Plan, sample: ProbeSample) -> Plan:
    """Return the plan with the mode in which its processes were measured."""
    if sample.parallel is None:
        return plan
    where = msgspec.structs.replace(plan.where, parallel=sample.parallel.mode)
    return msgspec.structs.replace(plan, where=where)


def measure_together(worker: Worker, task: ProbeTask, group: RankGroup) -> None:
    """Measure in this process, one of ``group``; the first records the result."""
    result = _measure(worker, task, group)
    if group.is_first:
        write_json(_get_result(worker.folder), result)


def _get_result(folder: JobFolder) -> Path:
    return folder.ranks / "measured.json"


def _load_sample(worker: Worker, plan: Plan, steps: int) -> ProbeSample:
    """Return the sample that an earlier attempt saved, or choose it from all rows."""
    path = worker.folder.path / SAMPLE
    if path.exists():
        runtime.silence_libraries()
        return msgspec.json.decode(path.read_bytes(), type=ProbeSample)
    ready = prepare(worker, plan, keeps=False)
    if plan.recipe.objective == "sft":
        sequences = [_split_rows(sequence) for sequence in ready.train]
    else:
        sequences = [[row] for row in ready.encoded["train"]]
    validation = ready.encoded["validation"]
    lengths = [_measure_length(rows) for rows in sequences]
    validation_lengths = [row.longest for row in validation]
    encoded = ready.encoded["train"]
    order = shuffled(range(len(encoded)), loss_check.MAX_ROWS, plan.recipe.seed)
    batch = plan.recipe.batch_size
    processes = probe_cache.count_processes(plan)
    count = batch * min(plan.recipe.gradient_accumulation, MAX_PASSES) * processes
    most = min(batch * processes, len(validation))
    sample = ProbeSample(
        base=str(ready.base),
        longest=[sequences[i] for i in longest(lengths, count)],
        typical=[sequences[i] for i in shuffled(lengths, count * steps, plan.recipe.seed)],
        validation=[validation[i] for i in longest(validation_lengths, most)],
        lengths=lengths,
        rows=[row.tokens for rows in sequences for row in rows],
        validation_lengths=validation_lengths,
        checked=loss_check.choose_rows([encoded[i] for i in order], plan.recipe.max_length),
        parallel=ready.parallel if processes > 1 else None,
    )
    write_json(path, sample)
    return sample


def _split_rows(sequence: dict[str, Any]) -> list[EncodedRow]:
    """Return the rows of an item of the trainer's dataset."""
    ids, labels = sequence["input_ids"], sequence["labels"]
    ends = accumulate(sequence.get("seq_lengths") or [len(ids)])
    return [
        EncodedRow(line=0, input_ids=ids[start:end], labels=labels[start:end])
        for start, end in pairwise([0, *ends])
    ]


def _measure_length(rows: list[EncodedRow]) -> int:
    """Return the tokens of a sequence; of a pair, those of the longer one."""
    return sum(row.longest for row in rows)


def _prepare(plan: Plan, sample: ProbeSample, sequences: list[list[EncodedRow]]) -> TrainingInputs:
    """Return the trainer's input, with ``sequences`` in this order."""
    validated = plan.recipe.batch_size * plan.ranks
    base = Path(sample.base)
    return TrainingInputs(
        source=hub.ModelSource(
            kind="folder", name=sample.base, fingerprint="", description=sample.base
        ),
        base=base,
        encoder=Encoder(model_loading.load_tokenizer(base), model_loading.read_stop_ids(base)),
        encoded={
            "train": [row for rows in sequences for row in rows],
            "validation": sample.validation[:validated],
        },
        reports={},
        unreadable={},
        train=_build_dataset(plan, sequences),
        total=1,
        parallel=sample.parallel,
    )


def _build_dataset(plan: Plan, sequences: list[list[EncodedRow]]) -> Any:
    """Return ``sequences`` as the trainer's dataset, in this order."""
    from datasets import Dataset

    if plan.recipe.objective != "sft":
        return trainer_rows.build_in_order([row for (row,) in sequences], plan.recipe)
    columns: dict[str, Any] = {
        name: [[i for row in rows for i in getattr(row, name)] for rows in sequences]
        for name in ("input_ids", "labels")
    }
    if plan.recipe.packing:
        columns["seq_lengths"] = [[len(row.input_ids) for row in rows] for rows in sequences]
    return Dataset.from_dict(columns)


def _measure(worker: Worker, task: ProbeTask, group: RankGroup) -> Measurement:
    """Run the steps in this process of ``group``; what is returned counts in the first only."""
    import torch

    from ftwizard.train.rank_control import SharedControl

    plan, sample, steps = task.plan, task.sample, task.steps
    recipe = plan.recipe
    size = recipe.batch_size * recipe.gradient_accumulation * group.size
    flat = recipe.is_flat
    read = recipe.sequences_per_row
    at_longest = list((sample.longest * size)[:size])
    typical = list((sample.typical * size)[: size * steps])
    ready = _prepare(plan, sample, at_longest * steps + typical)
    model_loading.import_trainer()
    meter = PeakMemoryMeter()
    timer = StepTimer(worker, meter, steps)
    shards = group.size > 1 and ready.shards
    engine = trainer.build(
        worker, plan, ready, [timer, *([SharedControl(group)] if group.size > 1 else [])],
        {
            **trainer.make_rank_settings(group, ready),
            "max_steps": 2 * steps, "train_sampling_strategy": "sequential",
            "eval_strategy": "no", "save_strategy": "no", "report_to": "none",
        },
        shards=shards,
    )  # fmt: skip

    def largest(size: int | None) -> int:
        sizes: list[int] = group.gather(size or 0)
        return max(sizes)

    loaded, trained = meter.peak(), predict.count_trainable(engine.model)
    facts = _gather_facts(engine, plan, sample) if group.size == 1 else None
    meter.restart()
    engine.train()
    training = max(meter.peak(), timer.peak)
    meter.restart()
    evaluation_s = _evaluate(worker, engine) if sample.validation else None

    def tokens_of(sequences: list[list[EncodedRow]]) -> int:
        lengths = [_measure_length(rows) for rows in sequences]
        return read * sum(tokens_per_pass(lengths, recipe.batch_size, flat=flat))

    done = len(timer.typical)
    typical_steps = [tokens_of(typical[i * size : (i + 1) * size]) for i in range(done)]
    useful = sum(row.tokens for rows in typical[: size * done] for row in rows)
    step_s = min(timer.at_longest)
    evaluated = tokens_of([[row] for row in ready.encoded["validation"]])
    on_gpu, threads = meter.on_gpu, format_count(torch.get_num_threads(), "thread")
    measured = ProbeMeasurements(
        device=torch.cuda.get_device_name() if on_gpu else f"CPU, {threads}",
        device_memory=torch.cuda.mem_get_info()[1] if on_gpu else psutil.virtual_memory().total,
        precision=timer.precision,
        memory_source=peak_memory.source(),
        memory_before=largest(meter.before),
        memory_loaded=largest(loaded),
        memory_training=largest(training),
        memory_evaluation=largest(meter.peak()) if sample.validation else None,
        memory_allocated=largest(timer.allocated) if on_gpu else None,
        memory_on_device=largest(meter.on_device()) if on_gpu else None,
        longest=max(sample.lengths),
        steps=len(timer.at_longest),
        step_s=step_s,
        tokens_per_s=tokens_of(at_longest) / step_s,
        useful_tokens_per_s=useful / sum(timer.typical),
        rates=[
            tokens / seconds for tokens, seconds in zip(typical_steps, timer.typical, strict=True)
        ],
        evaluation_s=evaluation_s,
        evaluation_tokens_per_s=evaluated / evaluation_s if evaluation_s else None,
        epoch_tokens=read
        * tokens_per_epoch(sample.lengths, recipe.batch_size, recipe.seed, flat=flat),
        validation_tokens=read
        * sum(tokens_per_pass(sample.validation_lengths, recipe.batch_size, flat=flat)),
        processes=group.size,
        mode=sample.parallel.mode if sample.parallel and group.size > 1 else None,
    )
    return Measurement(measured=measured, trained=trained, facts=facts)


def _gather_facts(engine: Any, plan: Plan, sample: ProbeSample) -> SpeedFacts:
    args = engine.args
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    return SpeedFacts(
        attention=engine.model.config.get_text_config()._attn_implementation,
        checkpointing=loss_check.checkpoints_activations(args),
        impossible=runtime.list_impossible(precision, Path(sample.base)),
        check=loss_check.check_loss(engine, sample.checked, plan.recipe),
        steps_per_epoch=0,  # of the whole training, which the caller knows
    )


def _evaluate(worker: Worker, engine: Any) -> float:
    worker.phase("measuring", what="one evaluation step")
    began = time.perf_counter()
    engine.evaluate()  # reads the loss, so the GPU has finished
    return time.perf_counter() - began


def _prefer_for_oom_kill() -> None:
    """Let the kernel kill the probe before any other program when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


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

    Rows are padded to the longest of their batch, or laid end to end if ``flat``.
    """
    parts = (lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size))
    return [sum(part) if flat else len(part) * max(part) for part in parts]


def tokens_per_epoch(lengths: Sequence[int], batch_size: int, seed: int, *, flat: bool) -> int:
    """Return the tokens of all forward passes of a shuffled epoch, including padding."""
    order = shuffled(lengths, len(lengths), seed)
    return sum(tokens_per_pass([lengths[index] for index in order], batch_size, flat=flat))
