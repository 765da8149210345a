"""Monthly cost of serving a tuned model, and the break-even volume for a rented GPU."""

from __future__ import annotations

from collections.abc import Mapping
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
Range = tuple[Decimal, Decimal, Decimal]
"""Low, likely, high."""


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
        fixed = _times(hosting, HOURS) if hosting else (Decimal(0),) * 3
        low, value, high = (
            price * self.volume.requests + fixed_price
            for price, fixed_price in zip(request, fixed, strict=True)
        )
        parts = f"{self.volume.requests:,f} requests with {_tokens(self.volume)}"
        if hosting:
            parts += f", plus {HOURS} h of hosting"
        return _figure((low, value, high), _PER_MONTH, parts, _rates(serving))

    def break_even(self, serving: Serving) -> Figure | None:
        """Return the requests per month above which the GPU, rented all month, is cheaper.

        requests × price per request + hosting = hours per month × GPU price. None if a price is
        missing, or if the host is never more expensive.
        """
        request, hosting = self.request(serving), serving.get("hosting")
        if request is None or self.gpu is None:
            return None
        gpu, fixed = _times(self.gpu, HOURS), _times(hosting, HOURS) if hosting else None
        left = tuple(g - f for g, f in zip(gpu, fixed or (Decimal(0),) * 3, strict=True))
        if min(left) <= 0 or min(request) <= 0:
            return None
        likely = left[1] / request[1]
        low, high = left[0] / request[2], left[2] / request[0]
        rounded = tuple(amount.to_integral_value(ROUND_CEILING) for amount in (low, likely, high))
        words = f"{HOURS} GPU hours / price of a request with {_tokens(self.volume)}"
        return _figure(
            (rounded[0], rounded[1], rounded[2]), "requests per month", words,
            [self.gpu, *_rates(serving)],
        )  # fmt: skip

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
        a = _times(into, self.volume.tokens_in / _MILLION)
        b = _times(out, self.volume.tokens_out / _MILLION)
        return a[0] + b[0], a[1] + b[1], a[2] + b[2]


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
        f"{volume.requests:,f} requests with {volume.tokens_out:,f} output tokens, spread evenly"
    )
    return to_figure(value, None, None, "tokens per second", f"{words}; peaks are higher", today())


def _times(rate: PriceRate, factor: Decimal) -> Range:
    low = rate.usd if rate.low is None else rate.low
    high = rate.usd if rate.high is None else rate.high
    return low * factor, rate.usd * factor, high * factor


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
