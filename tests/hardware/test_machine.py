"""GPUs available to a run, numbered as the run numbers them."""

from __future__ import annotations

import pytest

from ftwizard.estimate import training_machine
from ftwizard.hardware import machine, nvml
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.hardware.nvml import NoGpuError, NvidiaDriver, NvmlGpu
from ftwizard.plan import schema
from ftwizard.train import command
from tests.helpers.machines import make_machine

GB = 10**9
CARDS = [
    NvmlGpu(index=0, name="RTX 3060", uuid="GPU-aa11", memory_total=12 * GB, memory_used=0),
    NvmlGpu(index=1, name="A100", uuid="GPU-ab22", memory_total=80 * GB, memory_used=0),
    NvmlGpu(index=2, name="RTX 4090", uuid="GPU-cc33", memory_total=24 * GB, memory_used=0),
]


@pytest.fixture(autouse=True)
def cards(monkeypatch: pytest.MonkeyPatch) -> list[NvmlGpu]:
    """Return the GPUs that the driver lists, which a test may change."""
    cards = list(CARDS)
    monkeypatch.setattr(nvml, "read_driver", lambda _: NvidiaDriver(cards=tuple(cards)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return cards


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
def test_list_gpus_follows_cuda_visible_devices(
    shown: str | None, names: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert [gpu.name for gpu in machine.list_gpus()] == names


@pytest.mark.parametrize(
    ("shown", "cause"),
    [
        ("7", "unmatched"),
        ("GPU-a", "unmatched"),
        ("nonsense", "unmatched"),
        ("-1", "hidden"),
        ("", "hidden"),
    ],
)
def test_no_gpu_cause_names_cuda_visible_devices(
    shown: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    info = machine.read_machine_info()
    assert info.gpus == () and info.no_gpu_cause == cause
    assert "CUDA_VISIBLE_DEVICES" in (info.no_gpu or "")


def test_hung_driver_is_reported_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = NvidiaDriver(cause="hung", message=nvml.NOT_RESPONDING)
    monkeypatch.setattr(nvml, "read_driver", lambda _: silent)
    info = machine.read_machine_info()
    assert (info.gpus, info.no_gpu_cause, info.no_gpu) == ((), "hung", nvml.NOT_RESPONDING)


@pytest.mark.parametrize(("number", "shown"), [(None, "1,2"), (1, "1,2"), (0, "2")])
def test_estimate_uses_the_same_gpu_as_the_run(
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
    gpu = training_machine.plan_gpu(chosen, _facts(*machine.list_gpus()))
    assert gpu and gpu.name == CARDS[int(taken)].name


def test_lost_gpu_is_not_listed(cards: list[NvmlGpu], monkeypatch: pytest.MonkeyPatch) -> None:
    cards[0] = NvmlGpu(index=0, lost=True)
    assert [gpu.name for gpu in machine.list_gpus()] == ["A100", "RTX 4090"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(NoGpuError) as error:
        machine.list_gpus()
    assert error.value.cause == "unmatched"
    cards[1:] = []
    with pytest.raises(NoGpuError) as error:
        machine.list_gpus()
    assert error.value.cause == "lost"


def test_free_memory_excludes_other_processes() -> None:
    assert Gpu(name="x", memory=24 * GB, used=17 * GB).free == 7 * GB
    assert Gpu(name="x", memory=24 * GB, used=GB // 2).free == 24 * GB, "a desktop"
    assert Gpu(name="x", memory=GB, used=2 * GB).free == 0
    assert Gpu(name="x", memory=None, used=2 * GB).free is None


def _facts(*gpus: Gpu) -> MachineInfo:
    return make_machine(*gpus)
