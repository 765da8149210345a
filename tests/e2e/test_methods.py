"""QLoRA and full fine-tuning: resuming, checkpoints, merging and precision."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status, observe
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Method
from ftwizard.runs import checkpoints
from tests.e2e.cli import as_json, ok, ok_here, run
from tests.e2e.workspace import LONG, Workspace, losses
from tests.helpers.checkpoints import flip_bit
from tests.helpers.jobs import command_pid, events, until, until_ended, until_step
from tests.helpers.results import read_target
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow


def weights(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def result_of(folder: JobFolder) -> Any:
    return json.loads(folder.result.read_text())


@pytest.mark.parametrize(
    ("method", "rate", "epochs", "file"),
    [
        ("qlora", 5e-4, 2, "adapter/adapter_model.safetensors"),
        ("full", 5e-5, 2, "merged/model.safetensors"),
    ],
)
def test_resumed_run_matches_an_uninterrupted_run(
    small_workspace: Workspace, method: Method, rate: float, epochs: int, file: str
) -> None:
    plan = small_workspace.plan(
        method=method, learning_rate=rate, epochs=epochs, evaluation_steps=10, save_steps=10
    )
    straight = small_workspace.train_here(plan, "straight")
    halting = small_workspace.train(plan, "halting")
    # Stop after the first evaluation, which must not affect later training.
    until_step(halting, 15, 120)
    assert "was stopped" in ok("stop", "halting")
    assert not halting.merged.exists()
    stopped_at = max(losses(halting))
    with work_here():
        ok_here("resume", "halting")
    assert observe(halting).end_reason == "finished"
    assert {e["step"] for e in events(halting, "log") if e["attempt"] == 1} == set(
        range(1, stopped_at + 1)
    )
    assert losses(halting) == losses(straight)
    evaluations = [
        {e["step"]: e["eval_loss"] for e in events(f, "eval")} for f in (halting, straight)
    ]
    assert evaluations[0] == evaluations[1] and len(evaluations[0]) > 2
    assert weights(halting.path / file) == weights(straight.path / file)


report_phase = Worker.phase


def fail_merging(worker: Worker, name: str, **fields: Any) -> None:
    """Report a phase; raise an error instead of merging."""
    report_phase(worker, name, **fields)
    if name == "merging":
        raise RuntimeError("no merge")


def test_full_fine_tuning_writes_a_model_without_an_adapter(small_workspace: Workspace) -> None:
    from safetensors import safe_open

    workspace = small_workspace
    plan = workspace.plan(
        method="full", learning_rate=1e-2, rows=40, finish=True, batch_size=4, epochs=2
    )
    with mock.patch.object(Worker, "phase", fail_merging):
        folder = workspace.train_here(plan, "full")
    assert observe(folder).end_reason == "crashed"
    assert folder.trained.exists()
    with work_here():
        ok_here("resume", "full")
    assert observe(folder).end_reason == "finished"
    assert {e["attempt"] for e in events(folder, "log")} == {1}, "no step is repeated"

    result = result_of(folder)
    assert result["training"]["method"] == "full"
    change = read_target(folder).loss_difference
    assert change and change.value < 0
    assert not folder.adapter.exists()
    best = folder.checkpoints / f"checkpoint-{result['training']['step']}"
    with (
        safe_open(folder.merged / "model.safetensors", "pt") as merged,
        safe_open(best / "model.safetensors", "pt") as kept,
        safe_open(workspace.model / "model.safetensors", "pt") as base,
    ):
        names = set(merged.keys())
        assert names == set(kept.keys()) == set(base.keys())
        changed = 0
        for name in names:
            tensor = kept.get_tensor(name)
            assert str(tensor.dtype) == "torch.float32", "checkpoints keep 32-bit weights"
            assert merged.get_tensor(name).equal(tensor.bfloat16())
            changed += not merged.get_tensor(name).equal(base.get_tensor(name))
        assert changed > len(names) / 2, "all weights are trained"
    settings = [
        json.loads((f / "config.json").read_text()) for f in (folder.merged, workspace.model)
    ]
    assert settings[0].get("use_cache") == settings[1].get("use_cache")
    text = ok_here("status", "full")
    assert f"model        {folder.merged} (best, step" in text and "adapter" not in text


def test_qlora_adapter_is_merged_into_the_16_bit_base(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(method="qlora", rows=40, learning_rate=2e-2, finish=True)
    folder = small_workspace.train_here(plan, "q")
    assert observe(folder).exit_code == 0
    result = result_of(folder)
    assert result["merged"]["dtype"] == "bfloat16"
    assert "quantization_config" not in json.loads((folder.merged / "config.json").read_text())
    change = read_target(folder).loss_difference
    assert change and change.value < 0
    # QLoRA trains on 4-bit weights, LoRA on 16-bit ones: losses are close, not equal.
    plan = small_workspace.plan("plain", rows=40, learning_rate=2e-2, max_steps=1)
    plain = small_workspace.train_here(plan, "plain")
    first = [events(f, "log")[0]["loss"] for f in (folder, plain)]
    assert first[0] != first[1] and abs(first[0] - first[1]) < 1.5


def test_evaluation_does_not_change_qlora_gradients(smollm2: Path) -> None:
    """bitsandbytes repacks 4-bit weights in an evaluation, and then has no gradients for them."""
    import torch
    from peft import get_peft_model

    from ftwizard.plan.schema import Recipe
    from ftwizard.train import model_loading, runtime, target_modules
    from ftwizard.train.adapter import lora_config

    precision = runtime.choose_precision(Recipe(method="qlora"), {})
    torch.manual_seed(1)
    model = model_loading.load_to_train(smollm2, "qlora", precision)
    kinds = {type(m).__name__ for m in model.modules() if "Linear" in type(m).__name__}
    assert "Linear4bit" in kinds
    state = next(m for m in model.modules() if type(m).__name__ == "Linear4bit").weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    recipe = Recipe(method="qlora", dropout=0.0)
    model = get_peft_model(model, lora_config(recipe, target_modules.resolve(model, None)))
    ids = torch.arange(100, 140)[None]

    def gradients() -> dict[str, Any]:
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    after = gradients()
    assert before.keys() == after.keys() and len(before) == 2 * 7 * 30
    assert all(before[name].equal(after[name]) for name in before)


def test_attention_and_gradient_checkpointing_keep_losses_close(
    small_workspace: Workspace,
) -> None:
    """They are ways to compute the same result; the events record the choice."""
    recorded = []
    for name, recipe in (
        ("default", {}),
        ("eager", {"attention": "eager"}),
        ("recomputing", {"gradient_checkpointing": True}),
    ):
        plan = small_workspace.plan(
            method="qlora", rows=40, evaluation_steps=4, precision="fp32", **recipe
        )
        if recipe.get("gradient_checkpointing"):  # of its own, since the warning is given once
            folder = small_workspace.train(plan, name)
        else:
            folder = small_workspace.train_here(plan, name)
        assert until_ended(folder, 120).end_reason == "finished"
        (text,) = [e for e in events(folder, "phase") if e.get("what") == "trainer"]
        assert text["attention"] == ("eager" if name == "eager" else "sdpa")
        assert text["precision"] == "fp32"
        recorded.append(losses(folder))
        assert "`gradient_checkpointing` is deprecated" not in folder.log.read_text()
    for step, loss in recorded[0].items():
        assert all(abs(other[step] - loss) < 0.1 * loss for other in recorded[1:])


def test_flash_attention_support_depends_on_the_architecture(smollm2: Path, tmp_path: Path) -> None:
    from ftwizard.train import runtime
    from tests.e2e.architectures import model_of

    assert runtime.model_has_flash(smollm2)
    for name in ("gpt_oss", "mamba"):
        model_of(name).config.save_pretrained(tmp_path / name)
        assert not runtime.model_has_flash(tmp_path / name)


def test_resume_skips_a_damaged_full_checkpoint(small_workspace: Workspace) -> None:
    """A half-written, then a changed file: each time the checkpoint before it is taken."""
    folder = small_workspace.train(
        small_workspace.plan(method="full", learning_rate=5e-5, rows=160, epochs=LONG,
                             save_steps=10, evaluation_steps=20),
        "torn",
    )  # fmt: skip
    for attempt, (name, damage) in enumerate(
        (("model.safetensors", truncate_half), ("optimizer.pt", flip_bit)), 2
    ):
        kill_with_two_checkpoints(folder, attempt - 1)
        newest = checkpoints.all_complete(folder.checkpoints)[-1].name
        damage(folder.checkpoints / newest / name)
        done = run("resume", "torn")
        assert done.returncode == 0, done.stderr
        assert as_json("status", "torn")["damaged"][str(attempt)] == {newest: [name]}
        assert f"! {newest} is damaged ({name}); it was set aside." in done.stderr
        origin = folder.read_attempt(attempt).checkpoint
        assert origin and origin.removeprefix("checkpoints/") in done.stdout
        assert int(origin.rpartition("-")[2]) < int(newest.rpartition("-")[2])
        until(folder, lambda _, attempt=attempt: any(  # type: ignore[misc]
            e["attempt"] == attempt for e in events(folder, "log")), 120)  # fmt: skip
        messages = [e["message"] for e in events(folder, "finding") if e["attempt"] == attempt]
        assert any(m.startswith(f"{newest} is damaged ({name}); ") for m in messages), messages
    ok("stop", "torn")
    assert len(list(folder.checkpoints.glob("checkpoint-*"))) <= 2, (
        "only the best and the newest are kept"
    )
    assert len(list(folder.checkpoints.glob("damaged-checkpoint-*"))) == 2
    assert as_json("status", "torn")["end_reason"] == "stopped"


def kill_with_two_checkpoints(folder: JobFolder, attempt: int) -> None:
    """Kill a training while it keeps its newest checkpoint and another one, the best.

    It stands still meanwhile: the next save could delete the other one.
    """

    def keeps_two(status: Status) -> bool:
        kept = [
            int(each.name.rpartition("-")[2])
            for each in checkpoints.all_complete(folder.checkpoints)
        ]
        saved = [e["step"] for e in events(folder, "checkpoint") if e["attempt"] == attempt]
        return len(kept) == 2 and max(kept) in saved

    for _ in range(100):
        until(folder, keeps_two, 120)
        pid = command_pid(folder)
        os.kill(pid, signal.SIGSTOP)
        if keeps_two(observe(folder)):
            os.kill(pid, signal.SIGKILL)
            until_ended(folder)
            return
        os.kill(pid, signal.SIGCONT)
    raise AssertionError("never two checkpoints while it stood still")


def truncate_half(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def test_qlora_without_bitsandbytes_names_the_missing_extra(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftwizard.errors import USAGE, MissingExtra
    from ftwizard.plan import plan_file
    from ftwizard.train import command

    chosen = plan_file.load(small_workspace.plan(method="qlora"))
    monkeypatch.setattr(command, "is_installed", lambda name: name != "bitsandbytes")
    with pytest.raises(MissingExtra, match="bitsandbytes") as missing:
        command.check_installed(chosen)
    assert missing.value.exit_code == USAGE and "ftwizard[local]" in missing.value.hint
    command.check_installed(plan_file.load(small_workspace.plan("lora")))
