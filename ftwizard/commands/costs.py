"""Costs in an estimate, as a document: offers, monthly cost and notes."""

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
"""Tokens of a request and of its answer."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """The costs in the document of an estimate."""

    edition: Edition
    sort: SortKey
    date: datetime.date
    tokens: int
    """Tokens of all epochs."""
    by_model: dict[str, Estimate]
    """Tokens of one epoch by a hosted model's own tokenizer: ``platform/id``."""
    counted: dict[str, Figure]
    """``examples``, ``mean``, ``epochs``, ``total``."""
    costs: list[Offer]
    monthly: dict[str, Any] | None
    notes: list[str]


def compute_costs(
    load: Load, arguments: argparse.Namespace, *, request: Request | None = None,
    model: str | None = None, by_rule: bool = True, hours: Mapping[str, Figure] | None = None,
    here: Here | None = None, too_small: frozenset[str] = frozenset(),
    served: float | None = None,
) -> Costs:  # fmt: skip
    """Return what ``load`` costs on every provider, with the options of the command line.

    ``request``: tokens in and out, from the data; ``model``: the open model to train on a GPU;
    ``by_rule``: whether the article's rule applies to its size; ``hours``: by GPU, where known;
    ``here``, ``too_small`` and ``served``: see ``Asked``. Raises FtwizardError for unusable options
    and user prices.
    """
    today = datetime.date.today()
    prices = from_arguments(arguments)
    query = Asked(
        today=today,
        edition=arguments.edition,
        share_data=arguments.share_data,
        volume=_read_volume(arguments, request),
        hours=hours,
        here=here or Here(),
        too_small=too_small,
        served=served,
        by_rule=by_rule,
        serve_on=_find_card(arguments.serve_on, prices),
        **({"model": model} if model else {}),
    )
    offers = cost.offers(load, prices, query)
    notes = cost.notes(prices, query, confidential=arguments.confidential)
    notes.insert(
        1,
        f"Your own prices take precedence: --price, or {visible(str(settings.prices_file()), 200)}.",
    )
    if old := sum(offer.stale for offer in offers):
        notes.append(
            f"{old} of {len(offers)} rows have prices over 90 days old. Check them before you decide."
        )
    if query.volume and (why := monthly.cannot_serve(query)):
        notes.append(f"No break-even: {why} Try a larger GPU: --serve-on CARD.")
    elif query.volume and (pace := monthly.pace(query.volume)):
        notes.append(
            "The break-even compares prices only. One GPU must also keep up with "
            f"{pace.value:,.1f} answer tokens/s on average, and the open model must answer as well."
        )
    return Costs(
        edition=query.edition,
        sort=arguments.sort,
        date=today,
        tokens=load.total,
        by_model=dict(load.by_model),
        counted=_to_figures(load),
        costs=cost.in_order(offers, arguments.sort),
        monthly=_monthly_document(query, prices),
        notes=notes,
    )


def load_prices(texts: Iterable[str], today: datetime.date) -> Prices:
    """Return the packaged prices, overridden by the user's own."""
    return packaged().over(own_prices.read(texts, settings.prices_file(), today))


def from_arguments(arguments: argparse.Namespace) -> Prices:
    """Return the prices for ``estimate``.

    ``--gpu`` means a different machine than the one in the price file, so its hourly price can only
    come from the command line.
    """
    today = datetime.date.today()
    prices = load_prices(arguments.price, today)
    if not arguments.gpu:
        return prices
    kept = tuple(row for row in prices.rows if row.kind != own_prices.MACHINE)
    typed = own_prices.given(arguments.price, today)
    return msgspec.structs.replace(prices, rows=kept).over(typed)


def _read_volume(arguments: argparse.Namespace, request: Request | None) -> Volume | None:
    into, out = request or (None, None)
    into, out = arguments.tokens_in or into, arguments.tokens_out or out
    if into is None or out is None:
        if not (into or out or arguments.requests_per_month):
            return None
        raise FtwizardError(
            "Tokens per request and per answer are unknown.",
            "Pass both: --tokens-in T --tokens-out T.",
            USAGE,
        )
    return Volume(tokens_in=into, tokens_out=out, requests=arguments.requests_per_month)


def _find_card(name: str, prices: Prices) -> str:
    names = sorted({card for card, market in prices.cards() if market == "on demand"})
    if name in names:
        return name
    gpu = gpus.card(name)  # as typed for --gpu: “A100 40 GB”
    match = next((card for card in names if gpu and gpus.card(card) == gpu), None)
    if match is None:
        raise FtwizardError(
            f"No price is known for GPU {visible(name, 40)}.",
            f"Choose from: {', '.join(names)}.",
            USAGE,
        )
    return match


def _to_figures(load: Load) -> dict[str, Figure]:
    def figure(value: float, unit: str, low: float = 0, high: float = 0) -> Figure:
        exact = low == high
        return Figure(
            value=value, unit=unit, low=None if exact else low, high=None if exact else high,
            source=load.counted, as_of=today(),
        )  # fmt: skip

    tokens, figures = load.tokens, {}
    if load.rows:
        figures["examples"] = figure(load.rows, "rows")
        ends = (tokens.low / load.rows, tokens.high / load.rows)
        figures["mean"] = figure(tokens.value / load.rows, "tokens per row", *ends)
    figures["epochs"] = figure(load.epochs, "epochs")
    ends = (tokens.low * load.epochs, tokens.high * load.epochs)
    return figures | {"total": figure(load.total, "tokens", *ends)}


def _monthly_document(query: Asked, prices: Prices) -> dict[str, Any] | None:
    volume = query.volume
    if volume is None:
        return None
    gpu, other_edition = prices.gpu(query.serve_on, "on demand", query.edition)
    if monthly.cannot_serve(query):
        gpu = other_edition = None

    def figure(value: Decimal, unit: str) -> Figure:
        source = "as given, or from the data"
        return Figure(value=float(value), unit=unit, source=source, as_of=today())

    return {
        "requests": figure(volume.requests, "requests per month") if volume.requests else None,
        "tokens_in": figure(volume.tokens_in, "tokens per request"),
        "tokens_out": figure(volume.tokens_out, "tokens per answer"),
        "gpu": query.serve_on,
        "gpu_month": monthly.rented(gpu) if gpu else None,
        "gpu_month_beside": monthly.rented(other_edition) if other_edition else None,
        "pace": monthly.pace(volume),
    }
