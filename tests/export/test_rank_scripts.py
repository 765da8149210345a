"""Ejected scripts of several processes: the losses of a run, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ftwizard.errors import FtwizardError
from ftwizard.export import eject as ejection
from ftwizard.export.eject import Origin
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.runs.ejected_script import Accelerator, EjectReport
from tests.export.test_eject_objectives import prepare
from tests.helpers import training
from tests.helpers.ejected import assert_same_losses

TWO = {"where": {"processes": 2}}


def eject(folder: JobFolder, out: Path, accelerator: Accelerator | None = None) -> EjectReport:
    """Write the script of a run's plan."""
    plan = plan_file.load(folder.plan, begun=True)
    return ejection.eject(Origin("plan plan.yaml", plan), out, lambda *_, **__: None, accelerator)


@pytest.mark.slow
def test_a_script_in_two_processes_has_the_losses_of_the_run(tmp_path: Path) -> None:
    """The last batches of an epoch and of an evaluation are not full."""
    recipe: dict[str, Any] = {"training": 29, "epochs": 2, "dropout": 0.0, "precision": "fp32"}
    folder = training.prepare(tmp_path, "two", gradient_accumulation=1, more=TWO, **recipe)
    alone = training.train(tmp_path, "one", gradient_accumulation=2, **recipe)
    out = tmp_path / "script"
    assert eject(folder, out).processes == 2
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *command],
        check=False, cwd=out, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    assert_same_losses(alone, out, tolerance=1e-5)
    assert done.stdout.count("train_runtime") == 1, "the first process prints"


def test_the_machine_has_a_gpu_for_each_process(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "run", gradient_accumulation=2, more=TWO)
    for count, expected in ((None, 2), (4, 4)):
        out = tmp_path / f"script-{count}"
        assert eject(folder, out, Accelerator("H100", count)).processes == expected
        task = YAML(typ="safe").load((out / "task.yaml").read_text())
        assert task["resources"]["accelerators"] == f"H100:{expected}"
        assert f"torchrun --standalone --nproc-per-node {expected} train.py" in task["run"]
        assert "BATCHES = 4\n" in (out / "train.py").read_text()
    with pytest.raises(FtwizardError, match="3 processes cannot share 4 batches") as caught:
        eject(folder, tmp_path / "three", Accelerator("H100", 3))
    assert "1, 2 or 4" in caught.value.text and not (tmp_path / "three").exists()
    assert eject(folder, tmp_path / "alone", Accelerator("H100", 1)).processes == 1
    assert "gradient_accumulation_steps=4," in (tmp_path / "alone" / "train.py").read_text()


def test_fsdp_is_named_as_left_out(tmp_path: Path) -> None:
    where = {"where": {"processes": 2, "parallel": "fsdp"}}
    folder = training.prepare(tmp_path, "run", more=where)
    left_out = eject(folder, tmp_path / "script").left_out
    assert "FSDP: each GPU needs memory for the whole model" in left_out


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_other_objectives_train_in_one_process(tmp_path: Path, objective: str) -> None:
    folder = prepare(tmp_path, "run", objective, more=TWO)
    with pytest.raises(FtwizardError, match="trains in one process"):
        eject(folder, tmp_path / "several", Accelerator("H100", 2))
    report = eject(folder, tmp_path / "script", Accelerator("H100"))
    assert report.processes == 1
    assert "the 2 processes: one has the rows of all in each step" in report.left_out
