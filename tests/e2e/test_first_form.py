"""A run of the first form of the folder is trained on to its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from tests import first_form
from tests.e2e.cli import as_json, ok
from tests.jobs_helpers import events, until_ended, until_step
from tests.models_helpers import make_tiny


@pytest.mark.slow
def test_it_is_resumed_and_finished(tmp_path: Path, home: Path) -> None:
    make_tiny(tmp_path / "model")
    rows = [
        {"messages": [{"role": "user", "content": f"Number {n}?"},
                      {"role": "assistant", "content": f"NUMBER {n}!"}]}
        for n in range(60)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = JobFolder(home / "runs" / "old")
    plan = tmp_path / "plan.yaml"
    plan.write_text(first_form.text("plan.yaml", tmp_path, run.path))
    ok("train", plan, "--name", "old")
    until_step(run, 10, timeout=360)
    ok("stop", "old")
    assert as_json("status", "old")["end_reason"] == "stopped"

    for name in ("plan.yaml", "job.json"):
        (run.path / name).write_text(first_form.text(name, tmp_path, run.path))
    run.trained.unlink()
    shutil.rmtree(run.evaluations)
    ok("resume", "old")
    status = until_ended(run, timeout=360)
    assert status.end_reason in ("finished", "early_stopped"), status
    assert events(run, "phase")[-1]["phase"] == "comparing"
    assert (run.merged / "model.safetensors").is_file()
