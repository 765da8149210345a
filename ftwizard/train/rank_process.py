"""One of the processes that train together: ``ftwizard _rank FOLDER``, started by the agent.

The first one writes the run's events and decides; the others train on their rows and follow it.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.jobs import identity, lock, worker
from ftwizard.jobs.ending import classify_error, describe_error
from ftwizard.jobs.folder import APPEND, JobFolder, find_own
from ftwizard.jobs.worker import EarlyEnd, Stopped, Watchdog, Worker
from ftwizard.plan import plan_file
from ftwizard.train import rank_group, rank_records
from ftwizard.train.rank_records import AGENT, RankOutcome


def run(name: str) -> int:
    """Train as the process that the environment says; return the exit status."""
    os.umask(0o077)
    identity.end_with_parent(AGENT)
    folder, rank = JobFolder(find_own(name)), int(os.environ["RANK"])
    _open_output(folder, rank)
    lock.take_shared(folder.lock)  # until this process ends
    code = _run(Worker(folder, writes=rank == 0), rank)
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # at a usual exit, libraries may wait for processes that are gone
    return 0


def _open_output(folder: JobFolder, rank: int) -> None:
    log = os.open(rank_records.get_log(folder, rank), APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    sys.stdout, sys.stderr = worker.open_log(1), worker.open_log(2)


def _run(own: Worker, rank: int) -> int:
    watchdog = Watchdog(own) if rank == 0 else None
    outcome, is_failure = _train(own)
    if watchdog:
        watchdog.close()
    own.saves_itself = True  # from here on TERM has no effect
    record = RankOutcome(
        rank=rank,
        host=rank_group.get_host(),
        t=time.time(),
        unwritten=own.events.close(),
        **outcome,
    )
    if rank == 0 and not is_failure:
        rank_records.leave_outcome(own.folder, record)
    elif record.end_reason != "stopped" and not record.is_trained:  # not one ended by the agent
        rank_records.leave_failure(own.folder, record)
    if record.is_trained:
        rank_group.leave()
        return 0
    return 1  # so that the agent ends the others


def _train(own: Worker) -> tuple[Mapping[str, Any], bool]:
    """Train; return the outcome's fields, and whether it is a failure that others may have caused."""
    from ftwizard.train import trainer

    folder = own.folder
    try:
        plan = plan_file.read_recorded(folder) or plan_file.load(folder.plan, begun=True)
        inputs = rank_records.read_inputs(folder)
        group = rank_group.join()
        if own.record.kind == "probe":
            from ftwizard.train import probe

            probe.measure_together(own, inputs, group)
            return {"end_reason": "finished", "is_trained": True}, False
        reason, message = trainer.fit_here(own, plan, inputs, group)
        return {"end_reason": reason, "message": message, "is_trained": True}, False
    except Stopped:
        return {"end_reason": "stopped"}, False
    except EarlyEnd as early:
        fields = {"end_reason": early.end_reason, "message": early.message, "hint": early.hint}
        return fields, False
    except FtwizardError as error:
        return {
            "end_reason": "refused",
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
            "is_refused": True,
        }, False
    except BaseException as error:  # noqa: BLE001 (reported at the run's end)
        own.saves_itself = (
            True  # TERM, with which the agent ends the others, must not interrupt this
        )
        traceback.print_exc(file=sys.stderr)
        reason, text = classify_error(error, folder), describe_error(error, folder.path)
        return {"end_reason": reason, "message": text[:2000]}, True
