"""What the live diagnosis knows of a real training: its epochs, its vocabulary, its accumulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard import curves, runs
from ftwizard.diagnosis import Curve, diagnose
from ftwizard.train import diagnosing, schedule
from tests.jobs_helpers import events
from tests.models_helpers import tiny_tokenizer
from tests.training_helpers import train

pytestmark = pytest.mark.slow


def test_an_epoch_of_packed_rows_is_as_many_steps_as_they_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[Curve] = []

    def look(curve: Curve):  # type: ignore[no-untyped-def]
        looked_at.append(curve)
        return diagnose(curve)

    monkeypatch.setattr(diagnosing, "diagnose", look)
    folder = train(tmp_path, "packed", samples={"count": 0}, training=48, packing=True,
                   max_length=600, batch_size=1, gradient_accumulation=2, epochs=2)  # fmt: skip
    (packing,) = [e for e in events(folder, "phase") if e.get("what") == "packing"]
    each = schedule.total_steps(packing["packed"], 1, 2, 1)
    assert 2 <= each < schedule.total_steps(48, 1, 2, 1) / 2
    kept = curves.of_progress(runs.progress(folder), folder)
    for curve in (looked_at[-1], kept):
        assert curve.steps_per_epoch == pytest.approx(each)
        assert curve.total_steps == 2 * each
        assert (curve.vocabulary, curve.accumulation) == (len(tiny_tokenizer()), 2)
