"""The page of the provider: what it says before and after the rows are read, at any size."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from ftwizard import locations
from ftwizard.advice import report
from ftwizard.advice.provider_advice import recommend
from ftwizard.catalog.providers import catalog
from ftwizard.data.checks import run
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan import schema
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.costs.page import CostsPage
from ftwizard.screens.draft.drafts import Draft, Step
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.provider import costs, text
from ftwizard.screens.wizard.provider.page import ProviderPage
from tests.screens.costs.helpers import FACTS, TODAY, checked
from tests.screens.frames import assert_frame, drive, frame, says, until

Play = Callable[[Pilot[Any]], Any]
WORKING = text.COUNTING
PRICES = [f"It costs ${n}9.99 as of 3 March 2026." for n in range(30)]
MACHINE = '[[prices]]\nkind = "machine"\nusd = 1.50\n'
FIELDS = [json.dumps({"id": n, "kind": "refund"}) for n in range(30)]


def on_page(
    draft: Draft, size: tuple[int, int] = (80, 24), play: Play | None = None, *, ascii: bool = False
) -> str:
    """Return the last frame of the page, once the costs are worked out."""

    async def scenario(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(ProviderPage(draft, TODAY))
        await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))
        await until(pilot, lambda: bool(words(pilot)) and WORKING not in words(pilot))
        if play is not None:
            await play(pilot)

    return drive(FtwizardApp(ascii=ascii), size, scenario)


def words(pilot: Pilot[Any]) -> str:
    """Return all that is said below the questions, seen or not."""
    return str(pilot.app.screen.query_one("#words").render())


def read(tmp_path: Path, answers: list[str], facts: MachineInfo = FACTS) -> Draft:
    """Return a draft whose file of rows was really checked."""
    file = tmp_path / "rows.jsonl"
    rows = [{"instruction": f"Question {n}?", "output": item} for n, item in enumerate(answers)]
    file.write_text("\n".join(map(json.dumps, rows)))
    findings = run.check_files(
        file, run.CheckOptions(max_length=schema.Recipe().max_length, near=False)
    )
    return Draft(facts).with_check(schema.Files(train=str(file)), findings)


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (60, 16)])
def test_prices_at_a_glance_before_the_rows_are_read(size: tuple[int, int]) -> None:
    assert_frame(f"provider-unread-{size[0]}x{size[1]}", on_page(Draft(FACTS), size))


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (60, 16)])
def test_costs_of_the_rows_once_they_are_read(size: tuple[int, int]) -> None:
    assert_frame(f"provider-{size[0]}x{size[1]}", on_page(checked(), size))


def test_without_unicode_it_says_the_same() -> None:
    got = on_page(checked(), ascii=True)
    assert got.isascii()
    assert_frame("provider-ascii-80x24", got)


def test_the_article_s_prices_are_said_at_a_glance() -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        recorded.append(words(pilot))

    got = on_page(Draft(FACTS), (160, 50), play)
    assert "$0.80–3.00 per million tokens, 2026-04" in got
    assert "$0.50–2.00 per hour (a spot GPU), 2026-04" in got
    assert "No data is read yet" in got and "c costs" not in got


def test_overruling_says_what_it_costs_first() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("up", "left")

    got = on_page(checked(), (80, 24), play)
    assert_frame("provider-overruled-80x24", got)
    text = got.partition("Choosing Hugging Face + QLoRA instead")[2]
    assert "Training on this data: $0.16–0.58, plus $0.37 GPU setup" in " ".join(text.split())


def test_where_no_provider_is_possible_it_says_so_and_what_would_have_to_change() -> None:
    draft, recorded = Draft(FACTS).with_answers({"data": "stay", "size": "large"}), []

    async def play(pilot: Pilot[Any]) -> None:
        recorded.append(words(pilot))

    on_page(draft, (120, 40), play)
    first, _, rest = recorded[0].partition("Training cost")
    assert first.startswith("✗ No option is possible") and "is recommended" not in recorded[0]
    assert "One of these has to change" in first and "(gpu_elsewhere=" not in recorded[0]
    assert "If you have a GPU machine elsewhere: Hugging Face + QLoRA." in first
    assert "→" not in rest and "What would change the recommendation" not in rest


def test_what_is_said_of_the_providers_has_its_source_and_its_date() -> None:
    result = recommend(FACTS, {}, TODAY)
    output = text.format_sources(result, TODAY).plain
    for provider in catalog().providers:
        platform = result.platform if provider.id == "cloud" else None
        shown = [
            claim for factor in catalog().factors for claim in provider.claims(factor, platform)[:1]
        ]
        for claim in [*shown, *provider.claims("cost", platform)]:
            assert any(claim.source in line and claim.as_of in line for line in output.split("\n"))
    assert "2026-04!" in output and "90 days old" in output
    for width in (60, 160):
        page = text.format_page(
            result, result.provider, text.DataFindings(), width, "c", TODAY
        ).plain
        assert " ".join(output.split()) in " ".join(page.split())


def test_an_answer_rules_a_provider_out_and_its_price_with_it() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "left", "left")

    got = on_page(checked(), (120, 40), play)
    assert got.count("not possible") == 2 and "no rent  on this machine, once it has" in got


def test_another_size_is_priced_anew() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "down", "down", "right")
        await says(pilot, "Together Llama 3.3 70B")

    got = on_page(checked(), (120, 40), play)
    assert "A100 80 GB on demand" in got or "H100 80 GB on demand" in got


def test_a_gpu_that_will_do_costs_no_rent() -> None:
    card = Gpu(name="RTX 4090", memory=24 * 10**9)
    facts = msgspec.structs.replace(FACTS, gpus=(card,), no_gpu=None)
    draft = checked()
    got = on_page(Draft(facts, plan=draft.plan, checked=draft.checked), (120, 40))
    line = next(line for line in got.split("\n") if "no rent" in line)
    assert line.split("no rent")[0].split() == ["→", "Hugging", "Face", "+", "QLoRA"]
    assert "on the GPU here; excluding power and wear" in line


def test_c_shows_every_offer_and_comes_back(tmp_path: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "left", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CostsPage))
        await says(pilot, "649,876 × 3 epochs")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))

    assert "‹ Only to our own cloud ›" in on_page(checked(), (80, 24), play)


def test_the_rows_own_evidence_is_shown_when_one_comes_back(tmp_path: Path) -> None:
    facts_that_change = on_page(read(tmp_path, PRICES), (120, 40))
    assert "✗ 30 rows of 30 (100%) contain facts that change" in facts_that_change
    verified = on_page(read(tmp_path, FIELDS), (120, 40))
    assert "100% of 30 answers are JSON" in verified and "(RFT)" in verified
    assert "Offered by AWS Bedrock and Microsoft Foundry." in " ".join(verified.split())


def test_the_rows_own_word_on_the_tool_goes_before_an_answer(tmp_path: Path) -> None:
    draft = read(tmp_path, PRICES).with_answers({"fit": "behavior"})
    assert "is the right tool" not in on_page(draft, (120, 40))
    assert "is the right tool" in on_page(read(tmp_path, FIELDS).with_answers({"fit": "behavior"}))


def test_the_costs_are_those_of_the_command(tmp_path: Path) -> None:
    draft = read(tmp_path, [f"Well, that is story {n}, told in a few words." for n in range(200)])
    for answers in ({}, {"size": "large"}, {"cloud": "gcp"}, {"gpu_elsewhere": "own"}):
        draft = draft.with_answers(dict(answers))
        priced, result = costs.price_offers(draft, TODAY), costs.get_evidence(draft)
        assert priced is not None and result is not None
        theirs = report.cost_by_provider(result, FACTS, answers, TODAY)
        assert [
            (cost.amount, cost.details) for cost in priced.find(result, draft, TODAY).costs
        ] == [(their.amount, their.details) for their in theirs]


def test_an_hour_of_this_machine_that_has_a_price_counts(tmp_path: Path) -> None:
    locations.config_folder().mkdir(parents=True, exist_ok=True)
    (locations.config_folder() / "prices.toml").write_text(MACHINE)
    card = Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 10**9)
    facts = msgspec.structs.replace(FACTS, gpus=(card,), no_gpu=None)
    draft = read(tmp_path, [f"That is story {n}, in a few words." for n in range(200)], facts)
    priced, result = costs.price_offers(draft, TODAY), costs.get_evidence(draft)
    assert priced is not None and result is not None
    local = priced.find(result, draft, TODAY).costs[1]
    assert local.amount.startswith("$") and local.details.startswith("on the GPU here, as of")
    assert report.cost_by_provider(result, facts, {}, TODAY)[1].amount == local.amount


def test_rows_that_cannot_be_used_are_not_priced() -> None:
    draft = checked()
    assert draft.checked is not None
    nothing = msgspec.structs.replace(draft.checked, usable=0, tokens=None, preview=[])
    got = on_page(draft.with_check(draft.plan.data.files, nothing))
    assert "Training cost" in got and "c costs" not in got


def test_a_file_of_ones_own_prices_that_cannot_be_used_is_said() -> None:
    locations.config_folder().mkdir(parents=True, exist_ok=True)
    (locations.config_folder() / "prices.toml").write_text("this is no TOML")
    assert "Your own prices are ignored" in on_page(checked(), (120, 40))


def test_the_page_does_not_wait_for_the_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    whole = costs.price_offers

    def slow(draft: Draft, today: datetime.date) -> costs.PricedOffers | None:
        goes_on.wait(20)
        return whole(draft, today)

    monkeypatch.setattr(costs, "price_offers", slow)
    recorded: list[str] = []

    async def scenario(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(ProviderPage(checked(), TODAY))
        await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))
        await until(pilot, lambda: WORKING in words(pilot))
        await pilot.press("down", "left")
        await says(pilot, "‹ Only to our own cloud ›")
        recorded.append(frame(pilot.app))
        goes_on.set()
        await until(pilot, lambda: "RTX 4090 24 GB on demand, as of" in words(pilot))

    try:
        drive(FtwizardApp(), (80, 24), scenario)
    finally:
        goes_on.set()
    assert "is recommended" in recorded[0]


def test_leaving_while_the_costs_are_worked_out_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on, left = threading.Event(), list[Step | None]()

    def slow(*_: object) -> None:
        goes_on.wait(20)

    monkeypatch.setattr(costs, "price_offers", slow)

    async def scenario(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(ProviderPage(checked(), TODAY), left.append)
        await until(pilot, lambda: isinstance(pilot.app.screen, ProviderPage))
        await until(pilot, lambda: WORKING in words(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))
        goes_on.set()
        await asyncio.sleep(0.1)

    try:
        drive(FtwizardApp(), (80, 24), scenario)
    finally:
        goes_on.set()
    assert left[0] is not None and left[0].direction == 1


@pytest.mark.parametrize("columns", [60, 72, 80, 100, 109, 110, 140])
def test_nothing_is_wider_than_the_window(columns: int) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        for choice in pilot.app.screen.query(Choice):
            choice.value = choice._options[-1][0]
        await pilot.pause()
        recorded.append(words(pilot))

    got = on_page(checked(), (columns, 40), play)
    assert all(cell_len(line) <= columns - 4 for line in recorded[0].split("\n"))
    assert "…" not in got
