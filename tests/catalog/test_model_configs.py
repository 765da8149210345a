"""Model configurations: published parameter counts, and local files that take precedence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftwizard.catalog.model_configs import ModelConfig, configs, find_config
from ftwizard.catalog.model_configs import nearest_ids as configs_nearest
from ftwizard.catalog.sourced import load_asset
from ftwizard.errors import FtwizardError
from ftwizard.models import model_config
from ftwizard.models.architectures import build_shape
from ftwizard.text import make_visible

CONFIGS = configs()
PUBLISHED = {
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 4_300_079_472,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-27b-it": 27_432_406_640,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "openai/gpt-oss-20b": 20_914_757_184,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
}
"""Parameter counts of the Hub, llama.cpp or KerasHub."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_match_the_published_ones(name: str) -> None:
    result = find_config(name)
    assert result is not None and result.parameters == PUBLISHED[name]
    assert build_shape(result.config, name).parameters == PUBLISHED[name]


@pytest.mark.parametrize("entry", CONFIGS, ids=lambda item: str(item.ids[0]))
def test_every_configuration_is_dated_sourced_and_parsed(entry: ModelConfig) -> None:
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", entry.as_of) and len(entry.source) > 30
    shape = build_shape(entry.config, entry.source)
    loaded = entry.parameters - (871_932_416 if "Scout" in entry.name else 0)  # its vision tower
    assert shape.parameters == loaded
    text = entry.config.get("text_config", entry.config)
    assert 2048 < text["max_position_embeddings"] <= 10 * 2**20


def test_llama_4_scout_has_109_billion_parameters_with_vision() -> None:
    import torch
    from transformers import AutoConfig, Llama4ForConditionalGeneration

    result = find_config("meta-llama/Llama-4-Scout-17B-16E-Instruct")
    assert result is not None and result.parameters / 1e9 == pytest.approx(109, abs=0.5)
    read: Any = AutoConfig
    with torch.device("meta"):
        model: Any = Llama4ForConditionalGeneration(read.for_model(**result.config))
    assert sum(parameter.numel() for parameter in model.parameters()) == result.parameters


@pytest.mark.parametrize(
    ("name", "billions"),
    [("Llama-4-Scout-17B-16E", 17), ("Qwen3-30B-A3B", 3.3), ("gpt-oss-20b", 3.6)],
)
def test_active_parameters_match_the_published_ones(name: str, billions: float) -> None:
    """Model cards count the output layer, with or without the input embeddings."""
    result = next(entry for entry in CONFIGS if entry.ids[0].split("/")[1].startswith(name))
    shape = build_shape(result.config, name)
    without = shape.active - shape.vocabulary * shape.hidden
    assert result.active == billions
    assert without / 1e9 - 0.05 <= billions <= shape.active / 1e9 + 0.05


def test_model_ids_are_unique_and_case_insensitive() -> None:
    every = [name.lower() for entry in CONFIGS for name in entry.ids]
    assert len(every) == len(set(every)) > 100
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in every)
    result = find_config(" QWEN/qwen3-8b ")
    assert result is not None and result.name == "Qwen3 8B"
    assert find_config("Qwen/Qwen3-9B") is None and find_config("") is None


def test_context_length_differs_between_variants() -> None:
    def context(name: str) -> int:
        result = find_config(name)
        assert result is not None
        return int(result.config["max_position_embeddings"])

    assert context("Qwen/Qwen3-4B") == 40_960
    assert context("Qwen/Qwen3-4B-Base") == 32_768
    assert context("unsloth/Qwen3-4B-Instruct-2507-unsloth-bnb-4bit") == 262_144


def test_find_config_returns_a_copy() -> None:
    first = find_config("google/gemma-3-4b-it")
    assert first is not None
    first.config["text_config"]["hidden_size"] = 1
    second = find_config("google/gemma-3-4b-it")
    assert second is not None and second.config["text_config"]["hidden_size"] == 2560


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Qwen/NoSuch-Model-9B", r"Qwen/Qwen[^,]*, Qwen/Qwen"),
        ("meta-llama/Llama-3.1-8B-Instructt", r"meta-llama/Llama-3\.1-8B-Instruct,"),
        ("me-ta/Llama-3.1-8B-Instruct", r"meta-llama/Llama-3\.1-8B-Instruct"),
        ("zzz/0000", "^$"),
    ],
)
def test_nearest_ids_prefer_the_same_owner(name: str, near: str) -> None:
    assert re.search(near, ", ".join(configs_nearest(name)))


def test_every_source_is_used() -> None:
    sources = load_asset("model_configs.toml", dict[str, Any])["sources"]
    assert set(sources.values()) == {entry.source for entry in CONFIGS}


# ------------------------------------------------------------------------ local configurations

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def _write_cached(cache: Path, name: str, text: str, *, branch: str | None = "main") -> Path:
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(text)
    if branch:
        (folder / "refs").mkdir()
        (folder / "refs" / branch).write_text(COMMIT)
    return snapshot / "config.json"


def _with_layers(layers: int) -> str:
    result = find_config("Qwen/Qwen3-8B")
    assert result is not None
    return json.dumps({**result.config, "num_hidden_layers": layers})


def test_local_folder_config_is_read(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert model_config.read_config(str(tmp_path / "mine")) is None
    (tmp_path / "mine" / "config.json").write_text(_with_layers(2))
    result = model_config.read_config(str(tmp_path / "mine"))
    assert result is not None and result[0]["num_hidden_layers"] == 2 and "mine" in result[1]
    shape = model_config.read_shape(str(tmp_path / "mine"))
    assert shape is not None and shape.layers == 2
    assert model_config.read_config(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize("branch", ["main", None])
def test_hub_cache_takes_precedence_over_the_catalog(cache: Path, branch: str | None) -> None:
    cataloged = model_config.read_config("Qwen/Qwen3-8B")
    assert cataloged is not None and cataloged[0]["num_hidden_layers"] == 36
    assert "Qwen3 8B as of 2026" in cataloged[1]
    _write_cached(cache, "Qwen/Qwen3-8B", _with_layers(5), branch=branch)
    result = model_config.read_config("Qwen/Qwen3-8B")
    assert result is not None and result[0]["num_hidden_layers"] == 5
    assert "Hugging Face cache (commit 01234567)" in result[1]
    by_commit = model_config.read_config("Qwen/Qwen3-8B", COMMIT)
    assert by_commit is not None and by_commit[0]["num_hidden_layers"] == 5


def test_cached_config_is_read_only_for_its_branch(cache: Path) -> None:
    _write_cached(cache, "me/model", _with_layers(5), branch="draft")
    assert model_config.read_config("me/model", "draft") is not None
    assert model_config.read_config("me/model", "release") is None
    assert model_config.read_config("me/other") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is broken"),
        ("", "is broken"),
        ("[]", "is not a JSON object"),
        ("[" * 200_000, "is broken"),
        ('{"hidden_size": ' + "1" * 5_000 + "}", "is broken"),
        ("{" + " " * 5_000_000 + "}", "more than any model needs"),
    ],
)
def test_broken_config_raises_a_readable_error(cache: Path, text: str, message: str) -> None:
    _write_cached(cache, "Qwen/Qwen3-8B", text)
    with pytest.raises(FtwizardError, match=message) as caught:
        model_config.read_config("Qwen/Qwen3-8B")
    assert "config.json of Qwen/Qwen3-8B" in caught.value.message and caught.value.hint


def test_binary_config_and_pipe_raise_readable_errors(cache: Path) -> None:
    path = _write_cached(cache, "me/model", "")
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FtwizardError, match="is broken"):
        model_config.read_config("me/model")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FtwizardError, match="is not a file"):
        model_config.read_config("me/model")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.text(max_size=30) | st.sampled_from(["../a", "a/../b", "/", "a/b/c", "~", "x\0y"]),
    revision=st.none() | st.text(max_size=20) | st.sampled_from(["../main", "a/../../b"]),
)
def test_any_name_and_revision_fail_without_a_traceback(
    cache: Path, name: str, revision: str | None
) -> None:
    try:
        result = model_config.read_config(name, revision)
    except FtwizardError as error:
        assert make_visible(error.message) == error.message
    else:
        assert result is None or isinstance(result[0], dict)


def test_revision_cannot_escape_the_refs_folder(cache: Path) -> None:
    _write_cached(cache, "me/model", _with_layers(5))
    secret = cache / "models--me--model" / "secret"
    secret.write_text(COMMIT)
    assert model_config.read_config("me/model", "../secret") is None


def test_reading_a_shape_imports_no_heavy_packages() -> None:
    code = (
        "import sys; from ftwizard.models import model_config; model_config.read_shape('Qwen/Qwen3-8B');"
        "print(*{'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
