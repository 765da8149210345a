"""Command lines of vLLM and transformers, for the merged model and for the adapter on its base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.export.source import ExportSource
from ftwizard.models import model_folder
from ftwizard.runs.serving import ServeCommand, make_transformers_command

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's ``--max-lora-rank`` (vllm/config/lora.py)."""
_EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_out")
FILE = "commands.txt"


class ServerLines(NamedTuple):
    commands: dict[str, str]
    """Lines for a shell, by what they serve."""
    findings: list[str]


def write(source: ExportSource, folder: Path) -> ServerLines:
    """Write the command lines to a file in ``folder``; return them."""
    lines = make_lines(source)
    text = "".join(f"# {title}\n{line}\n\n" for title, line in lines.commands.items())
    text += "".join(f"# {finding}\n" for finding in lines.findings)
    (folder / FILE).write_text(text)
    return lines


def make_lines(source: ExportSource) -> ServerLines:
    """Return the lines for a model; for its adapter only where vLLM reads all of it."""
    model = str(source.model)
    config = model_folder.read_json(source.model / "config.json") or {}
    # By default, vLLM loads 32-bit weights in 16 bit.
    options = ["--dtype", "float32"] if config.get("dtype") == "float32" else []
    commands = {
        "vLLM, merged model": ServeCommand(["vllm", "serve", model, *options]).line,
        "transformers, merged model": make_transformers_command(source.model).line,
    }
    if source.adapter is None or source.base_name is None:
        return ServerLines(commands, [])
    config = model_folder.read_json(source.adapter / "adapter_config.json") or {}
    if reasons := find_obstacles(config):
        text = f"vLLM would not serve all of the adapter ({'; '.join(reasons)}): serve the merged model."
        return ServerLines(commands, [text])
    rank = next((r for r in LORA_RANKS if r >= int(config.get("r", 16))), None)
    if rank is None:
        text = f"vLLM serves adapters up to rank {LORA_RANKS[-1]}: serve the merged model."
        return ServerLines(commands, [text])
    module = {
        "name": source.name, "path": str(source.adapter), "base_model_name": source.base_name
    }  # fmt: skip
    argv = [
        "vllm", "serve", source.base_name, "--enable-lora", "--lora-modules",
        json.dumps(module, ensure_ascii=False), "--max-lora-rank", str(rank),
    ]  # fmt: skip
    commands[f"vLLM, adapter on its base; its model name is {source.name}"] = ServeCommand(
        argv
    ).line
    return ServerLines(commands, [])


def find_obstacles(config: Mapping[str, Any]) -> list[str]:
    """Return what vLLM would refuse or silently drop of an adapter, by its ``adapter_config.json``.

    Source: vllm/lora/peft_helper.py, which reads r, lora_alpha, target_modules, bias and use_rslora.
    """
    reasons = [f"it is {config['peft_type']}, not LoRA"] * (
        config.get("peft_type", "LORA") != "LORA"
    )
    reasons += ["DoRA"] * bool(config.get("use_dora"))
    for key in (
        "modules_to_save", "rank_pattern", "alpha_pattern", "target_parameters",
        "trainable_token_indices", "layer_replication", "lora_bias",
    ):  # fmt: skip
        reasons += [key] * bool(config.get(key))
    if config.get("bias", "none") != "none":
        reasons.append(f"bias: {config['bias']}")
    targets = config.get("target_modules")
    names = targets if isinstance(targets, list) else [targets] if targets else []
    embedded = sorted({n for n in names if str(n).rpartition(".")[2] in _EMBEDDINGS})
    return reasons + [f"an adapter on {name}" for name in embedded]
