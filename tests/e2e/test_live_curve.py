"""Loss curves for the live diagnosis: epoch length, vocabulary and accumulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.diagnosis import Curve, diagnose
from ftwizard.estimate import training_setup
from ftwizard.runs import loss_curves
from ftwizard.runs.summary import read_progress
from ftwizard.train import diagnosis_callback
from tests.helpers.jobs import events
from tests.helpers.models import tiny_tokenizer
from tests.helpers.training import train

pytestmark = pytest.mark.slow


def test_curve_counts_epoch_steps_in_packed_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[Curve] = []

    def look(curve: Curve):  # type: ignore[no-untyped-def]
        looked_at.append(curve)
        return diagnose(curve)

    monkeypatch.setattr(diagnosis_callback, "diagnose", look)
    folder = train(tmp_path, "packed", samples={"count": 0}, training=48, packing=True,
                   max_length=600, batch_size=1, gradient_accumulation=2, epochs=2)  # fmt: skip
    (packing,) = [e for e in events(folder, "phase") if e.get("what") == "packing"]
    each = training_setup.total_steps(packing["packed"], 1, 2, 1)
    assert 2 <= each < training_setup.total_steps(48, 1, 2, 1) / 2
    kept = loss_curves.from_progress(read_progress(folder), folder)
    for curve in (looked_at[-1], kept):
        assert curve.steps_per_epoch == pytest.approx(each)
        assert curve.total_steps == 2 * each
        assert (curve.vocabulary, curve.accumulation) == (len(tiny_tokenizer()), 2)
