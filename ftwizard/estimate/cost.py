"""What each path and model costs for this data: the table of offers.

Pure: tokens and prices in, figures out. Amounts are computed in Decimal and become figures at the
end. What is not known is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal

from ftwizard.catalog.models import PLATFORM_NAMES, HostedModel, Life, hosted, life
from ftwizard.catalog.paths import catalog
from ftwizard.catalog.prices import (
    ARTICLE,
    Discount,
    Edition,
    Kind,
    Prices,
    Rate,
    differing,
    money,
    stale,
)  # fmt: skip
from ftwizard.data.tokens import Estimate
from ftwizard.estimate.gpu_cost import gpus
from ftwizard.estimate.monthly import Month, Serving, month
from ftwizard.estimate.offer import CHECK, Asked, Load, Offer
from ftwizard.figure import Figure

SortKey = Literal["path", "name", "training", "input", "output", "hosting", "monthly", "break_even"]
SHARING = (
    "It is the same on standard and on batch. Sharing data is a setting of the organisation at "
    "OpenAI, not of a job: on before the job is created"
)
_MILLION = Decimal(1_000_000)
_SERVING: tuple[Kind, ...] = ("input", "cached", "output", "hosting", "storage")


def offers(load: Load, prices: Prices, asked: Asked) -> tuple[Offer, ...]:
    """Return every offer of an edition, in the catalogue's order: OpenAI, GPUs, clouds."""
    monthly = month(prices, asked)
    found = [_hosted(one, load, prices, asked, monthly) for one in hosted(asked.edition)]
    openai = (one for one in found if one.path == "openai")
    clouds = (one for one in found if one.path != "openai")
    return (*openai, *gpus(load, prices, asked), *clouds)


def in_order(found: Iterable[Offer], key: SortKey) -> list[Offer]:
    """Return the offers sorted, the cheapest first; what is not known comes last."""
    if key == "path":
        return list(found)
    if key == "name":
        return sorted(found, key=lambda one: one.name.lower())

    def order(one: Offer) -> tuple[bool, float]:
        figure: Figure | None = getattr(one, key)
        return figure is None, figure.value if figure else 0.0

    return sorted(found, key=order)


def notes(prices: Prices, asked: Asked, *, confidential: bool = False) -> list[str]:
    """Return what is to be known of the table as a whole."""
    found = ["Prices change: each has its date; check the provider's page before you pay."]
    discount = prices.discount("openai", "input")
    if confidential:
        found.append("The data is confidential: OpenAI's discount for shared data is left out.")
    elif discount and asked.share_data:
        found.append(
            f"OpenAI's input and output are {discount.share:.0%} off for sharing data (as of "
            f"{discount.as_of}). {SHARING}. {discount.note}."
        )
    elif discount:
        found.append(
            f"If the data is not confidential, OpenAI takes {discount.share:.0%} off input and "
            f"output for sharing it (as of {discount.as_of}; --share-data). {SHARING}."
        )
    return found


def _hosted(
    model: HostedModel, load: Load, prices: Prices, asked: Asked, monthly: Month | None
) -> Offer:
    method = model.methods[0]
    rate, beside = prices.rates(model.platform, model.priced_as, "training", asked.edition)
    tokens = load.billed(model, method)
    training, other = _training(rate, tokens), _training(beside, tokens)
    full = _serving(model, prices, asked.edition)
    others = _other_edition(model, prices, asked.edition, full)
    serving = full
    if asked.share_data:
        serving, others = _shared(full, prices, model), _shared(others, prices, model)
    figures = _figures(serving, monthly)
    dates = [one.as_of for one in (rate, *serving.values()) if one]
    alive = life(model, asked.today)
    return Offer(
        path=model.path,
        platform=model.platform,
        model=model.id,
        name=f"{PLATFORM_NAMES[model.platform]} {model.name}",
        method=method,
        training=training if asked.edition == ARTICLE else _spanning(training, other),
        other=other,
        rate=rate.figure() if rate else None,
        input=figures["input"],
        cached=figures["cached"],
        output=figures["output"],
        hosting=figures["hosting"],
        storage=figures["storage"],
        relative=_relative(serving, prices, model),
        weights=model.weights(),
        owner=catalog().path(model.path).claims("ownership", _platform(model))[0].words,
        recommended=model.recommended,
        tunable=alive.tunable,
        since=alive.since,
        until=alive.until,
        ends=alive.ends,
        monthly=figures.get("monthly"),
        break_even=figures.get("break_even"),
        beside=differing(figures, _figures(others, monthly.other_edition() if monthly else None)),
        as_of=min(dates, default=None),
        stale=any(stale(day, asked.today) for day in dates),
        notes=tuple(_notes(model, asked.edition, rate, training, serving, alive)),
    )


def _platform(model: HostedModel) -> Literal["vertex", "bedrock", "foundry", "together"] | None:
    return None if model.platform == "openai" else model.platform


def _serving(model: HostedModel, prices: Prices, edition: Edition) -> Serving:
    return {
        kind: prices.rates(model.platform, model.priced_as, kind, edition)[0] for kind in _SERVING
    }


def _other_edition(model: HostedModel, prices: Prices, edition: Edition, shown: Serving) -> Serving:
    """Return the prices of the other edition; those that it does not have as they are ``shown``."""
    found = _serving(model, prices, "current" if edition == ARTICLE else ARTICLE)
    return {kind: one or shown[kind] for kind, one in found.items()}


def _figures(serving: Serving, monthly: Month | None) -> dict[str, Figure | None]:
    """Return what a person sees of prices of serving, and of the month that they come to."""
    found: dict[str, Figure | None] = {
        kind: one.figure() if one else None for kind, one in serving.items()
    }
    return found | (monthly.figures(serving) if monthly else {})


def _shared(serving: Serving, prices: Prices, model: HostedModel) -> Serving:
    return {
        kind: _less(rate, prices.discount(model.platform, kind)) for kind, rate in serving.items()
    }


def _less(rate: Rate | None, discount: Discount | None) -> Rate | None:
    """Return a price with the discount taken off; the user's own prices are what they are."""
    if rate is None or discount is None or rate.own:
        return rate
    left = 1 - discount.share
    source = f"{rate.source}, {discount.share:.0%} off for sharing data ({discount.source})"
    return Rate(
        usd=rate.usd * left, unit=rate.unit, source=source,
        low=None if rate.low is None else rate.low * left,
        high=None if rate.high is None else rate.high * left,
        as_of=min(rate.as_of, discount.as_of), confidence=discount.confidence, note=discount.note,
    )  # fmt: skip


def _training(rate: Rate | None, tokens: Estimate | None) -> Figure | None:
    """Return the price of these tokens; None where it is not known or billed by the hour."""
    if rate is None or tokens is None or rate.unit != "million tokens":
        return None
    low = rate.usd if rate.low is None else rate.low
    high = rate.usd if rate.high is None else rate.high
    return money(
        rate.usd * tokens.value / _MILLION,
        low * tokens.low / _MILLION,
        high * tokens.high / _MILLION,
        "USD",
        f"{tokens.value:,} tokens × ${rate.usd:,.2f} per million ({rate.source})",
        rate.as_of,
    )


def _spanning(training: Figure | None, other: Figure | None) -> Figure | None:
    """Return the newer figure with a range that holds the older one."""
    if training is None or other is None:
        return training
    ends = [
        end
        for one in (training, other)
        for end in (one.low, one.value, one.high)
        if end is not None
    ]
    return Figure(
        value=training.value, unit=training.unit, low=min(ends), high=max(ends),
        source=f"{training.source}; as of {other.as_of}: {other.source}", as_of=training.as_of,
    )  # fmt: skip


def _relative(serving: Serving, prices: Prices, model: HostedModel) -> Figure | None:
    """Return how far the prices of the tuned model are above its base model's, in %."""
    found: list[tuple[Decimal, Rate]] = []
    sides: tuple[tuple[Kind, Kind], ...] = (("input", "base_input"), ("output", "base_output"))
    for kind, base_kind in sides:
        tuned, base = serving[kind], prices.rates(model.platform, (model.id,), base_kind)[0]
        if tuned is None or base is None or not base.usd:
            return None
        found.append(((tuned.usd / base.usd - 1) * 100, base))
    (into, base), (out, _) = found
    words = (
        f"against ${base.usd:,.2f} per million tokens of input of the base model, without any "
        f"discount ({base.source})"
    )
    return money(into, min(into, out), max(into, out), "%", words, base.as_of)


def _notes(
    model: HostedModel, edition: Edition, rate: Rate | None, training: Figure | None,
    serving: Serving, alive: Life,
) -> Iterator[str]:  # fmt: skip
    if alive.why_not:
        yield alive.why_not
    elif alive.ends or alive.until:
        yield _until(alive)
    yield from alive.cautions
    if model.advice:
        yield model.advice
    if rate is None:
        yield f"Training: {_unpriced(model, edition)}; {CHECK}."
    elif training is None:
        yield f"Training is billed by the {rate.unit}, ${rate.usd:,.2f}; how many is not known."
    if rate and rate.note:
        yield f"Training: {rate.note}."
    if serving["input"] is None:
        yield f"Answers: no price is known; {CHECK}."
    hosting = serving["hosting"]
    if hosting:
        yield f"Hosting is billed by the hour until it is stopped{f': {hosting.note}' if hosting.note else ''}."
    elif model.platform == "together":
        yield "Served on an endpoint of its own, billed by the minute until it is stopped."


def _unpriced(model: HostedModel, edition: Edition) -> str:
    """Return how a platform bills training where no price is known."""
    claims = catalog().path(model.path).claims("cost", _platform(model))
    for one in claims:
        if one.low is None and (edition != ARTICLE or one.as_of == ARTICLE):
            return f"{one.words[:1].lower()}{one.words[1:]}"
    return "no price is known"


def _until(alive: Life) -> str:
    since, until, ends = alive.since, alive.until, alive.ends
    one = until is not None and ends is not None and until.said == ends.said
    words = [f"tuned since {since.date} ({since.source})"] if since else []
    words += [f"no jobs from {until.date} on{'' if one else f' {until.said}'}"] if until else []
    words += [f"the tuned model is shut down on {ends.date} {ends.said}"] if ends else []
    words += [] if since else ["since when it is tuned is not known"]
    said = "; ".join(words)
    return f"{said[0].upper()}{said[1:]}."
