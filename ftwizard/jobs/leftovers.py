"""Processes that a job's command left behind, such as a reward function's server.

While the keeper lives, it adopts them and kills them at the end. If it was killed, they are found by
a variable of their environment, whatever session they moved to.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ftwizard.jobs import identity
from ftwizard.jobs.folder import JobFolder, State

if TYPE_CHECKING:
    import psutil

VARIABLE = "FTWIZARD_JOB"
TIMEOUT_S = 5.0
_POLL_S = 0.05


def make_mark(folder: JobFolder, attempt: int) -> dict[str, str]:
    """Return the variable that marks all processes of an attempt; a moved folder keeps it."""
    return {VARIABLE: f"{_identify(folder)}{attempt}"}


def end(folder: JobFolder) -> int:
    """Kill what is left of a job if its keeper and its command are dead; return how many were."""
    state = folder.read_state()
    if state is None or not folder.path.exists():
        return 0
    if is_over(state):
        return end_older(folder, state.attempt + 1)
    # Without a keeper, a start is under way, whose processes are not left over.
    return 0 if state.keeper else end_older(folder, state.attempt)


def is_over(state: State) -> bool:
    """Return whether keeper and command were recorded and are dead: others only hold the lock."""
    processes = (state.keeper, state.command)
    return None not in processes and not any(identity.is_alive(p) is not False for p in processes)


def end_older(folder: JobFolder, attempt: int) -> int:
    """Kill what is left of the attempts before ``attempt``; return how many processes that were."""
    return kill(lambda: _find(folder, attempt))


def end_with_this_process(folder: JobFolder, attempt: int) -> None:
    """Let this process, the command, do the keeper's part at its exit if the keeper is dead.

    Call it before libraries are imported: what they do at exit comes first.
    """
    command = os.getpid()

    def end_others() -> None:
        if os.getpid() != command:  # a fork that exits like its parent
            return
        with contextlib.suppress(OSError):
            state = folder.read_state()
            if state and state.attempt == attempt and identity.is_alive(state.keeper) is False:
                end_older(folder, attempt + 1)

    atexit.register(end_others)


def kill(find: Callable[[], list[psutil.Process]]) -> int:
    """Kill the processes that ``find`` returns, until it returns none; return how many there were."""
    import psutil

    pids: set[int] = set()
    deadline = time.monotonic() + TIMEOUT_S
    while processes := find():
        for process in processes:
            pids.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()  # checks that the pid was not recycled
        if time.monotonic() >= deadline:
            break
        psutil.wait_procs(processes, timeout=_POLL_S)
    return len(pids)


def _find(folder: JobFolder, before: int) -> list[psutil.Process]:
    """Return the other living processes of the attempts before that number."""
    import psutil

    prefix = _identify(folder)
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mark = process.environ().get(VARIABLE, "")
            number = mark.removeprefix(prefix) if mark.startswith(prefix) else ""
            is_older = number.isdigit() and int(number) < before
            if is_older and process.pid != os.getpid() and is_running(process):
                processes.append(process)
    return processes


def is_running(process: psutil.Process) -> bool:
    import psutil

    return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _identify(folder: JobFolder) -> str:
    status = folder.path.stat()
    return f"{status.st_dev}:{status.st_ino}:"
