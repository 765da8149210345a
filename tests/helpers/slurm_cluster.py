"""A real Slurm cluster on loopback: a controller, and nodes in namespaces of their own.

Each node has its own host name, mounts and process ids, so that one signal is a power failure, and a
folder can be hidden from it. It needs root and the packages slurmctld, slurmd, slurm-client and munge.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers.jobs import BUSY

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "munged", "unshare")
KILL_WAIT_S = 8
"""Seconds between SIGTERM and SIGKILL of a job's processes."""
GRACE_S = 8
"""Seconds that a preempted job has to end."""
_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait={kill_wait}
SlurmdTimeout=10
MessageTimeout=10
{nodes}
PartitionName=debug Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace} MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
# One signal to the holder ends everything on the node: it is the first process of a namespace.
_NODE = """
hostname "$1" && mount --bind "$2/hosts" /etc/hosts || exit 1
exec slurmd -D -N "$1" -f "$2/slurm.conf"
"""


def find_missing() -> str:
    """Return why no cluster can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root, for a Slurm cluster"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"needs Slurm: {', '.join(missing)}" if missing else ""


def find_forbidden() -> str:
    """Return why this container allows no cluster, even to root; empty if it does."""
    command = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    is_allowed = subprocess.run(command, capture_output=True, check=False).returncode == 0
    return "" if is_allowed else "needs namespaces of its own for each node"


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Cluster:
    """A running cluster; ``nodes`` are its names."""

    def __init__(self, root: Path, nodes: int = 1, cpus: int = 2) -> None:
        self.root, self.cpus = root, cpus
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.environment = {"SLURM_CONF": str(root / "slurm.conf")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all daemons, and wait until the nodes are idle."""
        self._write_files()
        self._spawn("munged", "munged", "--foreground", "--force",
                    f"--key-file={self.root}/munge.key", f"--socket={self.root}/munge.socket",
                    f"--pid-file={self.root}/munged.pid", f"--log-file={self.root}/munged.log",
                    f"--seed-file={self.root}/munge.seed")  # fmt: skip
        wait_until(lambda: (self.root / "munge.socket").exists(), "munge's socket")
        self._spawn("slurmctld", "slurmctld", "-D", "-f", f"{self.root}/slurm.conf")
        for node in self.nodes:
            self.boot(node)
        wait_until(lambda: self.node_states() == ["idle"] * len(self.nodes), "idle nodes")

    def boot(self, node: str) -> None:
        """Start a node's daemon in new namespaces."""
        (self.root / f"spool.{node}").mkdir(exist_ok=True)
        self._spawn(node, "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc",
                    "--kill-child=SIGKILL", "bash", "-c", _NODE, node, node, str(self.root))  # fmt: skip

    def crash(self, node: str) -> None:
        """Kill everything on a node at once."""
        process = self._processes.pop(node)
        process.kill()
        process.wait(10)

    def reboot(self, node: str) -> None:
        """Start a crashed node again, and wait until it is idle or runs jobs."""
        self.boot(node)
        wait_until(lambda: set(self.node_states()) <= {"idle", "mix", "alloc"}, "the node's return")

    def hide(self, node: str, folder: Path) -> None:
        """Let a node have an empty disk in the place of ``folder``."""
        pid = self._find_first_process(node)
        self.run(
            "nsenter", f"--target={pid}", "--mount", "mount", "-t", "tmpfs", "none", str(folder)
        )

    def show(self, node: str, folder: Path) -> None:
        """Undo ``hide``."""
        pid = self._find_first_process(node)
        self.run("nsenter", f"--target={pid}", "--mount", "umount", str(folder))

    def node_states(self) -> list[str]:
        done = self.run("sinfo", "-h", "-N", "-p", "debug", "-o", "%t", check=False)
        return done.stdout.split() if done.returncode == 0 else []

    def job_state(self, job_id: int) -> str:
        """Return the state of a job; empty once it is forgotten."""
        done = self.run("squeue", "-h", "-t", "all", "-j", str(job_id), "-o", "%T", check=False)
        return done.stdout.strip()

    def skip_wait(self, job_id: int) -> None:
        """Let a job that was queued again start now: Slurm waits for two minutes.

        Slurm revokes the credentials of one that starts within two seconds.
        """
        wait_until(lambda: self.job_state(job_id) == "PENDING", "the queue", 60)
        time.sleep(3)
        self.run("scontrol", "update", f"jobid={job_id}", "StartTime=now")

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until none is left."""
        ids = self.run("squeue", "-h", "-o", "%A", check=False).stdout.split()
        if ids:
            self.run("scancel", *ids, check=False)
        wait_until(lambda: not self.run("squeue", "-h", check=False).stdout.strip(), "no jobs", 60)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(argv, env={**os.environ, "PATH": _PATH, **self.environment},
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        assert done.returncode == 0 or not check, (argv, done.stdout, done.stderr)
        return done

    def stop(self) -> None:
        """End all daemons, and with the nodes whatever runs on them."""
        for name in [*self.nodes, "slurmctld", "munged"]:
            if process := self._processes.pop(name, None):
                process.send_signal(signal.SIGKILL if name in self.nodes else signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def _find_first_process(self, node: str) -> int:
        holder = self._processes[node].pid
        return int(Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0])

    def _spawn(self, name: str, *argv: str) -> None:
        with (self.root / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                argv,
                env={**os.environ, "PATH": _PATH, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _write_files(self) -> None:
        host = socket.gethostname().partition(".")[0]
        port, *ports = _find_ports(1 + len(self.nodes))
        # Nodes share the address: srun answers to the one that packets come from.
        lines = [
            f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={own} CPUs={self.cpus} "
            f"Boards=1 SocketsPerBoard=1 CoresPerSocket={self.cpus} ThreadsPerCore=1 "
            "RealMemory=8000 State=UNKNOWN"
            for node, own in zip(self.nodes, ports, strict=True)
        ]
        conf = _CONF.format(host=host, port=port, root=self.root, kill_wait=KILL_WAIT_S,
                            grace=GRACE_S, nodes="\n".join(lines))  # fmt: skip
        (self.root / "slurm.conf").write_text(conf)
        (self.root / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        (self.root / "hosts").write_text(f"127.0.0.1 localhost {host} {' '.join(self.nodes)}\n")
        key = self.root / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        (self.root / "state").mkdir()


@contextlib.contextmanager
def run_cluster(nodes: int = 1) -> Iterator[Cluster]:
    """Run a cluster, whose folder has a short name: munge's socket is in it."""
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    root.chmod(0o755)
    cluster = Cluster(root, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(root, ignore_errors=True)


def wait_until(condition: Callable[[], bool], name: str, timeout_s: float = 30) -> None:
    """Wait until ``condition`` holds; fail with ``name``, what was waited for."""
    end = time.monotonic() + BUSY * timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {name}"
        time.sleep(0.1)


def _find_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]
