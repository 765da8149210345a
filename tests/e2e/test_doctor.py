"""``ftwizard doctor`` as a person runs it: a real step here, and a driver library of our own."""

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
    for one in document["checks"]:
        assert set(one) == {"name", "status", "found", "fix"}
        assert one["status"] in ("ok", "warning", "missing")
        assert one["fix"] or one["status"] == "ok"
    return done.returncode, {one["name"]: one for one in document["checks"]}


@pytest.mark.slow
def test_a_step_is_really_trained_here() -> None:
    code, found = doctor(OPENAI_API_KEY="sk-canary")
    assert code == (1 if any(one["status"] == "missing" for one in found.values()) else 0)
    step = found["step: CPU"]
    assert step["status"] == "ok" and "forward, backward and optimizer" in step["found"]
    assert found["4-bit: CPU"]["status"] == "ok"
    assert found["libraries"]["status"] == "ok"
    assert "OPENAI_API_KEY" in found["key: openai"]["found"]
    assert "sk-canary" not in json.dumps(found)


def test_quick_tries_nothing_and_imports_nothing_heavy() -> None:
    _, found = doctor("--quick")
    assert not {"step: CPU", "libraries"} & set(found)
    code = f"""
import sys
from ftwizard.__main__ import main
assert main(["doctor", "--quick"]) in (0, 1)
found = {HEAVY!r} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_text_says_the_same_and_ends_with_how_it_stands() -> None:
    done = run("doctor", "--quick")
    assert "✓ Python" in done.stdout and "✓ trl" in done.stdout
    assert "missing" in done.stdout.splitlines()[-1]


def test_the_state_of_each_gpu(driver: Path) -> None:
    code, found = doctor("--quick", LD_LIBRARY_PATH=str(driver))
    assert "Double 0" in found["GPU"]["found"] and "driver 570.124.06" in found["GPU"]["found"]
    assert "21.5 GB of 85.9 GB in use" in found["GPU 0"]["found"]
    assert "12.9 GB" in found["GPU 0"]["found"]
    assert "2 uncorrectable" in found["GPU 1 memory"]["found"]
    assert "MIG" in found["GPU 1 MIG"]["found"]
    assert "lost" in found["GPU 2"]["found"]
    assert "bf16 (compute capability 8.6)" in found["precision"]["found"]
    # torch is a build for processors where tests run: it cannot use that GPU.
    assert code == 1 and found["CUDA"]["status"] == "missing"


@pytest.mark.slow
def test_torch_does_not_see_a_gpu_that_the_driver_shows(driver: Path) -> None:
    code, found = doctor(LD_LIBRARY_PATH=str(driver))
    assert code == 1 and found["CUDA"]["status"] == "missing"
    assert "pip install" in found["CUDA"]["fix"]
    assert found["step: CPU"]["status"] == "ok"


def test_a_driver_that_was_updated_without_a_reboot(driver: Path) -> None:
    _, found = doctor("--quick", LD_LIBRARY_PATH=str(driver), NVML_DOUBLE="mismatch")
    assert found["GPU"]["status"] == "warning" and "reboot" in found["GPU"]["fix"]


def test_a_driver_that_hangs_delays_it_only_so_long(driver: Path) -> None:
    _, found = doctor("--quick", LD_LIBRARY_PATH=str(driver), NVML_DOUBLE="hang")
    assert "hangs" in found["GPU"]["fix"]
    assert found["Python"]["status"] == "ok"
