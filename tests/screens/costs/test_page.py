"""The page of costs: what it shows at any size, what its keys do, and what is wrong with prices."""

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
from ftwizard.screens.wizard.provider.page import UnsupportedProviderPage
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
from tests.screens.frames import asked, assert_frame, drive, frame, says, until
from tests.screens.hostile import TEXTS, obeyed, too_wide

Play = Callable[[Pilot[Any], CostsPage], Any]
BIG = (160, 50)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def say_volume(pilot: Pilot[Any], requests: str = "2M") -> None:
    await pilot.press("v")
    await asked(pilot, VolumeDialog)
    await pilot.press(*requests, "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, CostsPage))
    await until(pilot, lambda: "sets a monthly" not in frame(pilot.app))


def table(shown: str) -> list[str]:
    """Return the names of the rows that a frame shows, in order."""
    names = [offer.name for offer in offers(inputs.build_basis(counted(), TODAY))]
    lines = shown.split("\n")
    return [name for line in lines for name in names if line[5:].startswith(f"{name} ")]


# ---------------------------------------------------------------------- what is shown


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
@pytest.mark.usefixtures("by_hand")
def test_frames(name: str, size: tuple[int, int], keys: str) -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        for key in keys:
            await (say_volume(pilot) if key == "v" else pilot.press(key))
            await pilot.pause()

    shown = on_page(counted(), size, play, ascii="ascii" in name)
    assert_frame(name, shown)
    assert not too_wide(shown, size[0])
    assert "ascii" not in name or shown.isascii()


@pytest.mark.usefixtures("by_hand")
def test_frame_of_a_volume_that_is_asked_for() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("v")
        await says(pilot, "Requests per month")
        await pilot.press("enter")

    assert_frame("costs-volume-80x24", on_page(counted(), (80, 24), play))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(60, 16), BIG])
def test_every_real_offer_is_reached_and_said_in_full(size: tuple[int, int]) -> None:
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


def test_the_figures_of_the_articles_example_are_its_own() -> None:
    basis = inputs.build_basis(counted(), TODAY).with_other_edition()
    offers = inputs.compute_offers(basis, packaged())
    layout = cost_table.build_layout(offers, Order("training"), 80, monthly=False)
    lines = [layout.line(item, star=False).plain for item in offers]
    for name, cost in (
        ("GPT-4.1", "$13.50"), ("GPT-4.1-mini", "$3.60"), ("GPT-4o", "$112.50"),
        ("Llama 3.3 8B", "$20.25"), ("Gemini 2.5 Flash", "unknown"),
    ):  # fmt: skip
        assert any(f"{name} " in line and cost in line for line in lines), name


def test_what_is_not_known_is_never_nothing() -> None:
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


def test_the_tokens_are_those_that_were_checked_where_none_were_counted() -> None:
    basis = inputs.build_basis(checked(), TODAY)
    assert basis.load is not None and basis.load.tokens.value == round(812_345 * 0.8)
    assert basis.usual == Volume(tokens_in=Decimal(229), tokens_out=Decimal(224))
    assert "about 1,949,628 tokens (649,876 × 3 epochs)" in on_page(checked(), (80, 24))


def test_hours_and_tokens_of_each_model_are_those_of_the_estimate() -> None:
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


def test_a_model_that_is_too_large_does_not_fit_and_nothing_of_it_is_called_unknown() -> None:
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


def test_the_request_of_rows_that_tell_nothing_is_a_usual_one() -> None:
    basis = inputs.build_basis(Draft(FACTS), TODAY)
    assert basis.usual == Volume(tokens_in=Decimal(300), tokens_out=Decimal(150))
    assert not basis.measured


@pytest.mark.parametrize(
    ("provider", "starts"), [("openai", "OpenAI"), ("local", "A100"), ("cloud", "")]
)
def test_the_cursor_begins_at_the_recommended_provider(provider: Any, starts: str) -> None:
    def begins(shown: str) -> bool:
        return any(line.startswith(f" ▸ ● {starts}") for line in shown.split("\n"))

    assert begins(on_page(counted().with_recommendation(provider), (80, 24)))


# --------------------------------------------------------------------------- keys


@pytest.mark.usefixtures("by_hand")
def test_s_sorts_by_each_column_and_comes_back() -> None:
    words: list[str] = []

    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await say_volume(pilot)
        for column in cost_table.list_columns(monthly=True):
            shown = frame(pilot.app)
            words.append(column.order_text)
            assert f"· {column.order_text}" in shown
            assert f"{column.name}↑" in shown or f"↑{column.name}" in shown
            await pilot.press("s")
        assert "· by provider" in frame(pilot.app)

    on_page(counted(), (80, 24), play)
    assert len(set(words)) == len(COLUMN_IDS)


@pytest.mark.usefixtures("by_hand")
def test_r_turns_the_table_round_and_what_is_unknown_stays_behind() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("s")
        up = table(frame(pilot.app))
        await pilot.press("r")
        down = table(frame(pilot.app))
        assert up[:4] == ["Together 8B", "A100 40 GB on demand", "OpenAI small", "OpenAI large"]
        assert down[:4] == up[3::-1]
        assert down[4:] == up[4:] and up[-1] == "OpenAI gone"

    on_page(counted(), BIG, play)


@pytest.mark.usefixtures("by_hand")
def test_a_sorted_table_begins_with_what_it_is_sorted_for_until_the_cursor_is_moved() -> None:
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


def test_an_edition_without_the_offer_under_the_cursor_shows_the_recommended_one() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        menu = page.query_one(Menu)
        for _ in range(2):
            await pilot.press("e")
            await pilot.pause()
            assert any(cost_table.get_key(offer) == menu.chosen for offer in page._offers)
            assert menu.chosen == page._recommended

    on_page(counted(), (80, 24), play)


@pytest.mark.usefixtures("by_hand")
def test_the_cursor_stays_on_its_offer_whatever_is_changed() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("down", "down")
        chosen = page.query_one(Menu).chosen
        for key in "ssresrd":
            await pilot.press(key)
            assert page.query_one(Menu).chosen == chosen

    on_page(counted(), (80, 24), play)


def test_the_pane_has_the_other_edition_of_an_hour_and_of_the_month_and_marks_what_is_old() -> None:
    month = Volume(tokens_in=Decimal(500), tokens_out=Decimal(100), requests=Decimal(100_000))
    basis = inputs.build_basis(counted(), TODAY).with_query(volume=month)
    result = {offer.name: offer for offer in inputs.compute_offers(basis, packaged())}

    def text_of(name: str) -> str:
        text = cost_texts.format_detail(result[name], basis, star=False, width=300).plain
        return " ".join(text.split())

    gpu = text_of("A100 40 GB on demand")
    assert "$2.74" in gpu and "$3.50" in gpu and "$2,555" in gpu
    assert gpu.count("other edition") == 4, "training, setting up, the month, an hour"
    assert "as of 2026-04 (! over 90 days old)" in gpu and "$3–6 for the training itself" in gpu
    assert "from 946,297 other edition" in text_of("OpenAI GPT-4.1")
    assert "since 2024-08-20" in text_of("OpenAI GPT-4o")
    assert "since unknown" not in text_of("OpenAI GPT-4.1")
    assert "model the figures are for " in gpu


def test_the_discount_halves_input_and_output_and_says_what_it_is() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("d")
        await says(pilot, "Enable data sharing before you create the job")
        assert "data sharing" in frame(pilot.app)
        mini = next(offer for offer in page._offers if offer.name == "OpenAI GPT-4.1-mini")
        assert mini.input and mini.input.value == 0.4
        await pilot.press("d")
        await says(pilot, "OpenAI's discount is off.")
        assert "data sharing" not in frame(pilot.app)

    on_page(counted(), BIG, play)


@pytest.mark.parametrize("answer", ["stay", "own-cloud"])
def test_confidential_data_gets_no_discount_and_it_is_said_why(answer: str) -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("d")
        await says(pilot, "your answers keep the data")
        assert not page._basis.query.share_data

    on_page(counted(data=answer), BIG, play)


def test_a_volume_that_is_none_is_said_and_esc_leaves_all_as_it_was() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await pilot.press("v")
        await says(pilot, "averages of your data")
        assert [item.value for item in pilot.app.screen.query(Input)] == ["", "200", "100"]
        await pilot.press(*"many", "enter")
        await says(pilot, "“many” is not a number")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)
        assert page._basis.query.volume is None

    on_page(counted(), (80, 24), play)


@pytest.mark.usefixtures("by_hand")
def test_the_palette_offers_what_the_keys_do() -> None:
    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await say_volume(pilot)
        offered = {command.title for command in pilot.app.get_system_commands(page)}
        assert {"Sort", "Reverse", "Edition", "Volume", "Discount", "Plot", "Back"} <= offered

    on_page(counted(), (80, 24), play)


def test_c_leads_there_from_where_a_hosted_provider_ends_and_esc_back() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        page = UnsupportedProviderPage(counted().with_provider("openai"))
        pilot.app.push_screen(page)
        await says(pilot, "Press Enter to train on this machine")
        await pilot.press("c")
        await says(pilot, "current prices")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)

    drive(FtwizardApp(), (80, 24), play)


def test_a_change_is_computed_at_once() -> None:
    basis, prices = inputs.build_basis(counted(), TODAY), packaged()
    inputs.compute_offers(basis, prices)  # reads what is packaged
    began = time.process_time()
    for _ in range(20):
        inputs.compute_offers(basis.with_other_edition(), prices)
    assert (time.process_time() - began) / 20 < 0.5, "ten times what it may take, at most"


# --------------------------------------------------------------------- own prices


def own(text: str) -> Path:
    folder = locations.config_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def test_a_typo_in_ones_own_prices_is_shown_and_the_page_goes_on() -> None:
    own('[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1-mini"\nkind = "trainig"\nusd = 5\n')

    async def play(pilot: Pilot[Any], page: CostsPage) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert "trainig" in frame(pilot.app) and "training" in frame(pilot.app)
        await pilot.press("enter")
        await says(pilot, "! your prices are ignored")
        assert page._offers

    on_page(counted(), (80, 24), play)


def test_ones_own_price_counts_with_its_source() -> None:
    own('[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1-mini"\nkind = "training"\nusd = 2\n')
    shown = on_page(counted(), BIG)
    assert "$9.00" in shown and "your own" in shown


@pytest.mark.slow
def test_hostile_notes_sources_and_folders_are_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CONFIG", str(tmp_path / "][bold]\x1b]52;c;b3=\x07\u202e["))

    async def play(pilot: Pilot[Any]) -> None:
        for name, bad in TEXTS.items():
            if "\ud800" in bad:  # no TOML can hold it
                continue
            text = "".join(f"\\U{ord(char):08x}" for char in bad[:2000])
            own(
                '[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1-mini"\nkind = "training"\n'
                f'usd = 2\nsource = "{text}"\nnote = "{text}"\n'
            )
            pilot.app.push_screen(CostsPage(counted(), TODAY))
            await says(pilot, "your own")
            shown = frame(pilot.app)
            assert "seen" in shown, name
            assert not obeyed(shown) and not too_wide(shown, BIG[0]), name
            await pilot.press("escape")

    drive(FtwizardApp(), BIG, play)


def test_a_hostile_model_is_data() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        for name, bad in TEXTS.items():
            report = make_report(**ESTIMATE | {"model": {"said": bad}})
            pilot.app.push_screen(CostsPage(counted().with_estimate(report), TODAY))
            await says(pilot, "4,500,000 tokens")
            shown = frame(pilot.app)
            assert not obeyed(shown) and not too_wide(shown, 80), name
            await pilot.press("escape")

    drive(FtwizardApp(), (80, 24), play)


def test_every_figure_of_an_offer_has_its_source_and_date_below() -> None:
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
            "on a page a key says it"
        )


@pytest.mark.parametrize(
    ("answers", "machine"),
    [
        ({"size": "tiny"}, True), ({"data": "stay"}, True), ({"gpu_elsewhere": "own"}, True),
        ({}, False),
    ],
)  # fmt: skip
def test_without_a_gpu_the_own_provider_is_this_machine_where_that_is_advised(
    answers: dict[str, str], machine: bool
) -> None:
    draft = checked().with_plan(model=schema.Model(name="Qwen/Qwen3-0.6B")).with_answers(answers)
    basis = inputs.build_basis(draft, TODAY)
    offers = inputs.compute_offers(basis, inputs.load_prices(TODAY)[0])
    star = inputs.find_recommended(offers, basis)
    assert star and (star.name == "This machine") == machine
    own = next(item for item in offers if item.name == "This machine")
    assert own.training is None and own.hours, "its price was not text_of"


def test_esc_closes_the_plot_first() -> None:
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
