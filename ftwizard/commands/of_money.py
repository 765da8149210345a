"""Cost of a plan on this machine, as lines of an estimate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard import hour_price
from ftwizard.figure import Figure


def to_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield cost and setup as names and values, or how to make them known."""
    hour = document["hour"]
    price = msgspec.convert(hour["price"], Figure | None)
    if price is None:
        guide = hour_price.guide(msgspec.convert(hour["rental"], Figure | None))
        file = hour_price.shown_file()
        row = 'kind = "machine", usd = USD'
        yield "cost", f"unknown: set the hourly price with {hour_price.OPTION}, or in {file}: {row}"
        if guide:
            yield "", guide
        return
    cost = msgspec.convert((document["follows"] or {}).get("cost"), Figure | None)
    if cost is None:
        yield "cost", f"unknown, as the time is unknown; {hour_price.an_hour(price)}"
        return
    fit = document["fit"]
    fitted = " if it fit" if fit and fit["verdict"] == "does not fit" else ""
    text = f"{hour_price.spread(cost)} for the whole run{fitted}, {hour_price.an_hour(price)}"
    yield "cost", text
    yield "setup", hour_price.set_up(price)
