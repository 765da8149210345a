"""What the processes that train together leave in the run's ``ranks/`` folder."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, read_json, write_json, write_whole

MEMORY = "FTWIZARD_RANKS_MEMORY"
"""Environment variable with the path of memory that the run's command shares with its first process,
for an outcome that no disk takes."""
AGENT = "FTWIZARD_AGENT"
"""Environment variable with the pid of the agent, without which no process trains on."""
STARTER = "FTWIZARD_STARTER"
"""Environment variable with the pid of the command that starts an agent itself."""
_INPUTS = "inputs.pickle"
_OUTCOME = "outcome.json"


class RankOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the training ended in the first process, or why any process failed."""

    rank: int
    host: str
    t: float
    """Unix seconds."""
    end_reason: str
    message: str = ""
    hint: str = ""
    exit_code: int = 1
    is_trained: bool = False
    """Whether the training came to its end, so that the run continues with its best weights."""
    is_refused: bool = False
    """Whether it is an error of the user's to correct."""
    unwritten: bytes = b""
    """Lines of events that the disk did not take."""


class RankFailure(msgspec.Struct, frozen=True, kw_only=True):
    rank: int
    exit_code: int
    """Negative for a signal."""
    pid: int


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``ranks/agent-<node>.json``: how the processes of one machine failed."""

    host: str
    t: float
    """Unix seconds."""
    failures: list[RankFailure] = []
    message: str = ""
    """Why they could not be started."""


def get_agent_record(folder: JobFolder, node: int) -> Path:
    """Return the file of an agent's record."""
    return folder.ranks / f"agent-{node}.json"


def begin(folder: JobFolder, inputs: Any) -> None:
    """Empty the folder of an earlier attempt and write ``inputs`` for all processes."""
    shutil.rmtree(folder.ranks, ignore_errors=True)
    folder.ranks.mkdir(mode=0o700)
    write_whole(folder.ranks / _INPUTS, pickle.dumps(inputs, protocol=5))


def read_inputs(folder: JobFolder) -> Any:
    """Return what ``begin`` wrote; raise FtwizardError for a file of another user."""
    path = folder.ranks / _INPUTS
    if path.stat().st_uid != os.geteuid():
        raise FtwizardError(f"{path} belongs to another user.", "Start a new run.")
    return pickle.loads(path.read_bytes())


def remove_inputs(folder: JobFolder) -> None:
    """Delete the rows, which the run's data files have already."""
    with contextlib.suppress(OSError):
        (folder.ranks / _INPUTS).unlink()


def has_failure(folder: JobFolder) -> bool:
    """Return whether a process, or a machine's agent, recorded that it failed."""
    patterns = ("agent-*.json", "*.error.json")
    return any(path for pattern in patterns for path in folder.ranks.glob(pattern))


def get_log(folder: JobFolder, rank: int) -> Path:
    """Return the file with the output of a process."""
    return folder.ranks / f"{rank}.log"


def leave_outcome(folder: JobFolder, outcome: RankOutcome) -> None:
    """Write how the training ended; where the disk does not take it, to the shared memory."""
    with contextlib.suppress(OSError):
        if write_json(folder.ranks / _OUTCOME, outcome, ballast=folder.ballast):
            return
    with contextlib.suppress(OSError):
        Path(os.environ.get(MEMORY, os.devnull)).write_bytes(msgspec.json.encode(outcome))


def read_outcome(folder: JobFolder, memory: int) -> RankOutcome | None:
    """Return how the training ended; None if the first process did not say so."""
    data = os.pread(memory, os.fstat(memory).st_size, 0)
    if data:
        return msgspec.json.decode(data, type=RankOutcome)
    return read_json(folder.ranks / _OUTCOME, RankOutcome)


def leave_failure(folder: JobFolder, failure: RankOutcome) -> None:
    """Write why a process failed."""
    with contextlib.suppress(OSError):
        write_json(folder.ranks / f"{failure.rank}.error.json", failure)


def read_failures(folder: JobFolder) -> list[RankOutcome]:
    """Return why processes failed, the first one first."""
    paths = folder.ranks.glob("*.error.json")
    failures = [failure for path in paths if (failure := read_json(path, RankOutcome))]
    return sorted(failures, key=lambda failure: failure.t)
