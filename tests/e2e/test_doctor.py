"""``ftwizard doctor`` with a real training step and a fake driver library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import run

HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "numpy", "textual"}


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run("doctor", "--json", *arguments, environment=environment)
    document = json.loads(done.stdout)
    assert list(document) == ["checks"]
    for check in document["checks"]:
        assert set(check) == {"name", "status", "found", "fix"}
        assert check["status"] in ("ok", "warning", "missing")
        assert check["fix"] or check["status"] == "ok"
    return done.returncode, {check["name"]: check for check in document["checks"]}


@pytest.mark.slow
def test_doctor_trains_a_real_step_on_the_cpu() -> None:
    code, result = doctor(OPENAI_API_KEY="sk-canary")
    assert code == (1 if any(item["status"] == "missing" for item in result.values()) else 0)
    step = result["step: CPU"]
    assert step["status"] == "ok" and "forward, backward and optimizer" in step["found"]
    assert result["4-bit: CPU"]["status"] == "ok"
    assert result["libraries"]["status"] == "ok"
    assert "OPENAI_API_KEY" in result["key: openai"]["found"]
    assert "sk-canary" not in json.dumps(result)


def test_quick_trains_no_step_and_imports_no_heavy_modules() -> None:
    _, result = doctor("--quick")
    assert not {"step: CPU", "libraries"} & set(result)
    code = f"""
import sys
from ftwizard.__main__ import main
assert main(["doctor", "--quick"]) in (0, 1)
found = {HEAVY!r} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_text_output_lists_checks_and_ends_with_a_summary() -> None:
    done = run("doctor", "--quick")
    assert "✓ Python" in done.stdout and "✓ trl" in done.stdout
    assert "missing" in done.stdout.splitlines()[-1]


def test_doctor_reports_the_state_of_each_gpu(driver: Path) -> None:
    code, result = doctor("--quick", LD_LIBRARY_PATH=str(driver))
    assert "Double 0" in result["GPU"]["found"] and "driver 570.124.06" in result["GPU"]["found"]
    assert "21.5 GB of 85.9 GB in use" in result["GPU 0"]["found"]
    assert "12.9 GB" in result["GPU 0"]["found"]
    assert "2 uncorrectable" in result["GPU 1 memory"]["found"]
    assert "MIG" in result["GPU 1 MIG"]["found"]
    assert "lost" in result["GPU 2"]["found"]
    assert "bf16 (compute capability 8.6)" in result["precision"]["found"]
    # Tests run with a CPU build of torch, which cannot use this GPU.
    assert code == 1 and result["CUDA"]["status"] == "missing"


@pytest.mark.slow
def test_gpu_invisible_to_torch_is_reported(driver: Path) -> None:
    code, result = doctor(LD_LIBRARY_PATH=str(driver))
    assert code == 1 and result["CUDA"]["status"] == "missing"
    assert "pip install" in result["CUDA"]["fix"]
    assert result["step: CPU"]["status"] == "ok"


def test_driver_updated_without_a_reboot_gets_a_warning(driver: Path) -> None:
    _, result = doctor("--quick", LD_LIBRARY_PATH=str(driver), NVML_DOUBLE="mismatch")
    assert result["GPU"]["status"] == "warning" and "reboot" in result["GPU"]["fix"]


def test_hung_driver_does_not_block_other_checks(driver: Path) -> None:
    _, result = doctor("--quick", LD_LIBRARY_PATH=str(driver), NVML_DOUBLE="hang")
    assert "hangs" in result["GPU"]["fix"]
    assert result["Python"]["status"] == "ok"
