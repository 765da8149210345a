"""An overfitting run, watched over an ssh connection that is lost, then stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from tests.e2e import sshd
from tests.helpers.jobs import events, until, until_ended
from tests.helpers.memorization import EVERY, verdict, write_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sshd.IS_INSTALLED, reason="openssh-server or openssh-client is not installed"
    ),
]


def test_stop_after_overfitting_warning_keeps_best_weights(tmp_path: Path, home: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "sshd").mkdir(mode=0o700)
    plan = write_plan(tmp_path)
    folder = JobFolder(home / "runs" / "by-heart")
    with sshd.sshd(tmp_path / "sshd") as ssh:
        argv = ("train", plan, "--name", "by-heart", "--watch", "--allow", "many-epochs")
        with sshd.session(ssh, home, *argv) as first:
            first.wait(r"● training", 120)
            os.kill(first.child.pid, signal.SIGKILL)
            first.exit_code()
        until(folder, lambda _: verdict(folder) == "overfit", 120)
        with sshd.session(ssh, home, "watch", "by-heart") as second:
            second.wait("Validation loss has risen", 60)
            second.send("d")
            second.wait("Overfitting|overfit")
            second.wait("stop now and keep the best weights")
            second.send("\r")
            second.wait("Stop this run")
            second.send("\r")
            second.wait("■ stopped", 60)
            second.wait(r"The best weights \(step \d+\) are in")
            until_ended(folder, 60)
    result = [(event["eval_loss"], event["step"]) for event in events(folder, "eval")]
    steps = [event["step"] for event in events(folder, "log")]
    assert steps == list(range(1, steps[-1] + 1)), "no step is missing"
    assert [step for _, step in result][:-1] == list(range(EVERY, steps[-1], EVERY))[
        : len(result) - 1
    ]
    best, step = min(result)
    kept = json.loads(folder.trained.read_text())
    assert (kept["step"], kept["eval_loss"]) == (step, best)
    assert step < steps[-1] and best < result[-1][0]
    weights = load_file(folder.checkpoints / f"checkpoint-{step}" / "model.safetensors")
    assert weights.keys() == load_file(tmp_path / "tiny" / "model.safetensors").keys()
    assert all(weight.isfinite().all() for weight in weights.values())
