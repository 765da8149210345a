"""Costs of a training on every provider, as in the document of an estimate."""

from __future__ import annotations

import datetime

import msgspec

from ftwizard.catalog.prices import Edition, Prices
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.pricing import monthly, offer_list
from ftwizard.pricing.machine_rate import shown_file
from ftwizard.pricing.offer import Offer, PricingQuery, TrainingLoad
from ftwizard.pricing.offer_list import SortKey
from ftwizard.quantity import Figure, today

_SHARING = (
    "The discount applies to standard and batch training. Data sharing is an OpenAI organization "
    "setting, not a job setting: turn it on before you create the job"
)


class MonthlyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A monthly volume of inference, and the GPU to compare with."""

    requests: Figure | None
    tokens_in: Figure
    tokens_out: Figure
    gpu: str
    gpu_month: Figure | None
    other_gpu_month: Figure | None = msgspec.field(name="gpu_month_beside")
    """By the other edition's price, if it differs clearly."""
    pace: Figure | None


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    """The costs on every provider."""

    edition: Edition
    sort: SortKey
    date: datetime.date
    tokens: int
    """Tokens of all epochs."""
    by_model: dict[str, TokenEstimate]
    """Tokens of one epoch by a hosted model's own tokenizer: ``platform/id``."""
    counted: dict[str, Figure]
    """``examples``, ``mean``, ``epochs``, ``total``."""
    costs: list[Offer]
    monthly: MonthlyReport | None
    notes: list[str]


def build_cost_report(
    load: TrainingLoad, prices: Prices, query: PricingQuery, *, sort: SortKey, confidential: bool
) -> CostReport:
    """Return what ``load`` costs on every provider."""
    offers = offer_list.list_offers(load, prices, query)
    return CostReport(
        edition=query.edition,
        sort=sort,
        date=query.today,
        tokens=load.total,
        by_model=dict(load.by_model),
        counted=_to_figures(load),
        costs=offer_list.sort_offers(offers, sort),
        monthly=_build_monthly(query, prices),
        notes=_build_notes(offers, prices, query, confidential=confidential),
    )


def _build_notes(
    offers: tuple[Offer, ...], prices: Prices, query: PricingQuery, *, confidential: bool
) -> list[str]:
    notes = [
        "Prices change and each has a date. Check the provider's page before you pay.",
        f"Your own prices take precedence: --price, or {shown_file()}.",
    ]
    if sharing := describe_sharing(prices, query, confidential=confidential):
        notes.append(sharing)
    if old := sum(offer.stale for offer in offers):
        notes.append(
            f"{old} of {len(offers)} rows have prices over 90 days old. Check them before you decide."
        )
    if query.volume and (why := monthly.explain_cannot_serve(query)):
        notes.append(f"No break-even: {why} Try a larger GPU: --serve-on CARD.")
    elif query.volume and (pace := monthly.required_tokens_per_s(query.volume)):
        notes.append(
            "The break-even compares prices only. One GPU must also keep up with "
            f"{pace.value:,.1f} answer tokens/s on average, and the open model must answer as well."
        )
    return notes


def describe_sharing(prices: Prices, query: PricingQuery, *, confidential: bool = False) -> str:
    """Describe OpenAI's discount for sharing data; empty if there is none."""
    if confidential:
        return "The data is confidential, so OpenAI's data sharing discount is not applied."
    discount = prices.discount("openai", "input")
    if discount is None:
        return ""
    if query.share_data:
        return (
            f"OpenAI input and output are {discount.share:.0%} off for sharing data (as of "
            f"{discount.as_of}). {_SHARING}. Note: {discount.note}."
        )
    return (
        f"If the data is not confidential, OpenAI offers {discount.share:.0%} off input and "
        f"output for sharing it (as of {discount.as_of}; --share-data). {_SHARING}."
    )


def _to_figures(load: TrainingLoad) -> dict[str, Figure]:
    tokens, figures, source = load.tokens, {}, load.counted
    if load.rows:
        figures["examples"] = _figure(load.rows, "rows", source)
        ends = (tokens.low / load.rows, tokens.high / load.rows)
        figures["mean"] = _figure(tokens.value / load.rows, "tokens per row", source, *ends)
    figures["epochs"] = _figure(load.epochs, "epochs", source)
    ends = (tokens.low * load.epochs, tokens.high * load.epochs)
    return figures | {"total": _figure(load.total, "tokens", source, *ends)}


def _figure(value: float, unit: str, source: str, low: float = 0, high: float = 0) -> Figure:
    ends = (low, high) if low != high else (None, None)
    return Figure(value=value, unit=unit, low=ends[0], high=ends[1], source=source, as_of=today())


def _build_monthly(query: PricingQuery, prices: Prices) -> MonthlyReport | None:
    month = monthly.build_month(prices, query)
    if month is None:
        return None

    volume, source = month.volume, "as given, or from the data"
    return MonthlyReport(
        requests=_figure(float(volume.requests), "requests per month", source)
        if volume.requests
        else None,
        tokens_in=_figure(float(volume.tokens_in), "tokens per request", source),
        tokens_out=_figure(float(volume.tokens_out), "tokens per answer", source),
        gpu=query.serve_on,
        gpu_month=monthly.monthly_rent(month.gpu) if month.gpu else None,
        other_gpu_month=monthly.monthly_rent(month.other_gpu) if month.other_gpu else None,
        pace=monthly.required_tokens_per_s(volume),
    )
