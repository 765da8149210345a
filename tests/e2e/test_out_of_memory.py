"""A job that the kernel kills for lack of memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import ok
from tests.helpers.jobs import make, until_ended
from tests.paths import ROOT

LIMIT_BYTES = 160 << 20
"""Bytes for the launcher, the keeper and the command."""
START = """
import os, sys
from pathlib import Path
Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
from tests.helpers.jobs import start
from ftwizard.jobs.folder import JobFolder
start(JobFolder(Path(sys.argv[1])))
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """Yield a cgroup limited to ``LIMIT_BYTES`` of memory, without swap."""
    for root, limits in (
        ("/sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
        ("/sys/fs/cgroup", ("memory.max", "memory.swap.max")),
    ):
        folder = Path(root) / f"ftwizard-test-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / limits[0]).write_text(str(LIMIT_BYTES))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        with contextlib.suppress(OSError):  # without swap there is nothing to limit
            (folder / limits[1]).write_text(str(0 if "swap" in limits[1] else LIMIT_BYTES))
        yield folder
        # Move the remaining processes to the parent group, so that this one can be removed.
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (folder.parent / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            folder.rmdir()
        return
    pytest.skip("a memory limit needs root and write access to cgroups")


@pytest.mark.cgroup
def test_oom_kill_is_reported_as_out_of_memory(home: Path, cgroup: Path) -> None:
    folder: JobFolder = make(home / "runs" / "hungry", mode="eat")
    subprocess.run(
        [sys.executable, "-c", START, str(folder.path), str(cgroup)], cwd=ROOT, check=True
    )
    status = until_ended(folder)
    assert status.end_reason == "out_of_memory", folder.log.read_text()
    state = folder.read_state()
    assert state and state.returncode == -9
    text = ok("status", "hungry")
    assert "out of memory" in text and "smaller batch" in text
