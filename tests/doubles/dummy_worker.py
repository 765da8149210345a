"""Fake job command: it counts steps, saves its counter, and misbehaves on request.

The worker is the real one (lock, events, stop, done event); only its work is fake. ``inputs`` in
job.json sets ``steps``, ``step_s`` and ``mode``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from ftwizard.errors import FtwizardError
from ftwizard.jobs import worker
from ftwizard.jobs.folder import JobFolder, JobResult, find_own, write_whole


class Count(JobResult, frozen=True, kw_only=True):
    step: int


def work(job: worker.Worker) -> worker.WorkResult:
    inputs = job.record.inputs
    mode = inputs.get("mode", "")
    saved = job.folder.path / "counter.json"
    step = json.loads(saved.read_text())["step"] if saved.exists() else 0
    job.phase("loading")
    if mode == "deep":  # in work that does not look for a stop, and has nothing to save
        job.phase("comparing", what="base model")
        while True:
            time.sleep(0.1)
    job.saves_itself = True
    _misbehave_early(job, mode)
    while step < inputs.get("steps", 100):
        time.sleep(inputs.get("step_s", 0.02))
        step += 1
        job.events.write("log", step=step, loss=1 / step, pad="x" * inputs.get("pad", 0))
        if mode == "crash" and step == 5:
            raise ValueError("made up")
        if mode == "refuse" and step == 5:
            raise FtwizardError("It trains on nothing.", "Give it answers.", 3)
        if mode == "gpu" and step == 5:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if mode == "hard" and step == 5:
            os._exit(9)
        if mode == "pause" and step == 5:
            time.sleep(3)
        while mode == "hang" and step >= 5:
            time.sleep(60)
        stops = job.stop_asked()
        if step % 10 == 0 or stops:
            body = json.dumps({"step": step, "pad": "y" * inputs.get("saved_bytes", 0)})
            write_whole(job.folder.path / saved.name, body.encode())  # it may have moved
            job.events.write("checkpoint", step=step, path="counter.json")
        if stops and mode != "deaf":
            return worker.WorkResult(Count(end_reason="stopped", attempt=job.attempt, step=step))
    return worker.WorkResult(Count(end_reason="finished", attempt=job.attempt, step=step))


def _misbehave_early(job: worker.Worker, mode: str) -> None:
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "children":
        children = [subprocess.Popen(["sleep", "300"], start_new_session=True) for _ in range(3)]
        job.events.write("children", pids=[child.pid for child in children])
    if mode == "daemons":
        pids = [_daemonize(execute) for execute in (False, True)]
        job.events.write("children", pids=pids)
    if mode == "eat":
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1) * (16 << 20)))


def _daemonize(execute: bool) -> int:
    """Fork twice, in a new session, as a server in a reward function does; return the daemon's pid."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (daemon := os.fork()) != 0:
            os.write(writer, f"{daemon}".encode())
            os._exit(0)
        if execute:
            os.closerange(3, 1024)
            os.execvp("sleep", ["sleep", "300"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
    os.wait()
    return int(os.read(reader, 20))


if __name__ == "__main__":
    folder = JobFolder(find_own(sys.argv[-1]))
    if folder.read_job().inputs.get("mode") == "late":
        time.sleep(1)
    sys.exit(worker.run(folder, work))
