"""Hourly price of the user's machine: input, prices.toml, run records and costs."""

from __future__ import annotations

import argparse
import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard import locations
from ftwizard.catalog.prices import PriceRate, packaged
from ftwizard.cli import cost_inputs
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_machine
from ftwizard.hardware.machine import Gpu
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.pricing import machine_rate, offer_list, user_prices
from ftwizard.pricing.gpu_costs import THIS_MACHINE
from ftwizard.pricing.offer import LocalOffer, PricingQuery, TrainingLoad, Volume
from ftwizard.quantity import Figure
from ftwizard.text import make_visible
from tests.helpers.progress import measure_alive

TODAY = datetime.date(2026, 11, 25)
OTHER = '[[prices]]\nprovider = "openai"\nmodel = "gpt-4.1"\nkind = "training"\nusd = 2\n'
AMOUNTS = st.decimals("0", "999", places=3)


def rate(usd: str, **more: Any) -> PriceRate:
    return PriceRate(
        usd=Decimal(usd), unit="hour", source="a price", as_of="2026-11", confidence="high", **more
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's prices file, which does not exist yet."""
    monkeypatch.setenv("FTWIZARD_CONFIG", str(tmp_path / "config"))
    return locations.prices_file()


# ----------------------------------------------------------------------------------- typed prices


@pytest.mark.parametrize(
    "typed",
    [
        "1.50",
        " 1.5 ",
        "$1.50",
        "1.50/h",
        "$1.50 an hour",
        "1.5 USD per hour",
        "USD 1.50",
        "1.5$/hr",
    ],
)
def test_hourly_price_accepts_common_spellings(typed: str) -> None:
    assert machine_rate.parse_typed_price(typed).usd == Decimal("1.5")
    (option,) = user_prices.parse_options([f"machine={typed}"], TODAY)
    assert (option.usd, option.unit, option.own, option.as_of) == (
        Decimal("1.5"),
        "hour",
        True,
        "2026-11-25",
    )
    assert option.source.startswith("your own")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("-1", "like 1.50"), ("", "like 1.50"), ("nan", "like 1.50"), ("cheap", "like 1.50"),
        ("1,50", "1.50"), ("2 €", "US dollars"), ("2 EUR/h", "US dollars"), ("£2", "US dollars"),
        ("10/day", "by 24"), ("300 a month", "730"), ("9999999", "US dollars"), ("1e9", "like 1.50"),
    ],
)  # fmt: skip
def test_invalid_hourly_price_error_suggests_a_valid_form(typed: str, hint: str) -> None:
    with pytest.raises(FtwizardError) as error:
        machine_rate.parse_command_price([f"machine={typed}"])
    assert hint in error.value.hint and error.value.exit_code == 2
    assert "Hourly price of this machine" in error.value.message


@given(typed=st.text(max_size=20))
def test_any_typed_text_is_a_price_or_a_clear_error(typed: str) -> None:
    try:
        typed_price = machine_rate.parse_typed_price(typed)
    except FtwizardError as error:
        assert make_visible(error.message) == error.message and error.hint
    else:
        assert typed_price.usd.is_finite() and typed_price.usd >= 0


def test_run_command_accepts_only_the_machine_price() -> None:
    with pytest.raises(FtwizardError, match="gpt-4o") as error:
        machine_rate.parse_command_price(["machine=2", "openai/gpt-4o/input=1"])
    assert "machine=USD" in error.value.hint
    last = machine_rate.parse_command_price(["machine=2", "machine=3"])
    assert last and last.usd == 3
    bare = machine_rate.parse_command_price(["2.5"])
    assert bare and bare.usd == Decimal("2.5")
    with pytest.raises(FtwizardError, match="“abc” is not a price"):
        machine_rate.parse_command_price(["abc"])
    assert machine_rate.parse_command_price([]) is None


def test_price_arguments_contain_typed_prices_only(file: Path) -> None:
    typed_price = machine_rate.parse_typed_price("0.125")
    assert machine_rate.price_arguments(typed_price) == ("--price", "machine=0.125")
    assert machine_rate.price_arguments(None) == ()
    machine_rate.save_price(typed_price.usd)
    assert machine_rate.price_arguments(machine_rate.read_saved_price()) == (), (
        "a run reads the file itself"
    )


# ------------------------------------------------------------------------------------ prices.toml


def test_machine_price_comes_from_file_unless_command_sets_it(file: Path) -> None:
    assert machine_rate.read_price() is None
    file.parent.mkdir(parents=True)
    file.write_text(
        OTHER + '[[prices]]\nkind = "machine"\nusd = 0.40\nlow = 0.3\nas_of = "2026-10"\n'
    )
    price = machine_rate.read_price()
    assert price and (price.usd, price.low, price.as_of) == (
        Decimal("0.40"),
        Decimal("0.3"),
        "2026-10",
    )
    option = machine_rate.read_price(["machine=2"])
    assert option and option.usd == 2, "the command line takes precedence"


@pytest.mark.parametrize(
    ("text", "where", "problem", "hint"),
    [
        ("machine = 1.5\n", "prices.toml", "machine does not belong", 'kind = "machine"'),
        ('[[prices]]\nkind = "machine"\n', "row 1, line 1", "usd is missing", "kind, usd"),
        ('[[prices]]\nkind = "machine"\neur = 2\n', "line 3", "eur", "US dollars"),
        ('[[prices]]\nkind = "machine"\nusd = "2 €"\n', "line 3", "2 €", "US dollars"),
        ('[[prices]]\nkind = "machine"\nusd = -2\n', "line 3", "-2", "US dollars"),
        ('[[prices]]\nkind = "machine"\nusd = 2\nunit = "month"\n', "line 4", "month", "hour"),
        ('[[prices]]\nkind = "machine"\nusd = 2\nmodel = "x"\n', "line 4", "no model", "usd"),
        ('[[prices]]\nkind = "machin"\nusd = 2\nprovider = "x"\nmodel = "y"\n', "line 2", "machin", "machine?"),
    ],
)  # fmt: skip
def test_invalid_prices_file_raises_but_saved_price_is_none(
    file: Path, text: str, where: str, problem: str, hint: str
) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(FtwizardError) as error:
        machine_rate.read_price()
    assert where in error.value.message and problem in error.value.message
    assert hint in error.value.hint
    assert machine_rate.read_saved_price() is None


def test_saved_price_is_dated_and_its_file_private(file: Path) -> None:
    assert machine_rate.save_price(Decimal("1.50")) == file
    saved_price = machine_rate.read_saved_price()
    assert (
        saved_price
        and saved_price.usd == Decimal("1.50")
        and saved_price.as_of == str(datetime.date.today())
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("# Your own prices")


_ROWS = st.lists(
    st.sampled_from([
        OTHER, "# a comment\n", "\n", '[[prices]]  # ours\nkind = "machine"\n# old\nusd = 9\n\n',
        '  [[ prices ]]\n"kind" = "machine"\nusd = 9\nnote = """\nof last\nyear"""\n',
        OTHER.replace("training", "input") + 'note = "kind = machine"\n',
    ]),
    max_size=5,
)  # fmt: skip


@given(rows=_ROWS, usd=AMOUNTS)
def test_saving_a_price_keeps_the_rest_of_the_file(
    rows: list[str], usd: Decimal, tmp_path_factory: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTWIZARD_CONFIG", str(tmp_path_factory.mktemp("config")))
        file = locations.prices_file()
        file.write_text("".join(rows))
        before = user_prices.from_file(file, TODAY)
        for amount in (Decimal(7), usd):
            machine_rate.save_price(amount)
        after = user_prices.from_file(file, datetime.date.today())
        text = file.read_text()
    assert [item.usd for item in after if item.kind == "machine"] == [usd]
    assert [(o.kind, o.usd, o.note) for o in after if o.kind != "machine"] == [
        (o.kind, o.usd, o.note) for o in before if o.kind != "machine"
    ]
    assert text.count("# a comment") == rows.count("# a comment\n")


@pytest.mark.parametrize(
    "text",
    [
        "[[price]]\n",
        'prices = [{kind = "machine", usd = 2}, {provider = "openai", model = "gpt-4.1", kind = "training", usd = 2}]\n',
        "\x00",
    ],
)
def test_save_price_leaves_a_file_it_cannot_edit(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(FtwizardError) as error:
        machine_rate.save_price(Decimal(1))
    assert str(file) in error.value.message and file.read_text() == text


def test_save_price_writes_through_a_symlink(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir(parents=True)
    (tmp_path / "mine.toml").write_text(OTHER)
    file.symlink_to(tmp_path / "mine.toml")
    machine_rate.save_price(Decimal(2))
    assert file.is_symlink() and 'kind = "machine"' in (tmp_path / "mine.toml").read_text()


# --------------------------------------------------------------------- recorded prices and costs


def make_run_folder(path: Path, first: dict[str, Any], *later: dict[str, Any]) -> JobFolder:
    """Return a run's folder with the inputs of its job and of each attempt."""
    folder = JobFolder(path)
    (path / "attempts").mkdir(exist_ok=True)
    write_json(folder.job, JobRecord(kind="train", argv=[], version="1", created=0, inputs=first))
    for number, inputs in enumerate(later, 1):
        attempt = Attempt(number=number, started=0, host="h", argv=[], inputs=inputs)
        write_json(folder.attempt(number), attempt)
    return folder


@given(usd=AMOUNTS)
def test_recorded_price_survives_a_round_trip_exactly(usd: Decimal, tmp_path_factory: Any) -> None:
    hour = rate(str(usd), low=usd / 2, high=usd * 2)
    path = tmp_path_factory.mktemp("run")
    assert (
        machine_rate.read_recorded_price(make_run_folder(path, machine_rate.price_record(hour)))
        == hour
    )
    assert (
        machine_rate.read_recorded_price(make_run_folder(path, machine_rate.price_record(None)))
        is None
    )


def test_latest_recorded_price_of_a_run_wins(tmp_path: Path) -> None:
    item, two = machine_rate.price_record(rate("1")), machine_rate.price_record(rate("2"))
    folder = make_run_folder(tmp_path, item, {}, two, {})
    assert machine_rate.read_recorded_price(folder) == rate("2")
    folder.attempt(2).write_text("{")
    assert machine_rate.read_recorded_price(folder) == rate("1"), "an unreadable attempt is ignored"
    assert machine_rate.read_recorded_price(make_run_folder(tmp_path, {}, {}, two)) == rate("2"), (
        "a later attempt alone may have a price"
    )


@pytest.mark.parametrize(
    "kept", [3, "1.5", {}, {"usd": "NaN"}, {"usd": "-1"}, {"usd": "x"}, {"usd": "1", "unit": "day"}]
)
def test_damaged_price_record_is_ignored(kept: Any, tmp_path: Path) -> None:
    if isinstance(kept, dict) and "usd" in kept:
        kept = {"unit": "hour", "source": "s", "as_of": "2026-11", "confidence": "high"} | kept
    assert (
        machine_rate.read_recorded_price(make_run_folder(tmp_path, {machine_rate.RECORDED: kept}))
        is None
    )


def test_estimated_cost_is_time_times_price() -> None:
    time = Figure(value=7200, unit="s", low=3600, high=10_800, source="a time")
    cost = machine_rate.estimate_cost(time, rate("1.5", low=Decimal(1), high=Decimal(2)))
    assert cost and (cost.value, cost.low, cost.high) == (3.0, 1.0, 6.0)
    assert cost.as_of == "2026-11" and "$1.50 per hour (a price)" in cost.source
    assert (
        machine_rate.estimate_cost(None, rate("1")) is None
        and machine_rate.estimate_cost(time, None) is None
    )
    free = machine_rate.estimate_cost(time, rate("0"))
    assert free and free.value == 0, "a price of 0 is not unknown"


@given(seconds=st.integers(0, 10**7), usd=AMOUNTS)
def test_measured_cost_is_exact(seconds: int, usd: Decimal) -> None:
    assert machine_rate.usd_for(seconds, usd) * 3600 == pytest.approx(seconds * usd)
    result = machine_rate.measured_cost(seconds, rate(str(usd)))
    assert (
        result.value == float(machine_rate.usd_for(seconds, usd))
        and result.low is result.high is None
    )
    assert machine_rate.usd_for(10_800, Decimal("0.1")) == Decimal("0.3"), "no floating-point error"


def test_time_between_attempts_is_not_counted() -> None:
    events: list[dict[str, Any]] = [
        {"t": 0, "attempt": 1, "kind": "phase"}, {"t": 30, "attempt": 1, "kind": "log"},
        {"t": "soon", "attempt": 1}, {"t": 1000, "attempt": 2}, {"t": 1040, "attempt": 2},
    ]  # fmt: skip
    assert measure_alive(events).seconds() == 70
    assert measure_alive(events).seconds(Instant(1100)) == 130, (
        "the newest attempt is still running"
    )
    assert measure_alive(events).seconds(Instant(900)) == 70, (
        "a clock set back does not shorten the time"
    )
    assert measure_alive([]).seconds(Instant(5)) == 0


# --------------------------------------------------------------------------------------- offers

LOAD = TrainingLoad(
    tokens=TokenEstimate(value=10**6, low=10**6, high=10**6), epochs=3, counted="by hand"
)
HOURS = Figure(value=2, unit="h", low=1, high=4, source="worked out")


def row(**query: Any) -> Any:
    price = query.pop("price", "0.5")
    table = packaged().at(rate(price)) if price else packaged()
    result = [
        o
        for o in offer_list.list_offers(LOAD, table, PricingQuery(today=TODAY, **query))
        if o.provider == "local"
    ]
    return next((item for item in result if item.card is None), None)


def test_local_offer_uses_the_machine_price() -> None:
    item = row(
        here=LocalOffer(hours=HOURS), volume=Volume(tokens_in=Decimal(1), tokens_out=Decimal(1))
    )
    assert item.name == THIS_MACHINE and not item.stale
    assert (item.training.value, item.training.low, item.training.high) == (1.0, 0.5, 2.0)
    assert (item.setup.value, item.setup.low, item.setup.high) == (0.5, 0.25, 1.0), (
        "setup is separate from training"
    )
    assert item.monthly.value == 365 and item.rate.value == 0.5
    assert row(here=LocalOffer(hours=HOURS), edition="2026-04").training.value == 1.0
    assert row().training is None, "unknown hours give an unknown cost"


def test_local_offer_without_a_price_has_unknown_costs() -> None:
    item = row(price=None, here=LocalOffer(hours=HOURS))
    assert (item.training, item.rate, item.setup, item.monthly) == (None,) * 4
    assert item.hours == HOURS and "--price machine=USD" in item.notes[0]
    assert row(price=None, edition="2026-04") is None


def test_saved_price_is_ignored_for_another_gpu(file: Path) -> None:
    machine_rate.save_price(Decimal(3))

    def price(*texts: str, gpu: str | None) -> Decimal | None:
        result = cost_inputs.load_prices(argparse.Namespace(price=list(texts), gpu=gpu)).machine()
        return result.usd if result else None

    assert price(gpu=None) == 3
    assert price(gpu="RTX 4090") is None
    assert price("machine=1", gpu="RTX 4090") == 1


def test_rental_price_of_a_gpu_is_for_comparison_only() -> None:
    gpu = Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 2**30)
    result = training_machine.rental_price(gpu, packaged())
    assert result and result.low and result.value
    rental = machine_rate.describe_rental(result)
    assert (
        "for comparison" in rental
        and "RTX 4090" in rental
        and result.as_of
        and result.as_of in rental
    )
    assert (
        training_machine.rental_price(None, packaged()) is None
        and machine_rate.describe_rental(None) == ""
    )
    assert training_machine.rental_price(Gpu(name="Some card", memory=1), packaged()) is None
