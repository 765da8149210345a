"""The agent of one machine: starts the processes that train together, and records how they failed.

It is PyTorch's own elastic agent, without restarts: a run continues from its newest checkpoint
instead. The agent of the first machine is started by the run's command, those of other machines by
their scheduler, with the number of machines, this one's number and the first one's address in the
environment.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs import identity, launch
from ftwizard.jobs.folder import JobFolder, find_own, write_json
from ftwizard.plan import plan_file
from ftwizard.train.rank_records import AGENT, STARTER, AgentRecord, RankFailure, get_agent_record

NODES = "FTWIZARD_NODES"
"""Environment variable with the number of machines; 1 if unset."""
NODE = "FTWIZARD_NODE"
"""Number of this machine from 0; if unset, SLURM_NODEID."""
HEAD = "FTWIZARD_HEAD"
"""``HOST:PORT`` on the first machine, where there are several."""
JOIN_TIMEOUT_S = 600
"""Time for which an agent waits for those of other machines."""
END_TIMEOUT_S = 10
"""Seconds between SIGTERM and SIGKILL for the processes that are left when one failed."""
PORT_TRIES = 5
_QUIET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(name: str) -> int:
    """Start this machine's processes of the run in folder ``name`` and wait; return the exit status."""
    os.umask(0o077)
    identity.end_with_parent(STARTER)
    for number in _QUIET:  # the processes save by themselves; this one waits for them
        signal.signal(number, signal.SIG_IGN)
    folder = JobFolder(find_own(name))
    plan = plan_file.read_recorded(folder) or plan_file.load(folder.plan, begun=True)
    nodes = int(os.environ.get(NODES, "1"))
    node = int(os.environ.get(NODE) or os.environ.get("SLURM_NODEID") or 0) if nodes > 1 else 0
    _set_environment(plan.where.processes, nodes)
    try:
        failures = _launch(folder, plan.where.processes, nodes, node)
    except Exception as error:
        _record(folder, node, message=f"{type(error).__name__}: {error}")
        raise
    if failures:
        _record(folder, node, failures=failures)
    return 1 if failures else 0


def _set_environment(processes: int, nodes: int) -> None:
    """Set what the processes inherit."""
    cores = machine.read_machine_info().cores
    os.environ[AGENT] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    if nodes == 1:  # a machine's own name often has no address
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _launch(folder: JobFolder, processes: int, nodes: int, node: int) -> list[RankFailure]:
    """Run the processes; return the failed ones, none if all succeeded."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for left in reversed(range(PORT_TRIES)):
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=processes,
            run_id=f"{folder.id}-{folder.newest_attempt()}",
            rdzv_backend="static",
            rdzv_endpoint=_find_head(nodes),
            rdzv_configs={"rank": node, "timeout": JOIN_TIMEOUT_S},
            max_restarts=0,
            monitor_interval=0.1,
            signals_to_handle="SIGQUIT",
            shutdown_timeout=END_TIMEOUT_S,
        )
        argv = [*launch.get_python_command(), "-m", "ftwizard", "_rank", str(folder.path)]
        try:
            elastic_launch(config, argv[0])(*argv[1:])
            return []
        except ChildFailedError as error:
            return [
                RankFailure(rank=int(rank), exit_code=failure.exitcode, pid=failure.pid)
                for rank, failure in error.failures.items()
            ]
        except RuntimeError as error:  # torch.distributed.DistNetworkError
            if nodes > 1 or not left or "address already in use" not in str(error).lower():
                raise
    raise AssertionError("unreachable")


def _find_head(nodes: int) -> str:
    if nodes > 1:
        if not os.environ.get(HEAD):
            raise FtwizardError(f"{HEAD} is not set: HOST:PORT on the first of {nodes} machines.")
        return os.environ[HEAD]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _record(
    folder: JobFolder, node: int, *, failures: list[RankFailure] | None = None, message: str = ""
) -> None:
    record = AgentRecord(
        host=socket.gethostname(), t=time.time(), failures=failures or [], message=message
    )
    try:
        write_json(get_agent_record(folder, node), record)
    except OSError as error:
        print(error, file=sys.stderr)
