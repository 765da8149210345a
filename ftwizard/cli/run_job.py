"""Jobs besides a training, such as an evaluation: started, followed until they end, and canceled."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftwizard import __version__
from ftwizard.cli import progress
from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch, leftovers, requests, stopping
from ftwizard.jobs.ending import GOOD_END_REASONS, describe_end_reason, read_done_event
from ftwizard.jobs.events import ENVELOPE, EventReader
from ftwizard.jobs.folder import JobFolder, JobRecord, read_end
from ftwizard.jobs.status import observe
from ftwizard.text import make_visible
from ftwizard.train import command
from ftwizard.train.probe_runner import exit_on_sigterm

POLL_S = 0.1
_NOT_PROGRESS = ENVELOPE | {"phase"}


def prepare(
    root: Path, kind: str, inputs: Mapping[str, Any], files: Mapping[str, bytes]
) -> JobFolder:
    """Return the folder of a job below ``root``: the newest of its kind if that did not finish and
    has the same inputs, so that it continues; else a new one, ``3-eval``.

    ``files`` are written into a new one.
    """
    jobs = [JobFolder(root / name) for _, name in sorted(_list_jobs(root))]
    for job in reversed([job for job in jobs if job.id.endswith(f"-{kind}")]):
        with contextlib.suppress(FtwizardError, OSError):
            if not job.result.exists() and job.read_job().inputs == inputs:
                return job
        break
    number = max((number for number, _ in _list_jobs(root)), default=0) + 1
    path = launch.claim(root / f"{number}-{kind}")
    record = JobRecord(
        kind=kind,
        argv=command.build_argv(path),
        version=__version__,
        created=time.time(),
        inputs=dict(inputs),
    )
    return launch.create(path, record, files)


def _list_jobs(root: Path) -> list[tuple[int, str]]:
    """Return the numbers and names of the jobs in a folder."""
    jobs = []
    with contextlib.suppress(OSError):
        for path in root.iterdir():
            number = path.name.partition("-")[0]
            if number.isdigit() and (path / "job.json").exists():
                jobs.append((int(number), path.name))
    return jobs


def run(job: JobFolder, environment: Mapping[str, str], again: str) -> None:
    """Start a job and follow it to its end; Ctrl-C and SIGTERM stop it.

    ``again``: the command that continues it. Raises FtwizardError if it does not finish.
    """
    leftovers.end(job)
    attempt = launch.start(job, command.build_argv(job.path), environment=environment).number
    try:
        with exit_on_sigterm():
            _follow(job, attempt)
    except BaseException as error:  # also a signal: nobody else waits for it
        with contextlib.suppress(OSError):
            requests.request_stop(job, attempt)
            stopping.wait_for_end(job, attempt, report=lambda line: None)
        if not isinstance(error, KeyboardInterrupt):
            raise
    done = read_done_event(job, attempt) or {}
    reason = str(done.get("end_reason") or observe(job).end_reason or "lost")
    if reason in GOOD_END_REASONS:
        return
    hint = str(done.get("hint") or "")
    if reason == "refused":
        raise FtwizardError(str(done.get("message")), hint, int(done.get("exit_code") or 1))
    log = read_end(job.log, 500).decode(errors="replace").strip().splitlines()
    cause = str(done.get("message") or ("" if reason == "stopped" else "".join(log[-1:])))
    text = f" {make_visible(cause, 300)}" if cause else ""
    raise FtwizardError(
        f"It {describe_end_reason(reason)}.{text}",
        hint or f"What was done is kept. To continue: {again}",
    )


def _follow(job: JobFolder, attempt: int) -> None:
    """Show the progress of an attempt until it ends, then its warnings as lines."""
    reader, warnings = EventReader(job.events), []
    with progress.reporter() as say:
        while True:
            has_ended = observe(job).state == "ended"
            for event in reader.read():
                if event.get("attempt") != attempt:
                    continue
                if event["kind"] == "phase":
                    names = event.keys() - _NOT_PROGRESS
                    say(str(event["phase"]), **{name: event[name] for name in names})
                elif event["kind"] == "finding" and event.get("severity") == "warning":
                    warnings.append(make_visible(str(event.get("message")), 500))
            if has_ended:
                break
            time.sleep(POLL_S)
    for message in warnings:
        print(f"! {message}", file=sys.stderr)
