"""A channel from the first rank of a distributed training to all others, one number per step.

All ranks have to stop, save and evaluate at the same step: else one waits for the others forever.
"""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import Any

AGREE_S = 30.0
"""Time that all ranks have to come, after which they train without the channel."""
TIMEOUT = timedelta(days=1)
"""Of one broadcast: the first rank may save for long. If it dies, its connection ends at once."""
POLL_S = 0.05
_opened = 0
"""Channels that this process opened, the same in all ranks."""


class RankChannel:
    """Broadcasts a number from rank 0 over gloo, next to the training's own communication."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def broadcast(self, number: int) -> int:
        """Return the number of rank 0; call it in all ranks."""
        import torch
        import torch.distributed as dist

        message = torch.tensor([number], dtype=torch.int64)
        dist.broadcast(message, src=0, group=self._group)
        return int(message.item())

    def close(self) -> None:
        import torch.distributed as dist

        with contextlib.suppress(Exception):  # a rank that died took the group with it
            dist.destroy_process_group(self._group)


def count_ranks() -> int:
    """Return how many processes train together."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def open_channel(agree_s: float = AGREE_S) -> RankChannel | None:
    """Open a channel between all ranks; None if not all of them ask for it in time.

    They agree over the store of the process group before the first collective, so that a callback
    in only some of the ranks leaves no rank waiting.
    """
    global _opened
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

    store = PrefixStore(f"ftwizard/watch/{_opened}", _get_default_store())
    _opened += 1
    store.add("ranks", 1)
    if dist.get_rank() == 0:
        end = time.monotonic() + agree_s
        while (is_missing := store.add("ranks", 0) < dist.get_world_size()) and (
            time.monotonic() < end
        ):
            time.sleep(POLL_S)
        store.set("agreed", "no" if is_missing else "yes")
    else:
        store.wait(["agreed"], timedelta(seconds=2 * agree_s))
    if store.get("agreed") != b"yes":
        return None
    return RankChannel(dist.new_group(backend="gloo", timeout=TIMEOUT))
