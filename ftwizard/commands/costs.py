"""What ``estimate`` says of money, as a document: every offer, the month, what is to be known."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from ftwizard import settings
from ftwizard.catalog import gpus, own_prices
from ftwizard.catalog.prices import Edition, Prices, packaged
from ftwizard.data.tokens import Estimate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import cost, monthly
from ftwizard.estimate.cost import SortKey
from ftwizard.estimate.offer import Asked, Here, Load, Offer, Volume
from ftwizard.figure import Figure, today
from ftwizard.text import visible

Request = tuple[Decimal, Decimal]
"""Tokens in, tokens out."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the document that is about money."""

    edition: Edition
    sort: SortKey
    date: datetime.date
    tokens: int
    """Of all epochs."""
    by_model: dict[str, Estimate]
    """Tokens of one epoch by a hosted model's own tokenizer: ``platform/id``."""
    counted: dict[str, Figure]
    """``examples``, ``mean``, ``epochs``, ``total``."""
    costs: list[Offer]
    monthly: dict[str, Any] | None
    notes: list[str]


def costs(
    load: Load, arguments: argparse.Namespace, *, request: Request | None = None,
    model: str | None = None, by_rule: bool = True, hours: Mapping[str, Figure] | None = None,
    here: Here | None = None, too_small: frozenset[str] = frozenset(),
    served: float | None = None,
) -> Costs:  # fmt: skip
    """Return what ``load`` costs everywhere, as the options ask.

    ``request``: tokens in and out as the rows have them; ``model``: the open model that is trained
    on a GPU; ``by_rule``: it is about the size of the article's; ``hours`` by card,
    where they are known; ``here``, ``too_small`` and ``served`` as ``Asked`` has them. Raises
    FtwizardError for options and prices of one's own that cannot be used.
    """
    today = datetime.date.today()
    prices = of_arguments(arguments)
    asked = Asked(
        today=today,
        edition=arguments.edition,
        share_data=arguments.share_data,
        volume=_volume(arguments, request),
        hours=hours,
        here=here or Here(),
        too_small=too_small,
        served=served,
        by_rule=by_rule,
        serve_on=_card(arguments.serve_on, prices),
        **({"model": model} if model else {}),
    )
    found = cost.offers(load, prices, asked)
    notes = cost.notes(prices, asked, confidential=arguments.confidential)
    notes.insert(
        1,
        f"Prices of your own come first: --price, or {visible(str(settings.prices_file()), 200)}.",
    )
    if old := sum(one.stale for one in found):
        notes.append(f"{old} of {len(found)} rows have a price over 90 days old: look it up again.")
    if asked.volume and (why := monthly.cannot_serve(asked)):
        notes.append(f"No break-even: {why} A larger card: --serve-on CARD.")
    elif asked.volume and (pace := monthly.pace(asked.volume)):
        notes.append(
            "A break-even compares prices alone: an open model must answer as well, and keep up on "
            f"one GPU, with {pace.value:,.1f} answer tokens a second on average."
        )
    return Costs(
        edition=asked.edition,
        sort=arguments.sort,
        date=today,
        tokens=load.total,
        by_model=dict(load.by_model),
        counted=_counted(load),
        costs=cost.in_order(found, arguments.sort),
        monthly=_monthly(asked, prices),
        notes=notes,
    )


def own(texts: Iterable[str], today: datetime.date) -> Prices:
    """Return the packaged prices with the user's own over them."""
    return packaged().over(own_prices.read(texts, settings.prices_file(), today))


def of_arguments(arguments: argparse.Namespace) -> Prices:
    """Return the prices that ``estimate`` goes by.

    With ``--gpu`` another machine is meant than that of the file of own prices: only what the
    command itself says is the price of its hour.
    """
    today = datetime.date.today()
    prices = own(arguments.price, today)
    if not arguments.gpu:
        return prices
    kept = tuple(one for one in prices.rows if one.kind != own_prices.MACHINE)
    said = own_prices.given(arguments.price, today)
    return msgspec.structs.replace(prices, rows=kept).over(said)


def _volume(arguments: argparse.Namespace, request: Request | None) -> Volume | None:
    into, out = request or (None, None)
    into, out = arguments.tokens_in or into, arguments.tokens_out or out
    if into is None or out is None:
        if not (into or out or arguments.requests_per_month):
            return None
        raise FtwizardError(
            "The tokens of a request and of its answer are not known.",
            "Say both: --tokens-in T --tokens-out T.",
            USAGE,
        )
    return Volume(tokens_in=into, tokens_out=out, requests=arguments.requests_per_month)


def _card(name: str, prices: Prices) -> str:
    known = sorted({card for card, market in prices.cards() if market == "on demand"})
    if name in known:
        return name
    meant = gpus.card(name)  # as it is typed for --gpu: “A100 40 GB”
    found = next((one for one in known if meant and gpus.card(one) == meant), None)
    if found is None:
        raise FtwizardError(
            f"No price of a GPU {visible(name, 40)} is known.",
            f"Known: {', '.join(known)}.",
            USAGE,
        )
    return found


def _counted(load: Load) -> dict[str, Figure]:
    def figure(value: float, unit: str, low: float = 0, high: float = 0) -> Figure:
        exact = low == high
        return Figure(
            value=value, unit=unit, low=None if exact else low, high=None if exact else high,
            source=load.counted, as_of=today(),
        )  # fmt: skip

    one, found = load.tokens, {}
    if load.rows:
        found["examples"] = figure(load.rows, "rows")
        ends = (one.low / load.rows, one.high / load.rows)
        found["mean"] = figure(one.value / load.rows, "tokens per row", *ends)
    found["epochs"] = figure(load.epochs, "epochs")
    ends = (one.low * load.epochs, one.high * load.epochs)
    return found | {"total": figure(load.total, "tokens", *ends)}


def _monthly(asked: Asked, prices: Prices) -> dict[str, Any] | None:
    volume = asked.volume
    if volume is None:
        return None
    gpu, beside = prices.gpu(asked.serve_on, "on demand", asked.edition)
    if monthly.cannot_serve(asked):
        gpu = beside = None

    def figure(value: Decimal, unit: str) -> Figure:
        said = "as asked, or as the rows have them"
        return Figure(value=float(value), unit=unit, source=said, as_of=today())

    return {
        "requests": figure(volume.requests, "requests per month") if volume.requests else None,
        "tokens_in": figure(volume.tokens_in, "tokens per request"),
        "tokens_out": figure(volume.tokens_out, "tokens per answer"),
        "gpu": asked.serve_on,
        "gpu_month": monthly.rented(gpu) if gpu else None,
        "gpu_month_beside": monthly.rented(beside) if beside else None,
        "pace": monthly.pace(volume),
    }
