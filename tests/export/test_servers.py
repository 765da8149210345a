"""Command lines for vLLM: the adapter only where vLLM reads all of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from ftwizard.export import servers
from ftwizard.export.source import ExportSource

ADAPTER = {
    "peft_type": "LORA", "r": 12, "lora_alpha": 32, "bias": "none", "use_dora": False,
    "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {}, "target_parameters": None,
    "target_modules": ["q_proj", "down_proj"],
}  # fmt: skip


def _make_source(folder: Path, **changes: Any) -> ExportSource:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER | changes))
    return ExportSource(
        name="run-1", model=folder / "it's merged", out=folder, end_ids=[2], template=None,
        max_length=512, adapter=folder, base_name="owner/base",
    )  # fmt: skip


def test_an_adapter_that_vllm_understands_has_its_own_line(tmp_path: Path) -> None:
    source = _make_source(tmp_path / "adapter")
    lines = servers.make_lines(source)
    argv = shlex.split(lines.commands["vLLM, adapter on its base; its model name is run-1"])
    assert argv[:4] == ["vllm", "serve", "owner/base", "--enable-lora"]
    module = json.loads(argv[argv.index("--lora-modules") + 1])
    assert module == {"name": "run-1", "path": str(source.adapter), "base_model_name": "owner/base"}
    assert argv[-2:] == ["--max-lora-rank", "16"]
    merged = shlex.split(lines.commands["vLLM, merged model"])
    assert merged == ["vllm", "serve", str(source.model)]
    assert not lines.findings
    source.model.mkdir()
    (source.model / "config.json").write_text('{"dtype": "float32"}')
    merged = shlex.split(servers.make_lines(source).commands["vLLM, merged model"])
    assert merged[2:] == [str(source.model), "--dtype", "float32"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"bias": "all"}, "bias: all"),
        ({"target_modules": ["q_proj", "model.embed_tokens"]}, "an adapter on model.embed_tokens"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"peft_type": "IA3"}, "it is IA3, not LoRA"),
        ({"r": 1024}, "up to rank 512"),
    ],
)
def test_any_other_adapter_is_served_merged_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    lines = servers.make_lines(_make_source(tmp_path / "adapter", **changes))
    assert not any("--enable-lora" in line for line in lines.commands.values())
    assert "vLLM, merged model" in lines.commands
    assert len(lines.findings) == 1 and reason in lines.findings[0]
