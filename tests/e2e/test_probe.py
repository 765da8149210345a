"""Probes on a real model: measurements, caching, comparison with the run, out of memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ftwizard.estimate import probe_cache
from ftwizard.plan import plan_file
from ftwizard.pricing import machine_rate
from tests.e2e.cli import FTWIZARD, as_json, ok, run
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import until_ended
from tests.helpers.models import make_tiny

pytestmark = pytest.mark.slow
ADDRESS_SPACES = (4_200_000_000, 4_600_000_000, 5_000_000_000, 5_400_000_000)
"""Bytes. Depending on PyTorch's version, SmolLM2 loads within one of them and trains on 4 rows of
60 tokens, but not on 16."""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for temporary files, with the cache next to it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    return folder


def test_probe_is_cached_and_compared_with_the_run(workspace: Workspace, scratch: Path) -> None:
    plan = workspace.plan(rows=16, batch_size=2)
    document = as_json("probe", plan, "--steps", 2)
    assert (document["batch_size"], document["gradient_accumulation"], document["halved"]) == (
        2,
        1,
        0,
    )
    assert 300e6 < document["memory"]["value"] < 3e9, "weights alone are 270 MB"
    assert document["measured"]["longest"] <= 160 and document["evaluation_s"]["value"] > 0
    assert not list(scratch.iterdir()) and not (workspace.home / "runs").exists()
    cached_probe = probe_cache.read_cached_probe(plan_file.load(plan))
    assert cached_probe and cached_probe.memory.value == document["memory"]["value"]

    folder = workspace.train(plan, "one", "--price", "machine=36")
    machine_rate.save_price(Decimal(999))  # a later price does not affect this run
    until_ended(folder, 120)
    result = json.loads(folder.result.read_text())
    assert result["predicted"]["peak_memory"] == document["memory"]
    assert "a probe of this" in result["predicted"]["seconds"]["source"]
    assert result["predicted"]["cost"]["low"] < result["predicted"]["cost"]["high"]
    assert result["actual"]["cost"]["value"] > 0.01 * result["actual"]["seconds"]["value"]
    assert "$36.00 per hour" in result["actual"]["cost"]["source"]
    for name in ("peak_memory", "seconds", "tokens_per_s", "disk", "cost"):
        actual, error = result["actual"][name]["value"], result["error"][name]
        assert actual > 0 and error is not None and error > -1, name
    [listed] = as_json("runs")["runs"]
    assert listed["actual"] == result["actual"] and listed["error"] == result["error"]
    text = ok("status", "one")
    assert "(predicted" in text and re.search(r"cost +\$", text)
    assert "cost" in ok("runs")


def test_out_of_memory_writes_a_plan_with_a_smaller_batch(
    workspace: Workspace, scratch: Path
) -> None:
    """PyTorch hits a real memory limit."""
    plan, smaller = workspace.plan(rows=40, batch_size=16), workspace.root / "smaller.yaml"
    before = plan.read_bytes()
    for limit in ADDRESS_SPACES:
        limited = (
            "import resource, sys; from ftwizard.__main__ import main; "
            f"resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit})); sys.exit(main())"
        )
        process = _python(limited, "probe", plan, "--steps", 1, "--write", smaller, "--json")
        if "while loading the model" not in process.stderr:
            break
    assert process.returncode == 0, process.stderr
    done = json.loads(process.stdout)
    assert done["halved"] >= 1 and done["batch_size"] * done["gradient_accumulation"] == 16
    assert "A batch of 16 does not fit (out of memory). Tried 8" in done["findings"][0]
    assert done["written"] == str(smaller) and plan.read_bytes() == before
    recipe = plan_file.load(smaller).recipe
    assert recipe.batch_size == done["batch_size"] == 16 >> done["halved"]
    assert not list(scratch.iterdir())
    again = run("probe", plan, "--write", smaller)
    assert again.returncode == 1 and "never overwritten" in again.stderr


@pytest.mark.parametrize(
    "recipe",
    [
        {"packing": True, "batch_size": 2, "max_length": 500},
        {"method": "full", "batch_size": 64, "gradient_accumulation": 3},
    ],
)
def test_probe_supports_packing_and_oversized_batches(
    recipe: dict[str, Any], workspace: Workspace, scratch: Path, tmp_path: Path
) -> None:
    tiny = Workspace(tmp_path, make_tiny(tmp_path / "tiny"), workspace.home)
    document = as_json("probe", tiny.plan(**({"max_length": 200} | recipe)), "--steps", 2)
    measured = document["measured"]
    assert measured["longest"] <= recipe.get("max_length", 200)
    assert document["batch_size"] == recipe["batch_size"] and document["halved"] == 0
    if "packing" in recipe:
        assert measured["longest"] > 300, "several rows in one sequence"
    assert len(measured["rates"]) == 2 and measured["validation_tokens"] > 0


def test_probe_errors_give_the_reason(workspace: Workspace, scratch: Path) -> None:
    plan = workspace.plan()
    assert run("probe", plan, "--steps", 0).returncode == 2
    short = run("probe", workspace.plan("short", max_length=8))
    assert short.returncode == 3 and "cuts off every answer" in short.stderr
    missing = run("probe", workspace.root / "nowhere.yaml")
    assert missing.returncode == 1 and "does not exist" in missing.stderr
    assert not list(scratch.iterdir())


def _python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(FTWIZARD.with_name("python")), "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip


def write_rank_plan(tmp_path: Path, **where: Any) -> Path:
    """Write a plan that trains a small model in two processes, with batches of two rows."""
    rows = [{"messages": [{"role": "user", "content": "what " * (n + 1)},
                          {"role": "assistant", "content": "a file"}]} for n in range(12)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps({
        "data": {"files": {"train": "rows.jsonl"}},
        "model": {"name": str(make_tiny(tmp_path / "tiny"))},
        "recipe": {"batch_size": 2, "max_length": 64},
        "where": {"processes": 2, **where},
    }))  # fmt: skip
    return plan


OUT_OF_MEMORY_IN_RANK_1 = """
import os

if os.environ.get("RANK") == "1":
    import torch
    from ftwizard.train.probe import StepTimer

    on_step_end = StepTimer.on_step_end

    def fail(self, args, *others, **more):
        if args.per_device_train_batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return on_step_end(self, args, *others, **more)

    StepTimer.on_step_end = fail
"""
"""``sitecustomize.py``: one of two processes has too little memory for two rows."""


def test_all_processes_take_the_smaller_batch_that_one_of_them_needs(
    tmp_path: Path, scratch: Path
) -> None:
    plan, modules = write_rank_plan(tmp_path), tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(OUT_OF_MEMORY_IN_RANK_1)
    paths = os.pathsep.join(filter(None, (str(modules), os.environ.get("PYTHONPATH"))))
    document = as_json("probe", plan, "--steps", 1, environment={"PYTHONPATH": paths})
    sizes = (document["batch_size"], document["gradient_accumulation"], document["halved"])
    assert sizes == (1, 2, 1), "as many rows in a step"
    assert document["measured"]["processes"] == 2
    tried = "A batch of 2 does not fit (out of GPU memory). Tried 1"
    assert any(tried in finding for finding in document["findings"])
    assert not list(scratch.iterdir())


def test_processes_of_a_plan_are_measured_together(tmp_path: Path, scratch: Path) -> None:
    plan = write_rank_plan(tmp_path, parallel="fsdp")
    document = as_json("probe", plan, "--steps", 1)
    measured = document["measured"]
    assert (measured["processes"], measured["mode"]) == (2, "fsdp")
    tokens = measured["tokens_per_s"] * measured["step_s"]
    assert tokens > 3 * measured["longest"], "a step takes a batch of two rows in each process"
    assert measured["memory_training"] > measured["memory_before"] > 0
    assert "with 2 processes" in document["memory"]["source"]
    assert not list(scratch.iterdir())
    cached = probe_cache.read_cached_probe(plan_file.load(plan))
    assert cached and cached.measured.processes == 2
