"""Merging to one 16-bit model for serving, from an adapter and its base or from a full fine-tune."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftwizard.jobs.folder import publish, read_json, write_json
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.result import MergedModel
from ftwizard.train.model_loading import load_config, load_tokenizer, read_config

MAX_SHARD_SIZE = "4GB"


def merge(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    end_ids: list[int],
    say: Callable[[str], None] = lambda _: None,
) -> MergedModel:
    """Merge ``adapter`` into ``base`` with peft and write the model to ``out`` atomically.

    ``end_ids`` are the tokens that ended answers in training; the merged model stops generating at
    them. If ``out`` already has a model, it is kept. ``say`` receives each part of the work. Raises
    FtwizardError for a quantized base, because 4-bit weights would silently merge wrongly.
    """
    if published := read_json(out / MARKER, MergedModel):
        return published
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    say("loading the base model")
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=_choose_dtype(base), use_safetensors=True, trust_remote_code=False
    )
    say("adding the adapter")
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    say("writing the model")
    return _publish(merged, adapter, out, end_ids)


def cast_to_16_bit(base: Path, checkpoint: Path, out: Path, *, end_ids: list[int]) -> MergedModel:
    """Write the weights of a full fine-tune's 32-bit ``checkpoint`` to ``out`` as 16-bit.

    Everything but the weights is copied from ``base``, because the trainer changes model settings
    for training. See ``merge`` for the rest.
    """
    if published := read_json(out / MARKER, MergedModel):
        return published
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(
        checkpoint,
        config=load_config(base),
        dtype=_choose_dtype(base),
        use_safetensors=True,
        trust_remote_code=False,
    )
    if (base / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(base)
    return _publish(model, checkpoint, out, end_ids)


def _choose_dtype(base: Path) -> Any:
    """Return float16 if the base is stored in it, else bfloat16."""
    import torch

    config = read_config(base)
    dtype = config.get("dtype", config.get("torch_dtype"))
    return torch.float16 if dtype == "float16" else torch.bfloat16


def _publish(model: Any, tokenizer: Path, out: Path, end_ids: list[int]) -> MergedModel:
    _add_eos_ids(model.generation_config, end_ids)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    model.save_pretrained(part, max_shard_size=MAX_SHARD_SIZE)
    load_tokenizer(tokenizer).save_pretrained(part)
    published = MergedModel(
        folder=str(out.resolve()),
        size_bytes=sum(file.stat().st_size for file in part.iterdir()),
        dtype=str(model.dtype).removeprefix("torch."),
    )
    write_json(part / MARKER, published)
    publish(part, out)
    return published


def _add_eos_ids(config: Any, end_ids: list[int]) -> None:
    """Add the tokens that ended answers in training to the EOS tokens."""
    eos_ids = config.eos_token_id
    eos_ids = eos_ids if isinstance(eos_ids, list) else [] if eos_ids is None else [eos_ids]
    new_ids = [i for i in end_ids if i not in eos_ids]
    if new_ids:
        config.eos_token_id = [*eos_ids, *new_ids]
    if not config.do_sample:
        # Some models ship these without do_sample; transformers refuses to save a changed config then.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p"):
            setattr(config, name, None)
