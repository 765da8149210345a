"""Layout of a merged model: how each of its tensors is made from base and adapter, shard by shard."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export.adapters import Adapter, ModuleAdapter
from ftwizard.export.tensors import StoredTensor, count_bytes, list_tensors
from ftwizard.models import model_folder, support, weight_files
from ftwizard.runs.result import Dtype
from ftwizard.text import make_visible

HEAD = "lm_head"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_CONV1D_TYPES = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""Model types whose linear layers store their weights transposed (transformers' ``Conv1D``)."""
_OPTIONAL_PREFIXES = ("", "model.", "transformer.")
"""First parts of a module's name that the files of some models lack (GPT-2)."""
_WIDE, _HALF = ("F32", "F64"), ("F16", "BF16")
DTYPES: dict[Dtype, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_LAYER = re.compile(r"\.(\d+)\.")


class NotReplayable(Exception):
    """Raised where peft has to merge; its text is the reason."""


class Base(msgspec.Struct, kw_only=True):
    """The weights of a base model or of a full fine-tune, from the headers of its files."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, StoredTensor]
    dtype: str
    """Type of the merged model: ``BF16``, ``F16`` or ``F32``."""
    is_wide: bool
    """Whether it is stored in 32 bit, so that everything is rounded once."""
    is_cast: bool = False
    """Whether the merged model has another type than it has without a choice."""

    def output_dtype(self, tensor: StoredTensor) -> str:
        """Return the type of a tensor in the merged model.

        A 16-bit model keeps the few tensors that it stores in 32 bit.
        """
        if tensor.dtype in _WIDE:
            return self.dtype if self.is_wide else tensor.dtype
        return self.dtype if self.is_cast and tensor.dtype in _HALF else tensor.dtype

    @property
    def dtype_name(self) -> Dtype:
        """Return the type of the merged model as in ``config.json``."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """How one tensor of the merged model is made."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: StoredTensor
    """Of the base; the embedding for an output layer that shared its weights."""
    saved: StoredTensor | None = None
    """Of the adapter, which replaces the source."""
    lora: ModuleAdapter | None = None
    is_transposed: bool = False
    """Whether the weight is stored as (in, out)."""
    is_bias: bool = False
    """Whether the LoRA's own bias is added, not its product."""
    is_quantized: bool = False
    """Whether training saw it in 4 bit, and the merged model gets it as training saw it."""

    @property
    def is_merged(self) -> bool:
        """Return whether the adapter changes it."""
        return self.lora is not None or self.saved is not None

    @property
    def is_copy(self) -> bool:
        """Return whether its bytes are those of the base."""
        is_changed = self.is_merged or self.is_quantized
        return not is_changed and self.dtype == self.source.dtype


class Layout(msgspec.Struct, kw_only=True):
    shards: dict[str, list[Output]]
    """By file name, in the order of their bytes."""
    unties: bool = False
    """Whether input and output embeddings no longer share weights."""
    vocabulary: int | None = None
    """New size of the vocabulary, if the adapter's embeddings have another than the base."""

    def iterate_outputs(self) -> Iterator[Output]:
        for outputs in self.shards.values():
            yield from outputs

    @property
    def size_bytes(self) -> int:
        total = 0
        for output in self.iterate_outputs():
            count = 1
            for length in output.shape:
                count *= length
            total += count * count_bytes(output.dtype)
        return total


def read_base(folder: Path, dtype: Dtype | None = None) -> Base:
    """Read the headers of a model's weights, to merge them into ``dtype``, by default the 16-bit type
    of the model.

    Raises FtwizardError if it is quantized or damaged.
    """
    shown = make_visible(str(folder))
    config = model_folder.read_json(folder / "config.json")
    if config is None:
        hint = "Pass a folder with config.json and safetensors weights, or a Hub ID."
        raise FtwizardError(f"{shown} is not a model: it has no readable config.json.", hint)
    if error := support.check_quantized(config, str(folder)):
        raise error
    weight_files.check_folder(folder)
    files = weight_files.list_files(folder)
    tensors = {tensor.name: tensor for path in files for tensor in list_tensors(path)}
    if not tensors:
        raise FtwizardError(
            f"{shown} has no safetensors weights.",
            "Convert them: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW).",
        )
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.size_bytes
    main = sizes.most_common(1)[0][0]
    is_wide = main in _WIDE
    configured = config.get("dtype", config.get("torch_dtype"))
    half = "F16" if (configured == "float16" if is_wide else main == "F16") else "BF16"
    chosen = DTYPES[dtype] if dtype else half
    return Base(
        folder=folder, config=config, tensors=tensors, dtype=chosen, is_wide=is_wide,
        is_cast=chosen != half,
    )  # fmt: skip


def copy_layout(base: Base, quantized: frozenset[str] = frozenset()) -> Layout:
    """Return the layout of the base itself, with the names of its files as transformers expects.

    ``quantized``: tensors that training saw in 4 bit.
    """
    by_file: dict[Path, list[Output]] = {}
    for tensor in base.tensors.values():
        by_file.setdefault(tensor.path, []).append(
            Output(
                name=tensor.name, dtype=base.output_dtype(tensor), shape=tensor.shape,
                source=tensor, is_quantized=tensor.name in quantized,
            )
        )  # fmt: skip
    paths = sorted(by_file)
    if len(paths) == 1:
        return Layout(shards={weight_files.SINGLE: by_file[paths[0]]})
    names = [f"model-{i:05}-of-{len(paths):05}.safetensors" for i in range(1, len(paths) + 1)]
    return Layout(shards={name: by_file[path] for name, path in zip(names, paths, strict=True)})


def plan_merge(base: Base, adapter: Adapter, quantized: frozenset[str] = frozenset()) -> Layout:
    """Return the layout of ``base`` with ``adapter`` merged into it.

    Raises NotReplayable where only peft can merge it, FtwizardError if it does not fit.
    """
    if adapter.unreplayed:
        raise NotReplayable(adapter.unreplayed)
    layout = copy_layout(base, quantized)
    changes = _resolve(base, adapter)
    _refuse_converted(base, changes)
    _require_all_layers(base, adapter, changes)
    head = _plan_head(base, changes)
    layout.unties = head is not None or _changes_tied_copy(base, changes)
    for name, outputs in layout.shards.items():
        planned = [_change(base, adapter, output, changes.get(output.name)) for output in outputs]
        if head and any(output.name == head.name for output in outputs):
            copied = Output(
                name=f"{HEAD}.weight", dtype=base.output_dtype(head), shape=head.shape, source=head
            )
            planned.append(_change(base, adapter, copied, changes.get(copied.name)))
        layout.shards[name] = planned
    layout.vocabulary = _find_vocabulary(base, adapter, layout)
    return layout


def _resolve(base: Base, adapter: Adapter) -> dict[str, ModuleAdapter]:
    """Return the adapter's modules by the name of the tensor that they change."""
    names = {module: _find_name(base, module, part) for module, part in adapter.modules.items()}
    missing = [module for module, name in names.items() if name is None]
    if missing:
        shown = make_visible(missing[0], 100)
        if len(missing) == len(names) or any("expert" in module for module in missing):
            raise NotReplayable(f"the base stores module {shown} under another name")
        raise _make_misfit(base, adapter, f"the base has no module {shown}")
    return {
        f"{name}.{kind}": adapter.modules[module]
        for module, name in names.items()
        for kind in _list_changed(adapter.modules[module])
    }


def _find_name(base: Base, module: str, part: ModuleAdapter) -> str | None:
    """Return a module's name in the base's files, which may lack the first part of the name."""
    kinds = _list_changed(part)
    for strip in _OPTIONAL_PREFIXES:
        name = module.removeprefix(strip)
        if all(f"{name}.{kind}" in base.tensors for kind in kinds):
            return name
    return HEAD if module == HEAD and kinds == ["weight"] and _find_embedding(base) else None


def _require_all_layers(base: Base, adapter: Adapter, changes: dict[str, ModuleAdapter]) -> None:
    """Raise FtwizardError if a layer lacks a module that its settings name and other layers have."""
    config, targets = adapter.config, adapter.config.get("target_modules")
    count = base.config.get("num_hidden_layers")
    is_partial = config.get("layers_to_transform") is not None or config.get("exclude_modules")
    if not isinstance(targets, list) or not isinstance(count, int) or is_partial:
        return
    adapted = {_LAYER.sub(".#.", name) for name, part in changes.items() if part.has_lora}
    ends = tuple(f".{target}.weight" for target in targets)
    for name in base.tensors.keys() - changes.keys():
        layer = _LAYER.search(name)
        # Models may store layers that they do not use, after the last one.
        if layer is None or int(layer[1]) >= count or not name.endswith(ends):
            continue
        if _LAYER.sub(".#.", name) in adapted:
            module = make_visible(name.removesuffix(".weight"), 100)
            raise FtwizardError(
                f"The adapter in {make_visible(str(adapter.folder))} is damaged: it has nothing for "
                f"{module}, which its target_modules name.",
                "Copy it again, or merge another checkpoint.",
                code=weight_files.DAMAGED,
            )


def _list_changed(part: ModuleAdapter) -> list[str]:
    """Return which tensors of a module change: ``weight``, ``bias``."""
    has_weight = part.has_lora or "weight" in part.saved
    has_bias = part.bias is not None or "bias" in part.saved
    return ["weight"] * has_weight + ["bias"] * has_bias


def _find_embedding(base: Base) -> StoredTensor | None:
    """Return the only tensor of the base with the name of an input embedding."""
    names = [name for name in base.tensors if name.endswith(_EMBEDDINGS)]
    return base.tensors[names[0]] if len(names) == 1 else None


def _plan_head(base: Base, changes: dict[str, ModuleAdapter]) -> StoredTensor | None:
    """Return the embedding that an output layer of its own is made from; None if it needs none.

    The base stores one tensor for both. In training, a LoRA or a copy changed only one of them, so
    that they are separate from then on.
    """
    embedding = _find_embedding(base)
    head = f"{HEAD}.weight"
    if head in base.tensors or any(name.endswith("embed_out.weight") for name in base.tensors):
        return None
    if embedding is None or not {head, embedding.name} & changes.keys():
        return None
    return embedding


def _changes_tied_copy(base: Base, changes: dict[str, ModuleAdapter]) -> bool:
    """Return whether a changed embedding or head may be loaded as shared, though both are stored."""
    head, embedding = f"{HEAD}.weight", _find_embedding(base)
    if head not in base.tensors or embedding is None:
        return False
    is_tied = base.config.get("tie_word_embeddings") is not False
    return is_tied and bool({head, embedding.name} & changes.keys())


def _change(base: Base, adapter: Adapter, output: Output, part: ModuleAdapter | None) -> Output:
    """Return how a tensor is made with the change of its module; raise FtwizardError on a misfit."""
    if part is None:
        return output
    kind = "bias" if output.name.endswith(".bias") else "weight"
    saved = part.saved.get(kind)
    shape = saved.shape if saved else output.shape
    if saved and (len(shape) != len(output.shape) or shape[1:] != output.shape[1:]):
        raise _make_shape_error(base, adapter, output, shape)
    is_embedding = output.name.endswith((*_EMBEDDINGS, f"{HEAD}.weight"))
    if saved and shape != output.shape and not is_embedding:
        raise _make_shape_error(base, adapter, output, shape)
    changed = msgspec.structs.replace(output, saved=saved, shape=shape)
    if kind == "bias":
        has_bias = part.bias is not None
        if has_bias and part.bias and part.bias.shape != shape:
            raise _make_shape_error(base, adapter, output, part.bias.shape)
        return msgspec.structs.replace(changed, lora=part if has_bias else None, is_bias=has_bias)
    if part.a is None or part.b is None:
        return changed
    product = part.b.shape[0], part.a.shape[1]
    if part.is_embedding:
        product = product[1], product[0]
    is_transposed = not part.is_embedding and product != shape
    if product == shape[::-1] and product == shape and not part.is_embedding:
        is_transposed = _is_conv1d(base, adapter, output.name)
    if (product[::-1] if is_transposed else product) != shape:
        raise _make_shape_error(base, adapter, output, product)
    size = shape[1] if is_transposed or part.is_embedding else shape[0]
    if part.magnitude is not None and part.magnitude.shape != (size,):
        raise _make_shape_error(base, adapter, output, part.magnitude.shape)
    return msgspec.structs.replace(changed, lora=part, is_transposed=is_transposed)


def _is_conv1d(base: Base, adapter: Adapter, name: str) -> bool:
    """Return whether a square weight is stored transposed, which its shape does not tell."""
    is_conv1d = base.config.get("model_type") in _CONV1D_TYPES
    return (is_conv1d or bool(adapter.config.get("fan_in_fan_out"))) and HEAD not in name


def _find_vocabulary(base: Base, adapter: Adapter, layout: Layout) -> int | None:
    """Return the new size of the vocabulary if the adapter's embeddings were resized."""
    embeddings = [o for o in layout.iterate_outputs()
                  if o.name.endswith((*_EMBEDDINGS, f"{HEAD}.weight")) and o.saved]  # fmt: skip
    resized = {o.shape[0] for o in embeddings if o.shape[0] != o.source.shape[0]}
    if not resized:
        return None
    sizes = {o.shape[0] for o in layout.iterate_outputs()
             if o.name.endswith((*_EMBEDDINGS, f"{HEAD}.weight"))}  # fmt: skip
    if len(sizes) > 1 or "vocab_size" not in base.config:
        raise _make_misfit(base, adapter, "its embeddings have another number of tokens")
    return sizes.pop()


def _refuse_converted(base: Base, changes: dict[str, ModuleAdapter]) -> None:
    """Raise NotReplayable if transformers computes a changed tensor from others as it loads them."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.core_model_loading import WeightConverter

    read_rules: Any = get_checkpoint_conversion_mapping
    for rule in read_rules(base.config.get("model_type") or "") or []:
        if not isinstance(rule, WeightConverter):
            continue
        for pattern in rule.source_patterns:
            # An adapter on single experts has the names of the files, and is merged into these.
            names = (name for name in changes if "expert" not in name)
            if name := next((name for name in names if re.search(pattern, name)), None):
                raise NotReplayable(f"transformers converts {make_visible(name, 100)} on load")


def _make_misfit(base: Base, adapter: Adapter, problem: str) -> FtwizardError:
    trained_on = make_visible(adapter.base_name, 200)
    hint = "Pass the base model that it was trained on with --base."
    if trained_on and trained_on != str(base.folder):
        hint = f"Its configuration names the base model {trained_on}. Pass that with --base."
    return FtwizardError(
        f"The adapter in {make_visible(str(adapter.folder))} does not fit the base model "
        f"{make_visible(str(base.folder))}: {problem}.",
        hint,
    )


def _make_shape_error(
    base: Base, adapter: Adapter, output: Output, shape: tuple[int, ...]
) -> FtwizardError:
    name = make_visible(output.name, 100)
    own, other = (" × ".join(map(str, s)) for s in (shape, output.shape))
    return _make_misfit(
        base, adapter, f"{name} is {other} there, and the adapter's change is {own}"
    )


def merged_config(base: Base, layout: Layout) -> dict[str, Any]:
    """Return the configuration of the merged model: that of the base, with its new type."""
    config: dict[str, Any] = json.loads(json.dumps(base.config))
    names = [key for key in ("dtype", "torch_dtype") if key in config] or ["dtype"]
    config.update(dict.fromkeys(names, base.dtype_name))
    parts = [value for value in config.values() if base.is_cast and isinstance(value, dict)]
    for part in parts:  # such as text_config, whose type transformers would load
        names = [key for key in ("dtype", "torch_dtype") if key in part]
        part.update(dict.fromkeys(names, base.dtype_name))
    if layout.unties:
        config["tie_word_embeddings"] = False
    if layout.vocabulary is not None:
        config["vocab_size"] = layout.vocabulary
    return config
