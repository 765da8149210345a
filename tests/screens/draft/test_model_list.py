"""The list of models for a draft: answers, folders and the short suggestions of the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.hardware.machine import Gpu
from ftwizard.screens.draft import model_list
from ftwizard.screens.draft.drafts import Draft
from tests.helpers.machines import make_machine
from tests.models.test_model_facts import write_model

DRAFT = Draft(make_machine(Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 10**9)))


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("answer", "size"), [("tiny", "tiny"), ("large", "large"), ("medium", None), ("", None)]
)
def test_only_a_size_that_somebody_chose_counts(answer: str, size: str | None) -> None:
    assert model_list.build_basis(DRAFT.with_answers({"size": answer})).size == size


def test_chosen_settings_are_judged_as_they_are() -> None:
    chosen = DRAFT.with_recipe(method="full").with_touched("method")
    option = next(o for o in model_list.list_options(chosen) if o.name == "Qwen/Qwen3-4B")
    assert (option.method, option.suitability) == ("full", "too large")


def test_result_is_remembered_until_something_changes(tmp_path: Path) -> None:
    first = model_list.list_options(DRAFT)
    assert model_list.list_options(DRAFT) is first
    snapshot = tmp_path / "hub/models--acme--Tiny/snapshots" / ("a" * 40)
    write_model(snapshot, tokenizer_config__json={"chat_template": "x"})
    assert "acme/Tiny" in {option.name for option in model_list.list_options(DRAFT)}


def test_field_suggests_the_best_few_with_size_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    suggestions = model_list.build_suggester(DRAFT)("")
    assert len(suggestions) == model_list.MAX_INLINE
    value, name, note = suggestions[0]
    assert (value, name) == ("Qwen/Qwen3-4B-Instruct-2507", "★ Qwen/Qwen3-4B-Instruct-2507")
    assert note.startswith("4.0B  ✓ ") and note.endswith("apache-2.0")


def test_folders_complete_and_only_those_with_a_model_are_models(tmp_path: Path) -> None:
    write_model(tmp_path / "models/one", tokenizer_config__json={})
    (tmp_path / "models/two").mkdir()
    options = {option.name: option for option in model_list.search(DRAFT, "./models/")}
    assert set(options) == {"./models/one", "./models/two/"}
    assert options["./models/one"].downloaded and options["./models/one"].parameters
    inside = model_list.search(DRAFT, "./models/one/")
    assert [option.name for option in inside] == ["./models/one"]
    assert model_list.search(DRAFT, "./missing/") == []
    assert model_list.search(DRAFT, "~nobody-here/x") == []
