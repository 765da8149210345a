"""GPU memory used by a run, from the driver's list of processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ftwizard.jobs import identity, keeper
from ftwizard.jobs.identity import Identity

CHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], start_new_session=True)
input()
"""


@pytest.fixture
def command() -> Iterator[tuple[Identity, int]]:
    """Start a command whose child has its own session; yield it and the child's pid."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], start_new_session=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        root = identity.from_pid(process.pid)
        assert root is not None
        import psutil

        (child,) = psutil.Process(process.pid).children()
        on_host = msgspec.structs.replace(root, pid_namespace=keeper.HOST_NAMESPACE)
        yield on_host, child.pid
        process.kill()
        child.kill()


def gpu(*processes: tuple[int, int | None]) -> dict[str, Any]:
    return {"index": 0, "processes": [{"pid": pid, "memory": size} for pid, size in processes]}


def ours(reading: dict[str, Any], command: Identity | None) -> Any:
    (marked,) = keeper.add_own_memory([reading], command)
    assert set(marked) == {"index", "ours"}
    return marked["ours"]


def test_memory_of_command_and_descendants_is_summed(command: tuple[Identity, int]) -> None:
    root, child = command
    assert ours(gpu((root.pid, 5), (child, 7), (1, 100)), root) == 12
    assert ours(gpu((1, 100)), root) == 0
    assert ours(gpu(), root) == 0


def test_own_memory_is_unknown_without_driver_figures(command: tuple[Identity, int]) -> None:
    root, child = command
    assert ours(gpu((root.pid, None), (child, 7)), root) is None
    assert ours(gpu((root.pid, 5), (1, None)), root) == 5
    assert ours({"index": 0, "processes": None}, root) is None
    assert ours(gpu((root.pid, 5)), None) is None


def test_own_memory_is_unknown_inside_a_container(command: tuple[Identity, int]) -> None:
    root, _ = command
    inside = msgspec.structs.replace(root, pid_namespace=4026532000)
    assert ours(gpu((root.pid, 5)), inside) is None


def test_missing_and_invalid_pids_do_not_count(command: tuple[Identity, int]) -> None:
    root, _ = command
    assert ours(gpu((2**31 - 1, 5), (2**32 - 1, 5), (0, 5)), root) == 0


def test_lost_gpu_reading_is_unchanged() -> None:
    assert keeper.add_own_memory([{"index": 1, "lost": True}], None) == [{"index": 1, "lost": True}]
