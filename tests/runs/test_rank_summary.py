"""Processes that train together, and certificates of resumed attempts, in words."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.runs import certificate, rank_summary
from ftwizard.runs.certificate import ResumeCertificate
from ftwizard.runs.progress import Progress


def feed(**fields: Any) -> Progress:
    progress = Progress()
    event = {"t": 1.0, "kind": "phase", "phase": "training", "attempt": 1, "step": 0, **fields}
    progress.feed([event])
    return progress


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"ranks": 2, "parallel": "ddp", "on_gpu": True, "speed": 1.84},
            "2 GPUs, DDP · 1.8× one GPU",
        ),
        (
            {"ranks": 4, "parallel": "ddp", "on_gpu": True, "speed": None},
            "4 GPUs, DDP · speed against one GPU unknown",
        ),
        (
            {"ranks": 2, "parallel": "ddp", "on_gpu": False, "speed": 0.94},
            "2 CPU processes, DDP · 0.9× one process",
        ),
        (
            {"ranks": 2, "speed": -1},
            "2 CPU processes, mode unknown · speed against one process unknown",
        ),
    ],
)
def test_mode_count_and_speed_are_named(fields: dict[str, Any], text: str) -> None:
    ranks = rank_summary.summarize(feed(**fields))
    assert ranks and rank_summary.describe(ranks) == text


def test_one_process_is_not_named() -> None:
    assert rank_summary.summarize(feed()) is None
    assert rank_summary.summarize(feed(ranks=1)) is None
    resumed = feed(ranks=2)
    resumed.feed([{"t": 2.0, "kind": "phase", "phase": "training", "attempt": 2, "step": 4}])
    assert rank_summary.summarize(resumed) is None


def test_first_exchange_is_timed() -> None:
    ranks = rank_summary.summarize(feed(ranks=2, first_collective_s=0.0314))
    assert ranks
    assert rank_summary.describe_first_collective(ranks) == "first exchange between them: 0.031 s"


def test_certificate_names_what_was_not_restored() -> None:
    record = ResumeCertificate(
        attempt=2, step=12, ranks=2, ranks_before=4, adapter="ab", loss_before=2.25,
        loss_first=2.3, not_restored={"random state": "saved by 4, now 2 processes"},
    )  # fmt: skip
    assert certificate.describe(record) == (
        "at step 12; adapter as saved in all 2 processes; moved from 4 processes to 2; "
        "loss 2.3 after 2.25; not restored: random state"
    )
