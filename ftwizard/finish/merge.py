"""``merged/``: one 16-bit model that any server loads, from an adapter and its base or from a
full fine-tune."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ftwizard.checkpoints import MARKER
from ftwizard.jobs.folder import publish, write_json
from ftwizard.train.base_model import load_config, load_tokenizer, refuse_quantised

SHARD = "4GB"


def merge(base: Path, adapter: Path, out: Path, *, end_ids: list[int]) -> dict[str, Any]:
    """Merge ``adapter`` into ``base`` by peft and leave the model in ``out``, whole or not at all.

    ``end_ids`` are the tokens that ended answers in training; generation of the merged model
    stops at them. Returns ``folder``, ``bytes`` and ``dtype``; what is in ``out`` already is
    returned as it is. Raises FtwizardError for a base that is quantised: 4-bit weights would be
    merged wrongly and in silence.
    """
    if done := _done(out):
        return done
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=_sixteen_bit(base), use_safetensors=True, trust_remote_code=False
    )
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return _publish(merged, adapter, out, end_ids)


def cast(base: Path, checkpoint: Path, out: Path, *, end_ids: list[int]) -> dict[str, Any]:
    """Leave the weights of a full fine-tune's 32-bit ``checkpoint`` in ``out``, in 16 bit.

    All but the weights is as in ``base``: what the trainer changed in the model's settings was
    for training. Otherwise as ``merge``.
    """
    if done := _done(out):
        return done
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(
        checkpoint,
        config=load_config(base),
        dtype=_sixteen_bit(base),
        use_safetensors=True,
        trust_remote_code=False,
    )
    if (base / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(base)
    return _publish(model, checkpoint, out, end_ids)


def _done(out: Path) -> dict[str, Any] | None:
    if not (out / MARKER).exists():
        return None
    done: dict[str, Any] = json.loads((out / MARKER).read_text())
    return done


def _sixteen_bit(base: Path) -> Any:
    """Return float16 if the base is kept in it, else bfloat16."""
    import torch

    config = refuse_quantised(base)
    kept_in = config.get("dtype", config.get("torch_dtype"))
    return torch.float16 if kept_in == "float16" else torch.bfloat16


def _publish(model: Any, tokenizer: Path, out: Path, end_ids: list[int]) -> dict[str, Any]:
    _stop_at(model.generation_config, end_ids)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    model.save_pretrained(part, max_shard_size=SHARD)
    load_tokenizer(tokenizer).save_pretrained(part)
    report = {
        "folder": str(out),
        "bytes": sum(file.stat().st_size for file in part.iterdir()),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    write_json(part / MARKER, report)
    publish(part, out)
    return report


def _stop_at(config: Any, end_ids: list[int]) -> None:
    """Let generation stop at the tokens that ended answers in training."""
    known = config.eos_token_id
    known = known if isinstance(known, list) else [] if known is None else [known]
    new = [i for i in end_ids if i not in known]
    if new:
        config.eos_token_id = [*known, *new]
    if not config.do_sample:
        # Some models ship these without do_sample; transformers refuses to save that once changed.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p"):
            setattr(config, name, None)
