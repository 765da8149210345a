"""The list of models: search, choice, folders, and a Hub that answers, hangs or is away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan import schema
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.draft import live_estimate
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.menu import Menu
from ftwizard.screens.wizard.recipe import models
from ftwizard.screens.wizard.recipe.models import ModelsPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from tests.doubles import hub_models as double
from tests.doubles.hub_models import ModelHub, describe_model
from tests.helpers.machines import make_machine
from tests.models.test_model_facts import write_model
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.wizard.data.reports import report

GPU = make_machine(Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 10**9))
Play = Callable[[Pilot[Any], ModelsPage], Any]


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    live_estimate.load_shape.cache_clear()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A reachable Hub with two models that are not in the catalog."""
    models = (
        describe_model("acme/Zebra-0.5B-Chat"),
        describe_model(
            "acme/Zebra-Encoder", config={"model_type": "bert"}, config_json={"model_type": "bert"}
        ),
    )
    with double.serve(*models) as server:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        yield server


def on_list(
    play: Play,
    size: tuple[int, int] = (80, 24),
    *,
    ascii: bool = False,
    model: str = "Qwen/Qwen3-0.6B",
    machine: MachineInfo = GPU,
) -> str:
    """Open the list from the recipe page, play, and return the last frame."""
    files = schema.Files(train="/data/rows.jsonl")
    draft = Draft(machine).with_plan(model=schema.Model(name=model))
    draft = draft.with_check(files, report("x"))

    async def whole(pilot: Pilot[Any]) -> None:
        recipe = RecipePage(draft)
        pilot.app.push_screen(recipe)
        await until(pilot, lambda: pilot.app.screen is recipe and recipe.is_mounted)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(pilot.app.screen, ModelsPage))
        page = pilot.app.screen
        assert isinstance(page, ModelsPage)
        await until(pilot, lambda: page._listed_for is not None)
        await play(pilot, page)

    return drive(FtwizardApp(ascii=ascii), size, whole)


def chosen(page: ModelsPage) -> str | None:
    return page.query_one(Menu).chosen


async def type_words(pilot: Pilot[Any], page: ModelsPage, words: str) -> None:
    page.query_one(Input).value = words
    await until(pilot, lambda: page._listed_for == words)


async def wait_for_recipe(pilot: Pilot[Any], model: str) -> RecipePage:
    await until(pilot, lambda: isinstance(pilot.app.screen, RecipePage))
    page = pilot.app.screen
    assert isinstance(page, RecipePage)
    await until(pilot, lambda: page.query_one(FileInput).value == model)
    return page


def _mask(number: re.Match[str]) -> str:
    return "#" * min(2, len(number[0]))


@pytest.mark.parametrize(
    ("name", "size", "ascii"),
    [
        ("models-80x24", (80, 24), False), ("models-ascii-60x16", (60, 16), True),
        ("models-160x50", (160, 50), False),
    ],
)  # fmt: skip
def test_list_shows_what_suits_first_and_explains_it(
    name: str, size: tuple[int, int], ascii: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")  # nothing is typed, so nothing is asked

    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await wait_for_text(pilot, "Recommended")

    shown = on_list(play, size, ascii=ascii)
    # Estimates of memory are tested on their own; here only their place counts.
    masked = re.sub(r"[\d.]+(?=(?:–[\d.]+)? GB)|(?<=–)[\d.]+(?= GB)", _mask, shown)
    masked = re.sub(r" *[▁-█]?$", "", masked, flags=re.MULTILINE)  # the scrollbar shifts with them
    assert_frame(name, masked)


def test_typing_filters_and_enter_sets_the_model_and_its_advice() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await pilot.press(*"lama 70b")
        await until(pilot, lambda: "Llama-3.1-70B" in (chosen(page) or ""))
        assert "GB too large" in frame(pilot.app)
        await type_words(pilot, page, "qwen3 14b")
        assert chosen(page) == "Qwen/Qwen3-14B"
        await pilot.press("enter")
        await wait_for_recipe(pilot, "Qwen/Qwen3-14B")
        await wait_for_text(pilot, "QLoRA: an adapter on the 4-bit model")

    on_list(play)


def test_part_of_a_name_opens_the_list_rather_than_failing_on_the_next_page() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await pilot.press("escape")
        recipe = await wait_for_recipe(pilot, "Qwen/Qwen3-0.6B")
        line = recipe.query_one(FileInput)
        line.focus_input()
        line.query_one(Input).value = ""
        await pilot.press(*"qwen3 14b", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ModelsPage))
        listed = pilot.app.screen
        assert isinstance(listed, ModelsPage)
        await until(pilot, lambda: listed._listed_for == "qwen3 14b")
        assert chosen(listed) == "Qwen/Qwen3-14B"
        await pilot.press("enter")
        await wait_for_recipe(pilot, "Qwen/Qwen3-14B")

    on_list(play)


def test_escape_keeps_the_model() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await pilot.press(*"gemma", "down", "escape")
        await wait_for_recipe(pilot, "Qwen/Qwen3-0.6B")

    on_list(play)


def test_enter_counts_what_was_typed_before_it_in_one_piece() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        page.query_one(Input).value = "smollm2 360m instruct"
        page.action_enter()
        await wait_for_recipe(pilot, "HuggingFaceTB/SmolLM2-360M-Instruct")

    on_list(play)


def test_model_that_cannot_be_trained_is_listed_but_not_taken() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await type_words(pilot, page, "llama 1b instruct unsloth bnb")
        assert "✗ quantized" in frame(pilot.app)
        await pilot.press("enter")
        await wait_for_text(pilot, "Adapters need 16-bit weights")
        assert pilot.app.screen is page

    on_list(play, (100, 30))


def test_unlisted_id_can_be_used_as_typed() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await type_words(pilot, page, "acme/private-7b")
        await wait_for_text(pilot, "use acme/private-7b as typed")
        await pilot.press("enter")
        await wait_for_recipe(pilot, "acme/private-7b")

    on_list(play)


def test_nothing_matches_and_enter_does_nothing() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await type_words(pilot, page, "zzzz qq")
        await wait_for_text(pilot, "no model matches")
        await pilot.press("enter", "tab", "up", "pagedown")
        assert pilot.app.screen is page

    on_list(play)


def test_path_completes_and_a_model_folder_is_chosen(tmp_path: Path) -> None:
    write_model(tmp_path / "mine" / "tuned", tokenizer_config__json={"chat_template": "x"})

    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await type_words(pilot, page, "./mi")
        await pilot.press("tab")
        await until(pilot, lambda: page._listed_for == "./mine/")
        assert chosen(page) == "./mine/tuned"
        assert "◆ ./mine/tuned" in frame(pilot.app)
        await pilot.press("enter")
        await wait_for_recipe(pilot, "./mine/tuned")

    on_list(play)


def test_hub_results_join_the_list_and_their_memory_follows(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        # No pause of a busy machine between two keys may look like the end of typing.
        monkeypatch.setattr(models, "DEBOUNCE_S", 3600.0)
        await pilot.press(*"zebr")
        monkeypatch.setattr(models, "DEBOUNCE_S", 0.0)
        await pilot.press("a")
        await until(pilot, lambda: chosen(page) == "acme/Zebra-0.5B-Chat")
        await wait_for_text(pilot, "GB to spare")
        await wait_for_text(pilot, "✗ encoder")
        await pilot.press("enter")
        recipe = await wait_for_recipe(pilot, "acme/Zebra-0.5B-Chat")
        await until(pilot, lambda: bool(recipe._advised))
        assert live_estimate.load_shape("acme/Zebra-0.5B-Chat") is not None

    on_list(play)
    assert hub.searches == ["zebra"], "the Hub is asked once typing pauses, not for each key"


def test_hanging_hub_never_blocks_typing_or_leaving(hub: ModelHub) -> None:
    hub.released.clear()

    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await pilot.press(*"qwen3")
        await wait_for_text(pilot, "searching the Hub")
        await type_words(pilot, page, "qwen3 8b")
        assert chosen(page) == "Qwen/Qwen3-8B"
        await pilot.press("enter")
        await wait_for_recipe(pilot, "Qwen/Qwen3-8B")
        hub.released.set()

    on_list(play)


def test_unreachable_hub_is_named_quietly(hub: ModelHub) -> None:
    hub.status = 503

    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await pilot.press(*"qwen3")
        await wait_for_text(pilot, "Hub not reachable")
        assert chosen(page) is not None
        await type_words(pilot, page, "instruct")
        await until(pilot, lambda: "SmolLM2-135M" in (chosen(page) or ""))  # needs no Hub

    on_list(play, (100, 30))


def test_offline_mode_is_named() -> None:
    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await pilot.press(*"qwen3")
        await wait_for_text(pilot, "Hub off (HF_HUB_OFFLINE)")

    on_list(play, (100, 30))


def test_hostile_folder_name_is_visible(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m\x1b[31m[bold]", README__md="---\nlicense: \x1b[0m\n---\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "\x1b[31m"}))

    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        await type_words(pilot, page, "./m")
        await wait_for_text(pilot, "[bold]")
        assert "\x1b" not in frame(pilot.app)

    on_list(play)


def test_chosen_hub_model_refreshes_the_advice_once_its_configuration_is_read(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "acme/Zebra-0.5B-Chat"
    monkeypatch.setattr(models, "DEBOUNCE_S", 3600.0)

    async def play(pilot: Pilot[Any], page: ModelsPage) -> None:
        page.query_one(Input).value = name
        page.action_enter()  # before the Hub was asked
        recipe = await wait_for_recipe(pilot, name)
        await until(pilot, lambda: live_estimate.load_shape(name) is not None)
        await wait_for_text(pilot, "GB of 24.0 GB")  # the preview knows its memory
        assert recipe.is_attached

    on_list(play)
    assert not hub.searches


def test_without_the_hub_the_first_suggestion_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there

    async def play(pilot: Pilot[Any]) -> None:
        recipe = RecipePage(Draft(GPU))
        pilot.app.push_screen(recipe)
        await until(pilot, lambda: pilot.app.screen is recipe and recipe.is_mounted)
        menu = recipe.query_one(Menu)
        await until(pilot, lambda: menu.chosen == "HuggingFaceTB/SmolLM2-135M-Instruct")

    drive(FtwizardApp(), (80, 24), play)
