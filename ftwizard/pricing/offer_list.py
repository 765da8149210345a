"""Cost table: offers of all providers and models for one dataset.

Pure: tokens and prices in, figures out. Amounts are Decimal and become figures at the end. Unknown
amounts are None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from ftwizard.catalog.hosted_models import (
    PLATFORM_NAMES,
    Deprecation,
    HostedModel,
    Tuning,
    check_deprecation,
    list_hosted_models,
)
from ftwizard.catalog.prices import (
    ARTICLE,
    Discount,
    Edition,
    Kind,
    PriceRate,
    Prices,
    differing_figures,
    is_stale,
    to_figure,
)
from ftwizard.catalog.providers import catalog
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.pricing.gpu_costs import list_gpu_offers
from ftwizard.pricing.money import multiply_price
from ftwizard.pricing.monthly import Month, Serving, build_month
from ftwizard.pricing.offer import CHECK_PRICE, NoteCode, Offer, PricingQuery, TrainingLoad
from ftwizard.quantity import Figure
from ftwizard.text import format_dollars

SortKey = Literal[
    "provider", "name", "training", "input", "output", "hosting", "monthly", "break_even"
]
MAX_FIRST_HOURS = 24
"""A longer run on this machine is not one to try first."""
_NAMES = {**PLATFORM_NAMES, "mantle": "Bedrock open"}
"""Short enough for a name and its model in the table of a narrow terminal."""
_MILLION = Decimal(1_000_000)
_SERVING: tuple[Kind, ...] = ("input", "cached", "output", "hosting", "storage")


class TrainingPrice(NamedTuple):
    """The price of a job; None where it is unknown."""

    rate: PriceRate | None
    """Price of a unit."""
    training: Figure | None
    """US dollars; None also if it is billed by the hour."""
    other: Figure | None
    """US dollars by the other edition's price, if the two differ enough to be shown."""


def list_offers(load: TrainingLoad, prices: Prices, asked: PricingQuery) -> tuple[Offer, ...]:
    """Return every offer of an edition in catalog order: OpenAI, GPUs, clouds."""
    monthly = build_month(prices, asked)
    hosted_offers = [
        _hosted(model, load, prices, asked, monthly) for model in list_hosted_models(asked.edition)
    ]
    openai = (offer for offer in hosted_offers if offer.provider == "openai")
    clouds = (offer for offer in hosted_offers if offer.provider != "openai")
    return (*openai, *list_gpu_offers(load, prices, asked), *clouds)


def sort_offers(rows: Iterable[Offer], key: SortKey) -> list[Offer]:
    """Sort offers, cheapest first; unknown amounts come last."""
    if key == "provider":
        return list(rows)
    if key == "name":
        return sorted(rows, key=lambda offer: offer.name.lower())

    def order(offer: Offer) -> tuple[bool, float]:
        figure: Figure | None = getattr(offer, key)
        return figure is None, figure.value if figure else 0.0

    return sorted(rows, key=order)


def find_first(offers: Iterable[Offer]) -> Offer | None:
    """Return the offer to try first, one that ftwizard can start: this machine, else a rented GPU.

    This machine counts if the model fits and a run takes ``MAX_FIRST_HOURS`` at most, as far as is
    known. Of rented GPUs, the cheapest on demand that it fits on; None if there is none.
    """
    own: list[Offer] = []
    rented: list[Offer] = []
    for offer in offers:
        if offer.provider == "local" and not offer.too_small:
            (rented if offer.card else own).append(offer)
    here = next(iter(own), None)
    if here and (here.hours is None or here.hours.value <= MAX_FIRST_HOURS):
        return here
    return min(
        (offer for offer in rented if offer.training and offer.market != "spot"),
        key=lambda offer: offer.training.value if offer.training else 0.0,
        default=here,
    )


def _hosted(
    model: HostedModel,
    load: TrainingLoad,
    prices: Prices,
    asked: PricingQuery,
    monthly: Month | None,
) -> Offer:
    method = model.methods[0]
    rate, training, other_training = price_training(
        model, method, load, prices, edition=asked.edition
    )
    serving = _serving(model, prices, asked, asked.edition)
    other_serving = _serving(
        model, prices, asked, "current" if asked.edition == ARTICLE else ARTICLE
    )
    others = {kind: price or serving[kind] for kind, price in other_serving.items()}
    figures = _figures(serving, monthly)
    dates = [price.as_of for price in (rate, *serving.values()) if price]
    alive = check_deprecation(model, asked.today)
    return Offer(
        provider=model.provider, platform=model.platform, model=model.id, method=method,
        name=f"{_NAMES[model.platform]} {model.name}",
        weights=model.weights(), recommended=model.recommended,
        tunable=alive.tunable, since=alive.since, until=alive.until, ends=alive.ends,
        training=training,
        other_training=other_training,
        rate=rate.figure() if rate else None,
        relative=_relative(serving, prices, model),
        owner=catalog().provider(model.provider).claims("ownership", model.platform)[0].statement,
        other_edition=differing_figures(
            figures, _figures(others, monthly.other_edition() if monthly else None)
        ),
        as_of=min(dates, default=None),
        stale=any(is_stale(day, asked.today) for day in dates),
        **figures,  # type: ignore[arg-type]
    ).with_notes(_notes(model, asked.edition, rate, training, serving, alive))  # fmt: skip


def price_training(
    model: HostedModel,
    method: Tuning,
    load: TrainingLoad,
    prices: Prices,
    *,
    edition: Edition = "current",
    priced_as: Sequence[str] = (),
) -> TrainingPrice:
    """Price a job; the range includes the article's price, unless its edition is asked for.

    ``priced_as``: names to look the price up under instead of the model's own. Raises KeyError for
    a method that the model does not have.
    """
    names = priced_as or model.priced_as
    rate, other_rate = prices.rates(model.platform, names, "training", edition)
    tokens = load.billed(model, method)
    training, other = _training(rate, tokens), _training(other_rate, tokens)
    return TrainingPrice(
        rate, training if edition == ARTICLE else _span_editions(training, other), other
    )


def _serving(model: HostedModel, prices: Prices, asked: PricingQuery, edition: Edition) -> Serving:
    """Return the prices of an edition, discounted if the data is shared."""
    rates = {
        kind: prices.rates(model.platform, model.priced_as, kind, edition)[0] for kind in _SERVING
    }
    if not asked.share_data:
        return rates
    return {
        kind: _apply_discount(rate, prices.discount(model.platform, kind))
        for kind, rate in rates.items()
    }


def _figures(serving: Serving, monthly: Month | None) -> dict[str, Figure | None]:
    """Return the figures for serving prices, and for the monthly bill."""
    figures: dict[str, Figure | None] = {
        kind: rate.figure() if rate else None for kind, rate in serving.items()
    }
    return figures | (monthly.figures(serving) if monthly else {})


def _apply_discount(rate: PriceRate | None, discount: Discount | None) -> PriceRate | None:
    """Apply a discount to a price; user prices stay unchanged."""
    if rate is None or discount is None or rate.own:
        return rate
    left = 1 - discount.share
    source = f"{rate.source}, {discount.share:.0%} off for sharing data ({discount.source})"
    return PriceRate(
        usd=rate.usd * left, unit=rate.unit, source=source,
        low=None if rate.low is None else rate.low * left,
        high=None if rate.high is None else rate.high * left,
        as_of=min(rate.as_of, discount.as_of), confidence=discount.confidence, note=discount.note,
    )  # fmt: skip


def _training(rate: PriceRate | None, tokens: TokenEstimate | None) -> Figure | None:
    """Return the price of these tokens; None if unknown or billed per hour."""
    if rate is None or tokens is None or rate.unit != "million tokens":
        return None
    amounts = [Decimal(end) for end in (tokens.low, tokens.value, tokens.high)]
    return multiply_price(amounts, rate, f"{tokens.value:,} tokens", per=_MILLION)


def _span_editions(training: Figure | None, older: Figure | None) -> Figure | None:
    """Return the newer figure with a range that includes the older one."""
    if training is None or older is None:
        return training
    return Figure(
        value=training.value, unit=training.unit,
        low=min(training.lowest, older.lowest), high=max(training.highest, older.highest),
        source=f"{training.source}; as of {older.as_of}: {older.source}", as_of=training.as_of,
        short_source=training.source,
    )  # fmt: skip


def _relative(serving: Serving, prices: Prices, model: HostedModel) -> Figure | None:
    """Return how much more the tuned model costs than its base model, in percent."""
    ratios: list[tuple[Decimal, PriceRate]] = []
    sides: tuple[tuple[Kind, Kind], ...] = (("input", "base_input"), ("output", "base_output"))
    for kind, base_kind in sides:
        tuned, base = serving[kind], prices.rates(model.platform, (model.id,), base_kind)[0]
        if tuned is None or base is None or not base.usd:
            return None
        ratios.append(((tuned.usd / base.usd - 1) * 100, base))
    (into, base), (out, _) = ratios
    words = (
        f"compared with {format_dollars(base.usd)} per million input tokens of the base model, without "
        f"discounts ({base.source})"
    )
    return to_figure(into, min(into, out), max(into, out), "%", words, base.as_of)


def _notes(
    model: HostedModel, edition: Edition, rate: PriceRate | None, training: Figure | None,
    serving: Serving, alive: Deprecation,
) -> Iterator[tuple[NoteCode, str]]:  # fmt: skip
    if alive.why_not:
        yield "end", alive.why_not
    elif alive.ends or alive.until:
        yield "end", _describe_end(alive)
    for caution in alive.cautions:
        yield "caution", caution
    if model.advice:
        yield "advice", model.advice
    if rate is None:
        yield "price-unknown", f"Training: {_describe_billing(model, edition)}; {CHECK_PRICE}."
    elif training is None:
        yield (
            "amount-unknown",
            f"Training is billed per {rate.unit}: {format_dollars(rate.usd)}. The amount is unknown.",
        )
    if rate and rate.note:
        yield "price", f"Training: {rate.note}."
    if serving["input"] is None:
        yield "price-unknown", f"Inference: price unknown; {CHECK_PRICE}."
    hosting = serving["hosting"]
    if hosting:
        note = f": {hosting.note}" if hosting.note else ""
        yield "hosting", f"Hosting is billed per hour until you stop it{note}."
    elif model.platform == "together":
        yield "hosting", "Served on a dedicated endpoint, billed per minute until you stop it."
    elif model.platform == "vertex" and not model.closed:
        yield "hosting", "Not served by the job: download the weights, or deploy them by the hour."


def _describe_billing(model: HostedModel, edition: Edition) -> str:
    """Describe how a platform bills training if no price is known."""
    for claim in catalog().provider(model.provider).claims("cost", model.platform):
        if claim.low is None and (edition != ARTICLE or claim.as_of == ARTICLE):
            return f"{claim.statement[:1].lower()}{claim.statement[1:]}"
    return "price unknown"


def _describe_end(alive: Deprecation) -> str:
    since, until, ends = alive.since, alive.until, alive.ends
    same_source = until is not None and ends is not None and until.citation == ends.citation
    words = [f"available since {since.date} ({since.source})"] if since else []
    if until:
        words.append(f"no new jobs from {until.date}{'' if same_source else f' {until.citation}'}")
    if ends:
        words.append(f"the tuned model shuts down on {ends.date} {ends.citation}")
    text = "; ".join(words)
    return f"{text[0].upper()}{text[1:]}."
