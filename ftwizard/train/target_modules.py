"""Target modules of adapters, determined from the model's own modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

PROJECTIONS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip
"""The seven linear layers of a Llama-like block."""
_MAX_SHOWN = 40


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Adapter targets, in the terms of peft's ``LoraConfig``."""

    modules: list[str]
    """``target_modules``: names, or name suffixes, of linear layers."""
    parameters: list[str]
    """``target_parameters``: name suffixes of fused experts and of weights."""
    left_out: list[str] = []
    """Linear layers that peft cannot adapt because their weights are quantized."""
    refused: list[str] = []
    """Linear layers that peft does not support in this kind of model."""


def resolve(model: Any, requested: tuple[str, ...] | None) -> Targets:
    """Return the adapter targets: ``requested``, else a default for the model.

    The default is the seven projections if the model has them all, else every linear layer of its
    blocks, but never a router or the output layer. Experts fused into one parameter are added,
    which peft only supports as ``target_parameters``. Raises FtwizardError for requested modules
    that are missing or cannot have an adapter, and for a model without any possible target.
    """
    output = model.get_output_embeddings()
    layers = {
        name: module
        for name, module in _in_blocks(model)
        if _is_linear(module) and module is not output and not _is_router(name, module)
    }
    refused = {name for name in layers if _is_refused(model, name)}
    experts = sorted({
        f"{_end(name)}.{parameter}"
        for name, module in _in_blocks(model)
        for parameter, value in module.named_parameters(recurse=False)
        if _are_experts(module, value)
    })  # fmt: skip
    if requested is not None:
        return _resolve_requested(model, requested, sorted({_last(n) for n in layers}), experts)
    layers = {name: layer for name, layer in layers.items() if name not in refused}
    if set(PROJECTIONS) <= {_last(name) for name in layers}:
        refused = set()
        layers = {name: layer for name, layer in layers.items() if _last(name) in PROJECTIONS}
    if not layers and not experts:
        raise FtwizardError(
            f"{type(model).__name__} has no linear layers in its blocks for an adapter.",
            "Set recipe.target_modules, or set recipe.method to full.",
        )
    taken = (
        _taken_for_experts(model, sorted({_last(name) for name in layers})) if experts else set()
    )
    hidden = {name: layer for name, layer in layers.items() if _last(name) in taken}
    reachable = {name for name, layer in hidden.items() if layer.weight.is_floating_point()}
    return Targets(
        modules=_shortest(model, layers.keys() - hidden.keys()),
        parameters=sorted({*experts, *(f"{_end(name)}.weight" for name in reachable)}),
        left_out=sorted({_end(name) for name in hidden.keys() - reachable}),
        refused=sorted({_end(name) for name in refused}),
    )


def _is_refused(model: Any, name: str) -> bool:
    """Return whether peft refuses a layer of this name: Mamba's kernels would bypass an adapter.

    Source: peft.tuners.tuners_utils, which decides by the model's type.
    """
    from peft import LoraConfig
    from peft.tuners import tuners_utils

    check = getattr(tuners_utils, "_check_lora_target_modules_mamba", None)
    if check is None:
        return False
    try:
        check(LoraConfig(), model, _last(name))
    except ValueError:
        return True
    return False


def _taken_for_experts(model: Any, names: list[str]) -> set[str]:
    """Return the ``names`` that peft interprets as experts, by their names before fusion.

    In some models (DeepSeek, Qwen3), ``gate_proj`` then means the experts, so that dense and shared
    layers of that name would get no adapter. As parameters they do, unless they are in 4 bit.
    Source: peft.utils.transformers_weight_conversion.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import (
        convert_peft_config_for_transformers,
        get_model_conversion_mapping,
    )

    trial = LoraConfig(target_modules=names)
    convert_peft_config_for_transformers(trial, model, get_model_conversion_mapping(model))
    return set(names) - set(trial.target_modules)


def _shortest(model: Any, layers: set[str]) -> list[str]:
    """Return the last parts of the names, or full names if those would match other modules too."""
    suffixes = {_last(name) for name in layers}
    matched = {name for name, _ in model.named_modules() if _last(name) in suffixes}
    if matched != layers:
        return sorted(layers)
    projections = [suffix for suffix in PROJECTIONS if suffix in suffixes]
    return [*projections, *sorted(suffixes.difference(projections))]


def _resolve_requested(
    model: Any, requested: tuple[str, ...], layers: list[str], experts: list[str]
) -> Targets:
    """Return ``requested``, separated into modules and parameters.

    Raises FtwizardError for names that the model lacks or that cannot have an adapter.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    as_modules = [t for t in requested if _match(t, modules)]
    as_parameters = [t for t in requested if t not in as_modules and _match(t, parameters)]
    missing = [t for t in requested if t not in as_modules and t not in as_parameters]
    refused = [t for t in as_modules if any(_is_refused(model, n) for n in _match(t, modules))]
    invalid = {t: kind for t in as_modules for kind in _invalid_modules(t, modules)}
    invalid |= {
        t: kind for t in as_parameters for kind in _invalid_parameters(t, modules, parameters)
    }
    problem = ""
    if missing:
        problem = f"The model has no module named {_join(missing)}"
    elif refused:
        problem = f"peft does not support an adapter on {_join(refused)} in this kind of model"
    elif invalid:
        named = ", ".join(f"{make_visible(t, 60)} ({kind})" for t, kind in invalid.items())
        problem = f"Adapters work on linear layers and fused experts, not on {named}"
    if problem:
        available = ", ".join([*layers, *experts][:_MAX_SHOWN])
        raise FtwizardError(
            f"{problem} (recipe.target_modules).",
            f"Available: {available}. Remove the setting to choose automatically.",
        )
    return Targets(modules=as_modules, parameters=as_parameters)


def _join(names: list[str]) -> str:
    return ", ".join(make_visible(name, 60) for name in names)


def _invalid_modules(target: str, modules: dict[str, Any]) -> list[str]:
    """Return the types of modules that match ``target`` and are not linear layers."""
    matches = (modules[name] for name in _match(target, modules))
    return [type(module).__name__ for module in matches if not _is_linear(module)]


def _invalid_parameters(
    target: str, modules: dict[str, Any], parameters: dict[str, Any]
) -> Iterator[str]:
    """Describe matches of ``target`` other than fused experts and 16-bit weights of linear layers."""
    for name in _match(target, parameters):
        owner, value = modules[name.rpartition(".")[0]], parameters[name]
        if not value.is_floating_point():
            yield f"4-bit, in {type(owner).__name__}"
        elif not (_is_linear(owner) and value.ndim == 2) and not _are_experts(owner, value):
            yield f"in {type(owner).__name__}"


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (torch.nn.Linear, Conv1D))


def _are_experts(module: Any, value: Any) -> bool:
    """Return whether a parameter holds the weights of several experts."""
    return value.ndim == 3 and "expert" in type(module).__name__.lower()


def _in_blocks(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and module of everything in the repeated blocks of the text decoder."""
    decoder = model.get_decoder()
    prefix = next((f"{name}." for name, m in model.named_modules() if m is decoder and name), "")
    for name, module in model.named_modules():
        if name.startswith(prefix) and any(part.isdigit() for part in name.split(".")):
            yield name, module


def _is_router(name: str, module: Any) -> bool:
    """Return whether a layer chooses experts: training it with frozen experts unbalances them."""
    last = _last(name)
    return (
        last in ("router", "gate")
        or last.endswith(("_router", "_gate"))
        or "router" in type(module).__name__.lower()
    )


def _match(target: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name == target or name.endswith(f".{target}")]


def _end(name: str) -> str:
    """``model.layers.3.mlp.experts`` → ``mlp.experts``."""
    return ".".join(name.split(".")[-2:])


def _last(name: str) -> str:
    return name.rpartition(".")[2]
