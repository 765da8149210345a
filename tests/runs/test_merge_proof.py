"""The proof of a merge: its words, and the hashes of a merged model."""

from __future__ import annotations

from pathlib import Path

from ftwizard.jobs.folder import hash_file, write_json
from ftwizard.runs.merge_proof import (
    BehaviorCheck,
    MergeProof,
    TensorDifference,
    describe_proof,
    find_damage,
    format_verdict,
    read_proof,
)
from ftwizard.runs.result import MergedModel


def make_behavior(**changes: float) -> BehaviorCheck:
    fields = {
        "rows": 30, "tokens": 900, "adapter_loss": 0.5, "merged_loss": 0.51, "agreement": 0.99,
        "max_loss_difference": 0.025, "min_agreement": 0.97, **changes,
    }  # fmt: skip
    return BehaviorCheck(**fields)  # type: ignore[arg-type]


def test_words_of_a_proof() -> None:
    proof = MergeProof(
        verdict="proved", base="/b", adapter="/a", tensors=272, merged_tensors=210, change=4.9e-3,
        rounding_error=1.4e-3, behavior=make_behavior(),
    )  # fmt: skip
    assert describe_proof(proof) == [
        "Proved: all 272 tensors are bit for bit what base and adapter give (210 merged).",
        "The adapter's change is 3.5 times the rounding to 16 bit.",
        (
            "On 30 test rows, the loss is 0.5100 merged and 0.5000 with the adapter, and 99.0% of the "
            "tokens ranked first agree."
        ),
    ]
    assert format_verdict(proof).startswith("✓ Proved")
    full = MergeProof(verdict="proved", base="/b", tensors=272)
    assert describe_proof(full) == [
        "Proved: all 272 tensors are bit for bit what was trained, in 16 bit."
    ]


def test_right_weights_with_other_answers() -> None:
    check = make_behavior(agreement=0.9)
    assert not check.is_within and not make_behavior(merged_loss=0.6).is_within
    proof = MergeProof(
        verdict="differs",
        base="/b",
        adapter="/a",
        tensors=3,
        change=1e-3,
        rounding_error=8e-4,
        behavior=check,
    )
    lines = describe_proof(proof)
    assert lines[0] == (
        "All 3 tensors are right, but the merged model does not answer like the adapter: test loss "
        "0.51, not 0.5; 90% of the tokens agree."
    )
    assert "1.2 times the rounding to 16 bit: rounding may undo part" in lines[1]
    assert lines[2].endswith("Allowed: a difference of 0.025, and 97% agreement.")


def test_differences_are_named_up_to_three() -> None:
    differences = [
        TensorDifference(name="a", problem="values", is_base=True),
        TensorDifference(name="b\x1b", problem="values", fitted_scale=0.5),
        TensorDifference(name="c", problem="values", elements=1, total=1024, largest=0.25),
        TensorDifference(name="d", problem="missing"),
    ]
    proof = MergeProof(
        verdict="differs",
        base="/b",
        adapter="/a",
        tensors=90,
        differences=differences,
        difference_count=14,
    )
    assert describe_proof(proof) == [
        "Wrong: 14 of 90 tensors are not what base and adapter give.",
        "a is as in the base: the adapter was not merged into it.",
        "b␛ has the adapter's change times 0.5.",
        "c differs in 1 of 1,024 elements, by up to 0.25.",
        "… and 11 other tensors.",
    ]


def test_files_are_compared_with_their_hashes(tmp_path: Path) -> None:
    assert find_damage(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    hashes = {"model.safetensors": hash_file(tmp_path / "model.safetensors"), "config.json": "0"}
    marker = MergedModel(folder="", size_bytes=7, dtype="bfloat16", hashes=hashes)
    write_json(tmp_path / "ftwizard.json", marker)
    assert find_damage(tmp_path) == ["config.json"]
    (tmp_path / "model.safetensors").write_bytes(b"weighty")
    assert find_damage(tmp_path) == ["model.safetensors", "config.json"]


def test_merge_without_its_proof_is_unproved(tmp_path: Path) -> None:
    assert read_proof(tmp_path) is None, "there is no merged model"
    write_json(tmp_path / "ftwizard.json", MergedModel(folder="", size_bytes=7, dtype="bfloat16"))
    proof = read_proof(tmp_path)
    assert proof and proof.verdict == "unproved"
    assert format_verdict(proof).startswith("? Not proved yet: the merge ended, and")
