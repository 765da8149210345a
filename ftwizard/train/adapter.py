"""``adapter/``: the best adapter of a run, with the tokenizer that it was trained with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ftwizard import models
from ftwizard.jobs.folder import JobFolder, publish
from ftwizard.plan import Recipe

_WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")
_TOKENIZER = ("token", "chat_template", "special", "vocab", "merges", "added_tokens")


def config(recipe: Recipe) -> Any:
    """Return peft's settings for a recipe."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.target_modules),
        task_type="CAUSAL_LM",
    )


def keep_in_32_bit(model: Any) -> None:
    """Keep the adapter's own weights in 32 bit, as peft makes them.

    TRL casts those beside a quantised base to bfloat16, in which small updates are lost; and peft
    casts them back when a checkpoint is loaded, so that a resumed run would train another way.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def name_base(model: Any, source: models.Source) -> None:
    """Let the adapter name the Hub model and commit that it belongs to."""
    if source.kind != "hub":
        return
    for settings in model.peft_config.values():
        settings.base_model_name_or_path = source.name
        settings.revision = source.commit


def write(folder: JobFolder, checkpoint: Path) -> None:
    """Make ``adapter/`` hold the weights of ``checkpoint``, whole or not at all."""
    part = folder.path / ".adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if file.name in _WEIGHTS or file.name.startswith(_TOKENIZER):
            shutil.copyfile(file, part / file.name)
    publish(part, folder.adapter)
