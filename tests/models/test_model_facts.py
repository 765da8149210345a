"""Models to choose from: the catalog, the Hugging Face cache, ftwizard's cache, and folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.models import model_facts, model_folder, pypi
from ftwizard.models.model_facts import ModelFacts, list_known_models, merge_models, read_folder

CONFIG = {
    "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
    "tie_word_embeddings": True,
}  # fmt: skip
COMMIT = "a" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and an empty cache of ftwizard."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


def write_model(folder: Path, *, weights: bool = True, **files: Any) -> Path:
    """Write a model folder; ``files`` by name with an underscore for each dot."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(files.pop("config", CONFIG)))
    if weights:
        (folder / "model.safetensors").write_bytes(b"")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def find(name: str) -> ModelFacts:
    return next(model for model in list_known_models() if model.name == name)


def cached(cache: Path, name: str, **files: Any) -> Path:
    snapshots = cache / f"models--{name.replace('/', '--')}" / "snapshots"
    return write_model(snapshots / COMMIT, **files)


def test_catalog_has_card_facts_and_unknown_ones_for_copies(cache: Path) -> None:
    llama, copy = find("meta-llama/Llama-3.2-1B-Instruct"), find("unsloth/Llama-3.2-1B-Instruct")
    assert (llama.license, llama.gated, llama.chat_template) == ("llama3.2", True, True)
    assert (copy.license, copy.gated, copy.chat_template) == (None, None, None)
    assert copy.copy_of == llama.name and copy.parameters == llama.parameters
    assert not llama.downloaded


def test_four_bit_copies_are_known_to_be_quantized(cache: Path) -> None:
    config = find("unsloth/Llama-3.2-1B-Instruct-bnb-4bit").config
    assert config is not None and config["quantization_config"]
    plain = find("unsloth/Llama-3.2-1B-Instruct").config
    assert plain is not None and "quantization_config" not in plain


def test_cached_model_has_the_facts_of_its_files(cache: Path) -> None:
    cached(
        cache, "acme/Tiny", tokenizer_config__json={"chat_template": "{{ messages }}"},
        README__md="---\nlicense: mit\nextra_gated_prompt: agree\n---\n# Tiny\nlicense: gpl\n",
    )  # fmt: skip
    tiny = find("acme/Tiny")
    assert (tiny.origin, tiny.downloaded, tiny.license, tiny.gated) == ("cache", True, "mit", True)
    assert tiny.chat_template is True and 4e8 < (tiny.parameters or 0) < 6e8


def test_cached_files_complete_a_model_of_the_catalog(cache: Path) -> None:
    cached(cache, "Qwen/Qwen3-0.6B", tokenizer_config__json={})
    model = find("Qwen/Qwen3-0.6B")
    assert model.downloaded and model.chat_template is False and model.license == "apache-2.0"
    names = [model.name for model in list_known_models()]
    assert names.count("Qwen/Qwen3-0.6B") == 1


def test_part_of_a_download_does_not_count_as_downloaded(cache: Path) -> None:
    cached(cache, "acme/Part", weights=False)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    cached(cache, "acme/Shards", model__safetensors__index__json=index)
    assert not find("acme/Part").downloaded and not find("acme/Shards").downloaded


def test_broken_and_hostile_files_in_the_cache_are_skipped(cache: Path) -> None:
    snapshot = cached(cache, "acme/Broken", README__md="---\nlicense: \x1b[31m\n---\n")
    (snapshot / "config.json").write_text("{")
    cached(
        cache, "acme/Odd", README__md="---\nlicense: \x1b[31mred\n---\n", config={"model_type": 3}
    )
    (cache / "models--no-slash").mkdir()
    odd = find("acme/Odd")
    assert odd.license is None and odd.parameters is None
    assert not [model for model in list_known_models() if model.name == "acme/Broken"]


@pytest.mark.parametrize(
    ("readme", "license"),
    [
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\r\nlicense: 'apache-2.0' # text\r\n---\r\n", "apache-2.0"),
        ("---\nlicense:\n- mit\n- bsd\n---\n", "mit"),
        ("---\nlicense_link: x\n---\n", None),
        ("license: mit\n", None),
        ("---\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_license_is_that_of_the_front_matter(
    tmp_path: Path, readme: str, license: str | None
) -> None:
    (tmp_path / "README.md").write_bytes(readme.encode())
    assert model_folder.read_card(tmp_path).license == license


def test_template_may_be_a_file_and_is_unknown_without_a_tokenizer(tmp_path: Path) -> None:
    assert model_folder.has_chat_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert model_folder.has_chat_template(tmp_path) is False
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert model_folder.has_chat_template(tmp_path) is True


def test_packaged_model_is_here_once_it_was_converted(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(iter(pypi.PACKAGED))
    assert (find(name).origin, find(name).downloaded) == ("package", False)
    monkeypatch.setattr(pypi, "is_fetched", lambda name: True)
    assert find(name).downloaded


def test_folder_has_facts_only_if_it_holds_a_model(tmp_path: Path) -> None:
    assert read_folder(tmp_path) is None
    assert read_folder(tmp_path / "missing") is None
    facts = read_folder(write_model(tmp_path / "model", chat_template__jinja="x"))
    assert facts is not None and facts.origin == "folder" and facts.downloaded
    assert facts.chat_template and facts.parameters


def test_later_facts_win_and_unknown_ones_do_not() -> None:
    older = ModelFacts(name="a/B", origin="catalog", license="mit", gated=True, config=CONFIG)
    newer = ModelFacts(name="A/b", origin="hub", gated=False, config={"model_type": "qwen2"})
    (merged,) = merge_models((older, newer))
    assert (merged.license, merged.gated, merged.origin) == ("mit", False, "catalog")
    assert merged.config == CONFIG and merged.name == "a/B"


def test_missing_cache_and_bad_variables_leave_the_catalog(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "~no-such-user/hub")
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path))
    assert len(list_known_models()) >= len(model_facts.list_catalog())
