"""Merges: each kind of adapter on small models, compared with peft, bit by bit and by logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ftwizard.errors import FtwizardError
from ftwizard.export import tensors
from ftwizard.export.merge import cast_checkpoint, merge
from ftwizard.export.proof import prove
from ftwizard.jobs.folder import hash_file
from ftwizard.runs.merge_proof import Rounding, describe_verdict, find_damage
from ftwizard.train.model_loading import load_to_train
from tests.helpers.adapters import merge_with_peft, write_adapter, write_gpt2, write_llama

ALL = ["q_proj", "down_proj"]
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"target_modules": ALL}),
    "several shards": ({"shard": "20KB"}, {"target_modules": ALL}),
    "32-bit base": ({"dtype": "float32"}, {"target_modules": ALL}),
    "float16 base": ({"dtype": "float16"}, {"target_modules": ALL}),
    "rsLoRA and patterns": (
        {},
        {
            "target_modules": ALL,
            "use_rslora": True,
            "rank_pattern": {"down_proj": 8, "layers.0.self_attn.q_proj": 2},
            "alpha_pattern": {"^model.layers.1.self_attn.q_proj": 3},
        },
    ),
    "DoRA": ({}, {"target_modules": ALL, "use_dora": True}),
    "embeddings": ({}, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
    "DoRA on embeddings": ({}, {"target_modules": ["embed_tokens", "lm_head"], "use_dora": True}),
    "saved modules": ({}, {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "saved modules, tied": ({"tied": True}, {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "saved embedding, tied": ({"tied": True}, {"modules_to_save": ["embed_tokens"]}),
}
TIED: dict[str, dict[str, Any]] = {
    "LoRA on the tied head": {"target_modules": ["q_proj", "lm_head"]},
    "LoRA on the tied embedding": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let also the tensors of small models be computed in several blocks."""
    monkeypatch.setattr(tensors, "MAX_BLOCK_ELEMENTS", 100)


def load(folder: Path) -> Any:
    """Load a model as it is stored; every tensor must be there, and none too many."""
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model, report = auto.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model


def compute_logits(model: Any) -> Any:
    import torch

    ids = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        return model.float()(input_ids=ids).logits


def compute_adapter_logits(base: Path, adapter: Path) -> Any:
    """Return the logits of the adapter on its base, in 32 bit."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    model = model.float()
    return compute_logits(PeftModel.from_pretrained(model, adapter))


def measure_error(value: Any, expected: Any) -> float:
    return float((value - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", CASES)
def test_rounding_as_peft_gives_its_bits(tmp_path: Path, name: str) -> None:
    import torch

    options, settings = CASES[name]
    base = write_llama(tmp_path / "base", **options)
    adapter = write_adapter(base, tmp_path / "adapter", **settings)
    dtype = "float16" if options.get("dtype") == "float16" else "bfloat16"
    expected = merge_with_peft(base, adapter, dtype)
    result = merge(base, adapter, tmp_path / "peft", end_ids=[], rounding="peft")
    assert (result.method, result.dtype) == ("streamed", dtype)
    weights, theirs = load(tmp_path / "peft").state_dict(), expected.state_dict()
    assert weights.keys() == theirs.keys()
    assert [n for n in theirs if not torch.equal(theirs[n], weights[n])] == []

    merge(base, adapter, tmp_path / "exact", end_ids=[])
    wanted = compute_adapter_logits(base, adapter)
    error = measure_error(compute_logits(load(tmp_path / "exact")), wanted)
    peft_error = measure_error(compute_logits(expected), wanted)
    assert error < 1.1 * peft_error + 1e-6 < 0.02


@pytest.mark.parametrize("name", ["plain", "float16 base", "DoRA", "embeddings", "saved modules"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_size_of_blocks_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, scale: float
) -> None:
    options, settings = CASES[name]
    base = write_llama(tmp_path / "base", **options)
    adapter = write_adapter(base, tmp_path / "adapter", **settings)
    roundings: tuple[Rounding, ...] = ("exact", "peft")
    hashes = []
    for size in (100, 1 << 18):
        monkeypatch.setattr(tensors, "MAX_BLOCK_ELEMENTS", size)
        for rounding in roundings:
            out = tmp_path / f"{rounding}-{size}"
            result = merge(base, adapter, out, end_ids=[], rounding=rounding, scale=scale)
            hashes.append(result.hashes["model.safetensors"])
    assert hashes[:2] == hashes[2:]


@pytest.mark.parametrize("name", TIED)
def test_embeddings_that_shared_weights_are_separated(tmp_path: Path, name: str) -> None:
    """peft adds the change to both, so that its merged model answers with noise."""
    base = write_llama(tmp_path / "base", tied=True)
    adapter = write_adapter(base, tmp_path / "adapter", **TIED[name])
    wanted = compute_adapter_logits(base, adapter)
    assert measure_error(compute_logits(merge_with_peft(base, adapter)), wanted) > 0.1
    for rounding in ("exact", "peft"):
        merge(base, adapter, tmp_path / rounding, end_ids=[], rounding=rounding)
        assert measure_error(compute_logits(load(tmp_path / rounding)), wanted) < 0.01
        config = json.loads((tmp_path / rounding / "config.json").read_text())
        assert config["tie_word_embeddings"] is False


def test_adapter_on_both_tied_embeddings(tmp_path: Path) -> None:
    """With ensure_weight_tying the file has both; peft's merge adds the change twice."""
    from safetensors.torch import load_file, save_file

    base = write_llama(tmp_path / "base", tied=True)
    adapter = write_adapter(
        base, tmp_path / "adapter", target_modules=["embed_tokens"], ensure_weight_tying=True
    )
    weights = load_file(path := adapter / "adapter_model.safetensors")
    prefix, embedding = (
        "base_model.model.lm_head.lora_",
        "base_model.model.model.embed_tokens.lora_embedding_",
    )
    for head, other in (("A", "B"), ("B", "A")):
        weights[f"{prefix}{head}.weight"] = weights[f"{embedding}{other}"].T.contiguous()
    save_file(weights, path)
    assert merge(base, adapter, tmp_path / "merged", end_ids=[]).method == "streamed"
    wanted = compute_adapter_logits(base, adapter)
    assert measure_error(compute_logits(merge_with_peft(base, adapter)), wanted) > 0.1
    assert measure_error(compute_logits(load(tmp_path / "merged")), wanted) < 0.01


def test_wrong_merge_of_peft_is_refused(tmp_path: Path) -> None:
    base = write_llama(tmp_path / "base", tied=True)
    adapter = write_adapter(
        base, tmp_path / "adapter", target_modules=["embed_tokens"], bias="lora_only"
    )
    with pytest.raises(FtwizardError, match="predicts something else"):
        merge(base, adapter, tmp_path / "merged", end_ids=[])
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("use_dora", [False, True])
def test_transposed_layers(tmp_path: Path, use_dora: bool) -> None:
    """GPT-2 stores its weights as (in, out), also the square ones, whose shape does not tell."""
    import torch

    base = write_gpt2(tmp_path / "base")
    adapter = write_adapter(
        base, tmp_path / "adapter", target_modules=["c_attn", "c_proj"], use_dora=use_dora
    )
    expected = merge_with_peft(base, adapter).state_dict()
    merge(base, adapter, tmp_path / "merged", end_ids=[], rounding="peft")
    weights = load(tmp_path / "merged").state_dict()
    assert all(torch.equal(expected[name], weights[name]) for name in expected)


@pytest.mark.parametrize("rounding", ["exact", "peft"])
def test_scale_interpolates(tmp_path: Path, rounding: Rounding) -> None:
    """Without strength, even saved modules and DoRA give the base."""
    import torch

    base = write_llama(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "a", use_dora=True, modules_to_save=["lm_head"])
    whole, half, none = (
        load(Path(merge(base, adapter, tmp_path / f"{scale}", end_ids=[], scale=scale,
                        rounding=rounding).folder)).state_dict()
        for scale in (1.0, 0.5, 0.0)
    )  # fmt: skip
    original = load(base).state_dict()
    assert all(torch.equal(none[name], original[name]) for name in original)
    for name in ("lm_head.weight", "model.layers.0.self_attn.q_proj.weight"):
        change = half[name].float() - original[name].float()
        expected = (whole[name].float() - original[name].float()) / 2
        assert measure_error(change, expected) < 0.1


def test_files_of_a_server(tmp_path: Path) -> None:
    """Everything but the weights: settings, tokenizer, end tokens, index, hashes."""
    base = write_llama(tmp_path / "base", shard="20KB")
    (base / "generation_config.json").write_text(
        json.dumps({"eos_token_id": 5, "temperature": 0.6, "do_sample": False})
    )
    (base / "preprocessor_config.json").write_text("{}")
    (base / "LICENSE").write_text("Apache")
    (base / "modeling_evil.py").write_text("")
    (base / "pytorch_model.bin").write_bytes(b"0")
    adapter = write_adapter(base, tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, adapter / name)
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    out = tmp_path / "merged"
    result = merge(base, adapter, out, end_ids=[5, 7])
    names = {path.name for path in out.iterdir()}
    assert {"preprocessor_config.json", "LICENSE", "tokenizer.json"} <= names
    assert not {"modeling_evil.py", "pytorch_model.bin", "adapter_config.json"} & names
    assert (out / "chat_template.jinja").read_text() == "{{ messages }}"
    assert json.loads((out / "generation_config.json").read_text()) == {
        "eos_token_id": [5, 7], "do_sample": False,
    }  # fmt: skip
    index = json.loads((out / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) > 2 and shards <= names
    assert result.hashes == {name: hash_file(out / name) for name in names - {"ftwizard.json"}}
    assert find_damage(out) == []
    assert not list(tmp_path.glob(".*.part"))
    assert merge(base, adapter, out, end_ids=[5, 7]) == result, "it is kept"
    with pytest.raises(FtwizardError, match="merged with --scale 1"):
        merge(base, adapter, out, end_ids=[], scale=0.5)


def test_full_fine_tune_is_cast(tmp_path: Path) -> None:
    """The checkpoint has 32 bit and settings of the trainer; the result has neither."""
    import torch

    base = write_llama(tmp_path / "base", tied=True)
    trained = write_llama(tmp_path / "trained", tied=True, dtype="float32", seed=2)
    config = json.loads((trained / "config.json").read_text())
    (trained / "config.json").write_text(json.dumps({**config, "use_cache": False}))
    cast_checkpoint(base, trained, tmp_path / "merged", end_ids=[1])
    weights, original = load(tmp_path / "merged").state_dict(), load(trained).state_dict()
    assert all(torch.equal(weights[n], original[n].bfloat16()) for n in original)
    merged_config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert merged_config["dtype"] == "bfloat16" and merged_config.get("use_cache") is not False


@pytest.mark.parametrize("name", ["plain", "32-bit base", "float16 base", "DoRA", "embeddings"])
def test_float32_output_has_the_bits_of_peft_in_32_bit(tmp_path: Path, name: str) -> None:
    import torch

    options, settings = CASES[name]
    base = write_llama(tmp_path / "base", **options)
    adapter = write_adapter(base, tmp_path / "adapter", **settings)
    expected = merge_with_peft(base, adapter, "float32").state_dict()
    out = tmp_path / "peft"
    result = merge(base, adapter, out, end_ids=[], rounding="peft", dtype="float32")
    merged = load(out)
    assert result.dtype == str(merged.dtype).removeprefix("torch.") == "float32"
    assert prove(out).verdict == "proved"
    assert [n for n, w in merged.state_dict().items() if not torch.equal(w, expected[n])] == []


def test_float32_output_keeps_a_change_that_16_bit_loses(tmp_path: Path) -> None:
    base = write_llama(tmp_path / "base", shard="20KB")
    adapter = write_adapter(base, tmp_path / "adapter")
    ratios = {}
    for dtype in ("bfloat16", "float32"):
        out = tmp_path / dtype
        merge(base, adapter, out, end_ids=[], scale=1e-3, dtype=dtype)
        proof = prove(out)
        assert (proof.verdict, proof.dtype) == ("proved", dtype)
        ratios[dtype] = proof.ratio or 0.0
    assert ratios["bfloat16"] < 1.5 and ratios["float32"] > 100
    assert merge(base, adapter, tmp_path / "float32", end_ids=[], scale=1e-3).dtype == "float32"
    with pytest.raises(FtwizardError, match="merged with --dtype float32"):
        merge(base, adapter, tmp_path / "float32", end_ids=[], scale=1e-3, dtype="bfloat16")


def test_types_of_16_bit_are_cast_unless_a_value_is_too_large(tmp_path: Path) -> None:
    import torch

    base = write_llama(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter")
    merge(base, adapter, tmp_path / "half", end_ids=[], dtype="float16")
    weights, original = load(tmp_path / "half").state_dict(), load(base).state_dict()
    assert torch.equal(weights["lm_head.weight"], original["lm_head.weight"].half())
    assert prove(tmp_path / "half").verdict == "proved"

    large = write_llama(tmp_path / "large")
    stored = load_file(large / "model.safetensors")
    stored["lm_head.weight"][0, 0] = 1e6
    save_file(stored, large / "model.safetensors")
    with pytest.raises(FtwizardError, match=r"lm_head\.weight are too large for float16"):
        merge(large, adapter, tmp_path / "out", end_ids=[], dtype="float16")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.part"))


def test_full_fine_tune_stays_in_32_bit_if_asked(tmp_path: Path) -> None:
    import torch

    base = write_llama(tmp_path / "base")
    trained = write_llama(tmp_path / "trained", dtype="float32", seed=2)
    cast_checkpoint(base, trained, tmp_path / "merged", end_ids=[1], dtype="float32")
    weights, original = load(tmp_path / "merged").state_dict(), load(trained).state_dict()
    assert all(torch.equal(weights[n], original[n]) for n in original)
    proof = prove(tmp_path / "merged")
    assert proof.verdict == "proved"
    assert "what was trained, in 32 bit" in describe_verdict(proof)


def test_larger_vocabulary(tmp_path: Path) -> None:
    """Saved embeddings with added tokens: the configuration follows, and the proof holds."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = write_llama(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    size = model.config.vocab_size
    model.resize_token_embeddings(size + 3)
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    tuned = get_peft_model(model, config)
    tuned.save_pretrained(tmp_path / "adapter")
    merge(base, tmp_path / "adapter", tmp_path / "merged", end_ids=[])
    merged = load(tmp_path / "merged")
    assert merged.config.vocab_size == size + 3
    assert measure_error(compute_logits(merged), compute_logits(tuned)) < 1e-6
    assert torch.equal(merged.lm_head.weight, tuned.base_model.model.lm_head.weight.bfloat16())
    assert prove(tmp_path / "merged").verdict == "proved"


def test_dequantized_base_is_what_training_saw(tmp_path: Path) -> None:
    """The merged weights are those of the base in 4 bit, as bitsandbytes computes them, and the change."""
    import torch
    from bitsandbytes import functional
    from peft import PeftModel

    base = write_llama(tmp_path / "base", shard="20KB")
    adapter = write_adapter(base, tmp_path / "adapter")
    merge(base, adapter, tmp_path / "merged", end_ids=[], onto="dequantized")
    assert prove(tmp_path / "merged").verdict == "proved"
    merged = load(tmp_path / "merged")

    quantized = load_to_train(base, "qlora", "bf16")
    for name, module in quantized.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None and "q_proj" not in name:
            seen = functional.dequantize_4bit(module.weight.data, state)
            assert torch.equal(merged.get_submodule(name).weight, seen), name
    assert torch.equal(merged.lm_head.weight, load(base).lm_head.weight)
    tuned = PeftModel.from_pretrained(quantized, adapter)
    wanted = tuned(input_ids=torch.arange(40).reshape(2, 20)).logits.float()
    near = measure_error(compute_logits(merged), wanted)
    merge(base, adapter, tmp_path / "plain", end_ids=[])
    merge(base, adapter, tmp_path / "wide", end_ids=[], onto="dequantized", dtype="float32")
    assert prove(tmp_path / "wide").verdict == "proved"
    exact = load_to_train(base, "qlora", "fp32")
    wanted_wide = PeftModel.from_pretrained(exact, adapter)(
        input_ids=torch.arange(40).reshape(2, 20)
    ).logits
    assert measure_error(compute_logits(load(tmp_path / "wide")), wanted_wide) < 1e-5
    assert near < measure_error(compute_logits(load(tmp_path / "plain")), wanted) / 3
