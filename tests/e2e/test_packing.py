"""Packing: isolation between rows, lost rows and step counts."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_setup
from ftwizard.jobs.status import observe
from ftwizard.train import packing
from ftwizard.train.encoder import EncodedRow
from tests.e2e.architectures import model_of
from tests.e2e.cli import as_json, as_json_here, ok, ok_here, run
from tests.e2e.workspace import Workspace, losses
from tests.helpers.jobs import events, until_step
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow
EPOCHS = 2


def collator() -> Any:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)


def fake_trainer(model: Any) -> Any:
    """Return the parts of a trainer that the isolation check needs."""
    return SimpleNamespace(
        model=model, data_collator=collator(), compute_loss_context_manager=contextlib.nullcontext
    )


def some_rows(count: int, vocabulary: int) -> list[EncodedRow]:
    import torch

    torch.manual_seed(5)
    recorded = []
    for line in range(count):
        ids = torch.randint(3, vocabulary, (7 + 5 * line % 30,)).tolist()
        labels = [IGNORE_INDEX] * 3 + ids[3:]
        recorded.append(EncodedRow(line=line + 1, input_ids=ids, labels=labels))
    return recorded


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_match_unpacked_loss_and_gradients(smollm2: Path, attention: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        smollm2, dtype=torch.float32, attn_implementation=attention
    )
    rows = some_rows(9, 40_000)
    packed = packing.build_dataset(rows, pack_to=64)
    assert 1 < len(packed) < len(rows)
    packing.verify_rows(packed, rows)
    weight = model.model.layers[0].self_attn.q_proj.weight

    def loss_and_gradient(batches: list[dict[str, Any]]) -> tuple[float, Any]:
        model.zero_grad()
        total = 0.0
        for batch in batches:
            logits = model(**batch, use_cache=False).logits[0, :-1]
            labels = batch["labels"][0, 1:]
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total, weight.grad.clone()

    alone = loss_and_gradient([
        {"input_ids": torch.tensor([r.input_ids]), "labels": torch.tensor([r.labels])} for r in rows
    ])  # fmt: skip
    together = loss_and_gradient([collator()([packed[i] for i in range(len(packed))])])
    assert math.isclose(alone[0], together[0], rel_tol=1e-5)
    assert (alone[1] - together[1]).norm() / alone[1].norm() < 1e-4

    # The same tokens without boundaries contaminate each other.
    mixed = [
        dict(packed[i], seq_lengths=[sum(packed[i]["seq_lengths"])]) for i in range(len(packed))
    ]
    assert not math.isclose(alone[0], loss_and_gradient([collator()(mixed)])[0], rel_tol=1e-2)


ISOLATES_ROWS = ["llama", "gpt2", "phi3", "gemma3", "mixtral", "qwen3_moe", "llama4", "deepseek_v3"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*ISOLATES_ROWS, "mamba", "lfm2", "bloom", "opt", "gpt_oss"])
def test_models_that_mix_packed_rows_are_refused(name: str, precision: str) -> None:
    model = model_of(name)
    if precision == "bf16":
        model = model.bfloat16()
    rows = [EncodedRow(line=1, input_ids=list(range(3, 30)), labels=[]),
            EncodedRow(line=2, input_ids=list(range(90, 40, -2)), labels=[])]  # fmt: skip
    if name in ISOLATES_ROWS:
        packing.verify_isolation(fake_trainer(model), rows, precision)
        return
    with pytest.raises(FtwizardError, match="would let rows see each other") as refusal:
        packing.verify_isolation(fake_trainer(model), rows, precision)
    assert "Remove recipe.packing" in refusal.value.hint


def test_rows_lost_in_packing_are_detected() -> None:
    rows = some_rows(6, 100)
    packed = packing.build_dataset(rows, pack_to=40)
    with pytest.raises(FtwizardError, match="it was given 5 and has 6"):
        packing.verify_rows(packed, rows[:5])
    with pytest.raises(FtwizardError, match="dropped or changed"):
        packing.verify_rows(packing.build_dataset(rows, pack_to=20), rows)
    packing.verify_rows(None, [])


def test_packed_run_counts_packed_rows_and_resumes_exactly(
    small_workspace: Workspace,
) -> None:
    plan = small_workspace.plan(
        rows=60, packing=True, max_length=192, batch_size=1, epochs=EPOCHS, evaluation_steps=10,
        save_steps=10,
    )  # fmt: skip
    straight = small_workspace.train_here(plan, "straight")
    folder = small_workspace.train(plan, "halting")
    until_step(folder, 8, 120)
    ok("stop", "halting")
    with work_here():
        ok_here("resume", "halting")
    assert observe(folder).end_reason == "finished"

    result = json.loads(straight.result.read_text())
    rows = result["training"]["rows"]
    assert rows["train_given"] == rows["train_used"] == 54
    data = next(e for e in events(straight, "data") if e["part"] == "train")
    packed = rows["train_packed"]
    assert data["tokens"] / 192 <= packed < 54 / 2
    (text,) = [e for e in events(straight, "phase") if e.get("what") == "packing"]
    assert (text["rows"], text["packed"]) == (54, packed)
    total = training_setup.total_steps(packed, 1, 1, EPOCHS)
    assert as_json_here("status", "straight")["total_steps"] == total == max(losses(straight))
    assert {e["step"] for e in events(straight, "eval")} >= set(range(10, total, 10))
    assert events(straight, "log")[-1]["tokens"] == EPOCHS * data["tokens"], (
        "every row in every epoch"
    )
    assert losses(folder) == losses(straight)


def test_train_refuses_packing_for_a_mixing_model(workspace: Workspace) -> None:
    import transformers

    hf: Any = transformers
    model = model_of("bloom")
    folder = workspace.root / "bloom"
    hf.BloomForCausalLM(
        hf.BloomConfig(**{**model.config.to_dict(), "vocab_size": 49152})
    ).save_pretrained(folder)
    hf.AutoTokenizer.from_pretrained(workspace.model).save_pretrained(folder)
    workspace.model = folder
    done = run("train", workspace.plan(packing=True), "--name", "mixed", "--watch")
    assert done.returncode == 1 and "would let rows see each other" in done.stdout, done.stdout
    assert as_json("status", "mixed")["end_reason"] == "refused"
