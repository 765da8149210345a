"""Tables of runs and checks in terminals of any width."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from rich.console import Console, RenderableType

from ftwizard.cli import doctor, output, runs
from ftwizard.doctor.check import warning
from ftwizard.quantity import Figure
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.store import RunRecord


def _render(renderable: RenderableType, width: int) -> list[str]:
    out = Console(width=width, color_system=None)
    with out.capture() as result:
        out.print(renderable)
    return result.get().splitlines()


def _make_run(**more: Any) -> RunRecord:
    actual = RunFigures(
        peak_memory=Figure(value=4.7e9, unit="bytes", source="measured"),
        seconds=Figure(value=302, unit="s", source="measured"),
    )
    expected = {
        "id": "demo-1125-125910", "state": "ended", "end_reason": "finished", "attempt": 1,
        "phase": None, "step": 100, "total_steps": 100, "epoch": 2.5, "loss": 0.0213,
        "eval_loss": 0.0279, "best_step": 100, "best_eval_loss": 0.0279, "tokens_per_s": 82.1,
        "eta_s": None, "started": 1.0, "updated": time.time() - 31_000, "age_s": 31_000.0,
        "silent_s": None, "heartbeat_age_s": None, "troubles": [], "folder": "/runs/x",
        "predicted": None, "actual": msgspec.to_builtins(actual),
        "error": {"seconds": 0.1234, "peak_memory": -0.08},
    }  # fmt: skip
    return msgspec.convert(expected | more, RunRecord)


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_run_row_stays_on_one_line_and_keeps_key_columns(width: int) -> None:
    head, _, line = _render(runs._build_table([_make_run()], width), width)
    for words in ("demo-1125-125910", "✓ finished", "100/100", "8 h"):
        assert words in line
    assert ("best validation" in head) is (width >= 80)
    assert ("memory off by" in head) is (width >= 120) is ("-8%" in line)
    assert "predicted" not in head, "nothing was predicted"


def test_run_row_shows_signed_prediction_errors() -> None:
    line = " ".join(_render(runs._build_table([_make_run()], 160), 160)[2].split())
    assert "5 min 02 s +12% 4.7 GB -8%" in line


def test_check_fix_is_aligned_below_its_detail() -> None:
    fix = "hf auth login   (or set HF_TOKEN), after accepting the model's licence"
    lines = _render(
        output.build_pair_table(doctor._check_rows(warning("key", "none is there", fix))), 40
    )
    assert lines[0].startswith("! key  none is there")
    assert len(lines) > 2 and all(line.startswith(" " * 9) for line in lines[1:])
