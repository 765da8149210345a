"""``serve``: an OpenAI-compatible endpoint on this machine for a run's model."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import __version__, locations, user_paths
from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import USAGE, FtwizardError, MissingExtra
from ftwizard.hardware import machine
from ftwizard.jobs import launch
from ftwizard.jobs.ending import read_done_event
from ftwizard.jobs.events import EventReader
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, read_end, write_json, write_whole
from ftwizard.plan import plan_file
from ftwizard.runs import default_run, exports
from ftwizard.runs.result import read_result
from ftwizard.runs.served_model import ServedModel
from ftwizard.text import make_visible
from ftwizard.train import command

MAX_PORT = 65_535
POLL_S = 0.1
GRACE_S = 5.0
"""Time for a server to end by itself before it is killed."""


def serve(arguments: argparse.Namespace) -> int:
    """Serve a run's model until interrupted; with ``--json``, print where once it answers."""
    run_argument.refuse_hosted(arguments.run, "served")
    folder = run_argument.find(arguments.run, default_run.choose_local)
    run_argument.require_folder(folder, "serve")
    weights = _choose_weights(folder, arguments.gguf)
    key_file = _make_key() if arguments.key else None
    port = arguments.port or 0
    if port > MAX_PORT:
        raise FtwizardError(f"--port is {port:,}; the highest is 65535.", "", USAGE)
    job = _create_job(folder, weights, port, key_file)
    with _end_on_signals(), _start(job) as process:
        served = _wait_until_ready(job, process)
        with contextlib.suppress(KeyboardInterrupt):
            output.print_report(arguments, served, _describe(served))
            sys.stdout.flush()
            while process.poll() is None:
                time.sleep(POLL_S)
            raise _describe_failure(job)
    return 0


def _choose_weights(folder: JobFolder, gguf: str | None) -> Path:
    """Return the GGUF file or the merged model to serve.

    Without ``gguf`` it is the run's newest GGUF file if llama.cpp is installed: that is faster.
    """
    has_llama = machine.is_installed("xllamacpp")
    if gguf is not None:
        file = user_paths.expand(gguf).absolute()
        if not user_paths.exists(file):
            hint = user_paths.suggest_file(file)
            raise FtwizardError(f"{make_visible(str(file))} does not exist.", hint)
        if file.suffix != ".gguf":
            raise FtwizardError(f"{make_visible(str(file))} is not a GGUF file.", "", USAGE)
        if not has_llama:
            raise MissingExtra("export", "xllamacpp")
        return file
    result = read_result(folder)
    merged = result.merged if result else None
    files = [
        file
        for path, record in exports.iterate_records(folder.exports)
        if not exports.is_of_another(record, merged)
        for file in path.glob("*.gguf")
    ]
    files.sort(key=lambda file: file.stat().st_mtime)
    if files and has_llama:
        return files[-1]
    if not any(folder.merged.glob("*.safetensors")):
        raise FtwizardError(
            f"Run {folder.id} has no merged model to serve.",
            f"Merge it first: ftwizard merge {folder.id}",
        )
    return folder.merged


def _make_key() -> Path:
    """Return the file of the key for servers, which is created if there is none."""
    file = locations.create_private_folder(locations.config_folder()) / "serve.key"
    if not file.exists() or file.stat().st_mode & 0o077:
        write_whole(file, f"{secrets.token_urlsafe(32)}\n".encode())
    return file


def _create_job(folder: JobFolder, weights: Path, port: int, key_file: Path | None) -> JobFolder:
    root = folder.path / "jobs"
    path = launch.claim(root / f"{_count_jobs(root) + 1}-serve")
    record = JobRecord(
        kind="serve",
        argv=command.build_argv(path),
        version=__version__,
        created=time.time(),
        inputs={
            "run": folder.id,
            "weights": str(weights),
            "port": port,
            "key_file": str(key_file) if key_file else None,
        },
    )
    plan = plan_file.dump(plan_file.read_run(folder)).encode()
    job = launch.create(path, record, {"plan.yaml": plan})
    attempt = Attempt(number=1, started=time.time(), host=os.uname().nodename, argv=record.argv)
    write_json(job.attempt(1), attempt)
    return job


def _count_jobs(root: Path) -> int:
    with contextlib.suppress(OSError):
        numbers = [path.name.partition("-")[0] for path in root.iterdir()]
        return max((int(number) for number in numbers if number.isdigit()), default=0)
    return 0


@contextlib.contextmanager
def _start(job: JobFolder) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server, in a session of its own; end it when the block is left.

    It ends by itself when this process does, even by a kill: that closes its standard input.
    """
    plan = plan_file.load(job.plan, begun=True)
    environment = dict(os.environ)
    with contextlib.suppress(FtwizardError):  # it was another machine's GPU: any will do
        environment = command.build_environment(plan)
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            command.build_argv(job.path), stdin=subprocess.PIPE, stdout=log, stderr=log,
            cwd=job.path, start_new_session=True,
            env=launch.with_import_path(environment | {"HF_HUB_OFFLINE": "1"}),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()


@contextlib.contextmanager
def _end_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that the server is ended."""

    def exit_process(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, exit_process) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_until_ready(job: JobFolder, process: subprocess.Popen[bytes]) -> ServedModel:
    reader = EventReader(job.events)
    with progress.reporter() as say:
        say("loading", what="the model")
        while True:
            has_ended = process.poll() is not None
            for event in reader.read():
                if event["kind"] == "ready":
                    return msgspec.convert(event, ServedModel)
            if has_ended:
                raise _describe_failure(job)
            time.sleep(POLL_S)


def _describe_failure(job: JobFolder) -> FtwizardError:
    done: dict[str, Any] = read_done_event(job, 1) or {}
    if done.get("end_reason") == "refused":
        hint, code = str(done.get("hint") or ""), int(done.get("exit_code") or 1)
        return FtwizardError(str(done.get("message")), hint, code)
    log = read_end(job.log, 500).decode(errors="replace").strip().splitlines()
    last = done.get("message") or (log[-1] if log else "it was killed")
    return FtwizardError(f"The server ended: {make_visible(str(last), 300)}", f"Its log: {job.log}")


def _describe(served: ServedModel) -> list[str]:
    key = f"   key: {served.key_file}" if served.key_file else ""
    return [
        f"✓ Serving {make_visible(served.weights)} ({served.engine}, {served.device})",
        f"  {served.url}   model: {served.model}{make_visible(key)}",
        "Ctrl+C ends it.",
    ]
