"""``_ranks`` and ``_rank``: the hidden commands of processes that train together."""

from __future__ import annotations


def run_ranks(folder: str) -> int:
    """Start this machine's processes of the run in ``folder``; return the exit status."""
    from ftwizard.train import rank_agent

    return rank_agent.run(folder)


def run_rank(folder: str) -> int:
    """Be one of the processes that train the run in ``folder``; return the exit status."""
    from ftwizard.train import rank_process

    return rank_process.run(folder)
