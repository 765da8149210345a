"""``watch`` as lines of text."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Any

import pytest
from rich.console import Console

from ftwizard.cli.watch import _EventLog
from ftwizard.jobs.status import observe
from ftwizard.runs.progress import Progress
from tests.e2e.cli import FTWIZARD
from tests.helpers.jobs import command_pid, make, start, until_ended, until_step


def finding(t: float, code: str, severity: str, message: str, **fields: Any) -> dict[str, Any]:
    return {
        "t": t, "kind": "finding", "attempt": 1, "code": code, "severity": severity,
        "message": message, "verdict": True, **fields,
    }  # fmt: skip


def test_mark_of_a_finding_is_that_of_its_severity_and_updates_add_no_line() -> None:
    output, progress = io.StringIO(), Progress()
    log = _EventLog(Console(file=output))
    for event in (
        finding(1, "healthy", "info", "Both losses fall.", step=5),
        finding(2, "healthy", "info", "Both losses fall, more.", step=9, update=True),
        finding(3, "overfit", "warning", "Validation loss rises.", step=20),
    ):
        progress.feed([event])
        log.show(progress)
    lines = [line.partition(" ")[2].rstrip() for line in output.getvalue().splitlines()]
    assert lines == ["· Both losses fall.", "! Validation loss rises."]


def test_processes_that_train_together_are_named_once() -> None:
    output, progress = io.StringIO(), Progress()
    log = _EventLog(Console(file=output, width=100))
    ranks = {"ranks": 2, "parallel": "fsdp", "on_gpu": True, "speed": 1.84}
    event = {"t": 1.0, "kind": "phase", "phase": "training", "attempt": 1, "step": 0}
    progress.feed([event | ranks])
    log.show(progress)
    progress.feed([event | {"t": 9.0, "phase": "evaluating"}])
    log.show(progress)
    assert output.getvalue().count("2 GPUs, FSDP · 1.8× one GPU") == 1


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_view_ends_with_its_reader_while_the_run_is_silent(
    kind: str, home: Path, tmp_path: Path
) -> None:
    folder = start(make(home / "runs" / "hung", mode="hang"))
    until_step(folder, 5)
    argv = [str(FTWIZARD), "watch", "hung"]
    with (tmp_path / "log").open("wb") as log:  # as cron, nohup and a redirection do
        lasting = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log)
    ours, theirs = socket.socketpair() if kind == "socket" else (None, None)
    view = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=theirs.fileno() if theirs else subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    file: IO[bytes] | None = ours.makefile("rb") if ours else view.stdout
    if theirs:
        theirs.close()
    assert file is not None and b"run hung in" in file.readline()
    file.readline()  # of the phase: the last one
    time.sleep(1)
    assert view.poll() is None
    file.close()
    if ours:
        ours.close()
    assert view.wait(120) == 0
    assert view.stderr is not None and view.stderr.read() == b""
    view.stderr.close()
    assert observe(folder).state == "running" and lasting.poll() is None
    os.kill(command_pid(folder), signal.SIGKILL)  # it hangs, so a request would wait for its grace
    until_ended(folder)
    assert lasting.wait(120) == 1
    assert b"was killed" in (tmp_path / "log").read_bytes()
