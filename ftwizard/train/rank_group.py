"""The processes that train together, as one of them reaches the others.

What they decide goes over a group of its own on the CPU: a decision waits as long as the first
process takes for its samples or its disk, without a timeout of the GPUs' collectives.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from typing import Any

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""Time that a collective of the training may take; the watchdog reports silence much earlier."""
DECISION_TIMEOUT = timedelta(hours=12)
"""Time for which the others wait for the first process. If it ends, they notice at once."""


class RankGroup:
    """This process among those that train together; alone, its collectives do nothing."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.first_collective_s: float | None = None
        """Seconds of the first collective over all processes; None for a process alone."""
        self._decisions: Any = None

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that records, measures and decides."""
        return self.rank == 0

    def share(self, value: Any) -> Any:
        """Return the first process's value in all of them."""
        if self.size == 1:
            return value
        import torch.distributed

        values = [value]
        torch.distributed.broadcast_object_list(values, src=0, group=self._decisions)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank, in all of them."""
        if self.size == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self._decisions)
        return values

    def sum(self, count: int) -> int:
        """Return the sum of a count over all processes, in all of them."""
        if self.size == 1:
            return count
        import torch.distributed

        total = torch.tensor([count], dtype=torch.int64)
        torch.distributed.all_reduce(total, group=self._decisions)
        return int(total)

    def share_flags(self, flags: list[bool]) -> list[bool]:
        """Return the first process's flags in all of them."""
        import torch.distributed

        shared = torch.tensor(flags, dtype=torch.uint8)
        torch.distributed.broadcast(shared, src=0, group=self._decisions)
        return [bool(flag) for flag in shared]


ALONE = RankGroup()


def join() -> RankGroup:
    """Join the group that the launcher's environment describes, and time a first collective.

    Each process takes the GPU of its local rank; without GPUs they train on the CPU.
    """
    import torch
    import torch.distributed as dist

    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if has_gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    group = RankGroup(dist.get_rank(), dist.get_world_size())
    began = time.monotonic()
    device = torch.device("cuda", torch.cuda.current_device()) if has_gpu else torch.device("cpu")
    ones = torch.ones(1, device=device)
    dist.all_reduce(ones)
    if int(ones.item()) != group.size:
        raise RuntimeError(f"the first collective gave {ones.item()}, not {group.size}")
    group.first_collective_s = time.monotonic() - began
    group._decisions = dist.new_group(backend="gloo", timeout=DECISION_TIMEOUT)
    return group


def leave() -> None:
    """Leave the group."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def get_host() -> str:
    """Return this machine's name."""
    return socket.gethostname()
