"""Monthly cost of serving a tuned model, and the break-even volume for a rented GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

import msgspec

from ftwizard.catalog.gpu_specs import find_gpu
from ftwizard.catalog.prices import Kind, PriceRate, Prices, to_figure
from ftwizard.pricing.offer import PricingQuery, Volume
from ftwizard.quantity import Figure, today
from ftwizard.text import format_bytes

GIB = 2**30
HOURS = Decimal(730)
"""Per month: 365 × 24 / 12."""
_MILLION = Decimal(1_000_000)
_PER_MONTH = "USD per month"
Serving = Mapping[Kind, PriceRate | None]
Range = Sequence[Decimal]
"""Low, likely and high amount."""
_FREE: Range = (Decimal(0),) * 3


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A monthly volume and the GPU to compare with."""

    volume: Volume
    gpu: PriceRate | None
    """Hourly price, on demand."""
    other_gpu: PriceRate | None = None
    """The other edition's price, if it differs clearly."""

    def bill(self, serving: Serving) -> Figure | None:
        """Return the cost of a month at a host; None if a price is missing."""
        if self.volume.requests is None:
            return None
        request, hosting = self.request(serving), serving.get("hosting")
        if request is None:
            return None
        amounts = [
            price * self.volume.requests + fixed
            for price, fixed in zip(request, _times(hosting, HOURS), strict=True)
        ]
        parts = f"{self.volume.requests:,f} requests with {_tokens(self.volume)}"
        if hosting:
            parts += f", plus {HOURS} h of hosting"
        return _figure(amounts, _PER_MONTH, parts, _rates(serving))

    def break_even(self, serving: Serving) -> Figure | None:
        """Return the requests per month above which the GPU, rented all month, is cheaper.

        requests × price per request + hosting = hours per month × GPU price. None if a price is
        missing, or if the host is never more expensive.
        """
        request = self.request(serving)
        if request is None or self.gpu is None:
            return None
        gpu, hosting = _times(self.gpu, HOURS), _times(serving.get("hosting"), HOURS)
        left = [rent - fixed for rent, fixed in zip(gpu, hosting, strict=True)]
        if min(left) <= 0 or min(request) <= 0:
            return None
        # The fewest requests are those at the highest price.
        amounts = [
            (budget / price).to_integral_value(ROUND_CEILING)
            for budget, price in zip(left, reversed(request), strict=True)
        ]
        words = f"{HOURS} GPU hours / price of a request with {_tokens(self.volume)}"
        return _figure(amounts, "requests per month", words, [self.gpu, *_rates(serving)])

    def figures(self, serving: Serving) -> dict[str, Figure | None]:
        """Return ``monthly`` and ``break_even``."""
        return {"monthly": self.bill(serving), "break_even": self.break_even(serving)}

    def other_edition(self) -> Month:
        """Return the month with the other edition's GPU price."""
        return msgspec.structs.replace(self, gpu=self.other_gpu or self.gpu)

    def request(self, serving: Serving) -> Range | None:
        """Return the cost of one request; None if the input or output price is missing."""
        into, out = serving.get("input"), serving.get("output")
        if into is None or out is None:
            return None
        costs = zip(
            _times(into, self.volume.tokens_in / _MILLION),
            _times(out, self.volume.tokens_out / _MILLION),
            strict=True,
        )
        return [into + out for into, out in costs]


def build_month(prices: Prices, asked: PricingQuery) -> Month | None:
    """Return the requested month; None without a volume."""
    if asked.volume is None:
        return None
    gpu, other_gpu = prices.gpu(asked.serve_on, "on demand", asked.edition)
    if explain_cannot_serve(asked):
        gpu = other_gpu = None
    return Month(volume=asked.volume, gpu=gpu, other_gpu=other_gpu)


def explain_cannot_serve(asked: PricingQuery) -> str:
    """Explain why the break-even GPU cannot serve the model; empty if it may."""
    card = find_gpu(asked.serve_on)
    if card is None or asked.served is None or may_serve(asked.serve_on, asked):
        return ""
    return (
        f"The 16-bit weights need {format_bytes(asked.served)}, but one {card.name} has only "
        f"{card.memory:g} GB."
    )


def may_serve(name: str, asked: PricingQuery) -> bool:
    """Return whether a GPU may serve the model in 16 bit; True if unknown."""
    card = find_gpu(name)
    return card is None or asked.served is None or asked.served <= card.memory * GIB


def monthly_rent(hour: PriceRate) -> Figure:
    """Return the cost of a GPU rented all month."""
    return _figure(_times(hour, HOURS), _PER_MONTH, f"{HOURS} h of one GPU", [hour])


def required_tokens_per_s(volume: Volume) -> Figure | None:
    """Return the average output tokens per second that the volume requires."""
    if volume.requests is None:
        return None
    value = volume.requests * volume.tokens_out / (HOURS * 3600)
    words = (
        f"{volume.requests:,f} requests with {volume.tokens_out:,f} output tokens, spread evenly; "
        "peaks are higher"
    )
    return to_figure(value, None, None, "tokens per second", words, today())


def _times(rate: PriceRate | None, factor: Decimal) -> Range:
    return [price * factor for price in rate.range] if rate else _FREE


def _rates(serving: Serving) -> list[PriceRate]:
    kinds: tuple[Kind, ...] = ("input", "output", "hosting")
    return [rate for kind in kinds if (rate := serving.get(kind))]


def _figure(amounts: Range, unit: str, words: str, rates: list[PriceRate]) -> Figure:
    low, value, high = amounts
    sources = "; ".join(dict.fromkeys(rate.source for rate in rates))
    oldest = min((rate.as_of for rate in rates), default=None)
    return to_figure(value, low, high, unit, f"{words}; {sources}", oldest)


def _tokens(volume: Volume) -> str:
    return f"{volume.tokens_in:,f} tokens in, {volume.tokens_out:,f} out"
