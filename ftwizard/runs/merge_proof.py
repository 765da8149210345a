"""The document ``proof.json`` of a merged model: whether its weights are what they should be.

``export/proof.py`` writes it. Views and other commands read it here, with the check of the files
against the hashes that the merge recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ftwizard.jobs.folder import has_hash, read_json
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.result import Dtype, MergedModel
from ftwizard.text import format_count, make_visible

PROOF = "proof.json"
MAX_LISTED = 20
"""Tensors with a difference that the document lists."""
MIN_RATIO = 3.0
"""Size of the change over that of the rounding below which rounding may undo what was learned.
Measured on SmolLM2-135M in bfloat16: at 1.2 the loss rose from 1.22 to 1.34 by merging, at 3.5 all
50 test answers stayed right."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Rounding = Literal["exact", "peft"]
"""``exact``: one rounding of the sum. ``peft``: the roundings of peft's ``merge_and_unload``."""
BaseForm = Literal["16-bit", "dequantized"]
"""Weights that the adapter is added to: the base as published, or as QLoRA saw it in 4 bit."""
ProofVerdict = Literal["proved", "differs", "cannot_tell", "unproved"]
"""``unproved``: the merge ended and its proof did not."""
MARKS: dict[ProofVerdict, str] = {
    "proved": "✓",
    "differs": "✗",
    "cannot_tell": "?",
    "unproved": "?",
}


class TensorDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tensor of the merged model that is not what base and adapter give."""

    name: str
    problem: Literal["missing", "extra", "shape", "values", "settings"]
    """``settings``: of ``config.json``, not of a tensor."""
    elements: Count = 0
    """Elements that differ."""
    total: Count = 0
    largest: float | None = None
    """Largest absolute difference; None if it is not finite."""
    steps: Count = 0
    """The same in units of the last place."""
    is_base: bool = False
    """Whether it has the values of the base: the adapter was not merged into it."""
    fitted_scale: float | None = None
    """Factor of the adapter's change that explains the values; None if none does."""


class BehaviorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Merged model and adapter on the same base, compared on test rows."""

    rows: Count
    tokens: Count
    adapter_loss: float
    """Mean negative log-likelihood of an answer token, in nats."""
    merged_loss: float
    agreement: float
    """Share of answer tokens for which both models rank the same token first, 0–1."""
    max_loss_difference: float
    min_agreement: float

    @property
    def is_within(self) -> bool:
        is_near = abs(self.merged_loss - self.adapter_loss) <= self.max_loss_difference
        return is_near and self.agreement >= self.min_agreement


class MergeProof(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``proof.json``."""

    verdict: ProofVerdict
    reason: str = ""
    """Why nothing can be told."""
    base: str
    """Folder of the base model."""
    adapter: str = ""
    """Folder of the adapter; empty for a full fine-tune."""
    rounding: Rounding = "exact"
    onto: BaseForm = "16-bit"
    scale: float = 1.0
    dtype: Dtype | None = None
    """Of the merged model; None in earlier versions, which wrote 16 bit."""
    tensors: Count = 0
    """Tensors of the merged model that were compared."""
    merged_tensors: Count = 0
    """Those that the adapter changes."""
    differences: list[TensorDifference] = []
    """The first ones."""
    difference_count: Count = 0
    damaged: list[str] = []
    """Files that are not as the merge wrote them."""
    change: float | None = None
    """Norm of the adapter's change over that of the base, in the merged tensors."""
    rounding_error: float | None = None
    """Norm of the rounding to the output type, over the same."""
    behavior: BehaviorCheck | None = None
    behavior_skipped: str = ""
    """Why answers were not compared."""
    seconds: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Return the size of the change over that of the rounding; None if it is unknown.

        It is 1 if rounding undoes the whole change.
        """
        if self.change is None or not self.rounding_error:
            return None
        return self.change / self.rounding_error


def read_proof(folder: Path) -> MergeProof | None:
    """Return the proof of a merged model, an ``unproved`` one if it has none that can be read.

    None without a merged model.
    """
    proof = read_json(folder / PROOF, MergeProof)
    if proof is None and (marker := read_json(folder / MARKER, MergedModel)):
        return MergeProof(verdict="unproved", base=marker.base, adapter=marker.adapter)
    return proof


def find_damage(folder: Path) -> list[str] | None:
    """Return the files of a merged model that are not as they were written, [] if all are.

    Every byte is read, at about 5 GB/s from the page cache. None if the merge recorded no hashes.
    """
    marker = read_json(folder / MARKER, MergedModel)
    if marker is None or not marker.hashes:
        return None
    return [name for name, digest in marker.hashes.items() if not has_hash(folder / name, digest)]


def describe_proof(proof: MergeProof) -> list[str]:
    """Describe a proof, its verdict first."""
    lines = [describe_verdict(proof)]
    lines += [describe_difference(difference) for difference in proof.differences[:3]]
    if (more := proof.difference_count - 3) > 0:
        lines.append(f"… and {format_count(more, 'other tensor')}.")
    if proof.ratio is not None:
        lines.append(describe_ratio(proof))
    if proof.behavior:
        lines.append(describe_behavior(proof.behavior))
    elif proof.behavior_skipped:
        lines.append(f"Answers were not compared: {proof.behavior_skipped}.")
    return lines


def describe_verdict(proof: MergeProof) -> str:
    """Describe the verdict of a proof in one sentence."""
    if proof.verdict == "unproved":
        return "Not proved yet: the merge ended, and the comparison with base and adapter did not."
    if proof.verdict == "cannot_tell":
        return f"Cannot be proved: {make_visible(proof.reason, 300)}."
    counted = format_count(proof.tensors, "tensor")
    if proof.damaged:
        names = make_visible(", ".join(proof.damaged[:3]), 200)
        return f"Damaged: {names} changed since the merge wrote it."
    origin = "base and adapter give" if proof.adapter else f"was trained, in {_name_width(proof)}"
    if proof.difference_count:
        return f"Wrong: {proof.difference_count:,} of {counted} are not what {origin}."
    if proof.verdict == "differs" and (check := proof.behavior):
        return (
            f"All {counted} are right, but the merged model does not answer like the adapter: test "
            f"loss {check.merged_loss:.3g}, not {check.adapter_loss:.3g}; {check.agreement:.0%} of the "
            "tokens agree."
        )
    merged = f" ({proof.merged_tensors:,} merged)" if proof.adapter else ""
    return f"Proved: all {counted} are bit for bit what {origin}{merged}."


def format_verdict(proof: MergeProof) -> str:
    """Format the verdict with its mark: ``✓ Proved: …``."""
    return f"{MARKS[proof.verdict]} {describe_verdict(proof)}"


def describe_difference(difference: TensorDifference) -> str:
    """Describe how a tensor differs, and the likely cause."""
    name = make_visible(difference.name, 120)
    texts = {
        "missing": f"{name} is missing.",
        "extra": f"{name} should not be there.",
        "shape": f"{name} has another shape or type.",
        "settings": f"{name} has other settings than base and merge give.",
    }
    if text := texts.get(difference.problem):
        return text
    if difference.is_base:
        return f"{name} is as in the base: the adapter was not merged into it."
    if (scale := difference.fitted_scale) is not None and abs(scale - 1) > 0.01:
        return f"{name} has the adapter's change times {scale:.3g}."
    largest = f", by up to {difference.largest:.2g}" if difference.largest is not None else ""
    place = " in the last place" if difference.steps == 1 else ""
    elements = format_count(difference.total, "element")
    return f"{name} differs{place} in {difference.elements:,} of {elements}{largest}."


def describe_ratio(proof: MergeProof) -> str:
    """Describe the size of the adapter's change next to the rounding of the output type."""
    ratio = proof.ratio or 0.0
    text = f"The adapter's change is {ratio:,.1f} times the rounding to {_name_width(proof)}"
    if ratio < MIN_RATIO and not (proof.behavior and proof.behavior.is_within):
        remedy = "" if proof.dtype == "float32" else "Merge with --dtype float32, or serve"
        return (
            f"{text}: rounding may undo part of what was learned. {remedy or 'Serve'} the adapter "
            "unmerged."
        )
    return f"{text}."


def _name_width(proof: MergeProof) -> str:
    return "32 bit" if proof.dtype == "float32" else "16 bit"


def describe_behavior(check: BehaviorCheck) -> str:
    """Describe how merged model and adapter compare on the test set."""
    rows = format_count(check.rows, "test row")
    text = (
        f"On {rows}, the loss is {check.merged_loss:.4f} merged and {check.adapter_loss:.4f} with the "
        f"adapter, and {check.agreement:.1%} of the tokens ranked first agree"
    )
    if check.is_within:
        return f"{text}."
    return (
        f"{text}. Allowed: a difference of {check.max_loss_difference:.2g}, and "
        f"{check.min_agreement:.0%} agreement."
    )
