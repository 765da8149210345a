"""``adapter/``: the best adapter of a run, with the tokenizer that it was trained with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftwizard import models
from ftwizard.jobs.folder import JobFolder, publish
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Recipe
from ftwizard.train import targets
from ftwizard.train.targets import Targets

_WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")
_TOKENIZER = ("token", "chat_template", "special", "vocab", "merges", "added_tokens")


def settings(worker: Worker, recipe: Recipe, model: Any) -> Any:
    """Return peft's settings for ``model``, said in the events; None if all weights are trained."""
    if recipe.method == "full":
        return None
    found = targets.resolve(model, recipe.target_modules)
    worker.phase(
        "loading",
        what="adapter",
        target_modules=found.modules,
        target_parameters=found.parameters,
    )
    for code, message in findings(recipe, found):
        worker.events.write("finding", code=code, severity="info", message=message)
    return config(recipe, found)


def config(recipe: Recipe, found: Targets) -> Any:
    """Return peft's settings for a recipe."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        # peft cannot drop out what goes into a parameter, and has one rate for all of a model.
        lora_dropout=0.0 if found.parameters else recipe.dropout,
        target_modules=found.modules,
        target_parameters=found.parameters or None,
        task_type="CAUSAL_LM",
    )


def findings(recipe: Recipe, found: Targets) -> Iterator[tuple[str, str]]:
    """Yield code and words of what differs from the plan because of the model's modules."""
    if found.parameters and recipe.dropout:
        rate = f"{recipe.dropout:g}"
        yield "no_dropout", f"Adapters on experts take no dropout: it is 0, not {rate}."
    if found.parameters and recipe.method == "qlora":
        what = "bitsandbytes quantises linear layers only, not experts fused into one parameter"
        yield "experts_in_16_bit", f"The experts of this model stay in 16 bit: {what}."
    if found.left_out:
        names = ", ".join(found.left_out)
        why = "in this model peft reaches them in 16 bit only (recipe.method lora)"
        yield "targets_left_out", f"No adapter goes to {names}: {why}."
    if found.refused:
        names = ", ".join(found.refused)
        why = "peft takes none there in a model of this kind"
        yield "targets_left_out", f"No adapter goes to {names}: {why}."


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
    for one in model.peft_config.values():
        one.base_model_name_or_path = source.name
        one.revision = source.commit


def reached(checkpoint: Path) -> list[str]:
    """Return the modules and parameters that a checkpoint's adapter goes to; none without one."""
    try:
        kept = json.loads((checkpoint / "adapter_config.json").read_text())
    except FileNotFoundError:
        return []
    return sorted([*kept["target_modules"], *(kept.get("target_parameters") or [])])


def write(folder: JobFolder, checkpoint: Path) -> None:
    """Make ``adapter/`` hold the weights of ``checkpoint``, whole or not at all."""
    part = folder.path / ".adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if file.name in _WEIGHTS or file.name.startswith(_TOKENIZER):
            shutil.copyfile(file, part / file.name)
    publish(part, folder.adapter)
