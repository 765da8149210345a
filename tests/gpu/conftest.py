"""Option ``--device``, the skip without a GPU, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from ftwizard.hardware import machine
from ftwizard.hardware.nvml import NoGpuError
from tests.e2e.workspace import Workspace
from tests.gpu import workloads
from tests.gpu.workloads import Device

Report = list[str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", choices=("cuda", "cpu"), default="cuda",
        help="cpu: run the tests of tests/gpu on a CPU, with a smaller model",
    )  # fmt: skip


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> Device:
    """Return the device of the tests; skip without a GPU."""
    chosen: Literal["cuda", "cpu"] = request.config.getoption("--device")
    if chosen == "cpu":
        return chosen
    try:
        machine.list_gpus()
    except NoGpuError as error:
        pytest.skip(f"{error.message}; --device cpu runs the tests on the CPU")
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no GPU: ftwizard doctor says why")
    return chosen


@pytest.fixture(autouse=True)
def environment(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the GPUs for a CPU; else let kernels of the Hub be downloaded."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    if device == "cpu":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")


@pytest.fixture(scope="session", params=("small", "large"))
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def base(size: str, device: Device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model with random weights, so that nothing is downloaded."""
    return workloads.make_model(tmp_path_factory.mktemp("base") / size, size, device)


@pytest.fixture
def workspace(base: Path, tmp_path: Path, home: Path) -> Workspace:
    return Workspace(tmp_path, base, home)


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """Return lines that are printed together at the end."""
    lines: Report = []
    yield lines
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and lines:
        reporter.write_line("")
        for line in lines:
            reporter.write_line(line)
