"""The GPUs that a run may use, counted as the run counts them."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.estimate import plan_estimate
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu, MachineInfo, Sampler
from ftwizard.plan import schema
from ftwizard.train import command

GB = 10**9
READINGS: list[dict[str, Any]] = [
    {"index": 0, "name": "RTX 3060", "uuid": "GPU-aa11", "memory_total": 12 * GB, "memory_used": 0},
    {"index": 1, "name": "A100", "uuid": "GPU-ab22", "memory_total": 80 * GB, "memory_used": 0},
    {"index": 2, "name": "RTX 4090", "uuid": "GPU-cc33", "memory_total": 24 * GB, "memory_used": 0},
]
LOST: dict[str, Any] = {"index": 0, "lost": True}


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the driver says of its GPUs, which a test may change."""
    readings = list(READINGS)
    monkeypatch.setattr(Sampler, "wait", lambda *_: True)
    monkeypatch.setattr(Sampler, "sample", lambda *_: {"gpus": readings})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return readings


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (None, ["RTX 3060", "A100", "RTX 4090"]),
        ("1", ["A100"]),
        ("2, 0", ["RTX 4090", "RTX 3060"]),
        ("GPU-ab", ["A100"]),
        ("1,9,2", ["A100"]),
        ("1,1", ["A100"]),
        ("MIG-5,2", [None, "RTX 4090"]),
    ],
)
def test_those_that_are_shown_in_their_order(
    shown: str | None, names: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    found, why = machine.list_gpus()
    assert ([one.name for one in found], why) == (names, None)


@pytest.mark.parametrize("shown", ["7", "GPU-a", "nonsense", "-1", ""])
def test_why_there_is_none(shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    found, why = machine.list_gpus()
    assert found == () and "CUDA_VISIBLE_DEVICES" in (why or "")


@pytest.mark.parametrize(("number", "shown"), [(None, "1,2"), (1, "1,2"), (0, "2")])
def test_the_estimate_speaks_of_the_gpu_that_the_run_takes(
    number: int | None, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    chosen = schema.Plan(
        data=schema.Data(files=schema.Files(train="r.jsonl")), model=schema.Model(name="m"),
        where=schema.Where(gpu=number),
    )  # fmt: skip
    taken = command.build_environment(chosen, {"CUDA_VISIBLE_DEVICES": shown})[
        "CUDA_VISIBLE_DEVICES"
    ]
    one = plan_estimate.plan_gpu(chosen, _facts(*machine.list_gpus()[0]))
    assert one and one.name == READINGS[int(taken)]["name"]


def test_a_gpu_that_is_lost_is_none(
    driver: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver[0] = LOST
    assert [one.name for one in machine.list_gpus()[0]] == ["A100", "RTX 4090"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine.list_gpus()[0] == ()


def test_what_other_programs_hold_is_not_free() -> None:
    assert Gpu(name="x", memory=24 * GB, used=17 * GB).free == 7 * GB
    assert Gpu(name="x", memory=24 * GB, used=GB // 2).free == 24 * GB, "a desktop"
    assert Gpu(name="x", memory=GB, used=2 * GB).free == 0
    assert Gpu(name="x", memory=None, used=2 * GB).free is None


def _facts(*gpus: Gpu) -> MachineInfo:
    return MachineInfo(
        gpus=gpus, no_gpu=None, memory=16 * GB, cores=2, bfloat16_cpu=True, disk_free=10**11,
        credentials=(), extras=(),
    )  # fmt: skip
