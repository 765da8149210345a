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
    differing_figures,
    is_stale,
    to_figure,
)
from ftwizard.catalog.providers import catalog
from ftwizard.pricing import monthly
from ftwizard.pricing.money import describe_rate
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
TOO_SMALL_HERE = "The model does not fit on this machine during training."
HOURS_UNKNOWN = "Training hours are not known yet."
SETUP = "assumed: 0.5–2 h to rent, install and download the model; often the real cost"


def list_gpu_offers(load: TrainingLoad, prices: Prices, asked: PricingQuery) -> Iterator[Offer]:
    """Yield an offer for each GPU and market with a price, then for this machine."""
    hours = asked.hours
    if hours is None:
        hours = {ARTICLE_GPU: article_hours(load.total)} if asked.by_rule else {}
    for card, market in prices.cards(asked.edition):
        yield _rented(card, market, hours.get(card), prices, asked)
    own = prices.machine()
    if own is not None:
        yield _here(own, asked)
    elif asked.edition != ARTICLE:
        here = asked.here
        estimated = here.hours is not None or here.too_small
        notes: list[tuple[NoteCode, str]] = [("no-hour-price", PRICE_NOT_SET)]
        if here.too_small:
            notes.append(("too-small", TOO_SMALL_HERE))
        yield _offer(
            asked,
            THIS_MACHINE if estimated else "Your own GPU",  # this machine may have no GPU
            hours=None if here.too_small else here.hours,
            too_small=here.too_small,
        ).with_notes(notes)


def article_hours(tokens: int) -> Figure:
    """Return the hours on the article's GPU by its rule, in proportion to the tokens."""
    low, value, high = (Decimal(tokens) / ARTICLE_TOKENS * hours for hours in ARTICLE_HOURS)
    source = (
        "the article's rule: QLoRA of Llama 3.1 8B takes 1–2 h for 4.5 million tokens; it uses 2 h"
    )
    return to_figure(value, low, high, "h", source, ARTICLE)


def _rented(
    card: str, market: Market, hours: Figure | None, prices: Prices, asked: PricingQuery
) -> Offer:
    rate, other_rate = prices.gpu(card, market, asked.edition)
    assert rate is not None  # only GPUs with a price are listed
    serves = monthly.may_serve(card, asked)
    served = asked.volume is not None and market == "on demand" and serves
    figures, others = _figures(rate, served), _figures(other_rate, served) if other_rate else {}
    return _offer(
        asked,
        f"{_name(card)} {market}",
        card=card,
        market=market,
        training=_training(hours, rate),
        other_training=_training(hours, other_rate) if other_rate else None,
        rate=rate.figure(),
        hours=hours,
        other_edition=differing_figures(figures, others),
        as_of=rate.as_of,
        stale=is_stale(rate.as_of, asked.today),
        too_small=card in asked.too_small,
        serves=serves,
        **figures,
    ).with_notes(_notes(card, market, rate, hours, asked))


def _figures(rate: PriceRate, served: bool) -> dict[str, Figure | None]:
    """Return the figures of an hourly price except training."""
    low, value, high = _times(SETUP_HOURS, rate)
    return {
        "setup": to_figure(value, low, high, "USD", f"{SETUP} × {describe_rate(rate)}", rate.as_of),
        "hosting": rate.figure(),
        "monthly": monthly.monthly_rent(rate) if served else None,
    }


def _name(card: str) -> str:
    """Return the display name of a GPU; for user prices, the vendor's name."""
    spec = None if card in CARDS else find_gpu(card)
    return spec.name.removeprefix("GeForce ") if spec else CARDS.get(card, card)


def _here(rate: PriceRate, asked: PricingQuery) -> Offer:
    """Return the offer for the user's machine at the price they set."""
    here, setup = asked.here, _times(SETUP_HOURS, rate)
    hours = None if here.too_small else here.hours
    serves = here.may_serve(asked.served)
    return _offer(
        asked,
        THIS_MACHINE,
        training=_training(hours, rate),
        rate=rate.figure(),
        hours=hours,
        too_small=here.too_small,
        serves=serves,
        setup=to_figure(
            setup[1], setup[0], setup[2], "USD", f"{SETUP_HERE} × {describe_rate(rate)}", rate.as_of
        ),
        hosting=rate.figure(),
        monthly=monthly.monthly_rent(rate) if asked.volume is not None and serves else None,
        as_of=rate.as_of,
        stale=is_stale(rate.as_of, asked.today),
    ).with_notes(_notes(None, None, rate, hours, asked))


def _offer(asked: PricingQuery, name: str, **more: object) -> Offer:
    local = catalog().provider("local")
    return Offer(
        provider="local", platform="local", model=asked.model, name=name, weights="yes",
        owner=local.claims("ownership")[0].statement, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _training(hours: Figure | None, rate: PriceRate) -> Figure | None:
    if hours is None:
        return None
    value = _exact(hours.value)
    low, high = (_exact(hours.value if end is None else end) for end in (hours.low, hours.high))
    amounts = _times((low, value, high), rate)
    return to_figure(
        amounts[1], amounts[0], amounts[2], "USD", f"{hours.value:.2g} h × {describe_rate(rate)}; {hours.source}",
        rate.as_of,
    )  # fmt: skip


def _times(
    hours: tuple[Decimal, Decimal, Decimal], rate: PriceRate
) -> tuple[Decimal, Decimal, Decimal]:
    low = rate.usd if rate.low is None else rate.low
    high = rate.usd if rate.high is None else rate.high
    return hours[0] * low, hours[1] * rate.usd, hours[2] * high


def _notes(
    card: str | None,
    market: Market | None,
    rate: PriceRate,
    hours: Figure | None,
    asked: PricingQuery,
) -> Iterator[tuple[NoteCode, str]]:
    if card == ARTICLE_GPU and market == "on demand" and asked.by_rule:
        yield "budget", BUDGET
    if market == "spot":
        yield "spot", "Spot instances can be preempted. A run resumes from its last checkpoint."
    if rate.note:
        yield "price", f"Price: {rate.note}."
    if card in asked.too_small:
        yield "too-small", TOO_SMALL
    elif card is None and asked.here.too_small:
        yield "too-small", TOO_SMALL_HERE
    elif hours is None:
        yield "hours-unknown", HOURS_UNKNOWN


def _exact(value: float) -> Decimal:
    """Return the decimal with the digits of the float's repr."""
    return Decimal(str(value))
