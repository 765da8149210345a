"""Proofs of merged models: healthy ones hold, and each defect that is made is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.export import tensors
from ftwizard.export.merge import cast_checkpoint, merge
from ftwizard.export.proof import prove, write_proof
from ftwizard.runs.merge_proof import TensorDifference, describe_proof, read_proof
from tests.helpers.adapters import write_adapter, write_llama

HEALTHY: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "plain": ({"shard": "20KB"}, {}, {}),
    "as peft": ({}, {"target_modules": ["q_proj", "embed_tokens"]}, {"rounding": "peft"}),
    "32-bit base": ({"dtype": "float32"}, {}, {"scale": 0.5}),
    "DoRA": ({}, {"use_dora": True}, {}),
    "tied": ({"tied": True}, {"target_modules": ["lm_head"]}, {}),
    "saved": ({"tied": True}, {"modules_to_save": ["embed_tokens"]}, {}),
}
Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let also the tensors of small models be compared in several blocks."""
    monkeypatch.setattr(tensors, "MAX_BLOCK_ELEMENTS", 100)


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_merge_is_proved(tmp_path: Path, name: str) -> None:
    options, lora, merging = HEALTHY[name]
    base = write_llama(tmp_path / "base", **options)
    adapter = write_adapter(base, tmp_path / "adapter", **lora)
    merge(base, adapter, tmp_path / "merged", end_ids=[], **merging)
    proof = prove(tmp_path / "merged")
    assert (proof.verdict, proof.differences, proof.damaged) == ("proved", [], [])
    assert proof.tensors >= 21 and proof.merged_tensors >= 1
    assert proof.ratio is not None and proof.ratio > 3
    write_proof(tmp_path / "merged", proof)
    assert read_proof(tmp_path / "merged") == proof
    assert describe_proof(proof)[0].startswith("Proved: all ")
    assert prove(tmp_path / "merged").verdict == "proved", "the proof itself is no damage"


def test_full_fine_tune_is_proved(tmp_path: Path) -> None:
    base = write_llama(tmp_path / "base")
    trained = write_llama(tmp_path / "trained", dtype="float32", seed=2)
    cast_checkpoint(base, trained, tmp_path / "merged", end_ids=[])
    assert prove(tmp_path / "merged").verdict == "proved"
    other = write_llama(tmp_path / "other", dtype="float32", seed=3)
    assert prove(tmp_path / "merged", base=other).difference_count > 10


def test_change_lost_in_rounding_is_reported(tmp_path: Path) -> None:
    base = write_llama(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter")
    merge(base, adapter, tmp_path / "merged", end_ids=[], scale=1e-3)
    proof = prove(tmp_path / "merged")
    assert proof.verdict == "proved" and proof.ratio is not None
    assert proof.ratio < 1.5, "1 if nothing is left of the change"
    assert any("rounding may undo" in line for line in describe_proof(proof))
    assert any("Merge with --dtype float32, or serve" in line for line in describe_proof(proof))


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a merged model's weights."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a base with tied embeddings, and an adapter on a layer, the head and a saved norm."""
    folder = tmp_path_factory.mktemp("pair")
    base = write_llama(folder / "base", tied=True)
    adapter = write_adapter(
        base, folder / "adapter", target_modules=["q_proj", "down_proj", "lm_head"],
        modules_to_save=["norm"],
    )  # fmt: skip
    return base, adapter


def read_parts(pair: tuple[Path, Path]) -> tuple[Any, Any, Any]:
    """Return the base weight, A and B of one layer."""
    from safetensors.torch import load_file

    weights, adapter = (
        load_file(pair[0] / "model.safetensors"),
        load_file(pair[1] / "adapter_model.safetensors"),
    )
    module = f"base_model.model.{Q.removesuffix('.weight')}"
    a, b = (adapter[f"{module}.lora_{part}.weight"] for part in "AB")
    return weights[Q].float(), a, b


def test_wrong_scale_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merge(*pair, tmp_path / "merged", end_ids=[])
    base, a, b = read_parts(pair)
    change_tensors(tmp_path / "merged", lambda t: t.update({Q: (base + b @ a * 4).bfloat16()}))
    proof = prove(tmp_path / "merged")
    (difference,) = proof.differences
    assert (proof.verdict, difference.name) == ("differs", Q)
    assert difference.fitted_scale == pytest.approx(2, rel=0.01)
    assert f"{Q} has the adapter's change times 2." in describe_proof(proof)


@pytest.fixture(scope="module")
def merged_pair(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a merge of the pair; what changes it restores it."""
    out = tmp_path_factory.mktemp("merged") / "merged"
    merge(*pair, out, end_ids=[])
    return out


def find_difference(merged: Path, weights: Any) -> TensorDifference:
    """Return how the proof describes ``weights`` in place of the merged ones."""
    path = merged / "model.safetensors"
    before = path.read_bytes()
    change_tensors(merged, lambda tensors: tensors.update({Q: weights}))
    try:
        (difference,) = prove(merged).differences
    finally:
        path.write_bytes(before)
    assert difference.name == Q
    return difference


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), bit=st.integers(0, 14), count=st.integers(1, 8))
def test_single_numbers_are_no_other_scale(
    merged_pair: Path, seed: int, bit: int, count: int
) -> None:
    import torch
    from safetensors.torch import load_file

    weights = load_file(merged_pair / "model.safetensors")[Q]
    places = torch.randperm(weights.numel(), generator=torch.Generator().manual_seed(seed))[:count]
    weights.view(torch.int16).view(-1)[places] ^= 1 << bit
    difference = find_difference(merged_pair, weights)
    assert (difference.elements, difference.fitted_scale) == (count, None)
    assert difference.steps == 1 << bit or bit > 7


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scale=st.floats(-8, 8).filter(lambda scale: abs(scale - 1) > 0.1 and abs(scale) > 0.01),
    noise=st.floats(0.5, 8), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_another_scale_is_told_from_noise_and_from_another_adapter(
    merged_pair: Path, pair: tuple[Path, Path], scale: float, noise: float, seed: int
) -> None:
    import torch
    from safetensors.torch import load_file

    base, a, b = read_parts(pair)
    change = b @ a * 2
    difference = find_difference(merged_pair, (base + change * scale).bfloat16())
    assert difference.fitted_scale == pytest.approx(scale, abs=0.02)

    random = torch.Generator().manual_seed(seed)
    right = load_file(merged_pair / "model.safetensors")[Q].float()
    size = noise * float(change.std())
    noisy = right + size * torch.randn(right.shape, generator=random)
    assert find_difference(merged_pair, noisy.bfloat16()).fitted_scale is None

    left, below = (torch.randn(part.shape, generator=random) for part in (b, a))
    other = left @ below
    other *= change.norm() / other.norm()
    assert find_difference(merged_pair, (base + other).bfloat16()).fitted_scale is None


def test_transposed_product_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merge(*pair, tmp_path / "merged", end_ids=[])
    base, a, b = read_parts(pair)
    change_tensors(tmp_path / "merged", lambda t: t.update({Q: (base + (b @ a).T * 2).bfloat16()}))
    (difference,) = prove(tmp_path / "merged").differences
    assert difference.name == Q and difference.elements > difference.total / 2
    assert difference.fitted_scale is None and not difference.is_base


@pytest.mark.parametrize("name", [Q, "model.norm.weight"])
def test_module_left_out_is_found(tmp_path: Path, pair: tuple[Path, Path], name: str) -> None:
    """Neither a LoRA nor a saved module may keep the weights of the base."""
    from safetensors.torch import load_file

    merge(*pair, tmp_path / "merged", end_ids=[])
    original = load_file(pair[0] / "model.safetensors")[name]
    change_tensors(tmp_path / "merged", lambda t: t.update({name: original}))
    proof = prove(tmp_path / "merged")
    (difference,) = proof.differences
    assert (difference.name, difference.is_base) == (name, True)
    assert "was not merged into it" in describe_proof(proof)[1]


def test_flipped_byte_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """Also in a tensor that is copied from the base."""
    merge(*pair, tmp_path / "merged", end_ids=[])
    path = tmp_path / "merged" / "model.safetensors"
    data = bytearray(path.read_bytes())
    for position in (len(data) // 3, len(data) - 1):
        flipped = data.copy()
        flipped[position] ^= 1
        path.write_bytes(flipped)
        proof = prove(tmp_path / "merged")
        (difference,) = proof.differences
        assert (proof.verdict, difference.elements) == ("differs", 1)
        assert proof.damaged == ["model.safetensors"]
        assert "Damaged: model.safetensors" in describe_proof(proof)[0]


def test_tied_head_that_was_not_updated_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merged = tmp_path / "merged"
    merge(*pair, merged, end_ids=[])
    change_tensors(
        merged, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()})
    )
    (difference,) = prove(merged).differences
    assert (difference.name, difference.is_base) == ("lm_head.weight", True)

    change_tensors(merged, lambda t: t.pop("lm_head.weight"))
    config = json.loads((merged / "config.json").read_text())
    (merged / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    problems = {(d.name, d.problem) for d in prove(merged).differences}
    assert problems == {("lm_head.weight", "missing"), ("config.json", "settings")}


def test_another_base_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merge(*pair, tmp_path / "merged", end_ids=[])
    other = write_llama(tmp_path / "other", tied=True, seed=7)
    assert prove(tmp_path / "merged", base=other).difference_count > 10


def test_another_adapter_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merge(*pair, tmp_path / "merged", end_ids=[])
    other = write_adapter(pair[0], tmp_path / "other", target_modules=["q_proj"])
    proof = prove(tmp_path / "merged", adapter=other)
    assert {d.problem for d in proof.differences} >= {"values", "extra"}


def test_another_shape_or_a_cut_file_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merged = tmp_path / "merged"
    merge(*pair, merged, end_ids=[])
    change_tensors(merged, lambda t: t.update({Q: t[Q].float()}))
    assert [d.problem for d in prove(merged).differences] == ["shape"]
    path = merged / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    proof = prove(merged)
    assert proof.verdict == "differs" and proof.differences[0].problem == "missing"


def test_a_changed_tokenizer_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    merged = tmp_path / "merged"
    merge(*pair, merged, end_ids=[])
    (merged / "tokenizer_config.json").write_text("{}")
    proof = prove(merged)
    assert (proof.verdict, proof.damaged) == ("differs", ["tokenizer_config.json"])


def test_what_peft_merges_cannot_be_proved(tmp_path: Path) -> None:
    base = write_llama(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", init_lora_weights="pissa")
    result = merge(base, adapter, tmp_path / "merged", end_ids=[])
    assert result.method == "peft" and "pissa" in result.reason
    proof = prove(tmp_path / "merged")
    assert proof.verdict == "cannot_tell"
    assert "peft merged this adapter, because its initialization" in describe_proof(proof)[0]
    with pytest.raises(FtwizardError, match="can only be merged by peft"):
        merge(base, adapter, tmp_path / "half", end_ids=[], scale=0.5)


def test_folder_without_a_merged_model(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match="not a model that ftwizard merged"):
        prove(write_llama(tmp_path / "base"))
