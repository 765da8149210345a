"""Machine readings through the real nvidia-ml-py and a fake driver library."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ftwizard.hardware import machine
from ftwizard.jobs import clock, keeper
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor import gpus, readings
from tests.helpers.jobs import end_all, make, start, until, until_ended, until_step

SAMPLE = """
import json, sys, time
from ftwizard.hardware.machine import Sampler
sampler = Sampler(0.1, stale_s=0.5)
sampler.wait(float(sys.argv[2]))
time.sleep(float(sys.argv[1]))
began = time.monotonic()
reading = sampler.sample()
reading["took"] = time.monotonic() - began
print(json.dumps(reading))
"""


def sample(driver: Path | None, wait: float = 0.5, **environment: str) -> Any:
    paths = {"LD_LIBRARY_PATH": str(driver)} if driver else {}
    answers_within = 0 if environment.get("NVML_DOUBLE") == "hang" else 50
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE, str(wait), str(answers_within)],
        env={**os.environ, **paths, **environment}, capture_output=True, text=True, check=True,
        timeout=120,
    )  # fmt: skip
    return json.loads(done.stdout)


def shown(reading: dict[str, Any]) -> str:
    """Return the monitor's text for a reading."""
    width = 150
    text = readings.format_machine([reading], clock.read(), width).plain
    return f"{text}\n{gpus.build_lines([reading], Progress(), width, 9).plain}"


def test_reading_contains_all_fields_of_each_gpu(driver: Path) -> None:
    reading = sample(driver)
    first, second, lost = reading["gpus"]
    assert first == {
        "index": 0, "name": "Double 0", "utilisation": 97, "memory_used": 20 << 30,
        "memory_total": 80 << 30, "memory_reserved": 1 << 30, "temperature": 71, "power": 312.5,
        "power_limit": 450.0, "throttled": [], "processes": [{"pid": 1, "memory": 12 << 30}],
        "mig": None,
    }  # fmt: skip
    assert second["utilisation"] is None and second["power"] is None
    assert second["power_limit"] is None and second["processes"] is None
    assert second["temperature"] == 71 and second["throttled"] == ["thermal"]
    part = {"memory_used": 3 << 30, "memory_total": 10 << 30}
    assert second["mig"] == [{"index": 0, **part}, {"index": 1, **part}]
    assert lost == {"index": 2, "lost": True}
    item, two, part_0, part_1, three = shown(reading).splitlines()[1:]
    assert re.match(r"GPU 0 +97% .* 71 °C +312 of 450 W", item)
    assert re.match(r"GPU 1 +n/a .* 71 °C +n/a  ! throttled: thermal  MIG: 2 instances", two)
    for number, line in enumerate((part_0, part_1)):
        assert re.match(rf" MIG {number} .* 3.2 .* 7.5 GB", line)
    assert re.match("GPU 2 +! lost: no response from the driver", three)


def test_old_driver_gives_partial_readings(driver: Path) -> None:
    first, second, _ = sample(driver, NVML_DOUBLE="old")["gpus"]
    assert first["memory_used"] == 20 << 30 and first["memory_reserved"] is None
    assert first["processes"] is None
    assert second["throttled"] == ["thermal"]


@pytest.mark.parametrize(
    ("mode", "name"), [("name", "\x1b[2J\x1b]0;title\x07GPU\r\nno"), ("bytes", None)]
)
def test_control_characters_in_gpu_names_are_escaped(
    driver: Path, mode: str, name: str | None
) -> None:
    reading = sample(driver, NVML_DOUBLE=mode)
    assert [item.get("name") for item in reading["gpus"]] == [name, "Double 1", None]
    text = shown(reading)
    assert "\x1b" not in text and len(text.splitlines()) == 6
    assert ("␛[2J␛]0;title" in text) == (name is not None)


def test_eight_gpus_are_read_and_listed(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="eight")
    uses = [97 - 10 * n for n in range(8)]
    assert [item["utilisation"] for item in reading["gpus"]] == uses
    lines = [line for line in shown(reading).splitlines() if line.startswith("GPU")]
    assert [line[:10] for line in lines] == [f"GPU {n}  {uses[n]}%" for n in range(8)]
    for number, (item, line) in enumerate(zip(reading["gpus"], lines, strict=True)):
        assert item["throttled"] == [] and item["mig"] is None
        assert item["power"] == 312.5 - 20 * number and item["power_limit"] == 450.0
        assert item["processes"] == ([] if number else [{"pid": 1, "memory": 12 << 30}])
        assert "!" not in line and "MIG" not in line and " of 450 W" in line


def test_gpus_lost_after_startup_are_reported(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="lost-later")
    assert reading["gpus"] == [{"index": n, "lost": True} for n in range(3)]
    assert shown(reading).count("! lost: no response from the driver") == 3


def test_permission_errors_are_reported(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="denied")
    assert reading["gpus"] == [] and reading["no_gpu"] == "NVML: Insufficient Permissions"
    assert "no GPU: NVML: Insufficient Permissions" in shown(reading)
    reading = sample(driver, NVML_DOUBLE="unopened")
    first, second, _ = reading["gpus"]
    assert first == {"index": 0, "error": "Insufficient Permissions"}
    assert second["name"] == "Double 1"
    assert "GPU 0  ! Insufficient Permissions" in shown(reading)


def test_gpu_processes_without_memory_figures_are_kept(driver: Path, tmp_path: Path) -> None:
    listed = tmp_path / "processes"
    listed.write_text("41 na\n42 5000\n")
    first = sample(driver, NVML_DOUBLE_PROCESSES=str(listed))["gpus"][0]
    assert first["processes"] == [{"pid": 41, "memory": None}, {"pid": 42, "memory": 5000}]


def test_keeper_records_the_gpu_memory_of_its_command(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "processes"
    listed.write_text("1 999\n")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setenv("NVML_DOUBLE_PROCESSES", str(listed))
    folder = start(make(tmp_path / "job", steps=100_000, step_s=0.01))
    try:
        until_step(folder, 1)
        state = folder.read_state()
        assert state and state.command
        listed.write_text(f"1 999\n{state.command.pid} 5000\n")
        # In a container, the driver reports pids from outside it.
        wanted = 5000 if state.command.pid_namespace == keeper.HOST_NAMESPACE else None
        assert _last_of(folder, wanted) == wanted
    finally:
        end_all(tmp_path)


def _last_of(folder: JobFolder, wanted: int | None) -> Any:
    end = time.monotonic() + 20
    ours: Any = "nothing yet"
    while ours != wanted and time.monotonic() < end:
        time.sleep(0.1)
        for reading in Follower(folder).machine()[-1:]:
            if reading["gpus"]:
                assert "processes" not in reading["gpus"][0]
                ours = reading["gpus"][0]["ours"]
    return ours


def test_driver_version_mismatch_is_reported(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="mismatch")
    assert reading["gpus"] == []
    assert "no GPU: driver updated while running (version mismatch): reboot" in shown(reading)


def test_hung_driver_does_not_block_sampling(driver: Path) -> None:
    reading = sample(driver, NVML_DOUBLE="hang")
    assert reading["gpus"] == [] and "no answer" in reading["no_gpu"]
    assert reading["took"] < 0.2
    assert "! GPU driver is not responding" in shown(reading)
    assert reading["memory_total"] > 0


def test_hung_driver_does_not_delay_the_keeper(
    driver: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setenv("NVML_DOUBLE", "hang")
    folder = start(make(home / "runs" / "one", steps=5))
    assert until_ended(folder).end_reason == "finished"
    until(folder, lambda _: (s := folder.read_state()) is not None and s.state == "ended")
    assert "no answer" in Follower(folder).machine()[-1]["no_gpu"]
    until(folder, lambda status: status.keeper_lives is False)


def test_driver_that_hangs_later_clears_the_readings(driver: Path) -> None:
    reading = sample(driver, wait=1.5, NVML_DOUBLE="hang-later")
    assert reading["gpus"] == [] and reading["hung"]
    assert "stopped responding" in reading["no_gpu"] and reading["took"] < 0.2
    assert "! GPU driver is not responding" in shown(reading)


def test_missing_driver_is_reported_as_the_reason() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    reading = sample(None)
    assert reading["gpus"] == [] and reading["no_gpu"].startswith("no NVIDIA driver")
    assert "no GPU: no NVIDIA driver here" in shown(reading)


def test_free_disk_oom_kills_and_packages_are_read() -> None:
    assert machine.get_free_bytes(Path("/nowhere/at/all")) > 0
    kills = machine.count_oom_kills()
    assert kills is None or kills >= 0
    assert machine.is_installed("json") and not machine.is_installed("no_such_module_here")
