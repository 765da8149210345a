"""LoRA adapters: configuration, precision, and the run's best adapter in ``adapter/``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftwizard.jobs.folder import JobFolder, hash_file, publish
from ftwizard.jobs.worker import Worker
from ftwizard.models import hub
from ftwizard.plan.schema import Recipe
from ftwizard.train import target_modules
from ftwizard.train.target_modules import Targets

_WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")
TOKENIZER_PREFIXES = ("token", "chat_template", "special", "vocab", "merges", "added_tokens")
"""Beginnings of the names of a tokenizer's files."""


def build_config(worker: Worker, recipe: Recipe, model: Any) -> Any:
    """Return peft's LoraConfig for ``model`` and report the targets; None for a full fine-tune."""
    if recipe.method == "full":
        return None
    resolved = target_modules.resolve(model, recipe.target_modules)
    worker.phase(
        "loading",
        what="adapter",
        target_modules=resolved.modules,
        target_parameters=resolved.parameters,
    )
    for code, message in target_findings(recipe, resolved):
        worker.events.write_finding(code, message)
    return lora_config(recipe, resolved)


def lora_config(recipe: Recipe, resolved: Targets) -> Any:
    """Return peft's LoraConfig for a recipe."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        # peft has no dropout for target_parameters, and one dropout rate for the whole model.
        lora_dropout=0.0 if resolved.parameters else recipe.dropout,
        target_modules=resolved.modules,
        target_parameters=resolved.parameters or None,
        task_type="CAUSAL_LM",
    )


def target_findings(recipe: Recipe, resolved: Targets) -> Iterator[tuple[str, str]]:
    """Yield code and message of each deviation from the plan caused by the model's modules."""
    if resolved.parameters and recipe.dropout:
        rate = f"{recipe.dropout:g}"
        yield "no_dropout", f"Adapters on experts do not support dropout: it is 0, not {rate}."
    if resolved.parameters and recipe.method == "qlora":
        reason = "bitsandbytes quantizes only linear layers, not experts fused into one parameter"
        yield "experts_in_16_bit", f"The experts of this model stay in 16 bit: {reason}."
    in_4_bit = "in this model peft supports them only in 16 bit (recipe.method lora)"
    unsupported = "peft does not support them in this kind of model"
    for names, reason in ((resolved.left_out, in_4_bit), (resolved.refused, unsupported)):
        if names:
            yield "targets_left_out", f"No adapter on {', '.join(names)}: {reason}."


def keep_in_32_bit(model: Any) -> None:
    """Keep the adapter's weights in 32 bit, as peft creates them.

    With a quantized base, TRL casts them to bfloat16, in which small updates are lost. And peft
    casts them back when it loads a checkpoint, so that a resumed run would train differently.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def name_base(model: Any, source: hub.ModelSource) -> None:
    """Record the Hub model and commit in the adapter's config."""
    if source.kind != "hub":
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path = source.name
        config.revision = source.commit


def read_targets(checkpoint: Path) -> list[str]:
    """Return the target modules and parameters of a checkpoint's adapter; [] without an adapter."""
    try:
        config = json.loads((checkpoint / "adapter_config.json").read_text())
    except FileNotFoundError:
        return []
    return sorted([*config["target_modules"], *(config.get("target_parameters") or [])])


def write(folder: JobFolder, checkpoint: Path) -> dict[str, str]:
    """Copy the adapter of ``checkpoint`` and its tokenizer to ``adapter/``, atomically.

    Return a hash of each file by its name.
    """
    part = folder.path / ".adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if file.name in _WEIGHTS or file.name.startswith(TOKENIZER_PREFIXES):
            shutil.copyfile(file, part / file.name)
    publish(part, folder.adapter)
    return {file.name: hash_file(file) for file in sorted(folder.adapter.iterdir())}
