"""Cost of training on a GPU: hours × hourly price, plus instance setup."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ftwizard.catalog.gpu_specs import find_gpu
from ftwizard.catalog.prices import (
    ARTICLE,
    Market,
    PriceRate,
    Prices,
    RatePair,
    differing_figures,
    is_stale,
    to_decimal,
    to_figure,
)
from ftwizard.catalog.providers import catalog
from ftwizard.pricing import monthly
from ftwizard.pricing.money import multiply_price
from ftwizard.pricing.offer import ARTICLE_GPU, NoteCode, Offer, PricingQuery, TrainingLoad
from ftwizard.quantity import Figure

ARTICLE_TOKENS = Decimal(4_500_000)
"""The basis of the article's hours: 5,000 examples of 300 tokens, 3 epochs."""
ARTICLE_HOURS = (Decimal(1), Decimal(2), Decimal(2))
"""Low, used in its calculation, high."""
SETUP_HOURS = (Decimal("0.5"), Decimal(1), Decimal(2))
"""Low, likely, high: rental, driver, packages, model download. Assumed: the article calls it the
real cost but gives no figure."""
CARDS = {
    "a100-40gb": "A100 40 GB", "a100-80gb": "A100 80 GB", "h100-80gb": "H100 80 GB",
    "rtx-4090": "RTX 4090 24 GB",
}  # fmt: skip
SETUP_HERE = "assumed: 0.5–2 h to install and download the model, if not done yet"
THIS_MACHINE = "This machine"
PRICE_NOT_SET = "Set the hourly price of this machine with --price machine=USD."
BUDGET = (
    "The article (2026-04) budgets $3–6 for the training itself: QLoRA of an 8B model, 5,000 examples, "
    "1–2 h. Instance setup is the real cost."
)
TOO_SMALL = "The model does not fit on this GPU during training."
BY_QLORA = "With QLoRA: LoRA does not fit on this GPU during training."
TOO_SMALL_HERE = "The model does not fit on this machine during training."
HOURS_UNKNOWN = "Training hours are not known yet."
SETUP = "assumed: 0.5–2 h to rent, install and download the model; often the real cost"


def list_gpu_offers(load: TrainingLoad, prices: Prices, asked: PricingQuery) -> Iterator[Offer]:
    """Yield an offer for each GPU and market with a price, then for this machine."""
    hours = asked.hours
    if hours is None:
        hours = {ARTICLE_GPU: article_hours(load.total)} if asked.by_rule else {}
    for card, market in prices.cards(asked.edition):
        rates = prices.gpu(card, market, asked.edition)
        yield _rented(card, market, hours.get(card), rates, asked)
    own = prices.machine()
    if own is not None or asked.edition != ARTICLE:
        yield _here(own, asked)


def article_hours(tokens: int) -> Figure:
    """Return the hours on the article's GPU by its rule, in proportion to the tokens."""
    low, value, high = (Decimal(tokens) / ARTICLE_TOKENS * hours for hours in ARTICLE_HOURS)
    source = (
        "the article's rule: QLoRA of Llama 3.1 8B takes 1–2 h for 4.5 million tokens; it uses 2 h"
    )
    return to_figure(value, low, high, "h", source, ARTICLE)


def _rented(
    card: str, market: Market, hours: Figure | None, rates: RatePair, asked: PricingQuery
) -> Offer:
    spec = None if card in CARDS else find_gpu(card)  # for user prices, the vendor's name
    name = spec.name.removeprefix("GeForce ") if spec else CARDS.get(card, card)
    serves = monthly.may_serve(card, asked)
    return _offer(
        asked, f"{name} {market}", hours, rates, SETUP, served=serves and market == "on demand",
        card=card, market=market, too_small=card in asked.too_small, serves=serves,
    )  # fmt: skip


def _here(rate: PriceRate | None, asked: PricingQuery) -> Offer:
    """Return the offer for the user's machine at the price they set, if any."""
    here = asked.here
    # This machine may have no GPU.
    is_here = rate is not None or here.hours is not None or here.too_small
    serves = rate is None or here.may_serve(asked.served)
    return _offer(
        asked, THIS_MACHINE if is_here else "Your own GPU", None if here.too_small else here.hours,
        (rate, None), SETUP_HERE, served=serves, too_small=here.too_small, serves=serves,
    )  # fmt: skip


def _offer(
    asked: PricingQuery, name: str, hours: Figure | None, rates: RatePair, setup: str, *,
    served: bool, **more: object,
) -> Offer:  # fmt: skip
    rate, other_rate = rates
    is_served = served and asked.volume is not None
    figures = _figures(rate, setup, is_served)
    offer = Offer(
        provider="local", platform="local", model=asked.model, name=name, weights="yes",
        owner=catalog().provider("local").claims("ownership")[0].statement,
        training=_training(hours, rate),
        other_training=_training(hours, other_rate),
        other_edition=differing_figures(figures, _figures(other_rate, setup, is_served)),
        hours=hours,
        rate=rate.figure() if rate else None,
        as_of=rate.as_of if rate else None,
        stale=rate is not None and is_stale(rate.as_of, asked.today),
        **{**figures, **more},  # type: ignore[arg-type]
    )  # fmt: skip
    return offer.with_notes(_notes(offer, rate, asked))


def _figures(rate: PriceRate | None, setup: str, served: bool) -> dict[str, Figure | None]:
    """Return the figures of an hourly price except training."""
    if rate is None:
        return {}
    return {
        "setup": multiply_price(SETUP_HOURS, rate, setup),
        "hosting": rate.figure(),
        "monthly": monthly.monthly_rent(rate) if served else None,
    }


def _training(hours: Figure | None, rate: PriceRate | None) -> Figure | None:
    if hours is None or rate is None:
        return None
    amounts = [to_decimal(end) for end in (hours.lowest, hours.value, hours.highest)]
    return multiply_price(amounts, rate, f"{hours.value:.2g} h", basis=hours.source)


def _notes(
    offer: Offer, rate: PriceRate | None, asked: PricingQuery
) -> Iterator[tuple[NoteCode, str]]:
    if rate is None:
        yield "no-hour-price", PRICE_NOT_SET
    if offer.card == ARTICLE_GPU and offer.market == "on demand" and asked.by_rule:
        yield "budget", BUDGET
    if offer.market == "spot":
        yield "spot", "Spot instances can be preempted. A run resumes from its last checkpoint."
    if rate and rate.note:
        yield "price", f"Price: {rate.note}."
    if offer.card in asked.by_qlora and not offer.too_small:
        yield "method", BY_QLORA
    if offer.too_small:
        yield "too-small", TOO_SMALL if offer.card else TOO_SMALL_HERE
    elif rate and offer.hours is None:
        yield "hours-unknown", HOURS_UNKNOWN
