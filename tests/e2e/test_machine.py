"""What the machine tells, through the real nvidia-ml-py and a driver library of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftwizard import machine

SOURCE = Path(__file__).parents[1] / "doubles" / "nvml.c"
SAMPLE = """
import json, sys, time
from ftwizard.machine import Sampler
sampler = Sampler(0.1, stale_s=0.5)
time.sleep(float(sys.argv[1]))
began = time.monotonic()
reading = sampler.sample()
reading["took"] = time.monotonic() - began
print(json.dumps(reading))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler for the driver library")
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return folder


def sample(driver: Path | None, wait: float = 0.5, **environment: str) -> Any:
    paths = {"LD_LIBRARY_PATH": str(driver)} if driver else {}
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE, str(wait)],
        env={**os.environ, **paths, **environment}, capture_output=True, text=True, check=True,
        timeout=20,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_each_gpu_with_what_it_tells(driver: Path) -> None:
    first, second, lost = sample(driver)["gpus"]
    assert first == {
        "index": 0, "name": "Double 0", "utilisation": 97, "memory_used": 20 << 30,
        "memory_total": 80 << 30, "temperature": 71, "power": 312.5,
    }  # fmt: skip
    assert second["utilisation"] is None and second["power"] is None
    assert second["temperature"] == 71
    assert lost == {"index": 2, "lost": True}


def test_a_driver_that_does_not_fit_is_named(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="mismatch")
    assert reading["gpus"] == [] and "mismatch" in reading["no_gpu"].lower()


def test_a_hung_driver_blocks_nothing(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="hang")
    assert reading["gpus"] == [] and "no answer" in reading["no_gpu"]
    assert reading["took"] < 0.2
    assert reading["memory_total"] > 0


def test_without_a_driver_the_reason_is_told() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    reading = sample(None)
    assert reading["gpus"] == [] and reading["no_gpu"].startswith("no NVIDIA driver")


def test_memory_disk_and_kills_are_known() -> None:
    assert machine.free_bytes(Path("/nowhere/at/all")) > 0
    kills = machine.oom_kills()
    assert kills is None or kills >= 0
    assert machine.is_installed("json") and not machine.is_installed("no_such_module_here")
