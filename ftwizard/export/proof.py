"""Proof of a merged model: its files are read again, and each tensor is compared with what base
and adapter give.

Comparing answers alone misses defects: a module that was left out, or one wrong byte, often
changes no answer of a small test. Replaying the weights misses none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ftwizard.errors import FtwizardError
from ftwizard.export.adapters import read_adapter
from ftwizard.export.merge import Say, read_trained, say_nothing
from ftwizard.export.merge_layout import (
    DTYPES,
    Base,
    Layout,
    NotReplayable,
    Output,
    copy_layout,
    merged_config,
    plan_merge,
    read_base,
)
from ftwizard.export.merged_blocks import compute_blocks
from ftwizard.export.quantized_base import list_quantized
from ftwizard.export.tensors import Buffers, StoredTensor, iterate_bytes, list_tensors, read
from ftwizard.jobs.folder import read_json, write_json
from ftwizard.models import model_folder, weight_files
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.merge_proof import (
    MAX_LISTED,
    PROOF,
    MergeProof,
    TensorDifference,
    find_damage,
)
from ftwizard.runs.result import Dtype, MergedModel
from ftwizard.text import make_visible

MAX_UNEXPLAINED = 0.1
MIN_EXPLAINED = 0.5
"""Shares of a difference that another scale of the adapter must explain, and may leave unexplained
besides ``MAX_ROUNDING``."""
MAX_ROUNDING = 2.5
"""Squares that two roundings leave, over those of one."""
_REPORT_EVERY_S = 1.0


def prove(
    folder: Path,
    *,
    base: Path | None = None,
    adapter: Path | None = None,
    say: Say = say_nothing,
) -> MergeProof:
    """Compare the merged model in ``folder`` with its base and adapter; return what was shown.

    These are the ones that it was merged from, unless others are passed: for a full fine-tune,
    ``base`` is its checkpoint. Raises FtwizardError if ``folder`` has no merged model, or if base
    or adapter cannot be read.
    """
    began = time.monotonic()
    marker = read_json(folder / MARKER, MergedModel)
    if marker is None:
        raise FtwizardError(
            f"{make_visible(str(folder))} is not a model that ftwizard merged.",
            "Merge one with: ftwizard merge RUN",
        )
    # Resolved: a run at work is known by its open folder, whose path in /proc ends with it.
    base = (base or Path(marker.base)).resolve()
    adapter = adapter or (Path(marker.adapter) if marker.adapter else None)
    adapter = adapter.resolve() if adapter else None
    proof = MergeProof(
        verdict="cannot_tell", base=str(base), adapter=str(adapter or ""),
        rounding=marker.rounding, onto=marker.onto, scale=marker.scale, dtype=_get_dtype(marker),
        damaged=find_damage(folder) or [],
    )  # fmt: skip
    reason = _find_obstacle(marker)
    if not reason:
        try:
            weights, layout = _plan(folder, marker, base, adapter)
        except NotReplayable as obstacle:
            reason = f"peft has to merge this adapter, because {obstacle}"
    if reason:
        verdict = "differs" if proof.damaged else "cannot_tell"
        return msgspec.structs.replace(proof, verdict=verdict, reason=reason)
    comparison = _Comparison(layout, marker, _list_merged(folder), say)
    comparison.run()
    if model_folder.read_json(folder / "config.json") != merged_config(weights, layout):
        comparison.differences.append(TensorDifference(name="config.json", problem="settings"))
    return msgspec.structs.replace(
        proof,
        verdict="differs" if comparison.differences or proof.damaged else "proved",
        differences=comparison.differences[:MAX_LISTED],
        difference_count=len(comparison.differences),
        tensors=comparison.count,
        merged_tensors=comparison.merged_count,
        change=comparison.change,
        rounding_error=comparison.rounding_error,
        seconds=round(time.monotonic() - began, 1),
    )


def write_proof(folder: Path, proof: MergeProof) -> None:
    """Write the proof into the folder of the merged model."""
    write_json(folder / PROOF, proof)


def _find_obstacle(marker: MergedModel) -> str:
    """Return why a merged model cannot be replayed; empty if it can."""
    if marker.method == "peft" and marker.reason:
        return f"peft merged this adapter, because {marker.reason}"
    if not marker.hashes:
        return "it was merged by an earlier version, which recorded nothing to compare with"
    return ""


def _plan(
    folder: Path, marker: MergedModel, base: Path, adapter: Path | None
) -> tuple[Base, Layout]:
    """Return the weights that were merged, and what must be in ``folder``."""
    dtype = _get_dtype(marker)
    if adapter is None:
        trained = read_trained(folder, base, dtype)
        return trained, copy_layout(trained)
    weights = read_base(base, dtype)
    quantized = list_quantized(weights) if marker.onto == "dequantized" else frozenset[str]()
    return weights, plan_merge(weights, read_adapter(adapter), quantized)


def _get_dtype(marker: MergedModel) -> Dtype | None:
    return next((name for name in DTYPES if name == marker.dtype), None)


def _list_merged(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors in the files of a merged model; those of damaged files are missing."""
    paths = [
        path for path in weight_files.list_files(folder) if not weight_files.find_problem(path)
    ]
    return {tensor.name: tensor for path in paths for tensor in list_tensors(path)}


class _Comparison:
    """Comparison of a merged model's tensors with its layout, and the sizes of change and rounding."""

    def __init__(
        self, layout: Layout, marker: MergedModel, stored: dict[str, StoredTensor], say: Say
    ) -> None:
        self._layout, self._marker, self._stored, self._say = layout, marker, stored, say
        self.differences: list[TensorDifference] = []
        self.count = self.merged_count = 0
        self._squares = {"base": 0.0, "change": 0.0, "rounding": 0.0}

    @property
    def change(self) -> float | None:
        return self._get_share("change")

    @property
    def rounding_error(self) -> float | None:
        return self._get_share("rounding")

    def _get_share(self, part: str) -> float | None:
        base = self._squares["base"]
        return math.sqrt(self._squares[part] / base) if base else None

    def run(self) -> None:
        outputs = {output.name: output for output in self._layout.iterate_outputs()}
        last = 0.0
        for output in outputs.values():
            if (now := time.monotonic()) - last >= _REPORT_EVERY_S:
                last = now
                self._say("proving the merge", done=self.count, total=len(outputs), unit="tensors")
            self.count += 1
            self.merged_count += output.is_merged
            if difference := self._compare(output):
                self.differences.append(difference)
        self.differences += [
            TensorDifference(name=name, problem="extra") for name in self._stored.keys() - outputs
        ]

    def _compare(self, output: Output) -> TensorDifference | None:
        stored = self._stored.get(output.name)
        if stored is None:
            return TensorDifference(name=output.name, problem="missing")
        if (stored.dtype, stored.shape) != (output.dtype, output.shape):
            return TensorDifference(name=output.name, problem="shape")
        if output.is_copy:
            pairs = zip(iterate_bytes(output.source), iterate_bytes(stored), strict=True)
            if all(np.array_equal(expected, actual) for expected, actual in pairs):
                return None
        elif self._is_equal(output, stored):
            return None
        return (
            _explain(output, stored, self._marker)
            if len(self.differences) < MAX_LISTED
            else (TensorDifference(name=output.name, problem="values"))
        )

    def _is_equal(self, output: Output, stored: StoredTensor) -> bool:
        is_equal, begin, buffers = True, 0, Buffers()
        for block in compute_blocks(output, self._marker.rounding, self._marker.scale):
            actual, begin = _read_next(stored, begin, block.merged, buffers)
            is_equal = is_equal and _have_same_bits(block.merged, actual)
            if output.lora is not None and block.base.shape == block.exact.shape:
                self._squares["base"] += _sum_squares(buffers, block.base)
                self._squares["change"] += _sum_squares(buffers, block.exact, block.base)
                self._squares["rounding"] += _sum_squares(buffers, block.exact, block.merged)
        return is_equal


def _have_same_bits(a: Any, b: Any) -> bool:
    import torch

    return torch.equal(_to_bits(a), _to_bits(b))


def _to_bits(value: Any) -> Any:
    import torch

    return value.contiguous().view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[
        value.element_size()])  # fmt: skip


def _sum_squares(buffers: Buffers, value: Any, other: Any = None) -> float:
    """Return the sum of the squares of ``value``, or of its difference from ``other``."""
    import torch

    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    difference = buffers.copy("difference", value, dtype)
    if other is not None:
        difference.sub_(other)
    flat = difference.view(-1)
    return float(flat.dot(flat))


def _iterate_triples(
    output: Output, stored: StoredTensor, marker: MergedModel
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield blocks of a tensor: expected, actual, of the base, and before the rounding."""
    begin = 0
    for block in compute_blocks(output, marker.rounding, marker.scale):
        actual, begin = _read_next(stored, begin, block.merged)
        yield block.merged, actual, block.base, block.exact


def _read_next(
    stored: StoredTensor, begin: int, like: Any, buffers: Buffers | None = None
) -> tuple[Any, int]:
    """Return as many rows from ``begin`` as ``like`` has, and the row after them."""
    if not like.ndim:
        return read(stored), 0
    end = begin + len(like)
    return read(stored, begin, end, buffers), end


def _explain(output: Output, stored: StoredTensor, marker: MergedModel) -> TensorDifference:
    """Return how a tensor differs: where, by how much, and the scale that would explain it."""
    elements, steps, largest, is_base = 0, 0, 0.0, output.is_merged
    error, change, both, rounding = 0.0, 0.0, 0.0, 0.0
    for expected, actual, base, exact in _iterate_triples(output, stored, marker):
        distance = (_order(expected) - _order(actual)).abs()
        elements += int((distance != 0).sum())
        steps = max(steps, int(distance.max()) if distance.numel() else 0)
        off = actual.double() - exact.double()
        largest = max(largest, float((expected.double() - actual.double()).abs().max()))
        if base.shape != exact.shape:
            is_base = False
            continue
        is_base = is_base and _have_same_bits(base.to(actual.dtype), actual)
        moved = exact.double() - base.double()
        error += float(off.square().sum())
        change += float(moved.square().sum())
        both += float((off * moved).sum())
        rounding += float((expected.double() - exact.double()).square().sum())
    scale = None
    if change > 0 and not is_base:
        explained = both * both / change
        is_rest_small = error - explained <= MAX_UNEXPLAINED * error + MAX_ROUNDING * rounding
        if explained >= MIN_EXPLAINED * error and is_rest_small:
            scale = round(1 + both / change, 4)
    return TensorDifference(
        name=output.name, problem="values", elements=elements, total=math.prod(output.shape),
        largest=largest if math.isfinite(largest) else None, steps=steps, is_base=is_base,
        fitted_scale=scale,
    )  # fmt: skip


def _order(value: Any) -> Any:
    """Return integers in the order of the numbers in ``value``: neighbors are 1 apart."""
    bits = _to_bits(value)
    wide = bits.long()
    if not value.is_floating_point():
        return wide
    import torch

    return torch.where(wide < 0, wide.bitwise_xor(torch.iinfo(bits.dtype).max), wide)
