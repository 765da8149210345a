"""The processes of a run that train together, as views show them."""

from __future__ import annotations

import msgspec

from ftwizard.runs.progress import Progress
from ftwizard.text import format_count, format_duration, make_visible

PARALLEL_NAMES = {"ddp": "DDP", "fsdp": "FSDP"}


class RankSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``ranks`` in ``ftwizard status --json``."""

    processes: int
    parallel: str | None
    """``ddp`` or ``fsdp``; None if unknown."""
    on_gpu: bool
    speed: float | None
    """How many times as fast as one process, measured before the first step; None if unknown."""
    first_collective_s: float | None
    """Seconds of the first exchange between all of them."""


def summarize(progress: Progress) -> RankSummary | None:
    """Return the processes of a run; None for a single one."""
    if not progress.ranks or progress.ranks < 2:
        return None
    return RankSummary(
        processes=progress.ranks,
        parallel=progress.parallel,
        on_gpu=progress.ranks_on_gpu is True,
        speed=progress.ranks_speed,
        first_collective_s=progress.first_collective_s,
    )


def describe(ranks: RankSummary) -> str:
    """Return count, mode and speed: ``2 GPUs, DDP · 1.8× one GPU``."""
    unit, one = ("GPU", "one GPU") if ranks.on_gpu else ("CPU process", "one process")
    count = format_count(ranks.processes, unit, "GPUs" if ranks.on_gpu else "CPU processes")
    mode = PARALLEL_NAMES.get(
        ranks.parallel or "", make_visible(ranks.parallel or "mode unknown", 20)
    )
    speed = f"{ranks.speed:.1f}× {one}" if ranks.speed else f"speed against {one} unknown"
    return f"{count}, {mode} · {speed}"


def describe_first_collective(ranks: RankSummary) -> str:
    """Return how long the first exchange took; nothing if unknown."""
    seconds = ranks.first_collective_s
    if seconds is None:
        return ""
    shown = f"{seconds:.2g} s" if seconds < 10 else format_duration(seconds)
    return f"first exchange between them: {shown}"
