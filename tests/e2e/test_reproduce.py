"""A real run that is trained once more, and what is refused or named before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.runs import environment, reproduction
from tests.e2e.cli import as_json, ok, run
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import until_ended
from tests.helpers.models import make_tiny

pytestmark = pytest.mark.slow


def test_a_run_is_reproduced_with_equal_losses_and_changes_are_named(
    tmp_path: Path, home: Path
) -> None:
    import torch

    torch.manual_seed(1)
    work = Workspace(tmp_path, make_tiny(tmp_path / "model"), home)
    plan = work.plan(rows=24, max_length=400)
    first = work.train(plan, "first")
    until_ended(first, 200)

    # Nothing differs: nothing is asked.
    assert as_json("reproduce", "first", "--dry-run") == {
        "original": "first", "run": None, "environment": {},
    }  # fmt: skip
    out = ok("reproduce", "first", "--name", "again", "--watch")
    assert "Same losses as first: " in out
    status = as_json("status", "again")
    assert status["parent"] == {"id": "first", "step": 0, "changes": {}}
    assert status["reproduction"]["steps"] > 5
    assert "first_difference" not in status["reproduction"] or (
        status["reproduction"]["first_difference"] is None
    )
    assert reproduction.read_losses(first) == reproduction.read_losses(work.folder("again"))
    assert "first, with the same settings" in ok("status", "again")

    # Another version was recorded: named, and without a terminal refused.
    file = first.path / environment.FILE
    recorded = json.loads(file.read_text())
    recorded["packages"]["torch"] = "1.0.0"
    file.write_text(json.dumps(recorded))
    refused = run("reproduce", "first", "--name", "third")
    assert refused.returncode == 2
    assert "Not the same: torch 1.0.0 → " in refused.stderr
    assert "--yes" in refused.stderr
    assert not work.folder("third").path.exists()

    # A changed base, a changed and a missing data file are named, also with --yes.
    weights = tmp_path / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + bytes(4))
    refused = run("reproduce", "first", "--yes")
    assert refused.returncode == 1
    assert "model.safetensors changed since run first started" in refused.stderr
    weights.write_bytes(content)

    data = tmp_path / "plan.jsonl"
    rows = data.read_text()
    data.write_text(rows[:-20])  # truncated: its last row is broken, too
    refused = run("eject", "first", "--out", tmp_path / "script")
    assert refused.returncode == 1
    assert f"Changed since run first started: train ({data})" in refused.stderr
    refused = run("reproduce", "first", "--yes")
    assert refused.returncode == 1
    assert f"Changed since run first started: train ({data})" in refused.stderr
    assert "Restore the old files" in refused.stderr
    data.unlink()
    refused = run("reproduce", "first", "--yes")
    assert refused.returncode == 1
    assert f"Gone since run first started: train ({data})" in refused.stderr
