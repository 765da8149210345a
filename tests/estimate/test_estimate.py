"""Time and disk estimates: None if unknown, with ranges, parts and shortages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import run_history
from ftwizard.estimate import disk, duration, report_text
from ftwizard.estimate.duration import RunSpeed
from ftwizard.hardware import machine
from ftwizard.jobs.events import EventReader
from ftwizard.plan import plan_file
from ftwizard.text import format_age
from tests.helpers.estimates import make_report
from tests.screens.runs_helpers import PLAN, make_run

RATES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8)


def test_time_is_unknown_before_the_first_run() -> None:
    assert duration.from_earlier_runs(1000, []) is None
    assert duration.from_earlier_runs(1000, [RunSpeed(run="a", tokens_per_s=0.0)]) is None


@given(tokens=st.floats(1, 1e12), rates=RATES)
def test_time_range_covers_every_earlier_run(tokens: float, rates: list[float]) -> None:
    earlier_runs = duration.from_earlier_runs(
        tokens, [RunSpeed(run="a", tokens_per_s=rate) for rate in rates]
    )
    assert earlier_runs is not None
    assert earlier_runs.low is not None
    assert earlier_runs.high is not None
    assert earlier_runs.low <= earlier_runs.value <= earlier_runs.high
    for rate in rates:
        assert earlier_runs.low <= tokens / rate * (1 + 1e-9)
        assert earlier_runs.high >= tokens / rate * (1 - 1e-9)


def test_disk_estimate_matches_the_measured_small_model() -> None:
    """A checkpoint of SmolLM2-135M at rank 16 was measured at 63 MB, the merged model at 270 MB."""
    parts = disk.estimate_parts(
        trained=4_884_480, parameters=134_515_008, adapter=True, merges=True
    )
    assert abs(parts["checkpoints"].value / 3 - 63e6) < 2e6
    assert abs(parts["merged"].value - 273e6) < 3e6
    assert set(parts) == {"checkpoints", "adapter", "merged"}


def test_full_fine_tune_stores_a_model_and_no_adapter() -> None:
    parts = disk.estimate_parts(trained=100, parameters=100, adapter=False, merges=False)
    assert set(parts) == {"checkpoints", "merged"}


def test_pending_download_adds_to_the_disk_estimate() -> None:
    def download_bytes(download: int | None) -> float | None:
        parts = disk.estimate_parts(
            trained=1, parameters=10**9, adapter=True, merges=False, download=download
        )
        return parts["download"].value if "download" in parts else None

    assert [download_bytes(download) for download in (0, 7 * 10**9, None)] == [None, 7e9, 2e9]


@pytest.mark.parametrize("one_disk", [True, False])
def test_download_counts_on_the_disk_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_disk: bool
) -> None:
    monkeypatch.setattr(machine, "is_same_disk", lambda *_: one_disk)
    needs = disk.estimate_parts(
        trained=0, parameters=0, adapter=False, merges=False, download=5 * 10**9
    )
    space = disk.check_space(needs, tmp_path, tmp_path / "cache", 8 * 10**9)
    rest = round(sum(part.value for name, part in needs.items() if name != "download"))
    report = msgspec.structs.replace(make_report(), disk=space)
    lines = report_text.format_report(report, report_text.Hints("", ""))
    shown = "\n".join(line.text for line in lines)
    assert "a GGUF file, made with other tools: 16.0 GB more; with a 4-bit file 20.9 GB" in shown
    assert "includes 5.0 GB to download" in shown if one_disk else "5.0 GB to download, of" in shown
    if one_disk:
        assert space.needed.value == rest + 5 * 10**9 and space.elsewhere is None
    else:
        assert space.needed.value == rest and space.elsewhere
        assert space.elsewhere.needed.value == 5e9


@pytest.mark.parametrize(
    ("left", "ends"),
    [
        (21e9, "with a 4-bit file 20.9 GB"),
        (17e9, "with a 4-bit file 20.9 GB (the latter exceeds the free space)"),
        (15e9, "with a 4-bit file 20.9 GB (both exceed the free space)"),
    ],
)
def test_exports_are_compared_with_space_left_after_the_run(left: float, ends: str) -> None:
    assert disk.describe_later_exports(disk.estimate_later_exports(8 * 10**9), left).endswith(ends)
    space = {"needed": {"value": 5e9}, "free": {"value": left + 5e9}}
    report = make_report(disk=space).disk
    assert report and report.free_after_run == left
    short = {"missing": 1, "message": "", "hint": ""}
    report = make_report(disk={**space, "short": short}).disk
    assert report and report.free_after_run == math.inf


def test_missing_folders_are_compared_by_their_parent_disk(tmp_path: Path) -> None:
    assert machine.is_same_disk(tmp_path / "a" / "b", tmp_path / "c")
    assert not machine.is_same_disk(tmp_path, Path("/proc/x"))


def test_age_is_formatted_in_its_largest_unit() -> None:
    text = [
        format_age(seconds) for seconds in (-3, 0, 59, 60, 3_599, 3_600, 86_399, 86_400, 172_800)
    ]
    assert text == [
        "0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 day", "2 days",
    ]  # fmt: skip


def test_time_source_states_that_it_covers_training_only() -> None:
    earlier_runs = duration.from_earlier_runs(1000, [RunSpeed(run="a", tokens_per_s=10.0)])
    assert earlier_runs and earlier_runs.source.endswith("loading, merging and comparing are extra")


def test_speeds_come_from_event_tails_of_the_newest_similar_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_history, "TAIL_BYTES", 2048)
    for number in range(7):
        job = make_run(home, f"run-{number}")
        begun = job.events.read_bytes()
        noise = json.dumps({"kind": "log", "t": 1.0, "attempt": 1, "step": 1, "tokens": 9e9})
        job.events.write_bytes((noise.encode() + b"\n") * 5_000 + begun)
    make_run(home, "other").plan.write_text(PLAN.replace("owner/model", "owner/other"))
    make_run(home, "broken").plan.write_text("[")

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("all of the events were read")

    monkeypatch.setattr(EventReader, "read", refuse)
    speeds = run_history.find_speeds(plan_file.parse(PLAN))
    assert [speed.run for speed in speeds] == [f"run-{number}" for number in (6, 5, 4, 3, 2)]
    assert all(speed.tokens_per_s > 0 for speed in speeds), "events before the tail do not count"


def test_speeds_skip_runs_beyond_the_limit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_history, "MAX_RUNS_FOR_SPEED", 2)
    for number in range(4):
        make_run(home, f"run-{number}")
    assert [speed.run for speed in run_history.find_speeds(plan_file.parse(PLAN))] == [
        "run-3",
        "run-2",
    ]


def estimate_disk(**more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "trained": 41_943_040, "parameters": 8_030_261_248, "adapter": True, "merges": True,
    } | more  # fmt: skip
    return disk.estimate_parts(**arguments)


def test_full_fine_tune_checkpoints_include_optimizer_states() -> None:
    """Llama 3.1 8B: 96 GB per checkpoint, and three exist at once."""
    parts = estimate_disk(trained=8_030_261_248, adapter=False)
    assert parts["checkpoints"].value == pytest.approx(3 * 96.4e9, rel=0.01)
    assert "optimizer" in parts["checkpoints"].source


def test_export_sizes_match_llama_cpp() -> None:
    """Sizes of Llama 3.1 8B in llama.cpp's table: Q4_K_M 4.9 GB, F16 16.1 GB."""
    later = disk.estimate_later_exports(8_030_261_248)
    assert later["gguf-f16"].value == pytest.approx(16.07e9, rel=0.03)
    assert later["gguf-q4_k_m"].value == pytest.approx(4.92e9 + 16.06e9, rel=0.03)


def test_sufficient_disk_space_gives_no_shortage() -> None:
    assert disk.find_shortage(estimate_disk(), free=10**12, folder="/runs") is None


@pytest.mark.parametrize(
    ("parts", "free", "cache_free", "says", "hint"),
    [
        (
            estimate_disk(download=141 * 10**9),
            10**11,
            None,
            "files alone need about 141",
            "HF_HOME and",
        ),
        (
            estimate_disk(download=141 * 10**9),
            10**13,
            10**11,
            "files need about 141",
            "Set HF_HOME to",
        ),
        (estimate_disk(download=10**9), 10**10, 10**11, "needs about 17.8", "finish.merge: false"),
        (
            estimate_disk(trained=8 * 10**9, adapter=False),
            10**11,
            None,
            "checkpoints 28",
            "adapter",
        ),
        (estimate_disk(), 10**6, None, "needs about 17.8", "smaller model"),
    ],
)
def test_disk_shortage_gives_a_message_and_a_hint(
    parts: dict[str, Any], free: int, cache_free: int | None, says: str, hint: str
) -> None:
    shortage = disk.find_shortage(
        parts, free=free, folder="/runs", cache_free=cache_free, cache="/\x1bcache"
    )
    assert shortage is not None and shortage.missing > 0
    assert says in shortage.message and hint in shortage.hint
    assert (shortage.message + shortage.hint).isprintable()
