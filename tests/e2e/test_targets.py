"""Target modules of adapters, in small random models of common architectures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Recipe
from ftwizard.train import adapter
from ftwizard.train.target_modules import PROJECTIONS, resolve
from tests.e2e.architectures import SMALL, model_of
from tests.e2e.cli import run
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import events
from tests.helpers.results import read_target

pytestmark = pytest.mark.slow

EXPERTS = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
ATTENTION = list(PROJECTIONS[:4])


EXPECTED_TARGETS = {
    "llama": (list(PROJECTIONS), []),
    "gpt2": (["c_attn", "c_fc", "c_proj"], []),
    "phi3": (["o_proj", "down_proj", "gate_up_proj", "qkv_proj"], []),
    "mixtral": (ATTENTION, EXPERTS),
    "qwen2_moe": (list(PROJECTIONS), EXPERTS),
    "qwen3_moe": (ATTENTION, EXPERTS),
    "qwen3_moe_dense": (
        ATTENTION,
        [*EXPERTS, "mlp.down_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight"],
    ),
    "gpt_oss": (ATTENTION, EXPERTS),
    "llama4": (
        list(PROJECTIONS),
        ["feed_forward.experts.down_proj", "feed_forward.experts.gate_up_proj"],
    ),
    "deepseek_v3": (
        ["o_proj", "kv_a_proj_with_mqa", "kv_b_proj", "q_a_proj", "q_b_proj"],
        [
            *EXPERTS,
            *(f"{owner}.{layer}_proj.weight" for owner in ("mlp", "shared_experts")
              for layer in ("down", "gate", "up")),
        ],
    ),
}  # fmt: skip


def adapted(name: str) -> Any:
    from peft import get_peft_model

    model = model_of(name)
    result = resolve(model, None)
    assert not result.left_out
    recipe = Recipe(rank=4, dropout=0.05)
    return get_peft_model(model, adapter.lora_config(recipe, result)), result


@pytest.mark.parametrize("name", EXPECTED_TARGETS)
def test_default_targets_are_trained_and_merged(name: str, tmp_path: Path) -> None:
    """Training changes exactly the target layers, no router or output layer; the merge keeps this."""
    import torch

    model, result = adapted(name)
    modules, parameters = EXPECTED_TARGETS[name]
    assert result.modules == modules
    assert result.parameters == sorted(parameters)
    before = model_of(name).state_dict()
    ids = torch.arange(3, 43).reshape(1, -1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()
    for _ in range(2):  # at first lora_B is zero, and lora_A gets no gradient
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        trained = model(input_ids=ids).logits
        assert (trained - model_of(name).eval()(input_ids=ids).logits).abs().max() > 1e-3
    model.save_pretrained(tmp_path)

    from peft import PeftModel

    merged = PeftModel.from_pretrained(model_of(name), tmp_path).merge_and_unload().eval()
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, trained, atol=1e-4)
        merged.save_pretrained(tmp_path / "merged")
        loaded = type(merged).from_pretrained(tmp_path / "merged").eval()
        assert torch.allclose(loaded(input_ids=ids).logits, trained, atol=1e-4)
    changed = {n for n, tensor in merged.state_dict().items() if not tensor.equal(before[n])}
    expected = {
        n
        for n in before
        if n.removesuffix(".weight").rpartition(".")[2] in modules
        or any(n.endswith(f".{p}") for p in parameters)
    }
    assert changed == expected
    assert not any("router" in n or ".gate." in n or "lm_head" in n for n in changed)
    assert sum("expert" in n for n in changed) >= 2 * bool(parameters)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_mixture_of_experts_is_trained_merged_and_compared(
    workspace: Workspace, method: str
) -> None:
    """The real trainer routes tokens, also with 4-bit attention, and records the targets."""
    import transformers

    hf: Any = transformers
    model = hf.MixtralForCausalLM(
        hf.MixtralConfig(**{**SMALL, "vocab_size": 49152}, num_local_experts=4)
    )
    folder = workspace.root / "mixtral"
    model.bfloat16().save_pretrained(folder)
    hf.AutoTokenizer.from_pretrained(workspace.model).save_pretrained(folder)
    workspace.model = folder
    plan = workspace.plan(finish=True, method=method, batch_size=4, learning_rate=0.01)
    done = run("train", plan, "--name", "moe", "--watch")
    assert done.returncode == 0, done.stdout
    job = workspace.folder("moe")
    (text,) = [e for e in events(job, "phase") if e.get("what") == "adapter"]
    assert (text["target_modules"], text["target_parameters"]) == (ATTENTION, EXPERTS)
    codes = {e["code"] for e in events(job, "finding")}
    assert ("experts_in_16_bit" in codes) == (method == "qlora") and "no_dropout" in codes
    result = json.loads(job.result.read_text())
    assert result["training"]["targets"] == sorted([*ATTENTION, *EXPERTS])
    change = read_target(job).loss_difference
    assert change and change.value < 0


@pytest.mark.parametrize("method", ["qlora", "full"])
def test_llama_4_trains_despite_its_decoder_prefix(workspace: Workspace, method: str) -> None:
    """TRL's head uses a decoder prefix and an expert count that Llama 4 does not have."""
    import transformers

    hf: Any = transformers
    small = {**SMALL, "vocab_size": 49152}
    config = hf.Llama4TextConfig(
        **small, num_local_experts=2, head_dim=8, intermediate_size_mlp=48
    )  # fmt: skip
    folder = workspace.root / "llama4"
    hf.AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(folder)
    hf.AutoTokenizer.from_pretrained(workspace.model).save_pretrained(folder)
    workspace.model = folder
    done = run(
        "train",
        workspace.plan(method=method, batch_size=4, learning_rate=0.01),
        "--name",
        "x",
        "--watch",
    )
    assert done.returncode == 0, done.stdout
    losses = [event["loss"] for event in events(workspace.folder("x"), "log")]
    assert losses[-1] < losses[0]


def test_loss_head_that_disagrees_with_the_model_is_refused() -> None:
    """If a model changes its logits in a way TRL's head ignores, it would train on a wrong loss."""
    import contextlib
    import types

    import torch
    from trl.trainer.utils import add_fused_lm_head

    from ftwizard.train import loss_head
    from ftwizard.train.encoder import EncodedRow

    model = model_of("llama")
    torch.nn.init.normal_(model.lm_head.weight, std=2.0)
    original = model.forward

    def doubled(self: Any, *arguments: Any, **more: Any) -> Any:
        out = original(*arguments, **more)
        if getattr(out, "logits", None) is not None:
            out.logits = 2 * out.logits
        return out

    ids = list(range(3, 43))
    rows = [EncodedRow(line=1, input_ids=ids, labels=ids)]
    trainer: Any = types.SimpleNamespace(
        model=model, compute_loss_context_manager=contextlib.nullcontext
    )
    add_fused_lm_head(model)
    loss_head.verify_loss(trainer, rows)
    model = trainer.model = model_of("llama")
    torch.nn.init.normal_(model.lm_head.weight, std=2.0)
    original = model.forward
    model.forward = types.MethodType(doubled, model)
    add_fused_lm_head(model)
    with pytest.raises(
        FtwizardError, match="TRL cannot train LlamaForCausalLM: its loss head gives"
    ):
        loss_head.verify_loss(trainer, rows)


def test_quantized_layers_unsupported_by_peft_are_reported() -> None:
    import torch

    model = model_of("deepseek_v3")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "mlp" in name:  # as bitsandbytes stores them
            module.weight = torch.nn.Parameter(module.weight.to(torch.uint8), requires_grad=False)
    result = resolve(model, None)
    assert result.parameters == EXPERTS
    assert result.left_out == sorted(
        f"{owner}.{layer}_proj" for owner in ("mlp", "shared_experts")
        for layer in ("down", "gate", "up")
    )  # fmt: skip
    text = dict(adapter.target_findings(Recipe(method="qlora"), result))
    assert {"no_dropout", "experts_in_16_bit", "targets_left_out"} == text.keys()
    assert "shared_experts.up_proj" in text["targets_left_out"]


def test_requested_targets_are_checked_against_the_model() -> None:
    model = model_of("mixtral")
    result = resolve(model, ("q_proj", "mlp.experts.down_proj"))
    assert (result.modules, result.parameters) == (["q_proj"], ["mlp.experts.down_proj"])
    with pytest.raises(FtwizardError, match="no module named query_key_value") as error:
        resolve(model, ("q_proj", "query_key_value"))
    assert "k_proj" in error.value.hint and "mlp.experts.gate_up_proj" in error.value.hint


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("embed_tokens", "Embedding"),
        ("model.norm", "MixtralRMSNorm"),
        ("input_layernorm", "MixtralRMSNorm"),
        ("self_attn", "MixtralAttention"),
        ("mlp.experts", "MixtralExperts"),
        ("input_layernorm.weight", "in MixtralRMSNorm"),
        ("embed_tokens.weight", "in Embedding"),
    ],
)
def test_modules_without_adapter_support_are_refused(name: str, kind: str) -> None:
    model = model_of("mixtral")
    with pytest.raises(FtwizardError) as error:
        resolve(model, ("q_proj", name))
    assert f"not on {name} ({kind})" in error.value.message
    assert "k_proj" in error.value.hint


def test_targets_unsupported_by_peft_are_left_out_and_reported() -> None:
    result = resolve(model_of("mamba"), None)
    assert result.refused == ["mixer.out_proj"]
    (text,) = dict(adapter.target_findings(Recipe(), result)).values()
    assert text.startswith("No adapter on mixer.out_proj: peft does not support")
    with pytest.raises(FtwizardError, match="does not support an adapter on out_proj") as error:
        resolve(model_of("mamba"), ("in_proj", "out_proj"))
    assert "x_proj" in error.value.hint


@pytest.mark.parametrize("wanted", [("q_proj", "o_proj.weight"), ("mlp.experts.down_proj",)])
def test_peft_accepts_the_resolved_targets(wanted: tuple[str, ...]) -> None:
    from peft import get_peft_model

    model = model_of("mixtral")
    get_peft_model(model, adapter.lora_config(Recipe(rank=4), resolve(model, wanted)))


def test_4_bit_parameters_are_refused_as_targets() -> None:
    import torch

    model = model_of("llama")
    for name, module in model.named_modules():
        if name.endswith("q_proj"):
            module.weight = torch.nn.Parameter(module.weight.to(torch.uint8), requires_grad=False)
    assert resolve(model, ("q_proj",)).modules == ["q_proj"]
    with pytest.raises(FtwizardError, match=r"q_proj.weight \(4-bit"):
        resolve(model, ("q_proj.weight",))


def test_vision_towers_get_no_adapters() -> None:
    """A short name that also matches a vision tower is replaced by full names."""
    import torch

    model = model_of("llama")
    tower = torch.nn.ModuleList([torch.nn.ModuleDict({"q_proj": torch.nn.Linear(4, 4)})])
    model.add_module("vision_tower", tower)
    result = resolve(model, None)
    assert "model.layers.1.self_attn.q_proj" in result.modules
    assert not any("vision" in name for name in result.modules) and len(result.modules) == 14
