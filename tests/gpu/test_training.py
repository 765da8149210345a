"""Trainings on a GPU: memory predicted and measured, speed, precision, attention, doctor."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.cli import as_json
from tests.e2e.workspace import Workspace, losses
from tests.gpu import workloads
from tests.gpu.workloads import Device
from tests.helpers.jobs import events, until_ended
from tests.paths import ROOT

GIB = 1 << 30


def test_doctor_sees_the_device(device: Device, report: list[str]) -> None:
    checks = {check["name"]: check for check in as_json("doctor", timeout=300)["checks"]}
    assert checks["GPU"]["status"] == ("ok" if device == "cuda" else "warning")
    for name in ("GPU", "CUDA", "precision", "attention"):
        if name in checks:
            report.append(f"doctor  {name}: {checks[name]['found']}")
    problems = [name for name, check in checks.items() if check["status"] == "missing"]
    trials = [name for name in checks if name.startswith(("step: ", "4-bit: "))]
    report.append(f"doctor  trial: {', '.join(trials) or 'none'}; problems: {problems or 'none'}")
    assert any(name.startswith("step: ") for name in trials), "a step on the device was tried"
    assert not set(trials) & set(problems)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapter_learns_within_the_predicted_memory(
    method: str, size: str, device: Device, workspace: Workspace, report: list[str]
) -> None:
    _train(method, size, device, workspace, report)


@pytest.mark.parametrize("size", ["small"], indirect=True)
def test_full_fine_tune_learns_within_the_predicted_memory(
    size: str, device: Device, workspace: Workspace, report: list[str]
) -> None:
    _train("full", size, device, workspace, report)


def _train(method: str, size: str, device: Device, workspace: Workspace, report: list[str]) -> None:
    """Train, and report the memory, the speed and the losses."""
    rate = 1e-4 if method == "full" else 1e-3
    plan = workloads.write_plan(
        workspace.root, workspace.model, device, method=method, learning_rate=rate
    )
    folder = workspace.train(plan, "run")
    assert until_ended(folder, 150).end_reason == "finished", folder.log.read_text()[-2000:]
    by_step = losses(folder)
    first, last = by_step[min(by_step)], by_step[max(by_step)]
    assert math.isfinite(last) and last < first, by_step
    (trainer,) = [e for e in events(folder, "phase") if e.get("what") == "trainer"]
    result = json.loads(folder.result.read_text())
    predicted, actual = (result[part]["peak_memory"] for part in ("predicted", "actual"))
    speed = result["actual"]["tokens_per_s"]["value"]
    report.append(
        f"train   {size} {method} {trainer['precision']} {trainer['attention']}: memory predicted "
        f"{_gib(predicted['low'])}–{_gib(predicted['high'])}, measured {_gib(actual['value'])} GiB "
        f"({result['error']['peak_memory']:+.0%}); {speed:,.0f} tokens/s; "
        f"loss {first:.3f} → {last:.3f}"
    )
    if device == "cuda":
        assert trainer["precision"] in ("bf16", "fp16" if method != "qlora" else "fp32")
        # The driver's context is not in what PyTorch reserves.
        assert actual["value"] < predicted["high"], "it would not have fitted where it should"


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size / GIB:.2f}"


def test_speed_compared_with_bare_trl(
    size: str, device: Device, workspace: Workspace, report: list[str]
) -> None:
    """Nothing timed is asserted: a machine may be busy."""
    plan = workloads.write_plan(workspace.root, workspace.model, device, equal=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.step_ratio", str(plan)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout.splitlines()[-1])
    seconds, tokens = document["seconds"], document["tokens"]
    ratio = seconds["bare TRL"] / seconds["ftwizard"]
    report.append(
        f"speed   {size}: ftwizard {tokens / seconds['ftwizard']:,.0f} tokens/s, bare TRL "
        f"{tokens / seconds['bare TRL']:,.0f}: {ratio:.2f} times as fast"
    )
    assert all(math.isfinite(value) and value > 0 for value in seconds.values())


@pytest.mark.parametrize("size", ["large"], indirect=True)
def test_options_have_the_same_loss(
    size: str, device: Device, workspace: Workspace, report: list[str]
) -> None:
    """Kernels of the Hub may be missing; what runs must compute the same."""
    plan = workloads.write_plan(workspace.root, workspace.model, device)
    document = as_json("probe", plan, "--compare", timeout=500)
    states: dict[str, str] = {}
    for option in document["options"]:
        name = ", ".join(f"{k}: {v}" for k, v in option["settings"].items()) or "present"
        states[name] = option["state"]
        report.append(f"option  {size} {name}: {_describe(option)}")
    report.append(f"option  {size} fastest: {document['fastest'] or 'present'}, {document['gain']:+.0%}; noise {document['noise']:.0%}")  # fmt: skip
    assert states["present"] == "measured"
    assert "other_result" not in states.values(), states
    assert states["padding_free: True"] == states["packing: True"] == "measured"
    if device == "cuda":
        assert states["gradient_checkpointing: False"] == "measured"


def _describe(option: dict[str, Any]) -> str:
    if option["state"] != "measured":
        return f"{option['state']}: {option['reason']}"
    check = option["check"]
    return (
        f"{option['tokens_per_s']['value']:,.0f} tokens/s ({option['gain']:+.0%}), "
        f"{_gib(option['memory']['value'])} GiB, loss {check['loss']:.4f}, grad norm {check['gradient_norm']:.4f}"
    )
