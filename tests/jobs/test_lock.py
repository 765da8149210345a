"""Locks of jobs: exclusive and shared holders, child processes and symlinks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftwizard.jobs import lock


def test_exclusive_lock_excludes_another(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = lock.take_exclusive(path)
    assert first is not None
    assert lock.take_exclusive(path) is None
    assert lock.is_held(path)
    os.close(first)
    assert not lock.is_held(path)


def test_lock_is_held_until_every_holder_closes(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    launcher = lock.take_exclusive(path)
    assert launcher is not None
    with pytest.raises(OSError):
        lock.take_shared(path)
    lock.downgrade(launcher)
    rank = lock.take_shared(path)
    assert lock.take_exclusive(path) is None
    os.close(launcher)
    assert lock.take_exclusive(path) is None, "a rank still holds it"
    os.close(rank)
    again = lock.take_exclusive(path)
    assert again is not None
    os.close(again)


def test_is_held_never_takes_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not lock.is_held(path), "missing file"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    assert not lock.is_held(path)
    taken = lock.take_exclusive(path)
    assert taken is not None
    os.close(descriptor)
    os.close(taken)


def test_child_process_keeps_an_inherited_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock_fd = lock.take_exclusive(path)
    assert lock_fd is not None
    lock.downgrade(lock_fd)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[lock_fd],
    )
    os.close(lock_fd)
    assert lock.is_held(path)
    child.kill()
    child.wait()
    assert child.stdin
    child.stdin.close()
    assert not lock.is_held(path)


def test_lock_does_not_follow_a_symlink(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError):
        lock.take_exclusive(tmp_path / "lock")
    assert victim.read_text() == "mine"
