"""The hop from adapter to merged model: its weights replayed, and why they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.export import proof
from ftwizard.export.adapters import Adapter, ModuleAdapter, read_adapter
from ftwizard.export.tensors import StoredTensor, list_tensors, read
from ftwizard.models import weight_files
from ftwizard.runs.custody import Cause, Hop
from ftwizard.runs.merge_proof import MergeProof, TensorDifference
from ftwizard.serve import comparison

SAME_SCALE = 0.05
"""Largest relative difference of the scales fitted to several tensors that are one wrong scale."""
MIN_EXPLAINED = 0.9
"""Share of a tensor's change that the transposed update must explain."""


def prove(hop: Hop, merged: Path, base: Path, adapter: Path) -> tuple[Hop, bool]:
    """Return ``hop``, broken if the merged weights are not what base and adapter give.

    The second value: whether they are proved to be. A merge that cannot be replayed is left to the
    logits.
    """
    try:
        shown = proof.prove(merged, base=base, adapter=adapter)
    except FtwizardError as error:
        detail = error.message.rstrip(".")
        return comparison.doubt(hop, "not_measured", detail=detail), False
    if shown.verdict != "differs":
        return hop, shown.verdict == "proved"
    cause, evidence = _explain(shown, merged, base, read_adapter(adapter))
    return comparison.fail(hop, cause, **evidence), False


def _explain(
    shown: MergeProof, merged: Path, base: Path, adapter: Adapter
) -> tuple[Cause, dict[str, Any]]:
    """Return the defect that explains the differences."""
    differences = shown.differences
    if not differences:
        files = ", ".join(shown.damaged)
        return "weights_differ", {"detail": f"files changed since the merge: {files}"}
    names = [difference.name for difference in differences]
    modules = {name: _find_module(adapter, name) for name in names}
    left = [difference for difference in differences if difference.is_base]
    saved = [difference.name for difference in left if _is_saved(modules[difference.name])]
    if saved:
        return "modules_to_save_missing", {"modules": saved}
    scales = [d.fitted_scale for d in differences if d.fitted_scale is not None]
    if len(scales) == len(differences) and max(scales) - min(scales) < SAME_SCALE * abs(
        max(scales)
    ):
        return "lora_scale", {"strength": round(sum(scales) / len(scales), 3)}
    if left:
        return "modules_missing", {"modules": [difference.name for difference in left]}
    for difference in differences:
        part = modules[difference.name]
        if part and _is_transposed(difference, part, merged, base):
            return "transposed", {"modules": names}
    first = differences[0]
    return "weights_differ", {"detail": f"{first.name} ({first.problem})"}


def _find_module(adapter: Adapter, tensor: str) -> ModuleAdapter | None:
    name = tensor.rpartition(".")[0]
    return next((part for key, part in adapter.modules.items() if name.endswith(key)), None)


def _is_saved(part: ModuleAdapter | None) -> bool:
    return part is not None and bool(part.saved)


def _is_transposed(
    difference: TensorDifference, part: ModuleAdapter, merged: Path, base: Path
) -> bool:
    """Return whether a factor read in the wrong order, or the turned product, gives the change."""
    if part.a is None or part.b is None:
        return False
    tensors = [_find_tensor(folder, difference.name) for folder in (merged, base)]
    if tensors[0] is None or tensors[1] is None:
        return False
    change = read(tensors[0]).double() - read(tensors[1]).double()
    a, b = read(part.a).double(), read(part.b).double()
    product = b @ a
    candidates = [b.T.reshape(b.shape) @ a, b @ a.T.reshape(a.shape)]
    if product.shape[0] == product.shape[1]:
        candidates.append(product.T)
    for candidate in candidates:
        both = float((candidate * change).sum()) ** 2
        squares = float(candidate.square().sum()) * float(change.square().sum())
        if candidate.shape == change.shape and squares and both / squares > MIN_EXPLAINED:
            return True
    return False


def _find_tensor(folder: Path, name: str) -> StoredTensor | None:
    for path in weight_files.list_files(folder):
        for tensor in list_tensors(path):
            if tensor.name == name:
                return tensor
    return None
