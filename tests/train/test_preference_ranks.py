"""Preference training in two processes on the CPU: losses and figures are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.training import tiny_model
from tests.paths import ROOT
from tests.train import preference_process

SCRIPT = Path(preference_process.__file__)
CASES: dict[str, dict[str, Any]] = {
    # 13 rows, 4 in a batch of both: of the last one, the second process has only repeats.
    "dpo-lora": {"objective": "dpo", "method": "lora", "validation": 7},
    "kto-lora": {"objective": "kto", "method": "lora", "validation": 7},
    # With the reference asked before the first step.
    "dpo-full": {"objective": "dpo", "method": "full", "validation": 5},
    "kto-full": {"objective": "kto", "method": "full", "validation": 5},
    # In the middle of an epoch: accelerate then knows nothing of its last batch.
    "dpo-resumed": {
        "objective": "dpo",
        "method": "lora",
        "validation": 7,
        "from": "dpo-lora",
        "resume": "checkpoint-1",
    },
}


def train(root: Path, ranks: int) -> None:
    """Train all cases, one after the other in the same processes."""
    base = str(tiny_model(root))
    cases = [
        {"folder": str(root / f"{name}-{ranks}"), "base": base, "ranks": ranks, **case}
        | ({"from": str(root / f"{case['from']}-{ranks}")} if "from" in case else {})
        for name, case in CASES.items()
    ]
    if ranks == 1:
        for case in cases:
            preference_process.train(case)
        return
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    argv = [sys.executable, *launcher, str(SCRIPT), json.dumps(cases)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        argv, check=False, env=environment, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-6000:]


def read_logs(root: Path, name: str) -> list[dict[str, float]]:
    logs: list[dict[str, float]] = json.loads((root / name / "logs.json").read_text())
    return logs


@pytest.mark.slow
def test_two_processes_train_on_preferences_as_one(tmp_path: Path) -> None:
    for ranks in (1, 2):
        train(tmp_path, ranks)
    for name in CASES:
        alone, both = read_logs(tmp_path, f"{name}-1"), read_logs(tmp_path, f"{name}-2")
        assert len(alone) == len(both) > 6
        for expected, measured in zip(alone, both, strict=True):
            fields = expected.keys() - {"total_flos"}  # of the padding as well
            fields = {name for name in fields if not name.endswith(("runtime", "_per_second"))}
            assert fields <= measured.keys()
            values = {field: measured[field] for field in fields}
            assert values == pytest.approx(
                {field: expected[field] for field in fields}, rel=1e-4, abs=1e-5
            ), (name, expected["step"])
