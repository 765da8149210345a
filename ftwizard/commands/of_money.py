"""What a plan costs on this machine, in the lines of an estimate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard import hour_price
from ftwizard.figure import Figure


def lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and words of cost and set-up; of what would tell them where they are not known."""
    hour = found["hour"]
    price = msgspec.convert(hour["price"], Figure | None)
    if price is None:
        guide = hour_price.guide(msgspec.convert(hour["rental"], Figure | None))
        file = hour_price.shown_file()
        row = 'kind = "machine", usd = USD'
        yield "cost", f"not known; say an hour's price: {hour_price.OPTION}, or in {file}: {row}"
        if guide:
            yield "", guide
        return
    cost = msgspec.convert((found["follows"] or {}).get("cost"), Figure | None)
    if cost is None:
        yield "cost", f"not known, as the time is not; {hour_price.an_hour(price)}"
        return
    fit = found["fit"]
    fitted = " if it fitted" if fit and fit["verdict"] == "does not fit" else ""
    words = f"{hour_price.spread(cost)} for the whole run{fitted}, {hour_price.an_hour(price)}"
    yield "cost", words
    yield "set-up", hour_price.set_up(price)
