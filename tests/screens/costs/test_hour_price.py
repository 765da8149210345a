"""The hourly price of this machine: entered in the dialog or the plain wizard, used and saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard import locations
from ftwizard.plan import schema
from ftwizard.pricing import machine_rate, money
from ftwizard.quantity import Figure
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.costs import inputs
from ftwizard.screens.costs.hour_price import HourPriceDialog
from ftwizard.screens.costs.page import CostsPage
from ftwizard.screens.draft import drafts, live_estimate, texts
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.plain import costs, wizard
from ftwizard.screens.plain.prompts import BACK
from ftwizard.screens.wizard.estimate.page import EstimatePage
from ftwizard.screens.wizard.provider.page import ProviderPage
from tests.helpers.estimates import make_report
from tests.screens.costs.helpers import FACTS, TODAY, checked
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_input, wait_for_text
from tests.screens.plain.scripted import Scripted

_PART = {"rows": 500, "kept": 500, "tokens": 150_000, "trained": 50_000, "longest": 800,
         "cut": 0, "lost": []}  # fmt: skip
_TIME = {
    "as_of": "2026-11",
    "value": 3600.0,
    "low": 1800.0,
    "high": 7200.0,
    "unit": "s",
    "source": "worked out",
}
FOLLOWS: dict[str, Any] = {
    "steps": _TIME, "steps_per_epoch": 1, "evaluations": 1, "tokens": _TIME, "padding": _TIME,
    "cut": _TIME, "memory": None, "time": _TIME, "otherwise": None, "parts": {}, "whole": None,
    "cost": None,
}  # fmt: skip
ESTIMATE: dict[str, Any] = {
    "model": {"said": "owner/small"}, "parameters": 10**9, "trained": 10**7, "parts": {"train": _PART},
    "tokens": 450_000, "steps": 375, "steps_per_epoch": 125, "evaluate_every": 50, "memory": None,
    "here": None, "time": _TIME, "follows": FOLLOWS, "disk": {"needed": {"value": 1e9}, "free": {"value": 1e11}, "short": None},
    "hour": {"price": None, "rental": {
        "value": 0.37, "low": 0.29, "high": 0.44, "unit": "USD per hour", "as_of": "2026-09",
        "source": "RTX 4090 on demand: a list", "short_source": "RTX 4090 on demand",
    }},
}  # fmt: skip


def estimated() -> Draft:
    """Return a draft with an estimated time of 0.5 to 2 hours."""
    return (
        checked()
        .with_plan(model=schema.Model(name="owner/small"))
        .with_estimate(make_report(**ESTIMATE))
    )


def play_on_page(
    page: Callable[[], Any],
    play: Callable[[Pilot[Any], list[Any]], Any],
    size: tuple[int, int] = (80, 24),
) -> list[Any]:
    """Show a page, play on it, and return its results."""
    left: list[Any] = []

    async def scenario(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(page(), left.append)
        await pilot.pause()
        await play(pilot, left)

    drive(FtwizardApp(), size, scenario)
    return left


async def enter_price(pilot: Pilot[Any], text: str) -> None:
    await pilot.press("h")
    await wait_for_input(pilot, HourPriceDialog)
    await pilot.press(*text, "enter")


@pytest.mark.parametrize("saves", [True, False])
def test_entered_price_is_saved_only_when_confirmed(saves: bool, home: Any) -> None:
    async def play(pilot: Pilot[Any], left: list[Any]) -> None:
        await wait_for_text(pilot, "cost        unknown; h sets the hourly price")
        await enter_price(pilot, "$0.50")
        await wait_for_text(pilot, "Save this price?")
        await pilot.press("enter" if saves else "escape")
        await wait_for_text(pilot, "$0.25–1.00")
        assert "setup       $0.25–1.00 extra" in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (step,) = play_on_page(lambda: EstimatePage(estimated()), play)
    assert (
        isinstance(step, PageOutcome)
        and step.draft.hour
        and f"{step.draft.hour.usd}" in ("0.50", "0.5")
    )
    saved_price = machine_rate.read_saved_price()
    assert (saved_price is not None) == saves == locations.prices_file().exists()
    text = () if saves else ("--price", "machine=0.50")
    assert machine_rate.price_arguments(step.draft.hour) == text, (
        "an unsaved price is passed as an argument"
    )
    assert ("machine=0.50" in drafts.format_command("x", step.draft.hour)) != saves


def test_invalid_price_is_explained_and_esc_keeps_the_old_price(home: Any) -> None:
    before = machine_rate.parse_typed_price("2")

    async def play(pilot: Pilot[Any], left: list[Any]) -> None:
        await wait_for_text(pilot, "$1.00–4.00")
        await enter_price(pilot, "1,50")
        await wait_for_text(pilot, "decimal point, not a comma")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, EstimatePage))
        assert "$1.00–4.00" in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (step,) = play_on_page(lambda: EstimatePage(estimated().with_hour_price(before)), play)
    assert step.draft.hour == before and not locations.prices_file().exists()


def test_invalid_price_file_only_prevents_saving(home: Any) -> None:
    locations.prices_file().parent.mkdir(parents=True, exist_ok=True)
    locations.prices_file().write_text("[[price]]\n")

    async def play(pilot: Pilot[Any], left: list[Any]) -> None:
        await enter_price(pilot, "3")
        await wait_for_text(pilot, "Save this price?")
        await pilot.press("enter")
        await wait_for_text(pilot, "Each price is a table [[prices]]")
        await pilot.press("enter")
        await wait_for_text(pilot, "$1.50–6.00")

    play_on_page(lambda: EstimatePage(estimated()), play)
    assert locations.prices_file().read_text() == "[[price]]\n"


async def set_price_on_the_cost_page(pilot: Pilot[Any]) -> None:
    """Open the cost page, set a price for this run only, and return."""
    await pilot.press("c")
    await until(pilot, lambda: isinstance(pilot.app.screen, CostsPage))
    await enter_price(pilot, "0.5")
    await wait_for_text(pilot, "Save this price?")
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(pilot.app.screen, CostsPage))
    await pilot.press("escape")


def test_price_from_the_cost_page_reaches_the_estimate_page(home: Any) -> None:
    async def play(pilot: Pilot[Any], left: list[Any]) -> None:
        await set_price_on_the_cost_page(pilot)
        await wait_for_text(pilot, "your own price of")
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (step,) = play_on_page(lambda: EstimatePage(estimated()), play, (160, 50))
    assert step.draft.hour and step.draft.hour.source == machine_rate.WIZARD_SOURCE


def test_price_from_the_cost_page_reaches_the_provider_page(home: Any) -> None:
    async def play(pilot: Pilot[Any], left: list[Any]) -> None:
        await until(pilot, lambda: pilot.app.screen.focused is not None)
        await set_price_on_the_cost_page(pilot)
        await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))
        await until(pilot, lambda: "yours" in str(pilot.app.screen.query_one("#words").render()))
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (step,) = play_on_page(lambda: ProviderPage(checked(), TODAY), play, (160, 50))
    assert step.draft.hour and step.draft.hour.source == machine_rate.WIZARD_SOURCE


@pytest.mark.parametrize(("size", "keys"), [((80, 24), ""), ((60, 16), "2 EUR")])
def test_hour_price_dialog_matches_its_frame(
    size: tuple[int, int], keys: str, home: Any, clock: None
) -> None:
    async def play(pilot: Pilot[Any], left: list[Any]) -> None:
        if keys:
            await enter_price(pilot, keys)
            await wait_for_text(pilot, "Prices are in US dollars")
        else:
            await pilot.press("h")
            await wait_for_text(pilot, "esc cancel")
        pilot.app.screen.query_one(Input).cursor_blink = False
        assert_frame(f"hour-{size[0]}x{size[1]}", frame(pilot.app))

    play_on_page(lambda: EstimatePage(estimated()), play, size)


def test_live_estimate_shows_the_cost_once_a_price_is_set() -> None:
    draft = checked().with_plan(model=schema.Model(name="Qwen/Qwen3-0.6B"))
    quiet = live_estimate.format_prospect(draft).plain
    assert quiet.endswith(live_estimate.UNPRICED) and "$" not in quiet
    recipe = live_estimate.estimate_recipe(
        draft.with_hour_price(machine_rate.parse_typed_price("2"))
    )
    assert recipe and recipe.cost and recipe.cost.low and recipe.cost.high
    text = live_estimate.format_prospect(
        draft.with_hour_price(machine_rate.parse_typed_price("2"))
    ).plain
    assert (
        f"{money.format_price(recipe.cost)} in total" in text and live_estimate.UNPRICED not in text
    )


def test_estimate_explains_an_unknown_cost() -> None:
    untimed = estimated().with_estimate(make_report(**ESTIMATE | {"time": None, "follows": None}))
    priced = untimed.with_hour_price(machine_rate.parse_typed_price("2"))
    text = texts.format_estimate(priced, "").plain
    assert "unknown: no time estimate; at $2.00 per hour" in text
    unsaid = texts.format_estimate(estimated(), "").plain
    assert "for comparison: RTX 4090 on demand rents for $0.29–0.44 per hour (2026-09)" in unsaid
    assert "setup" not in unsaid


def test_cost_page_uses_the_hours_of_the_estimate() -> None:
    whole = Figure(value=7200, low=3600, high=14_400, unit="s", source="training + merging")
    unknown = estimated().with_estimate(make_report(**ESTIMATE | {"follows": None}))
    assert inputs.build_basis(unknown, TODAY).query.here.hours is None
    whole_run = {"value": 7200, "low": 3600, "high": 14_400, "unit": "s", "source": "all"}
    report = make_report(**ESTIMATE | {"follows": FOLLOWS | {"whole": whole_run}})
    draft = estimated().with_estimate(report)
    here = inputs.build_basis(draft, TODAY).query.here.hours
    assert here and (here.value, here.low, here.high, here.unit) == (2, 1, 4, "h")
    assert whole.value == here.value * 3600


# ------------------------------------------------------------------------------- plain wizard


def test_plain_wizard_asks_for_the_hourly_price(
    home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = Scripted("hour", "1,5", "1.5", "once", "")
    draft = wizard.show_estimate(ask, estimated())
    assert draft.hour and draft.hour.source == machine_rate.WIZARD_SOURCE
    assert "a decimal point" in ask.refused[0] and not locations.prices_file().exists()
    text = capsys.readouterr().out
    assert "unknown; choose “set the hourly price” below" in text
    assert "$0.75–3.00" in text and "for comparison" in text
    ask = Scripted("2", "remember")
    draft = costs.ask_hour(ask, draft)
    assert draft.hour and draft.hour == machine_rate.read_saved_price() and draft.hour.usd == 2


@pytest.mark.parametrize("answers", [(BACK,), ("3", BACK)])
def test_back_keeps_the_previous_price(answers: tuple[str, ...], home: Any) -> None:
    before = Draft(FACTS, hour=machine_rate.parse_typed_price("1"))
    assert costs.ask_hour(Scripted(*answers), before) == before
    assert not locations.prices_file().exists()


def test_plain_cost_table_sets_the_hourly_price(home: Any) -> None:
    from ftwizard.screens.plain import costs

    result = costs.browse_costs(Scripted("hour", "4", "once", ""), estimated(), TODAY)
    assert result.hour and result.hour.usd == 4
