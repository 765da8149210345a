"""The cost page: frames at several sizes, keys, and errors in the price file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard import locations
from ftwizard.catalog.prices import packaged
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import schema
from ftwizard.pricing import gpu_costs, machine_rate
from ftwizard.pricing.offer import Volume
from ftwizard.quantity import Figure
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.chart.widget import Chart
from ftwizard.screens.costs import inputs
from ftwizard.screens.costs import table as cost_table
from ftwizard.screens.costs import text as cost_texts
from ftwizard.screens.costs.page import CostsPage, VolumeDialog
from ftwizard.screens.costs.table import Order
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.widgets.menu import Menu
from tests.helpers.estimates import make_report
from tests.screens.costs.helpers import (
    COLUMN_IDS,
    ESTIMATE,
    FACTS,
    MONTH,
    TODAY,
    checked,
    counted,
    offers,
)
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_input, wait_for_text
from tests.screens.hostile import choose_texts, obeyed, too_wide

Play = Callable[[Pilot[Any], CostsPage], Any]
BIG = (160, 50)


@pytest.fixture
def handmade_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "compute_offers", offers)


def on_page(
    draft: Draft, size: tuple[int, int], play: Play | None = None, *, ascii: bool = False
) -> str:
    """Show the page alone, play, and return the last frame."""

    async def whole(pilot: Pilot[Any]) -> None:
        page = CostsPage(draft, TODAY)
        pilot.app.push_screen(page)
        await until(pilot, lambda: page.is_mounted and "provider" in frame(pilot.app))
        if play is not None:
            await play(pilot, page)
            await pilot.pause()

    return drive(FtwizardApp(ascii=ascii), size, whole)


async def enter_volume(pilot: Pilot[Any], requests: str = "2M") -> None:
    await pilot.press("v")
    await wait_for_input(pilot, VolumeDialog)
    await pilot.press(*requests, "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, CostsPage))
    await until(pilot, lambda: "sets a monthly" not in frame(pilot.app))


def list_names(shown: str) -> list[str]:
    """Return the names of the offers that a frame shows, in order."""
    names = [offer.name for offer in offers(inputs.build_basis(counted(), TODAY))]
    lines = shown.split("\n")
    return [name for line in lines for name in names if line[5:].startswith(f"{name} ")]


# ---------------------------------------------------------------------- frames and content


@pytest.mark.parametrize(
    ("name", "size", "keys"),
    [
        ("costs-80x24", (80, 24), ""),
        ("costs-60x16", (60, 16), ""),
        ("costs-160x50", BIG, ""),
        ("costs-month-80x24", (80, 24), "v"),
        ("costs-month-160x50", BIG, "v"),
        ("costs-plot-80x24", (80, 24), "vp"),
        ("costs-plot-60x16", (60, 16), "vp"),
        ("costs-ascii-80x24", (80, 24), "vp"),
        ("costs-sorted-100x40", (100, 40), "ssssr"),
    ],
)
@pytest.mark.usefixtures("handmade_offers")
def test_cost_page_matches_its_stored_frames(name: str, size: tuple[int, int], keys: str) -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        for key in keys:
            await (enter_volume(pilot) if key == "v" else pilot.press(key))
            await pilot.pause()

    shown = on_page(counted(), size, play, ascii="ascii" in name)
    assert_frame(name, shown)
    assert not too_wide(shown, size[0])
    assert "ascii" not in name or shown.isascii()


@pytest.mark.usefixtures("handmade_offers")
def test_volume_dialog_matches_its_frame() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("v")
        await wait_for_text(pilot, "Requests per month")
        await pilot.press("enter")

    assert_frame("costs-volume-80x24", on_page(counted(), (80, 24), play))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(60, 16), BIG])
def test_cursor_reaches_every_real_offer_and_shows_its_details(size: tuple[int, int]) -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        menu = page.query_one(Menu)
        await pilot.press("home")
        recorded: list[str | None] = []
        while not recorded or recorded[-1] != menu.chosen:
            recorded.append(menu.chosen)
            name = next(
                offer.name for offer in page._offers if cost_table.get_key(offer) == menu.chosen
            )
            # in the table, and below it
            await until(pilot, lambda name=name: frame(pilot.app).count(name) >= 2)  # type: ignore[misc]
            shown = frame(pilot.app)
            assert not too_wide(shown, size[0])
            await pilot.press("down")
        assert len(recorded) == len(page._offers)

    on_page(counted(), size, play)


def test_other_edition_reproduces_the_figures_of_the_article() -> None:
    basis = inputs.build_basis(counted(), TODAY).with_other_edition()
    offers = inputs.compute_offers(basis, packaged())
    layout = cost_table.build_layout(offers, Order("training"), 80, monthly=False)
    lines = [layout.line(item, star=False).plain for item in offers]
    for name, cost in (
        ("GPT-4.1", "$13.50"), ("GPT-4.1-mini", "$3.60"), ("GPT-4o", "$112.50"),
        ("Llama 3.3 8B", "$20.25"), ("Gemini 2.5 Flash", "unknown"),
    ):  # fmt: skip
        assert any(f"{name} " in line and cost in line for line in lines), name


def test_unknown_costs_are_never_shown_as_zero() -> None:
    basis = inputs.build_basis(Draft(FACTS), TODAY)
    offers = inputs.compute_offers(basis, packaged())
    layout = cost_table.build_layout(offers, Order(), 200, monthly=True)
    text = [layout.line(item, star=False).plain for item in offers]
    text += [cost_texts.format_detail(item, basis, star=False, width=100).plain for item in offers]
    assert not any("$0.00" in item or "None" in item for item in text)
    assert all(
        "unknown" in item or "no rent" in item or "/h" in item for item in text[: len(offers)]
    )
    assert "so the training cost is unknown" in on_page(Draft(FACTS), BIG)


def test_costs_use_the_checked_tokens_without_an_estimate() -> None:
    basis = inputs.build_basis(checked(), TODAY)
    assert basis.load is not None and basis.load.tokens.value == round(812_345 * 0.8)
    assert basis.usual == Volume(tokens_in=Decimal(229), tokens_out=Decimal(224))
    assert "about 1,949,628 tokens (649,876 × 3 epochs)" in on_page(checked(), (80, 24))


def test_costs_use_the_hours_and_tokens_of_the_estimate() -> None:
    draft, hours = counted(), Figure(value=7, unit="h", low=5, high=9, source="forecast")
    result = {
        **ESTIMATE,
        "costs": [{"card": "h100-80gb", "hours": msgspec.to_builtins(hours)}, {"card": None}],
        "by_model": {"openai/gpt-4.1-mini": {"value": 10**6, "low": 9 * 10**5, "high": 2 * 10**6}},
    }
    basis = inputs.build_basis(draft.with_estimate(make_report(**result)), TODAY)
    assert basis.query.hours == {"h100-80gb": hours}
    by_name = {offer.name: offer for offer in inputs.compute_offers(basis, packaged())}
    assert by_name["H100 80 GB on demand"].hours == hours
    assert by_name["A100 40 GB on demand"].training is None
    mini = by_name["OpenAI GPT-4.1-mini"]
    assert mini.training and "3,000,000 tokens" in mini.training.source


def test_too_large_model_is_shown_as_not_fitting() -> None:
    gpu = Gpu(name="Tesla T4", memory=15_360 * 2**20)
    facts = msgspec.structs.replace(FACTS, gpus=(gpu,))
    name = "meta-llama/Llama-3.3-70B-Instruct"
    draft = replace(checked(), machine=facts).with_plan(model=schema.Model(name=name))
    draft = draft.with_recipe(method="qlora").with_hour_price(machine_rate.parse_typed_price("1"))
    basis = inputs.build_basis(draft, TODAY).with_query(volume=MONTH)
    result = {offer.name: offer for offer in inputs.compute_offers(basis, packaged())}
    column = {id: cost_table.COLUMNS[id].cell for id in ("training", "monthly")}
    for name in ("This machine", "A100 40 GB on demand"):
        assert column["training"](result[name]) == column["monthly"](result[name]) == "does not fit"
        text = cost_texts.format_detail(result[name], basis, star=False, width=200).plain
        assert "does not fit on this" in text and "16-bit weights take 141.1 GB" in text
        assert "unknown" not in text and "not known" not in text
    assert column["training"](result["A100 80 GB on demand"]).startswith("$")
    text = cost_texts.format_detail(
        result["OpenAI GPT-4.1-mini"], basis, star=False, width=200
    ).plain
    assert "break-even  unknown  The 16-bit weights need 141.1 GB" in text
    counted_ = {
        "costs": [{"card": "a100-40gb", "hours": None, "too_small": True}], "parameters": 70 * 10**9
    }  # fmt: skip
    assert inputs.build_basis(
        counted().with_estimate(make_report(**{**ESTIMATE, **counted_})), TODAY
    ).query.too_small


def test_request_size_has_a_default_without_checked_rows() -> None:
    basis = inputs.build_basis(Draft(FACTS), TODAY)
    assert basis.usual == Volume(tokens_in=Decimal(300), tokens_out=Decimal(150))
    assert not basis.measured


@pytest.mark.parametrize(
    ("provider", "starts"), [("openai", "OpenAI"), ("local", "A100"), ("cloud", "")]
)
def test_cursor_starts_at_the_recommended_provider(provider: Any, starts: str) -> None:
    def has_cursor_on(shown: str) -> bool:
        return any(line.startswith(f" ▸ ● {starts}") for line in shown.split("\n"))

    assert has_cursor_on(on_page(counted().with_recommendation(provider), (80, 24)))


# --------------------------------------------------------------------------- keys


@pytest.mark.usefixtures("handmade_offers")
def test_s_cycles_through_every_sort_column() -> None:
    words: list[str] = []

    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await enter_volume(pilot)
        for column in cost_table.list_columns(monthly=True):
            shown = frame(pilot.app)
            words.append(column.order_text)
            assert f"· {column.order_text}" in shown
            assert f"{column.name}↑" in shown or f"↑{column.name}" in shown
            await pilot.press("s")
        assert "· by provider" in frame(pilot.app)

    on_page(counted(), (80, 24), play)
    assert len(set(words)) == len(COLUMN_IDS)


@pytest.mark.usefixtures("handmade_offers")
def test_r_reverses_the_order_and_keeps_unknown_costs_last() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("s")
        up = list_names(frame(pilot.app))
        await pilot.press("r")
        down = list_names(frame(pilot.app))
        assert up[:4] == ["Together 8B", "A100 40 GB on demand", "OpenAI small", "OpenAI large"]
        assert down[:4] == up[3::-1]
        assert down[4:] == up[4:] and up[-1] == "OpenAI gone"

    on_page(counted(), BIG, play)


@pytest.mark.usefixtures("handmade_offers")
def test_sorting_keeps_the_cursor_on_top_until_it_is_moved() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        menu = page.query_one(Menu)
        await pilot.press("s")
        assert menu.cursor == 0
        await pilot.press("r")
        assert menu.cursor == 0
        await pilot.press("down")
        chosen = menu.chosen
        await pilot.press("s")
        assert menu.chosen == chosen

    on_page(counted(), (80, 24), play)


def test_edition_without_the_selected_offer_selects_the_recommended_offer() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        menu = page.query_one(Menu)
        for _ in range(2):
            await pilot.press("e")
            await pilot.pause()
            assert any(cost_table.get_key(offer) == menu.chosen for offer in page._offers)
            assert menu.chosen == page._recommended

    on_page(counted(), (80, 24), play)


@pytest.mark.usefixtures("handmade_offers")
def test_cursor_stays_on_its_offer_across_changes() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("down", "down")
        chosen = page.query_one(Menu).chosen
        for key in "ssresrd":
            await pilot.press(key)
            assert page.query_one(Menu).chosen == chosen

    on_page(counted(), (80, 24), play)


def test_details_show_the_other_edition_and_mark_old_prices() -> None:
    month = Volume(tokens_in=Decimal(500), tokens_out=Decimal(100), requests=Decimal(100_000))
    basis = inputs.build_basis(counted(), TODAY).with_query(volume=month)
    result = {offer.name: offer for offer in inputs.compute_offers(basis, packaged())}

    def text_of(name: str) -> str:
        text = cost_texts.format_detail(result[name], basis, star=False, width=300).plain
        return " ".join(text.split())

    gpu = text_of("A100 40 GB on demand")
    assert "$2.74" in gpu and "$3.50" in gpu and "$2,555" in gpu
    assert gpu.count("other edition") == 4, "training, setup, month and hour"
    assert "as of 2026-04 (! over 90 days old)" in gpu and "$3–6 for the training itself" in gpu
    assert "from 946,297 other edition" in text_of("OpenAI GPT-4.1")
    assert "since 2024-08-20" in text_of("OpenAI GPT-4o")
    assert "since unknown" not in text_of("OpenAI GPT-4.1")
    assert "model the figures are for " in gpu


def test_d_toggles_the_data_sharing_discount() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("d")
        await wait_for_text(pilot, "Enable data sharing before you create the job")
        assert "data sharing" in frame(pilot.app)
        mini = next(offer for offer in page._offers if offer.name == "OpenAI GPT-4.1-mini")
        assert mini.input and mini.input.value == 0.4
        await pilot.press("d")
        await wait_for_text(pilot, "OpenAI's discount is off.")
        assert "data sharing" not in frame(pilot.app)

    on_page(counted(), BIG, play)


@pytest.mark.parametrize("answer", ["stay", "own-cloud"])
def test_confidential_data_gets_no_discount_and_a_reason(answer: str) -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("d")
        await wait_for_text(pilot, "your answers keep the data")
        assert not page._basis.query.share_data

    on_page(counted(data=answer), BIG, play)


def test_invalid_volume_is_explained_and_esc_sets_no_volume() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("v")
        await wait_for_text(pilot, "averages of your data")
        assert [item.value for item in pilot.app.screen.query(Input)] == ["", "200", "100"]
        await pilot.press(*"many", "enter")
        await wait_for_text(pilot, "“many” is not a number")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)
        assert page._basis.query.volume is None

    on_page(counted(), (80, 24), play)


@pytest.mark.usefixtures("handmade_offers")
def test_command_palette_lists_the_key_actions() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await enter_volume(pilot)
        offered = {command.title for command in pilot.app.get_system_commands(page)}
        assert {"Sort", "Reverse", "Edition", "Volume", "Discount", "Plot", "Back"} <= offered

    on_page(counted(), (80, 24), play)


def test_recomputing_the_offers_takes_under_half_a_second() -> None:
    basis, prices = inputs.build_basis(counted(), TODAY), packaged()
    inputs.compute_offers(basis, prices)  # loads the packaged prices
    began = time.process_time()
    for _ in range(20):
        inputs.compute_offers(basis.with_other_edition(), prices)
    assert (time.process_time() - began) / 20 < 0.5, "the limit is ten times the target"


# --------------------------------------------------------------------- price file of the user


def write_prices(text: str) -> Path:
    folder = locations.config_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def test_typo_in_the_price_file_is_shown_and_its_prices_ignored() -> None:
    write_prices(
        '[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1-mini"\nkind = "trainig"\nusd = 5\n'
    )

    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert "trainig" in frame(pilot.app) and "training" in frame(pilot.app)
        await pilot.press("enter")
        await wait_for_text(pilot, "! your prices are ignored")
        assert page._offers

    on_page(counted(), (80, 24), play)


def test_user_price_is_used_and_shown_with_its_source() -> None:
    write_prices(
        '[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1-mini"\nkind = "training"\nusd = 2\n'
    )
    shown = on_page(counted(), BIG)
    assert "$9.00" in shown and "your own" in shown


@pytest.mark.slow
def test_hostile_price_notes_and_folders_are_shown_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CONFIG", str(tmp_path / "][bold]\x1b]52;c;b3=\x07\u202e["))

    async def play(pilot: Pilot[Any]) -> None:
        for name, bad in choose_texts("prices").items():
            if "\ud800" in bad:  # TOML does not allow it
                continue
            text = "".join(f"\\U{ord(char):08x}" for char in bad[:2000])
            write_prices(
                '[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1-mini"\nkind = "training"\n'
                f'usd = 2\nsource = "{text}"\nnote = "{text}"\n'
            )
            pilot.app.push_screen(CostsPage(counted(), TODAY))
            await wait_for_text(pilot, "your own")
            shown = frame(pilot.app)
            assert "seen" in shown, name
            assert not obeyed(shown) and not too_wide(shown, BIG[0]), name
            await pilot.press("escape")

    drive(FtwizardApp(), BIG, play)


def test_hostile_model_name_is_shown_safely() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        for name, bad in choose_texts("costs").items():
            report = make_report(**ESTIMATE | {"model": {"said": bad}})
            pilot.app.push_screen(CostsPage(counted().with_estimate(report), TODAY))
            await wait_for_text(pilot, "4,500,000 tokens")
            shown = frame(pilot.app)
            assert not obeyed(shown) and not too_wide(shown, 80), name
            await pilot.press("escape")

    drive(FtwizardApp(), (80, 24), play)


def test_details_name_source_and_date_of_every_figure() -> None:
    basis = inputs.build_basis(counted(), TODAY).with_query(volume=MONTH)
    for offer in inputs.compute_offers(basis, packaged()):
        text = " ".join(
            cost_texts.format_detail(offer, basis, star=False, width=2000).plain.split()
        )
        for name in ("training", "other_training", "input", "output", "hosting", "setup"):
            figure = getattr(offer, name)
            if figure is not None and not (
                offer.provider == "local" and name in ("input", "output")
            ):
                assert figure.as_of is not None and f"as of {figure.as_of}" in text
                assert " ".join(figure.source.split()[:4]) in text
        notes = [note for note in offer.notes if note != gpu_costs.PRICE_NOT_SET]
        assert all(msgspec.to_builtins(note)[:40] in text for note in notes)
        assert (cost_texts.PRICE_HINT in text) == (notes != list(offer.notes)), (
            "the page replaces this note with a key hint"
        )


@pytest.mark.parametrize(
    ("model", "answers", "machine"),
    [
        ("Qwen/Qwen3-0.6B", {}, True), ("Qwen/Qwen3-8B", {}, False), ("", {}, True),
        ("Qwen/Qwen3-8B", {"data": "stay"}, True), ("", {"size": "medium"}, False),
        ("Qwen/Qwen3-8B", {"gpu_elsewhere": "own"}, True),
    ],
)  # fmt: skip
def test_without_a_gpu_this_machine_is_recommended_for_what_it_can_train(
    model: str, answers: dict[str, str], machine: bool
) -> None:
    draft = checked().with_plan(model=schema.Model(name=model)).with_answers(answers)
    basis = inputs.build_basis(draft, TODAY)
    offers = inputs.compute_offers(basis, inputs.load_prices(TODAY)[0])
    star = inputs.find_recommended(offers, basis)
    assert star and (star.name == "This machine") == machine
    own = next(item for item in offers if item.name == "This machine")
    assert own.training is None, "its price is not set"
    assert bool(own.hours) != own.too_small


def test_esc_closes_the_plot_before_the_page() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        page._basis = page._basis.with_query(volume=MONTH)
        page._compute()
        page._show()
        await until(pilot, lambda: not page.query_one(Chart).empty)
        await pilot.press("p")
        await until(pilot, lambda: page.query_one(Chart).display)
        await pilot.press("escape")
        await until(pilot, lambda: not page.query_one(Chart).display)
        assert pilot.app.screen is page

    on_page(counted(), (80, 24), play)
