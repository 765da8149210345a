"""Ejected scripts of runs, and the losses that they log."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ftwizard.export import eject as ejection
from ftwizard.export.eject import Origin
from ftwizard.jobs.folder import JobFolder, Parent, write_json
from ftwizard.models import hub
from ftwizard.runs import checkpoints
from ftwizard.runs.ejected_script import EjectReport
from ftwizard.train import child_plan, initial_weights
from tests.helpers import training
from tests.helpers.jobs import events

WITHOUT_FTWIZARD = (
    "import runpy, sys; sys.modules['ftwizard'] = None; "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
"""Code that runs a script in an environment without ftwizard."""


def eject(folder: JobFolder, out: Path) -> EjectReport:
    """Write the script of a run."""
    record, plan = folder.read_job(), child_plan.read_used(folder)
    base = Path(plan.model.name)
    hashes = {"model": hub.locate(str(base)).fingerprint, "template": hub.template_hash(base)}
    write_json(folder.job, msgspec.structs.replace(record, hashes=hashes))
    origin = Origin(f"run {folder.id}", plan, folder)
    return ejection.eject(origin, out, lambda *_, **__: None)


def continue_weights(child: JobFolder, parent: JobFolder) -> JobFolder:
    """Train a prepared run, beginning with the newest weights of ``parent``."""
    newest = checkpoints.all_complete(parent.checkpoints)[-1]
    initial_weights.save_initial_weights(child, parent.checkpoints / newest.name, "lora")
    origin = Parent(id=parent.id, step=newest.step, changes={})
    write_json(child.job, msgspec.structs.replace(child.read_job(), parent=origin))
    return training.again(child)


def read_losses(out: Path, metric: str = "eval_loss") -> tuple[dict[int, float], dict[int, float]]:
    """Return the losses of steps and of evaluations that a script logged."""
    state = out / "output" / "checkpoints" / "trainer_state.json"
    history = json.loads(state.read_text())["log_history"]
    return (
        {entry["step"]: entry["loss"] for entry in history if "loss" in entry},
        {entry["step"]: entry[metric] for entry in history if metric in entry},
    )


def run_losses(
    folder: JobFolder, metric: str = "eval_loss"
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the losses of steps and of evaluations that a run logged."""
    return (
        {event["step"]: event["loss"] for event in events(folder, "log")},
        {event["step"]: event[metric] for event in events(folder, "eval")},
    )


def assert_same_losses(
    folder: JobFolder, out: Path, metric: str = "eval_loss", *, tolerance: float = 1e-6
) -> None:
    """Check all losses of steps, and ``metric`` of evaluations; ``tolerance``: relative."""
    for ours, theirs in zip(run_losses(folder, metric), read_losses(out, metric), strict=True):
        assert ours and ours.keys() == theirs.keys()
        for step, loss in ours.items():
            assert theirs[step] == pytest.approx(loss, rel=tolerance), step
