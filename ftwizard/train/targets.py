"""Which weights of a model get an adapter, found on the model's own modules (SPEC H3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

PROJECTIONS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip
"""The seven linear layers of a Llama-like block."""
_SHOWN = 40


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Where adapters go, in the words of peft's ``LoraConfig``."""

    modules: list[str]
    """``target_modules``: names, or ends of names, of linear layers."""
    parameters: list[str]
    """``target_parameters``: ends of names of fused experts, (experts, …, …), and of weights."""
    left_out: list[str] = []
    """Names of linear layers that peft cannot reach in this model."""
    refused: list[str] = []
    """Names of linear layers that peft takes no adapter for in a model of this kind."""


def resolve(model: Any, wanted: tuple[str, ...] | None) -> Targets:
    """Return what to adapt: ``wanted``, else what suits the model.

    That is the seven projections where the model has them all, else every linear layer of its
    blocks; never a router or the output layer. Experts that are kept fused in one parameter come
    on top, as peft reaches these by ``target_parameters`` only. Raises FtwizardError for wanted
    modules that the model lacks or that no adapter goes to, and for a model in which nothing can
    be adapted.
    """
    layers = dict(_linear_layers(model))
    refused = {name for name in layers if _is_refused(model, name)}
    experts = sorted(set(_fused_experts(model)))
    if wanted is not None:
        return _as_wanted(model, wanted, sorted({_last(n) for n in layers}), experts)
    layers = {name: layer for name, layer in layers.items() if name not in refused}
    if set(PROJECTIONS) <= {_last(name) for name in layers}:
        refused = set()
        layers = {name: layer for name, layer in layers.items() if _last(name) in PROJECTIONS}
    if not layers and not experts:
        raise FtwizardError(
            f"{type(model).__name__} has no linear layer in blocks that an adapter could go to.",
            "Name recipe.target_modules, or set recipe.method to full.",
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
    """Say whether peft takes no adapter for a layer of this name: Mamba's kernels go past it.

    Source: peft.tuners.tuners_utils, which asks by a model's type.
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
    """Return the ``names`` that peft takes for what experts were called before they were fused.

    In some models (DeepSeek's, Qwen3's) it lets ``gate_proj`` mean the experts, so that dense and
    shared layers of that name would get no adapter. As parameters they do, unless they are in
    4 bit. Source: peft.utils.transformers_weight_conversion.
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
    """Name ``layers`` by their last words, or in full where these would reach others too."""
    words = {_last(name) for name in layers}
    reached = {name for name, _ in model.named_modules() if _last(name) in words}
    return sorted(words, key=_order) if reached == layers else sorted(layers)


def _order(word: str) -> tuple[int, str]:
    return (PROJECTIONS.index(word) if word in PROJECTIONS else len(PROJECTIONS), word)


def _as_wanted(
    model: Any, wanted: tuple[str, ...], layers: list[str], experts: list[str]
) -> Targets:
    """Return ``wanted``, apart by what each name is.

    Raises FtwizardError for names that the model lacks, and for modules that no adapter goes to.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    is_module = [t for t in wanted if _reached(t, modules)]
    is_parameter = [t for t in wanted if t not in is_module and _reached(t, parameters)]
    missing = [t for t in wanted if t not in is_module and t not in is_parameter]
    unfit = {t: kind for t in is_module for kind in _unfit_modules(t, modules)}
    unfit |= {t: kind for t in is_parameter for kind in _unfit_parameters(t, modules, parameters)}
    hint = (
        f"It has: {', '.join([*layers, *experts][:_SHOWN])}. Leave the setting out to let the "
        "model's own modules decide."
    )
    if missing:
        named = ", ".join(visible(t, 60) for t in missing)
        raise FtwizardError(
            f"The model has no module called {named} (recipe.target_modules).", hint
        )
    if refused := [
        t for t in is_module if any(_is_refused(model, n) for n in _reached(t, modules))
    ]:
        named = ", ".join(visible(t, 60) for t in refused)
        raise FtwizardError(
            f"peft takes no adapter for {named} in a model of this kind (recipe.target_modules).",
            hint,
        )
    if unfit:
        named = ", ".join(f"{visible(t, 60)} ({kind})" for t, kind in unfit.items())
        raise FtwizardError(
            f"An adapter goes to linear layers and fused experts, not to {named} "
            "(recipe.target_modules).",
            hint,
        )
    return Targets(modules=is_module, parameters=is_parameter)


def _unfit_modules(target: str, modules: dict[str, Any]) -> Iterator[str]:
    """Yield the kinds of modules behind ``target`` that are no linear layers."""
    for name in _reached(target, modules):
        if not _is_linear(modules[name]):
            yield type(modules[name]).__name__


def _unfit_parameters(
    target: str, modules: dict[str, Any], parameters: dict[str, Any]
) -> Iterator[str]:
    """Yield what ``target`` means besides fused experts and 16-bit weights of linear layers."""
    for name in _reached(target, parameters):
        owner, value = modules[name.rpartition(".")[0]], parameters[name]
        if not value.is_floating_point():
            yield f"in 4 bit, of {type(owner).__name__}"
        elif not (_is_linear(owner) and value.ndim == 2) and not _are_experts(owner, value):
            yield f"of {type(owner).__name__}"


def _linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the linear layers of the decoder's blocks, routers apart."""
    output = model.get_output_embeddings()
    for name, module in _in_blocks(model):
        if _is_linear(module) and module is not output and not _is_router(name, module):
            yield name, module


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (torch.nn.Linear, Conv1D))


def _fused_experts(model: Any) -> Iterator[str]:
    """Yield the ends of names of parameters that hold the weights of many experts at once."""
    for name, module in _in_blocks(model):
        for parameter, value in module.named_parameters(recurse=False):
            if _are_experts(module, value):
                yield f"{_end(name)}.{parameter}"


def _are_experts(module: Any, value: Any) -> bool:
    return value.ndim == 3 and "expert" in type(module).__name__.lower()


def _in_blocks(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and module of all that is in the repeated blocks of the text decoder."""
    decoder = model.get_decoder()
    within = next((f"{name}." for name, m in model.named_modules() if m is decoder and name), "")
    for name, module in model.named_modules():
        if name.startswith(within) and any(part.isdigit() for part in name.split(".")):
            yield name, module


def _is_router(name: str, module: Any) -> bool:
    """Say whether a layer chooses experts: training it beside frozen experts unbalances them."""
    last = _last(name)
    return (
        last in ("router", "gate")
        or last.endswith(("_router", "_gate"))
        or "router" in type(module).__name__.lower()
    )


def _reached(target: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name == target or name.endswith(f".{target}")]


def _end(name: str) -> str:
    """``model.layers.3.mlp.experts`` → ``mlp.experts``."""
    return ".".join(name.split(".")[-2:])


def _last(name: str) -> str:
    return name.rpartition(".")[2]
