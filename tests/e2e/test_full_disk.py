"""Full and read-only disks, before and during a real run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.jobs import lock
from ftwizard.runs import checkpoints
from ftwizard.train.checkpoint_rotation import mark_complete
from tests.cli.test_folders import LINES
from tests.e2e.cli import ok, run
from tests.e2e.workspace import Workspace, losses
from tests.helpers import disks
from tests.helpers.checkpoints import save
from tests.helpers.jobs import events, until, until_ended
from tests.screens.runs_helpers import make_run

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a separate file system of 700 MB."""
    with disks.mount(tmp_path, "700m") as disk:
        yield disk


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk except for ``leave`` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave
        try:
            while free > 0:
                free -= file.write(bytes(min(free, 1 << 20)))
        except OSError:
            pass
    return filler


@pytest.mark.parametrize("leave", [0, 40_000])
def test_run_on_a_full_disk_ends_and_resumes_without_loss(
    small_workspace: Workspace, small_disk: Path, monkeypatch: pytest.MonkeyPatch, leave: int
) -> None:
    """The disk is full to the last byte, or has space for half an adapter."""
    monkeypatch.setenv("FTWIZARD_HOME", str(small_disk))
    monkeypatch.setenv("FTWIZARD_CACHE", str(small_disk.parent / "cache"))
    small_workspace.home = small_disk
    plan = small_workspace.plan(rows=60, epochs=8, save_steps=50, evaluation_steps=1000)
    folder = small_workspace.train(plan, "full")
    until(folder, lambda _: len(events(folder, "checkpoint")) >= 1, 90)
    filler = fill(small_disk, leave)
    status = until_ended(folder, 90)
    assert (status.end_reason, status.exit_code) == ("disk_full", 1)
    points = run("status", "full")
    assert "disk full" in points.stdout
    assert "Free disk space" in " ".join(points.stdout.split())
    kept = checkpoints.all_complete(folder.checkpoints)
    assert kept, "the last complete checkpoint is still there"
    refused = run("resume", "full")
    assert refused.returncode == 1 and "to resume, run full needs" in refused.stderr
    assert folder.newest_attempt() == 1
    filler.unlink()
    ok("resume", "full")
    assert until_ended(folder, 200).end_reason == "finished"
    first = [e["step"] for e in events(folder, "log") if e["attempt"] == 1]
    assert first == list(range(1, len(first) + 1)), "events that the full disk did not take"
    result = losses(folder)
    assert sorted(result) == list(range(1, max(result) + 1))


def test_train_refuses_to_start_on_a_full_disk(
    small_workspace: Workspace, small_disk: Path
) -> None:
    fill(small_disk, 2_000_000)
    refused = run("train", small_workspace.plan(), environment={"FTWIZARD_HOME": str(small_disk)})
    assert refused.returncode == 1
    assert "free on the disk of" in refused.stderr
    assert not list((small_disk / "runs").iterdir())


@pytest.mark.parametrize("leave", [0, 2_000_000, 505_000_000])
def test_resume_refuses_a_full_disk_at_once(small_disk: Path, leave: int) -> None:
    """Also with space for a new run, but not for another checkpoint of this one."""
    folder = make_run(small_disk, "full", end_reason="killed")
    checkpoint = save(folder.checkpoints, 10, marked=False)
    (checkpoint / "optimizer.pt").write_bytes(bytes(20_000_000))
    mark_complete(checkpoint, step=10, attempt=1)
    fill(small_disk, leave)
    before = sorted(folder.path.rglob("*"))
    refused = run("resume", "full", environment={"FTWIZARD_HOME": str(small_disk)})
    assert refused.returncode == 1
    assert f"free on the disk of {folder.path}; to resume, run full needs" in refused.stderr
    assert "ftwizard remove RUN --checkpoints" in refused.stderr
    assert sorted(folder.path.rglob("*")) == before and not lock.is_held(folder.lock)


def test_train_reports_a_home_on_a_read_only_disk(
    small_workspace: Workspace, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = run(
        "train", small_workspace.plan(), environment={"FTWIZARD_HOME": str(small_disk / "home")}
    )
    assert refused.returncode == 1
    assert "Could not write to" in refused.stderr and "FTWIZARD_HOME" in refused.stderr


def test_every_command_works_or_says_why_on_a_read_only_disk(
    tmp_path: Path, small_disk: Path
) -> None:
    make_run(small_disk, "kept")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    folders = {f"FTWIZARD_{name}": str(small_disk) for name in ("HOME", "CACHE", "CONFIG")}
    codes = {}
    for line in LINES:
        words = ["kept" if word == "1" else word for word in line]
        words += {"doctor": ["--quick"], "demo": ["--yes"], "remove": ["--yes"]}.get(
            line[0] if line else "", []
        )
        done = run(*words, environment=folders, cwd=tmp_path)
        codes[" ".join(words)] = done.returncode
        assert done.returncode in (0, 1, 2), (words, done.stderr)
        if done.returncode and line[:1] != ["doctor"]:
            assert 1 <= len(done.stderr.splitlines()) <= 3, (words, done.stderr)
    assert [codes[name] for name in ("runs", "status", "diagnose", "watch")] == [0, 0, 0, 0]
    assert codes["demo --yes"] == codes["remove kept --yes"] == 1
    assert (small_disk / "runs" / "kept" / "job.json").exists()
