"""Prices: dated, sourced and never 0, in two editions, with the user's own prices over them."""

from __future__ import annotations

import datetime
import os
import re
import socket
from decimal import Decimal
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftwizard.catalog import gpu_specs, hosted_models, prices
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import (
    APART,
    ARTICLE,
    STALE_DAYS,
    Kind,
    Market,
    Price,
    Prices,
    packaged,
)
from ftwizard.errors import FtwizardError
from ftwizard.pricing import user_prices
from ftwizard.pricing.gpu_costs import CARDS

TODAY = datetime.date(2026, 11, 25)
AMOUNTS = st.decimals("0.01", "1000", places=2)
ROWS = packaged().rows


def price(usd: Decimal | str, **more: object) -> Price:
    result = {
        "provider": "openai", "model": "gpt-4.1", "kind": "training", "unit": "million tokens",
        "usd": str(usd), "as_of": "2026-11", "source": "somewhere", "confidence": "high",
    } | more  # fmt: skip
    return msgspec.convert(result, Price)


@pytest.mark.parametrize("row", ROWS, ids=lambda item: f"{item.provider}/{item.model}/{item.kind}")
def test_every_price_is_dated_sourced_and_above_0(row: Price) -> None:
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])(-[0-3]\d)?", row.as_of)
    assert len(row.source) > 10
    assert 0 < (row.low or row.usd) <= row.usd <= (row.high or row.usd)
    assert (row.kind == "gpu") == (row.market is not None)
    assert (row.edition == ARTICLE) == (row.as_of == "2026-04" and "article" in row.source)


def test_every_price_matches_a_listed_model_or_gpu() -> None:
    names = {
        (model.platform, name)
        for model in hosted_models.list_hosted_models()
        for name in (*model.priced_as, *model.full_priced_as)
    }
    for row in ROWS:
        if row.kind == "gpu":
            assert row.model in CARDS
        else:
            assert (row.provider, row.model) in names, row


def test_price_rows_are_unique_per_date() -> None:
    keys = [(o.provider, o.model, o.kind, o.market, o.edition, o.as_of) for o in ROWS]
    assert len(keys) == len(set(keys))


def test_copied_prices_keep_the_date_of_their_source() -> None:
    copied = {
        "2026-09": ("openai", "gpt-4.1-mini", "training"),
        "2026-03-09": ("vertex", "gemini-2.5-flash", "training"),
        "2025-05": ("bedrock", "nova-lite", "training"),
        "2026-08": ("bedrock", "llama-3.3-70b", "training"),
    }
    for as_of, subject in copied.items():
        rows = [row for row in ROWS if (row.provider, row.model, row.kind) == subject]
        assert max(row.as_of for row in rows) == as_of
    for row in ROWS:
        if re.search("copies|quotes|bill|without a date", row.source):
            assert row.as_of < "2026-10" and row.confidence != "high", row


def test_article_edition_has_the_article_prices() -> None:
    def format_rates(provider: str, model: str, kind: Kind) -> str:
        rate, _ = packaged().rates(provider, (model,), kind, ARTICLE)
        assert rate is not None
        return f"{rate.usd}"

    for model, amounts in (
        ("gpt-4.1-mini", ["0.80", "0.80", "3.20"]),
        ("gpt-4.1", ["3.00", "3.00", "12.00"]),
        ("gpt-4o", ["25.00", "3.75", "15.00"]),
    ):
        kinds: tuple[Kind, ...] = ("training", "input", "output")
        assert [format_rates("openai", model, kind) for kind in kinds] == amounts
    assert packaged().rates("openai", ("o4-mini",), "training", ARTICLE)[0] is None
    assert packaged().rates("vertex", ("gemini-2.5-flash",), "training", ARTICLE)[0] is None
    ranges = {}
    for market in get_args(Market):
        rate, _ = packaged().gpu("a100-40gb", market, ARTICLE)
        assert rate is not None
        ranges[market] = (rate.low, rate.usd, rate.high)
    assert ranges == {
        "spot": (Decimal(1), Decimal("1.5"), Decimal(2)),
        "on demand": (Decimal(3), Decimal("3.5"), Decimal(4)),
    }


def test_unknown_prices_are_none() -> None:
    assert packaged().rates("foundry", ("gpt-4.1",), "training") == (None, None)
    assert packaged().gpu("a100-80gb", "on demand", ARTICLE) == (None, None)


@given(old=AMOUNTS, new=AMOUNTS)
def test_both_editions_are_returned_when_20_percent_apart(old: Decimal, new: Decimal) -> None:
    table = Prices(rows=(price(old, edition="2026-04", as_of="2026-04"), price(new)))
    rate, other = table.rates("openai", ("gpt-4.1",), "training")
    back, beside = table.rates("openai", ("gpt-4.1",), "training", ARTICLE)
    assert rate and back and (rate.usd, back.usd) == (new, old)
    assert (rate.as_of, back.as_of) == ("2026-11", "2026-04")
    far = max(old, new) - min(old, new) > APART * min(old, new)
    assert (other is not None) == (beside is not None) == far
    if other and beside:
        assert (other.usd, beside.usd) == (old, new)


@given(
    dates=st.lists(st.dates(datetime.date(2025, 1, 1), TODAY), min_size=1, max_size=6, unique=True)
)
def test_newest_price_is_used(dates: list[datetime.date]) -> None:
    rows = tuple(price(str(n + 1), as_of=str(day)) for n, day in enumerate(dates))
    rate, _ = Prices(rows=rows).rates("openai", ("gpt-4.1",), "training")
    assert rate and rate.as_of == str(max(dates))


@given(dates=st.lists(st.dates(datetime.date(2020, 1, 1), TODAY), min_size=2, max_size=2))
def test_price_is_stale_after_90_days(dates: list[datetime.date]) -> None:
    then, now = sorted(dates)
    assert prices.is_stale(str(then), now) == ((now - then).days > STALE_DAYS)
    assert not prices.is_stale(str(then), then)
    if prices.is_stale(str(then), now):
        assert prices.is_stale(str(then)[:7], now), "a month is at least as old as its days"


@given(usd=st.lists(AMOUNTS, min_size=1, max_size=5))
def test_gpu_price_lies_within_its_offers(usd: list[Decimal]) -> None:
    rows = tuple(
        price(item, provider=f"p{n}", model="card", kind="gpu", unit="hour", market="spot")
        for n, item in enumerate(usd)
    )
    rate, _ = Prices(rows=rows).gpu("card", "spot")
    assert rate and min(usd) <= rate.usd <= max(usd)
    assert (rate.low or rate.usd, rate.high or rate.usd) == (min(usd), max(usd))


def test_old_offers_do_not_affect_the_gpu_price() -> None:
    common = {"model": "card", "kind": "gpu", "unit": "hour", "market": "spot"}
    rows = (price("1", provider="a", as_of="2026-01", **common), price("5", provider="b", **common))
    rate, _ = Prices(rows=rows).gpu("card", "spot")
    assert rate and rate.usd == 5


# ----------------------------------------------------------------------------------- user prices


@given(usd=st.decimals("0", "100000", places=3), edition=st.sampled_from(["2026-04", "current"]))
def test_user_price_overrides_both_editions(usd: Decimal, edition: prices.Edition) -> None:
    table = packaged().over(
        user_prices.parse_options([f"openai/gpt-4.1-mini/training={usd}"], TODAY)
    )
    rate, other = table.rates("openai", ("gpt-4.1-mini",), "training", edition)
    assert rate and rate.usd == usd and other is None
    assert rate.own and rate.source.startswith("your own") and rate.as_of == "2026-11-25"
    same = packaged().rates("openai", ("gpt-4.1",), "training", edition)
    assert table.rates("openai", ("gpt-4.1",), "training", edition) == same


def test_last_user_price_of_a_model_is_used() -> None:
    texts = ["openai/gpt-4o/input=1", "openai/gpt-4o/input=2"]
    rate, _ = (
        packaged()
        .over(user_prices.parse_options(texts, TODAY))
        .rates("openai", ("gpt-4o",), "input")
    )
    assert rate and rate.usd == 2


def test_user_gpu_price_applies_to_all_markets_or_one() -> None:
    both = packaged().over(user_prices.parse_options(["mine/a100-40gb/gpu=0.5"], TODAY))
    assert [rate.usd for m in get_args(Market) if (rate := both.gpu("a100-40gb", m)[0])] == [
        Decimal("0.5"), Decimal("0.5"),
    ]  # fmt: skip
    spot = packaged().over(user_prices.parse_options(["mine/a100-40gb/gpu-spot=0.5"], TODAY))
    rate, _ = spot.gpu("a100-40gb", "on demand")
    assert rate and rate.usd == Decimal("2.74")


def test_price_file_rows_need_only_four_keys(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    assert user_prices.from_file(file, TODAY) == []
    file.write_text(
        '[[prices]]\nprovider = "foundry"\nmodel = "gpt-4.1"\nkind = "training"\nusd = 2.0\n'
        '[[prices]]\nprovider = "lambda"\nmodel = "rtx-4090"\nkind = "gpu"\nmarket = "spot"\n'
        'usd = "0.125"\nas_of = "2026-10"\nnote = "by contract"\n'
    )
    item, two = user_prices.from_file(file, TODAY)
    assert (item.usd, item.unit, item.as_of) == (Decimal("2.0"), "million tokens", "2026-11-25")
    assert (two.usd, two.unit, two.as_of) == (Decimal("0.125"), "hour", "2026-10")
    assert str(file) in item.source and item.own


GOOD = 'provider = "openai"\nmodel = "gpt-4.1"\nkind = "training"\nusd = 2\n'


@pytest.mark.parametrize(
    ("text", "where", "problem", "hint"),
    [
        ("[[prices]]\n" + GOOD + "notes = 3\n", "row 1, line 6", "notes", "Did you mean note?"),
        ("[[prices]]\n" + GOOD.replace("openai", "openia"), "row 1, line 2", "openia", "openai"),
        ("[[prices]]\n" + GOOD.replace("4.1", "4.l"), "row 1, line 3", "gpt-4.l", "gpt-4.1"),
        ("[[prices]]\n" + GOOD.replace("train", "tain"), "row 1, line 4", "taining", "training"),
        ("[[prices]]\n" + GOOD.replace("usd", "use"), "row 1, line 5", "use", "usd"),
        ("[[prices]]\n" + GOOD + "[[prices]]\nkind = 'input'\n", "row 2, line 6", "provider", "Required"),
        ("[[prices]]\n" + GOOD.replace("= 2", "= -2"), "line 5", "-2", "US dollars"),
        ("[[prices]]\n" + GOOD.replace("= 2", "= true"), "line 5", "True", "US dollars"),
        ("[[prices]]\n" + GOOD.replace("= 2", "= nan"), "line 5", "NaN", "US dollars"),
        ("[[prices]]\n" + GOOD + 'unit = "day"\n', "line 6", "day", "million tokens"),
        ("[[prices]]\n" + GOOD + 'as_of = "2099-01"\n', "line 6", "2099-01", "2026-11"),
        ("[[prices]]\n" + GOOD + 'as_of = "soon"\n', "line 6", "soon", "2026-11"),
        ("[[prices]]\n" + GOOD + "low = 3\n", "line 5", "between", "Fix"),
        ("[[prices]]\n" + GOOD + "note = 3\n", "line 6", "not a string", "quotes"),
        ("[[prices]]\n" + GOOD + 'market = "spot"\n', "line 6", "no market", "GPU"),
        ("prices = [{model = 3}]\n", "row 1", "provider is missing", "Required"),
        ("[[price]]\n" + GOOD, "prices.toml", "price", "[[prices]]"),
        ("prices = 3\n", "prices.toml", "not a list", "[[prices]]"),
        ("[[prices]\n", "prices.toml", "line 1", "Fix"),
        (b"a = 1\n\xff\xfe", "prices.toml", "line 2 is not UTF-8", "move it away"),
        (b"#" * 1_000_001, "prices.toml", "is too large: 1 MB; it may have 1 MB", "move it away"),
    ],
)  # fmt: skip
def test_price_file_errors_give_location_and_suggestion(
    tmp_path: Path, text: str | bytes, where: str, problem: str, hint: str
) -> None:
    file = tmp_path / "prices.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FtwizardError) as error:
        user_prices.from_file(file, TODAY)
    output = error.value
    assert str(file) in output.message and where in output.message and problem in output.message
    assert hint in output.hint and output.exit_code == 1


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_price_file_must_be_a_regular_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            listening.bind(str(path))
        with pytest.raises(FtwizardError) as error:
            user_prices.from_file(path, TODAY)
    article = f"a {kind}" if kind == "folder" else f"a {kind}, not a file"
    assert error.value.message == f"{path} is {article}."
    assert "move it away" in error.value.hint


@pytest.mark.parametrize("card", gpu_specs.cards(), ids=lambda item: item.name)
def test_every_known_gpu_accepts_a_user_price(card: GpuSpec) -> None:
    for typed in (card.name, card.key):
        (own,) = user_prices.parse_options([f"me/{typed}/gpu-on-demand=0.7"], TODAY)
        assert gpu_specs.find_gpu(own.model) == card
        prices = packaged().over([own])
        assert (own.model, "on demand") in prices.cards()
        rate, _ = prices.gpu(own.model, "on demand")
        assert rate is not None and rate.usd == Decimal("0.7")


def test_unknown_gpu_price_is_refused_with_a_hint() -> None:
    with pytest.raises(FtwizardError, match="not a known GPU") as error:
        user_prices.parse_options(["me/abacus/gpu=1"], TODAY)
    assert "L4" in error.value.hint


@given(text=st.text(max_size=40))
def test_invalid_price_option_is_refused(text: str) -> None:
    assume(not re.fullmatch(r"\s*\w+/.+/.+=\s*[\d.]+\s*", text))
    with pytest.raises(FtwizardError) as error:
        user_prices.parse_options([text], TODAY)
    assert error.value.exit_code == 2 and error.value.hint


@given(text=st.text(max_size=200))
def test_any_price_file_gives_prices_or_a_readable_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("own") / "prices.toml"
    file.write_text(text, "utf-8", errors="replace")
    try:
        result = user_prices.from_file(file, TODAY)
    except FtwizardError as error:
        assert error.message.isprintable()
    else:
        assert all(item.own for item in result)
