"""A probe on this machine: tries in processes of their own, with smaller batches until one fits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import __version__, machine, probes, runs
from ftwizard import plan as plans
from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.ending import done_event, end_reason
from ftwizard.jobs.events import EventReader
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json, write_whole
from ftwizard.jobs.status import observe
from ftwizard.models import Source
from ftwizard.outcome import Expected
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.probes import Measured
from ftwizard.text import plural, visible
from ftwizard.train.longest import halve

Say = Callable[..., None]
POLL_S = 0.2
MEMORY = ("out_of_gpu_memory", "out_of_memory")


class Tried(NamedTuple):
    """What the tries came to."""

    plan: Plan
    """With the batch that fits."""
    halved: int
    measured: Measured
    evaluations: int
    """Of the training with that batch."""
    predicted: Expected
    """What the estimates say, of the batch that fits."""
    findings: list[str]


class _End(NamedTuple):
    """How one try ended."""

    reason: str
    stepped: bool
    """Whether the model was in memory, so that a smaller batch may help."""
    word: dict[str, Any]
    findings: list[str]


def run(plan: Plan, source: Source, steps: int, say: Say) -> Tried:
    """Try the plan, then smaller batches, until one fits; leave nothing behind.

    Raises FtwizardError where not even single rows fit, or the plan cannot be trained.
    """
    _refuse_beside_a_run()
    halved, findings = 0, list[str]()
    with _folder(plan, source, steps) as folder:
        while True:
            end = _try(folder, plan, halved + 1, say)
            findings += [one for one in end.findings if one not in findings]
            if end.reason == "finished":
                return Tried(plan, halved, *_result(folder), findings)
            recipe = plan.recipe
            if end.reason not in MEMORY or not end.stepped or recipe.batch_size == 1:
                raise _failed(plan, end)
            plan = probes.with_batch(plan, *halve(recipe.batch_size, recipe.gradient_accumulation))
            halved += 1
            findings.append(
                f"A batch of {recipe.batch_size} does not fit "
                f"({_where(end.reason)}); tried {plan.recipe.batch_size} with "
                f"{plural(plan.recipe.gradient_accumulation, 'forward pass', 'forward passes')} "
                "a step, so that the optimizer sees the same rows."
            )
            say("measuring", what=f"a smaller batch: {plan.recipe.batch_size}")


@contextlib.contextmanager
def _folder(plan: Plan, source: Source, steps: int) -> Iterator[JobFolder]:
    """Yield a job folder outside the runs, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="ftwizard-probe-", ignore_cleanup_errors=True) as root:
        path = Path(root) / "probe"
        record = JobRecord(
            kind="probe",
            argv=local.argv(path),
            version=__version__,
            created=time.time(),
            inputs={"model": msgspec.to_builtins(source), "steps": steps},
        )
        yield launch.create(path, record, {"plan.yaml": plans.dump(plan).encode()})


def _try(folder: JobFolder, plan: Plan, number: int, say: Say) -> _End:
    """Measure in a process of its own and wait for its end; say what it says."""
    argv = local.argv(folder.path)
    write_whole(folder.plan, plans.dump(plan).encode())
    write_json(folder.attempt(number), Attempt(
        number=number, started=time.time(), host=os.uname().nodename, argv=argv
    ))  # fmt: skip
    reader, kills = EventReader(folder.events), machine.oom_kills()
    reader.read()  # what earlier tries said
    stepped, findings = False, list[str]()
    with folder.log.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder.path,
            env=_environment(folder, plan),
        )  # fmt: skip
        try:
            ended = False
            while not ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                ended = process.returncode is not None
                for event in reader.read():
                    if event["kind"] == "phase":
                        stepped |= event.get("phase") == "measuring"
                        _tell(say, event)
                    elif event["kind"] == "finding":
                        findings.append(str(event.get("message")))
        finally:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
    now = machine.oom_kills()
    oom_killed = kills is not None and now is not None and now > kills
    reason = end_reason(folder, number, process.returncode, oom_killed=oom_killed, log_from=start)
    return _End(reason, stepped, done_event(folder, number) or {}, findings)


def _environment(folder: JobFolder, plan: Plan) -> dict[str, str]:
    """Return that of a training, in which libraries leave their temporary files in the folder."""
    return launch.import_path(local.environment(plan)) | {"TMPDIR": str(folder.path)}


def _tell(say: Say, event: dict[str, Any]) -> None:
    own = ("v", "t", "kind", "attempt", "phase")
    say(str(event["phase"]), **{name: event[name] for name in event if name not in own})


def _result(folder: JobFolder) -> tuple[Measured, int, Expected]:
    found = msgspec.json.decode(folder.result.read_bytes())
    return (
        msgspec.convert(found["measured"], Measured),
        msgspec.convert(found["evaluations"], int),
        msgspec.convert(found["predicted"], Expected),
    )


def _where(reason: str) -> str:
    return "the GPU ran out of memory" if reason == MEMORY[0] else "memory ran out"


def _failed(plan: Plan, end: _End) -> FtwizardError:
    """Return what is said of a try that ended otherwise than by measuring."""
    if end.reason in MEMORY:
        return _does_not_fit(plan, end)
    if end.reason == "refused":
        return FtwizardError(
            str(end.word.get("message")),
            str(end.word.get("hint") or ""),
            int(end.word.get("exit_code") or 1),
        )
    if end.reason == "killed":
        return FtwizardError(
            "The probe was killed from outside before it was done.",
            "Where nobody did so, memory ran out: lower recipe.batch_size or recipe.max_length.",
        )
    said = visible(str(end.word.get("message") or end.reason), 400)
    return FtwizardError(
        f"The probe failed: {said}", "A run of this plan would most likely end so too."
    )


def _does_not_fit(plan: Plan, end: _End) -> FtwizardError:
    recipe = plan.recipe
    where = "GPU memory" if end.reason == MEMORY[0] else "memory"
    if not end.stepped:
        return FtwizardError(
            f"The probe ran out of {where} while it loaded the model.",
            "Take a smaller model or a machine with more memory"
            + (", or recipe.method qlora." if recipe.method != "qlora" else "."),
        )
    ways = ["lower recipe.max_length"]
    if recipe.method == "lora":
        ways.append("set recipe.method to qlora")
    if recipe.method == "full":
        ways.append("set recipe.method to lora")
    if recipe.gradient_checkpointing is not True:
        ways.append("set recipe.gradient_checkpointing to true")
    return FtwizardError(
        f"The probe ran out of {where} with a batch of {plural(recipe.batch_size, 'row')}, which "
        "is the least.",
        f"One of: {'; '.join(ways)}; or take a machine with more memory.",
    )


def _refuse_beside_a_run() -> None:
    """Raise FtwizardError while a run of this machine lives: both would want the memory."""
    for folder in runs.all_runs():
        status = observe(folder)
        state = folder.read_state()
        here = state is None or state.keeper is None or state.keeper.host == os.uname().nodename
        if status.state != "ended" and here:
            raise FtwizardError(
                f"Run {folder.id} is going on here: a probe beside it would measure wrongly, and "
                "could take the memory that the run needs.",
                f"Wait for its end, or stop it: ftwizard stop {folder.id}",
            )


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Let a TERM end this process by an exception, so that the probe and its folder go too."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
