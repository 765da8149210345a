"""The hop from adapter to merged model, by its files: prompts, settings, and weights replayed.

It takes the memory of a few blocks of a tensor, whatever the size of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export import model_files, proof
from ftwizard.export.adapters import Adapter, ModuleAdapter, read_adapter
from ftwizard.export.tensors import StoredTensor, iterate_rows, list_tensors, read
from ftwizard.models import model_folder, weight_files
from ftwizard.runs import merge_proof
from ftwizard.runs.custody import Cause, Hop
from ftwizard.runs.merge_proof import MergeProof, TensorDifference
from ftwizard.serve import comparison

SAME_SCALE = 0.05
"""Largest relative difference of the scales fitted to several tensors that are one wrong scale."""
MIN_EXPLAINED = 0.9
"""Share of a tensor's change that the transposed update must explain."""
_UNCOMPARED = ("vocab", "padding", "truncation", "eos_token")
"""Parts of a tokenizer that are compared elsewhere, or that using it changes."""


def find_tokenizer_changes(expected: Any, actual: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the ``words`` whose token ids differ between two tokenizers, and the ``settings``."""
    settings = []
    for tokenizer in (expected, actual):
        parts = {}
        if backend := getattr(tokenizer, "backend_tokenizer", None):
            parts = json.loads(backend.to_str())
            parts |= parts.pop("model")
        parts |= tokenizer.special_tokens_map
        settings.append({name: parts[name] for name in parts if name not in _UNCOMPARED})
    changes = {
        "words": _list_changes(expected.get_vocab(), actual.get_vocab()),
        "settings": _list_changes(*settings),
    }
    return {kind: values for kind, values in changes.items() if values}


def _list_changes(expected: dict[str, Any], actual: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries that differ, by their names."""
    return [
        {"name": name, "expected": expected.get(name), "actual": actual.get(name)}
        for name in sorted(expected | actual)
        if expected.get(name) != actual.get(name)
    ]


def compare_stops(
    hop: Hop, merged: Path, base: Path, end_ids: Sequence[int], tokenizers: Sequence[Any]
) -> tuple[Hop, list[dict[str, Any]]]:
    """Return ``hop``, broken if generation does not end at the tokens that it ends at after the merge.

    The second value: other generation settings that differ. ``end_ids`` ended answers in training;
    ``tokenizers``: of the adapter, and of the merged model.
    """
    expected = model_files.make_generation_config(base, list(end_ids))
    actual = model_folder.read_json(merged / model_files.GENERATION_CONFIG)
    if actual is None:  # transformers then takes the end from the configuration
        actual = model_folder.read_json(merged / "config.json") or {}
        actual = {"eos_token_id": actual.get("eos_token_id")}
    stops = []
    for config in (expected, actual):
        ids = config.pop("eos_token_id", None)
        stops.append(set(ids if isinstance(ids, list) else [ids]) - {None})
    changes = _list_changes(expected, actual)
    convert = tokenizers[0].convert_ids_to_tokens
    missing = sorted(set(end_ids) - stops[1])
    hop = msgspec.structs.replace(hop, stops=not missing)
    if missing:
        return comparison.fail(hop, "stop_token", tokens=convert(missing)), changes
    known = stops[0] | {tokenizers[0].eos_token_id}
    if extra := sorted((stops[1] | {tokenizers[1].eos_token_id}) - known - {None}):
        tokens, others = convert(extra), convert(sorted(known - {None}))
        hop = comparison.fail(hop, "extra_stop_token", tokens=tokens, expected=others)
    return hop, changes


def prove(hop: Hop, merged: Path, base: Path, adapter: Path) -> Hop:
    """Return ``hop``, broken if the merged weights are not what base and adapter give.

    ``tensors_proved`` is set if they are. A merge that cannot be replayed is left to the logits. A
    merge whose own proof was interrupted gets this one.
    """
    try:
        shown = proof.prove(merged, base=base, adapter=adapter)
    except FtwizardError as error:
        detail = error.message.rstrip(".")
        return comparison.doubt(hop, "not_measured", detail=detail)
    written = merge_proof.read_proof(merged)
    if written and written.verdict == "unproved":
        skipped = "ftwizard verify made the proof, and compares answers itself"
        proof.write_proof(merged, msgspec.structs.replace(shown, behavior_skipped=skipped))
    if shown.verdict == "proved":
        return msgspec.structs.replace(hop, tensors_proved=shown.tensors)
    if shown.verdict == "cannot_tell":
        return hop
    cause, evidence = _explain(shown, merged, base, read_adapter(adapter))
    return comparison.fail(hop, cause, **evidence)


def _explain(
    shown: MergeProof, merged: Path, base: Path, adapter: Adapter
) -> tuple[Cause, dict[str, Any]]:
    """Return the defect that explains the differences."""
    differences = shown.differences
    if not differences:
        return "files_changed", {"files": shown.damaged}
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
    if all(difference.steps == 1 for difference in differences):
        return "last_place", {
            "changed": sum(difference.elements for difference in differences),
            "total": sum(difference.total for difference in differences),
            "largest": max(difference.largest or 0.0 for difference in differences),
            "modules": names,
        }
    detail = merge_proof.describe_difference(differences[0]).rstrip(".")
    return "weights_differ", {"detail": detail}


def _find_module(adapter: Adapter, tensor: str) -> ModuleAdapter | None:
    name = tensor.rpartition(".")[0]
    return next((part for key, part in adapter.modules.items() if name.endswith(key)), None)


def _is_saved(part: ModuleAdapter | None) -> bool:
    return part is not None and bool(part.saved)


def _is_transposed(
    difference: TensorDifference, part: ModuleAdapter, merged: Path, base: Path
) -> bool:
    """Return whether a factor read in the wrong order, or the turned product, gives the change."""
    tensors = [_find_tensor(folder, difference.name) for folder in (merged, base)]
    if part.a is None or part.b is None or tensors[0] is None or tensors[1] is None:
        return False
    shape = tensors[0].shape
    rows = next(iterate_rows(shape))  # enough to tell, whatever the size of the tensor
    actual, start = (read(tensor, *rows).double() for tensor in tensors if tensor)
    a, b = read(part.a).double(), read(part.b).double()
    for left, right in ((b.T.reshape(b.shape), a), (b, a.T.reshape(a.shape)), (a.T, b.T)):
        if (len(left), right.shape[1]) != shape or start.shape != actual.shape:
            continue
        candidate, change = left[slice(*rows)] @ right, actual - start
        both = float((candidate * change).sum()) ** 2
        squares = float(candidate.square().sum()) * float(change.square().sum())
        if squares and both / squares > MIN_EXPLAINED:
            return True
    return False


def _find_tensor(folder: Path, name: str) -> StoredTensor | None:
    for path in weight_files.list_files(folder):
        for tensor in list_tensors(path):
            if tensor.name == name:
                return tensor
    return None
