"""A sharded run in two processes on the CPU: losses, samples and checkpoints are those of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import ok
from tests.e2e.test_ranks import finish, read_logs, until_gone, validation
from tests.e2e.workspace import Workspace, losses
from tests.helpers.jobs import events, until_ended, until_step

pytestmark = pytest.mark.slow


def change(plan: Path, **parts: dict[str, Any]) -> Path:
    """Add settings to parts of a plan."""
    body = json.loads(plan.read_text())
    for part, settings in parts.items():
        body[part] = {**body.get(part, {}), **settings}
    plan.write_text(json.dumps(body))
    return plan


def newest_checkpoint(folder: JobFolder) -> Path:
    return max(folder.checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))


def read_samples(folder: JobFolder) -> list[tuple[int, int, str]]:
    return [(e["step"], e["index"], e["answer"]) for e in events(folder, "sample")]


def test_a_sharded_run_is_the_run_of_one_process(small_workspace: Workspace) -> None:
    """It is stopped and resumed in between. In 16 bit, rounding differs a little more."""
    recipe: dict[str, Any] = {"rows": 24, "epochs": 2, "dropout": 0.0, "save_steps": 2}
    samples = {"count": 2, "max_tokens": 4}
    one = small_workspace.plan("one", gradient_accumulation=2, **recipe)
    two = small_workspace.plan("two", gradient_accumulation=1, **recipe)
    alone = finish(small_workspace.train(change(one, samples=samples), "one"))
    where = {"processes": 2, "parallel": "fsdp"}
    folder = small_workspace.train(change(two, samples=samples, where=where), "two")
    until_step(folder, 3, 200)
    ok("stop", "two")
    assert until_ended(folder, 100).end_reason == "stopped", read_logs(folder)
    until_gone(folder)
    ok("resume", "two")
    finish(folder)

    assert losses(folder) == pytest.approx(losses(alone), rel=1e-4)
    for step, values in validation(alone).items():
        assert validation(folder)[step] == pytest.approx(values, rel=1e-4)
    assert read_samples(alone)
    assert set(read_samples(alone)) <= set(read_samples(folder))
    phases = [e for e in events(folder, "phase") if e["phase"] == "training"]
    assert {(e["ranks"], e["parallel"]) for e in phases} == {(2, "fsdp")}
    assert phases[0]["parallel_reason"] == "Set in the plan (where.parallel)."
    certificate = json.loads((folder.certificates / "2.json").read_text())
    assert {"weights", "optimizer", "random state"} <= set(certificate["restored"])
    require_same_files(newest_checkpoint(alone), newest_checkpoint(folder))
    require_equal_weights(alone.adapter, folder.adapter)


def require_same_files(one: Path, two: Path) -> None:
    random_states = {"rng_state.pth", "rng_state_0.pth", "rng_state_1.pth"}
    names = {path.name for path in one.iterdir()} - random_states
    assert {path.name for path in two.iterdir()} - random_states == names
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        sizes = [(folder / name).stat().st_size for folder in (one, two)]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.02), name


def require_equal_weights(one: Path, two: Path) -> None:
    import torch
    from safetensors.torch import load_file

    expected, saved = (load_file(path / "adapter_model.safetensors") for path in (one, two))
    assert expected.keys() == saved.keys()
    assert expected
    for name, weight in expected.items():
        assert torch.allclose(weight, saved[name], rtol=0, atol=1e-4), name
