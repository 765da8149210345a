"""Probes on this machine, each attempt in its own process, with smaller batches until one fits."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import __version__
from ftwizard.errors import FtwizardError
from ftwizard.estimate import probe_cache
from ftwizard.estimate.probe_cache import ProbeMeasurements
from ftwizard.estimate.speed_options import SpeedFacts
from ftwizard.hardware import machine
from ftwizard.jobs import launch
from ftwizard.jobs.ending import determine_end_reason, read_done_event
from ftwizard.jobs.events import ENVELOPE, EventReader
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, JobResult, write_json, write_whole
from ftwizard.jobs.status import observe
from ftwizard.models.hub import ModelSource
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs import store
from ftwizard.runs.prediction import RunFigures
from ftwizard.text import format_count, make_visible
from ftwizard.train import command

ReportProgress = Callable[..., None]
POLL_S = 0.2
_NOT_PROGRESS = ENVELOPE | {"phase"}
SAMPLE = "sample.json"
"""In a probe's folder: the rows that its attempts measure."""
MEMORY_REASONS = ("out_of_gpu_memory", "out_of_memory")


class ProbeOutcome(JobResult, frozen=True, kw_only=True):
    """``result.json`` of a probe."""

    measured: ProbeMeasurements
    evaluations: int
    """Evaluations of a training with the probed batch."""
    epochs: float | None = None
    """Epochs of that training, where ``recipe.max_steps`` ends it early."""
    predicted: RunFigures
    """The estimates for that batch."""
    facts: SpeedFacts | None = None
    """What a comparison with other settings needs."""


class ProbeResult(ProbeOutcome, frozen=True, kw_only=True):
    """The outcome of all attempts."""

    plan: Plan
    """The plan with the batch that fits."""
    halved: int
    """How often the batch was reduced."""
    findings: list[str]


class _End(NamedTuple):
    """The end of one attempt."""

    reason: str
    has_stepped: bool
    """Whether the model was in memory, so that a smaller batch may help."""
    done: dict[str, Any]
    """The ``done`` event, empty without one."""
    findings: list[str]


def run_probe(
    plan: Plan, source: ModelSource, steps: int, say: ReportProgress, sample: Path | None = None
) -> ProbeResult:
    """Try the plan, then smaller batches, until one fits; leave no files behind.

    ``sample``: file with the sample of rows of an earlier probe of the same rows and layout, written
    if it does not exist. Raises FtwizardError if not even a batch of 1 fits, or if the plan cannot be
    trained.
    """
    _refuse_during_a_run()
    halved, findings = 0, list[str]()
    with _folder(plan, source, steps) as folder:
        own = folder.path / SAMPLE
        if sample and sample.exists():
            shutil.copyfile(sample, own)
        while True:
            end = _try(folder, plan, halved + 1, say)
            findings += [message for message in end.findings if message not in findings]
            if end.reason == "finished":
                outcome = msgspec.json.decode(folder.result.read_bytes(), type=ProbeOutcome)
                if sample and not sample.exists() and own.exists():
                    shutil.copyfile(own, sample)
                return ProbeResult(
                    plan=plan, halved=halved, findings=findings, **msgspec.structs.asdict(outcome)
                )
            recipe = plan.recipe
            if end.reason not in MEMORY_REASONS or not end.has_stepped or recipe.batch_size == 1:
                raise _describe_failure(plan, end)
            plan = probe_cache.with_batch(
                plan, *halve(recipe.batch_size, recipe.gradient_accumulation)
            )
            halved += 1
            findings.append(
                f"A batch of {recipe.batch_size} does not fit (out of "
                f"{_memory_kind(end.reason)}). Tried {plan.recipe.batch_size} with gradient "
                f"accumulation {plan.recipe.gradient_accumulation}: the same rows per step."
            )
            say("measuring", what=f"a smaller batch: {plan.recipe.batch_size}")


@contextlib.contextmanager
def _folder(plan: Plan, source: ModelSource, steps: int) -> Iterator[JobFolder]:
    """Yield a temporary job folder outside the runs."""
    with tempfile.TemporaryDirectory(prefix="ftwizard-probe-", ignore_cleanup_errors=True) as root:
        path = Path(root) / "probe"
        record = JobRecord(
            kind="probe",
            argv=command.build_argv(path),
            version=__version__,
            created=time.time(),
            inputs={"model": msgspec.to_builtins(source), "steps": steps},
        )
        yield launch.create(path, record, {"plan.yaml": plan_file.dump(plan).encode()})


def _try(folder: JobFolder, plan: Plan, number: int, say: ReportProgress) -> _End:
    """Measure in a separate process and wait for its end, reporting its progress."""
    argv = command.build_argv(folder.path)
    together = probe_cache.count_processes(plan) > 1
    environment = launch.with_import_path(command.build_environment(plan, trains=together))
    write_whole(folder.plan, plan_file.dump(plan).encode())
    write_json(folder.attempt(number), Attempt(
        number=number, started=time.time(), host=os.uname().nodename, argv=argv
    ))  # fmt: skip
    reader, kills = EventReader(folder.events), machine.count_oom_kills()
    reader.read()  # skip the events of earlier attempts
    has_stepped, findings = False, list[str]()
    with folder.log.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder.path,
            # The libraries' temporary files are in the job folder, which is deleted.
            env=environment | {"TMPDIR": str(folder.path)},
        )  # fmt: skip
        try:
            ended = False
            while not ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                ended = process.returncode is not None
                for event in reader.read():
                    if event["kind"] == "phase":
                        has_stepped |= event.get("phase") == "measuring"
                        names = event.keys() - _NOT_PROGRESS
                        say(str(event["phase"]), **{name: event[name] for name in names})
                    elif event["kind"] == "finding":
                        findings.append(str(event.get("message")))
        finally:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
    now = machine.count_oom_kills()
    oom_killed = kills is not None and now is not None and now > kills
    reason = determine_end_reason(
        folder, number, process.returncode, oom_killed=oom_killed, log_from=start
    )
    return _End(reason, has_stepped, read_done_event(folder, number) or {}, findings)


def _memory_kind(reason: str) -> str:
    return "GPU memory" if reason == MEMORY_REASONS[0] else "memory"


def _describe_failure(plan: Plan, end: _End) -> FtwizardError:
    """Return the error for an attempt that ended without a measurement."""
    if end.reason in MEMORY_REASONS:
        return _does_not_fit(plan, end)
    if end.reason == "refused":
        return FtwizardError(
            str(end.done.get("message")),
            str(end.done.get("hint") or ""),
            int(end.done.get("exit_code") or 1),
        )
    if end.reason == "killed":
        return FtwizardError(
            "The probe was killed before it finished.",
            "If you did not kill it, the machine ran out of memory: lower recipe.batch_size or "
            "recipe.max_length.",
        )
    message = make_visible(str(end.done.get("message") or end.reason), 400)
    return FtwizardError(
        f"The probe failed: {message}", "A run of this plan would most likely fail the same way."
    )


def _does_not_fit(plan: Plan, end: _End) -> FtwizardError:
    recipe = plan.recipe
    memory = _memory_kind(end.reason)
    if plan.nodes > 1 and plan.where.parallel != "ddp" and recipe.objective == "sft":
        part = "a larger part of the model" if plan.where.processes > 1 else "the whole model"
        return FtwizardError(
            f"The probe ran out of {memory}. It measures one node of {plan.nodes}, where each process "
            f"holds {part}.",
            f"With FSDP, {plan.ranks} processes hold a part of it each. For their memory: ftwizard "
            "estimate. To measure them, train with recipe.max_steps: 3.",
        )
    if not end.has_stepped:
        return FtwizardError(
            f"The probe ran out of {memory} while loading the model.",
            "Use a smaller model or a machine with more memory"
            + (", or set recipe.method to qlora." if recipe.method != "qlora" else "."),
        )
    options = ["lower recipe.max_length"]
    if recipe.method == "lora":
        options.append("set recipe.method to qlora")
    if recipe.method == "full":
        options.append("set recipe.method to lora")
    if recipe.gradient_checkpointing is not True:
        options.append("set recipe.gradient_checkpointing to true")
    return FtwizardError(
        f"The probe ran out of {memory} with the smallest batch "
        f"({format_count(recipe.batch_size, 'row')}).",
        f"Try one of: {'; '.join(options)}; use a machine with more memory.",
    )


def _refuse_during_a_run() -> None:
    """Raise FtwizardError while a run is active on this machine: both would need the memory."""
    for folder in store.list_runs():
        status = observe(folder)
        state = folder.read_state()
        is_local = state is None or state.keeper is None or state.keeper.host == os.uname().nodename
        if status.state != "ended" and is_local:
            raise FtwizardError(
                f"Run {folder.id} is active on this machine. A probe would measure wrongly, and "
                "could take memory that the run needs.",
                f"Wait until it ends, or stop it: ftwizard stop {folder.id}",
            )


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the probe and its folder are cleaned up."""

    def exit_process(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, exit_process)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def halve(batch_size: int, accumulation: int) -> tuple[int, int]:
    """Return the next smaller batch, with the accumulation for the same rows per optimizer step.

    That is half the batch, or the largest divisor below it.
    """
    rows_per_step = batch_size * accumulation
    smaller = next(size for size in range(batch_size // 2, 0, -1) if batch_size % size == 0)
    return smaller, rows_per_step // smaller


def exit_with_starter(folder: JobFolder) -> None:
    """In a probe's process: exit, and delete its folder, when its starter ends and so closes stdin."""

    def watch() -> None:
        sys.stdin.buffer.read()
        path = folder.path  # asked for once: the path of a deleted folder is another
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # created for this probe, so empty now
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="starter").start()
