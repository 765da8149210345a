"""Live run for benchmarks: a separate process appends steps at a given rate, and readings."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from tests.screens.runs_helpers import living, make_run

EVALUATE_EVERY = 100
TOTAL = 1_000_000


@contextmanager
def lively(home: Path, rate: float) -> Iterator[JobFolder]:
    """Yield a live run in ``home`` that continues at ``rate`` steps per second, 0 for idle."""
    folder = make_run(home, "live", steps=0)
    events = EventWriter(folder.events, 1)
    events.write("phase", phase="training", step=0, total=TOTAL)
    for step in range(1, 400):
        _write_step(events, step)
    events.close()
    _write_reading(folder)
    command = [sys.executable, "-m", "tests.benchmarks.live", str(folder.path), str(rate)]
    with living(folder):
        writer = subprocess.Popen(command) if rate else None
        try:
            yield folder
        finally:
            if writer is not None:
                writer.kill()
                writer.wait()


def _write_step(events: EventWriter, step: int) -> None:
    loss = 0.6 + 3 * math.exp(-step / 5000) + random.gauss(0, 0.05)
    events.write(
        "log", step=step, loss=loss, epoch=step / 1000, tokens=900 * step, learning_rate=1e-4,
        grad_norm=0.9 + random.random() / 10,
    )  # fmt: skip
    if step % EVALUATE_EVERY == 0:
        events.write("eval", step=step, eval_loss=loss + 0.1)


def _write_reading(folder: JobFolder) -> None:
    reading = {
        "t": time.time(), "cpu": random.random() * 100, "memory_used": random.randrange(2**34),
        "memory_total": 2**35, "gpus": [], "no_gpu": "no NVIDIA driver",
    }  # fmt: skip
    with folder.machine("here").open("a") as file:
        file.write(json.dumps(reading) + "\n")


def main() -> None:
    folder, rate = JobFolder(Path(sys.argv[1])), float(sys.argv[2])
    events = EventWriter(folder.events, 1)
    began = read = time.perf_counter()
    step = 400
    while os.getppid() != 1:
        _write_step(events, step)
        step += 1
        if time.perf_counter() >= read + 1:
            read += 1
            _write_reading(folder)
        time.sleep(max(0.0, began + (step - 400) / rate - time.perf_counter()))


if __name__ == "__main__":
    main()
