"""Rows end to end and other kernels: the same losses, step by step, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.estimate import speed_options
from ftwizard.estimate.speed_options import LossCheck
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.train import loss_check, trainer
from ftwizard.train.inputs import prepare
from tests.helpers import training
from tests.helpers.jobs import events

STEADY = {"dropout": 0.0, "precision": "fp32", "batch_size": 4}


def test_padding_free_trains_with_the_losses_of_padded_rows(tmp_path: Path) -> None:
    padded, flat = (
        training.train(tmp_path, name, padding_free=name == "flat", **STEADY)
        for name in ("padded", "flat")
    )
    assert len(training.losses(padded)) > 4
    assert training.losses(flat) == pytest.approx(training.losses(padded), rel=1e-4)
    shares = [
        [e["padding_share"] for e in events(folder, "log") if "padding_share" in e]
        for folder in (padded, flat)
    ]
    assert max(shares[0]) > 0.1 and shares[1] and not any(shares[1]), "nothing is padded"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return training.prepare(tmp_path, "checked", dropout=0.5, precision="fp32", batch_size=4)


def check(folder: JobFolder, **settings: Any) -> LossCheck:
    """Return the loss and gradient of the plan's rows with other settings of the recipe."""
    with training.own_signals():
        worker = Worker(folder)
        try:
            plan = plan_file.load(folder.plan, begun=True)
            ready = prepare(worker, plan, keeps=False)
            rows = loss_check.choose_rows(ready.encoded["train"], plan.recipe.max_length)
            changed: Plan = msgspec.structs.replace(
                plan, recipe=msgspec.structs.replace(plan.recipe, **settings)
            )
            engine = trainer.build(worker, changed, ready, [], {"report_to": "none"})
            recomputes = bool(changed.recipe.gradient_checkpointing)
            assert loss_check.checkpoints_activations(engine.args) == recomputes
            weights = {n: p.detach().clone() for n, p in engine.model.named_parameters()}
            result = loss_check.check_loss(engine, rows, changed.recipe)
            assert engine.model.is_gradient_checkpointing == recomputes
            assert all((weights[n] == p).all() for n, p in engine.model.named_parameters())
            assert all(p.grad is None for p in engine.model.parameters())
            dropouts = [m.p for m in engine.model.modules() if type(m).__name__ == "Dropout"]
            assert 0.5 in dropouts, "it was turned off for the check only"
            return result
        finally:
            worker.events.close()


def test_layouts_and_attentions_have_the_same_loss_and_gradient(folder: JobFolder) -> None:
    padded = check(folder)
    assert padded.loss > 0 and padded.gradient_norm > 0
    for settings in (
        {"padding_free": True},
        {"packing": True},
        {"attention": "eager"},
        {"attention": "eager", "padding_free": True},
        {"gradient_checkpointing": True},
    ):
        other = check(folder, **settings)
        assert other.loss == pytest.approx(padded.loss, rel=1e-5), settings
        assert other.gradient_norm == pytest.approx(padded.gradient_norm, rel=1e-4), settings


def test_wrong_kernel_changes_loss_and_gradient(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that ignores the mask lets each token see the ones after it."""
    from transformers.models.llama import modeling_llama

    right = check(folder, attention="eager")
    attend = modeling_llama.eager_attention_forward

    def ignore_mask(module: Any, q: Any, k: Any, v: Any, mask: Any, *args: Any, **more: Any) -> Any:
        return attend(module, q, k, v, None, *args, **more)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", ignore_mask)
    wrong = check(folder, attention="eager")
    assert speed_options.describe_difference(wrong, right, "fp32"), (wrong, right)
    assert not speed_options.describe_difference(right, right, "fp32")


def test_rows_of_the_check_fit_into_one_sequence() -> None:
    from ftwizard.train.encoder import EncodedRow

    rows = [EncodedRow(line=n, input_ids=[1] * 30, labels=[1] * 30) for n in range(20)]
    assert len(loss_check.choose_rows(rows, 100)) == 3
    assert len(loss_check.choose_rows(rows, 10)) == 1
    assert len(loss_check.choose_rows(rows, 10_000)) == loss_check.MAX_ROWS
