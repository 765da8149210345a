"""Command lines for vLLM: the adapter only where vLLM reads all of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from ftwizard.export import ollama, servers
from ftwizard.export.source import ExportSource
from ftwizard.runs.exports import ExportRecord, GgufFacts
from tests.helpers.models import tiny_tokenizer

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


@pytest.mark.parametrize(
    ("old", "new", "defect"),
    [
        ("FROM run.gguf", "FROM other.gguf", "FROM is "),
        ("<|im_start|>", "<|start|>", "TEMPLATE is not the chat template"),
        ('PARAMETER stop "<|im_end|>"', "", "PARAMETER stop "),
        ("num_ctx 1024", "num_ctx 64", "PARAMETER num_ctx"),
        ("temperature 0", "temperature 0.7", ""),
        ('SYSTEM """Be brief."""', "", ""),
    ],
)
def test_defect_of_a_modelfile_is_named(tmp_path: Path, old: str, new: str, defect: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    source = _make_source(tmp_path / "adapter")._replace(
        model=tmp_path, template=tokenizer.chat_template, system="Be brief.",
        end_ids=[tokenizer.eos_token_id],
    )  # fmt: skip
    facts = GgufFacts(architecture="llama", tensors=1, types={}, template_equal=True, end_ids=[],
                      context=1024)  # fmt: skip
    record = ExportRecord(
        form="gguf", source="", source_hashes={}, files={}, gguf=facts, version="0", created=0,
        seconds=0,
    )  # fmt: skip
    model, file = tmp_path / "run.gguf", tmp_path / "Modelfile"
    ollama.write(source, model, record, tmp_path)
    assert ollama.find_defect(source, model, record, tmp_path) == ""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    problem = ollama.find_defect(source, model, record, tmp_path)
    assert problem.startswith(defect) and bool(problem) is bool(defect)


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
