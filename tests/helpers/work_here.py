"""Attempts of runs inside the test's process, which has loaded the libraries already.

For tests of what a run computes and records. A test of its processes, or of a kill, needs real ones.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import msgspec

from ftwizard.jobs import launch, requests
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Worker
from tests.helpers.jobs import events
from tests.helpers.training import own_signals


@contextlib.contextmanager
def work_here(*, stop_after: int | None = None) -> Iterator[None]:
    """Let commands that start a run in this process do its work too, and return when it ended.

    ``stop_after``: request a stop once this step is logged.
    """

    def spawn(
        folder: JobFolder, argv: list[str], *, lock_fd: int, environment: Mapping[str, str]
    ) -> None:
        with mock.patch.dict(os.environ, environment):
            _work(folder, stop_after)

    with mock.patch.object(launch, "spawn", spawn):
        yield


def _work(folder: JobFolder, stop_after: int | None) -> None:
    """Run the newest attempt as ``ftwizard _work`` does under a keeper."""
    from ftwizard.cli.work import _run_with_summary
    from ftwizard.jobs.worker import _run_work

    began = time.monotonic()
    over = threading.Event()
    umask = os.umask(0o077)
    stopper = threading.Thread(target=_stop, args=(folder, stop_after, over))
    with (
        own_signals(),
        folder.log.open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        worker = Worker(folder)
        if stop_after is not None:
            stopper.start()
        try:
            outcome = _run_work(worker, _run_with_summary)
            worker.events.write("done", **outcome)
        finally:
            over.set()
            worker.events.close()
            requests.remove(worker.folder, "stop")
            gc.unfreeze()  # what earlier tests left is collected again
            os.umask(umask)
    state = folder.read_state()
    assert state
    ended: dict[str, Any] = {
        "state": "ended", "end_reason": outcome["end_reason"], "returncode": 0,
        "ended": time.time(), "seconds": time.monotonic() - began,
    }  # fmt: skip
    write_json(folder.state, msgspec.structs.replace(state, **ended))


def _stop(folder: JobFolder, step: int | None, over: threading.Event) -> None:
    attempt = folder.newest_attempt()
    while step is not None and not over.wait(0.02):
        if any(e["step"] >= step and e["attempt"] == attempt for e in events(folder, "log")):
            requests.send(folder, "stop", attempt)
            return
