"""The list of models on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli import parser
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu
from ftwizard.models import hub_models
from tests.helpers.machines import make_machine


@pytest.fixture(autouse=True)
def _gpu_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one 24 GB GPU and empty caches."""
    facts = make_machine(Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 10**9))
    monkeypatch.setattr(machine, "read_machine_info", lambda: facts)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))


def run(*argv: str) -> int:
    return parser.dispatch(["models", *argv], lambda *_, **__: 0)


def test_list_shows_twenty_models_and_says_that_there_are_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "size", "license", "gated", "chat", "memory"]
    models = [line for line in lines if "GB to spare" in line]
    assert len(models) == 20 and models[0].startswith("★ ")
    assert any("more models: add words, or --all" in line for line in lines)
    assert all(len(line) <= 80 for line in models)
    assert lines[-1].startswith("★ HuggingFaceTB/SmolLM2-135M-Instruct: ")


def test_search_prints_matches_and_names_the_state_of_the_hub(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert run("llama", "70b", "--all") == 0
    out = capsys.readouterr().out
    assert "Llama-3.3-70B-Instruct" in out and "too large" in out and "Qwen" not in out
    assert "Hub off (HF_HUB_OFFLINE)" in out
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub_models, "search_hub", lambda words: ((), "unreachable"))
    assert run("instruct") == 0
    assert "★ HuggingFaceTB/SmolLM2-135M-Instruct: " in capsys.readouterr().out  # needs no Hub
    assert run("zzzzqq") == 0
    out = capsys.readouterr().out
    assert "No model matches “zzzzqq”." in out and "Hub not reachable" in out


def test_json_has_the_same_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("qwen3", "0.6b", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["hub"] == "offline"
    # Offline, only a model that needs no Hub can be recommended.
    assert document["recommended"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    first = document["models"][0]
    assert first["name"] == "Qwen/Qwen3-0.6B" and first["suitability"] == "fits"
    assert (first["license"], first["gated"], first["chat_template"]) == ("apache-2.0", False, True)


def test_models_are_judged_for_the_rows_of_a_data_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def list_for(words: int) -> tuple[dict[str, Any], str]:
        data = tmp_path / f"rows-{words}.jsonl"
        row = {"prompt": "word " * words, "completion": "answer"}
        rows = (json.dumps(row | {"completion": f"answer {n}"}) for n in range(40))
        data.write_text("\n".join(rows))
        assert run("qwen3", str(data), "--json") == 0
        models = json.loads(capsys.readouterr().out)["models"]
        assert run("instruct", str(data)) == 0
        return {model["name"]: model for model in models}, capsys.readouterr().out

    short, text = list_for(20)
    long, _ = list_for(6000)
    assert short.keys() == long.keys(), "the file is not a search term"
    assert short["Qwen/Qwen3-4B"]["memory"]["value"] < long["Qwen/Qwen3-4B"]["memory"]["value"]
    assert "Its size suits 32 training rows." in text
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert f"To train it: ftwizard train {tmp_path / 'rows-20.jsonl'} --model {name}\n" in text


def test_data_that_cannot_be_judged_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.jsonl"
    bad.write_text("{\n")
    good.write_text('{"prompt": "a", "completion": "b"}\n')
    for code, says, words in (
        (1, "Did you mean", ("qwen3", str(tmp_path / "god.jsonl"))),
        (1, f"To see why: ftwizard check {bad}", (str(bad),)),
        (2, "Name one of them.", (str(bad), str(good))),
    ):
        assert run(*words) == code
        text = capsys.readouterr()
        assert says in text.err and text.out == ""


def test_names_in_a_pipe_are_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert run("smollm2") == 0
    assert "  HuggingFaceTB/SmolLM2-360M-Instruct " in capsys.readouterr().out
