"""What a Slurm cluster has: partitions with their limits, nodes and GPUs, and the user's accounts.

It is asked by ``sinfo`` and ``sacctmgr`` in formats of their own: partitions are suggestions, never
gates, since only ``sbatch`` knows what a user may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.slurm import client
from ftwizard.text import format_bytes, format_count

_FORMAT = "%P|%l|%L|%D|%a|%G|%t|%c|%m"
"""Partition, time limit, default time, nodes, availability, GRES, state, cores and memory (MB)."""
_GPU = re.compile(r"gpu(?::(?P<type>[^:(,]+))?:(?P<count>\d+)(?:\(|$)")
_GRES_SEPARATOR = re.compile(r",(?![^(]*\))")
"""Commas between resources, not those in brackets: ``gpu:a100:4(S:0,2),shard:8``."""
_STATE_MARKS = "*~#!%$@^-+"
"""Marks after a state: not responding, powered down and others."""
_USABLE = ("idle", "mix", "mixed", "alloc", "allocated", "comp", "plnd", "resv")
_TIME = re.compile(r"(?:(?P<days>[0-9]+)-)?(?P<clock>[0-9]+(?::[0-9]+){0,2})")
_UNLIMITED = ("infinite", "unlimited")
MB = 1 << 20


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of a partition that are alike."""

    nodes: int
    state: str
    """As Slurm abbreviates it, without marks: ``idle``, ``mix``, ``drain``."""
    gpus: dict[str, int] = {}
    """GPUs of each node, by their type in Slurm; an empty name is of GPUs without one."""
    cpus: int | None = None
    """Cores of each node; the fewest, where they differ."""
    memory: int | None = None
    """Bytes of each node; the least, where they differ."""

    @property
    def is_usable(self) -> bool:
        return self.state in _USABLE

    @property
    def gpu_count(self) -> int:
        """Return the GPUs of each node."""
        return sum(self.gpus.values())


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """A partition of the cluster."""

    name: str
    is_default: bool
    is_up: bool
    """Whether it accepts and starts jobs."""
    time_limit: str | None
    """Longest time of a job, as Slurm writes it; None: no limit."""
    default_time: str | None
    """Time of a job that names none; None: the limit."""
    groups: tuple[NodeGroup, ...] = ()

    @property
    def nodes(self) -> int:
        return sum(group.nodes for group in self.groups)

    @property
    def idle_nodes(self) -> int:
        return sum(group.nodes for group in self.groups if group.state == "idle")

    @property
    def max_gpus(self) -> int:
        """Return the most GPUs that one of its nodes has."""
        return max((group.gpu_count for group in self.groups), default=0)

    @property
    def gpu_types(self) -> tuple[str, ...]:
        """Return the names of its GPUs' types, sorted."""
        return tuple(sorted({name for group in self.groups for name in group.gpus if name}))


class ClusterReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard slurm --json`` without a plan."""

    partitions: tuple[Partition, ...]
    """The default one first, then by name."""
    accounts: tuple[str, ...] = ()
    """Accounts that the user may charge; empty where Slurm keeps no accounts, or does not answer."""

    def find(self, name: str | None) -> Partition | None:
        """Return a partition, for None the default one; None if there is none of that name."""
        return next(
            (
                partition
                for partition in self.partitions
                if (partition.is_default if name is None else partition.name == name)
            ),
            None,
        )


def read_cluster() -> ClusterReport:
    """Ask Slurm for its partitions, and for the user's accounts; takes up to some seconds.

    Raises FtwizardError on a machine without Slurm, and if it does not answer.
    """
    client.require_installed()
    answer = client.ask("sinfo", "--noheader", f"--format={_FORMAT}")
    return ClusterReport(partitions=parse_partitions(answer), accounts=_list_accounts())


def parse_partitions(text: str) -> tuple[Partition, ...]:
    """Read the lines of ``sinfo``, one for each group of nodes; what is not understood is left out."""
    partitions: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 9 or not (name := fields[0].rstrip("*")):
            continue
        partition = partitions.get(name) or Partition(
            name=name,
            is_default=fields[0].endswith("*"),
            is_up=fields[4] == "up",
            time_limit=_read_time(fields[1]),
            default_time=_read_time(fields[2]),
        )
        groups = (*partition.groups, *_read_group(fields))
        partitions[name] = msgspec.structs.replace(partition, groups=groups)
    return tuple(sorted(partitions.values(), key=lambda each: (not each.is_default, each.name)))


def parse_gpus(gres: str) -> dict[str, int]:
    """Read the GPUs of a node, by type, from its generic resources: ``gpu:a100:4(S:0-1)``."""
    gpus: dict[str, int] = {}
    for resource in _GRES_SEPARATOR.split(gres):
        if match := _GPU.match(resource.strip()):
            name = match["type"] or ""
            gpus[name] = gpus.get(name, 0) + int(match["count"])
    return {name: count for name, count in gpus.items() if count}


def _read_time(text: str) -> str | None:
    return None if text in ("", "n/a", *_UNLIMITED) else text


def find_exceeded_limit(partition: str, time: str | int | None) -> str | None:
    """Return the time limit of a partition if a job of ``time`` asks for more; None if not, or unknown.

    Many clusters accept such a job, which then never starts.
    """
    minutes = to_minutes(str(time)) if time is not None else None
    if minutes is None:
        return None
    try:
        answer = client.ask("sinfo", "--noheader", f"--partition={partition}", "--format=%l")
    except FtwizardError:
        return None
    limit = _read_time((answer.split() or [""])[0])
    most = to_minutes(limit) if limit else None
    return limit if most is not None and minutes > most else None


def to_minutes(time: str) -> float | None:
    """Return a time as Slurm writes it, ``90`` (minutes), ``12:00:00`` or ``1-00:00:00``, in minutes.

    None if it is not understood.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    parts = [int(part) for part in match["clock"].split(":")]
    if match["days"] is not None:  # hours come first
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    return ((int(match["days"] or 0) * 24 + hours) * 60) + minutes + seconds / 60


def _read_group(fields: list[str]) -> Iterator[NodeGroup]:
    if not _is_count(fields[3]) or fields[3] == "0":
        return
    # A plus sign says that some nodes have more.
    cpus, memory = fields[7].rstrip("+"), fields[8].rstrip("+")
    yield NodeGroup(
        nodes=int(fields[3]),
        state=fields[6].lower().rstrip(_STATE_MARKS),
        gpus=parse_gpus(fields[5]),
        cpus=int(cpus) if _is_count(cpus) else None,
        memory=int(memory) * MB if _is_count(memory) else None,
    )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def _list_accounts() -> tuple[str, ...]:
    """Return the user's accounts; none without accounting, which is often absent."""
    try:
        answer = client.ask(
            "sacctmgr", "--noheader", "--parsable2", "show", "associations",
            f"user={client.get_user()}", "format=account",
        )  # fmt: skip
    except FtwizardError:
        return ()
    return tuple(sorted({line.strip() for line in answer.splitlines() if line.strip()}))


def describe_partition(partition: Partition) -> str:
    """Describe a partition: ``4 nodes (1 idle), 8 × a100 each, up to 1-00:00:00``."""
    nodes = f"{format_count(partition.nodes, 'node')} ({partition.idle_nodes} idle)"
    parts = [nodes, _describe_gpus(partition.groups)]
    if not partition.is_up:
        parts.insert(0, "closed")
    parts.append(f"up to {partition.time_limit}" if partition.time_limit else "no time limit")
    return ", ".join(parts)


def describe_group(group: NodeGroup) -> str:
    """Describe nodes that are alike: ``2 idle: 8 × a100 each, 64 cores, 512 GB``."""
    parts = [_describe_gpus([group])]
    if group.cpus:
        parts.append(format_count(group.cpus, "core"))
    if group.memory:
        parts.append(format_bytes(group.memory))
    return f"{group.nodes} {group.state}: {', '.join(parts)}"


def _describe_gpus(groups: Iterable[NodeGroup]) -> str:
    """Describe the GPUs of a node, where nodes differ of each kind of them."""
    kinds = {
        " + ".join(f"{count} × {name or 'GPU'}" for name, count in sorted(group.gpus.items()))
        for group in groups
    }
    kinds.discard("")
    return f"{' or '.join(sorted(kinds))} each" if kinds else "no GPUs"
