"""The adapter written into its base: one 16-bit model that any server loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ftwizard.jobs.folder import publish, write_json
from ftwizard.train.base_model import refuse_quantised
from ftwizard.train.checkpoints import MARKER

SHARD = "4GB"


def merge(base: Path, adapter: Path, out: Path, *, end_ids: list[int]) -> dict[str, Any]:
    """Merge ``adapter`` into ``base`` by peft and leave the model in ``out``, whole or not at all.

    ``end_ids`` are the tokens that ended answers in training; generation of the merged model
    stops at them. Returns ``folder``, ``bytes`` and ``dtype``; what is in ``out`` already is
    returned as it is. Raises FtwizardError for a base that is quantised: 4-bit weights would be
    merged wrongly and in silence.
    """
    if (out / MARKER).exists():
        done: dict[str, Any] = json.loads((out / MARKER).read_text())
        return done
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = refuse_quantised(base)
    dtype = torch.float16 if config.get("dtype", config.get("torch_dtype")) == "float16" else None
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype or torch.bfloat16, use_safetensors=True, trust_remote_code=False
    )
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    _stop_at(merged.generation_config, end_ids)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    merged.save_pretrained(part, max_shard_size=SHARD)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(part)
    report = {
        "folder": str(out),
        "bytes": sum(file.stat().st_size for file in part.iterdir()),
        "dtype": str(merged.dtype).removeprefix("torch."),
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
