"""The model question line by line: the best choices, a search, and any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.hardware.machine import Gpu
from ftwizard.plan import schema
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain import recipe
from ftwizard.screens.plain.prompts import BACK, OTHER, UserQuit
from tests.helpers.machines import make_machine
from tests.screens.plain.scripted import Scripted

DRAFT = Draft(make_machine(Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 10**9)))


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))


def test_enter_takes_the_recommended_model(capsys: pytest.CaptureFixture[str]) -> None:
    draft = recipe.ask_model(Scripted(""), DRAFT)
    assert draft.plan.model.name == "HuggingFaceTB/SmolLM2-135M-Instruct"  # needs no Hub
    assert "Recommended: HuggingFaceTB/SmolLM2-135M-Instruct." in capsys.readouterr().out


def test_search_lists_the_matches_and_the_state_of_the_hub(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = Scripted(recipe.SEARCH, "qwen3 8b", "")
    draft = recipe.ask_model(asked, DRAFT)
    assert draft.plan.model.name == "Qwen/Qwen3-8B"
    assert asked.questions == ["Model", recipe.SEARCH_QUESTION, "Model"]
    assert "Hub off (HF_HUB_OFFLINE)" in capsys.readouterr().out


def test_search_without_matches_asks_again(capsys: pytest.CaptureFixture[str]) -> None:
    asked = Scripted(recipe.SEARCH, "zzzzqq", recipe.SEARCH, "", "Qwen/Qwen3-4B")
    assert recipe.ask_model(asked, DRAFT).plan.model.name == "Qwen/Qwen3-4B"
    assert "No model matches “zzzzqq”." in capsys.readouterr().out


def test_model_that_cannot_be_trained_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    name = "unsloth/Qwen3-0.6B-bnb-4bit"
    asked = Scripted(recipe.SEARCH, name, name, OTHER, "acme/mine")
    assert recipe.ask_model(asked, DRAFT).plan.model.name == "acme/mine"
    assert f"{name} is quantized" in capsys.readouterr().out


def test_back_from_the_search_keeps_the_question_and_the_model_stays_first() -> None:
    named = DRAFT.with_plan(model=schema.Model(name="acme/mine"))
    asked = Scripted(recipe.SEARCH, BACK, "")
    assert recipe.ask_model(asked, named).plan.model.name == "acme/mine"
    with pytest.raises(UserQuit):
        recipe.ask_model(Scripted(), named)
