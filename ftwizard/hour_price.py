"""Hourly price of the user's machine: from the command line, the price file, or a run's record."""

from __future__ import annotations

import contextlib
import datetime
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import settings
from ftwizard.catalog import own_file, own_prices
from ftwizard.catalog.prices import Price, Prices, Rate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import gpu_cost
from ftwizard.figure import Figure
from ftwizard.jobs.folder import JobFolder, write_whole
from ftwizard.text import dollar_range, dollars, visible

RECORDED = "hour_price"
"""Key among the inputs of a run's ``job.json``, or of an attempt with another price."""
OPTION = "--price machine=USD"
"""The command line option that sets it."""
SAID = "your own, set in the wizard"
_HEAD = "# Your own prices in US dollars. They override ftwizard's prices.\n"


def known(texts: Iterable[str] = ()) -> Rate | None:
    """Return the price from ``texts`` of ``--price``, else from the price file.

    None without either. Raises FtwizardError for an invalid price.
    """
    return _to_rate(own_prices.read(texts, settings.prices_file(), datetime.date.today()))


def of_command(texts: Iterable[str]) -> Rate | None:
    """Return the price from a command whose ``--price`` accepts only this machine."""
    prices = own_prices.given(texts, datetime.date.today())
    for price in prices:
        if price.kind != own_prices.MACHINE:
            raise FtwizardError(
                f"The price of {visible(price.model, 40)} does not apply to a run on this machine.",
                f"Set your hourly machine price: {OPTION}",
                USAGE,
            )
    return _to_rate(prices)


def remembered() -> Rate | None:
    """Return the price in the price file; None also if the file is invalid."""
    try:
        return known()
    except FtwizardError:
        return None


def said(typed: str) -> Rate:
    """Parse a price typed in the wizard; raises FtwizardError if it is invalid."""
    rate = _to_rate([own_prices.hour(typed, SAID, datetime.date.today())])
    assert rate is not None
    return rate


def argv(hour: Rate | None) -> tuple[str, ...]:
    """Return the command line arguments for a typed price; empty if it is in the price file."""
    if hour is None or hour.source != SAID:
        return ()
    return ("--price", f"{own_prices.MACHINE}={hour.usd:f}")


def remember(usd: Decimal) -> Path:
    """Write the price to the price file, replacing an earlier one, and return the file's path.

    The rest of the file is kept. Raises FtwizardError if it cannot be read or written.
    """
    today, path = datetime.date.today(), settings.prices_file().resolve()
    text = own_file.read_text(path)
    before = own_prices.parse(text, path, today)
    row = f'[[prices]]\nkind = "machine"  # an hour of this machine\nusd = {usd:f}\nas_of = "{today}"\n'
    kept = _without_machine(text).rstrip()
    new = f"{kept}\n\n{row}" if kept else f"{_HEAD}\n{row}"
    try:
        after = own_prices.parse(new, path, today)
    except FtwizardError:
        after = []
    if _without_machine_price(after) != _without_machine_price(before) or [
        price.usd for price in after if _is_machine(price)
    ] != [usd]:
        raise FtwizardError(
            f"{visible(str(path), 200)} cannot be edited automatically.",
            f'Add it there yourself: kind = "machine", usd = {usd:f}',
        )
    settings.private_folder(path.parent)
    try:
        write_whole(path, new.encode())
    except OSError as error:
        raise FtwizardError(
            f"{visible(str(path), 200)} cannot be written: {error.strerror}.",
            f"Pass it each time: --price machine={usd:f}",
        ) from None
    return path


def shown_file() -> str:
    """Return the path of the price file for display."""
    return visible(str(settings.prices_file()), 200)


def recorded(folder: JobFolder) -> Rate | None:
    """Return the price of a run: the last one passed at a start; None if there was none."""
    for number in range(folder.newest_attempt(), 0, -1):
        with contextlib.suppress(OSError, FtwizardError):  # an unreadable old attempt
            if hour := _from_inputs(folder.read_attempt(number).inputs):
                return hour
    return _from_inputs(folder.read_job().inputs)


def _from_inputs(inputs: Mapping[str, Any]) -> Rate | None:
    try:
        rate = msgspec.convert(inputs.get(RECORDED), Rate | None)
    except (msgspec.ValidationError, ValueError):
        return None
    amounts = (rate.usd, rate.low, rate.high) if rate else ()
    sound = all(amount is None or (amount.is_finite() and amount >= 0) for amount in amounts)
    return rate if sound else None


def record(hour: Rate | None) -> dict[str, Any]:
    """Return the price as an entry for the inputs of a job or an attempt; empty for None."""
    return {RECORDED: msgspec.to_builtins(hour)} if hour else {}


def spread(figure: Figure) -> str:
    """Format dollars, as a range if they have one: ``$0.40–0.52``."""
    if figure.low is None or figure.high is None:
        return dollars(figure.value)
    return dollar_range(figure.low, figure.high)


def an_hour(price: Figure) -> str:
    """Describe the price: ``at $1.50 per hour, your own price of 2026-11-25``."""
    return f"at {spread(price)} per hour, your own price of {price.as_of}"


def set_up(price: Figure) -> str:
    """Describe the cost of setting up the machine, if that is still to be done."""
    low, _, high = gpu_cost.SETUP_HOURS
    ends = (
        (price.value if price.low is None else price.low),
        (price.value if price.high is None else price.high),
    )
    words = dollar_range(ends[0] * float(low), ends[1] * float(high))
    return f"{words} extra if not done yet (assumed: {low:f}–{high:f} h to install and download)"


def guide(rental: Figure | None) -> str:
    """Describe the rental price of a similar GPU for comparison; empty if unknown."""
    if rental is None:
        return ""
    card = visible(rental.source.partition(":")[0], 60)
    return f"for comparison: {card} rents for {spread(rental)} per hour ({rental.as_of})"


def _to_rate(own: Iterable[Price]) -> Rate | None:
    return Prices(rows=()).over(own).machine()


def _is_machine(price: Price) -> bool:
    return price.kind == own_prices.MACHINE


def _without_machine_price(prices: Iterable[Price]) -> list[Price]:
    return [price for price in prices if not _is_machine(price)]


def _without_machine(text: str) -> str:
    """Return the text without the rows of this machine, keeping comments."""
    kept: list[str] = []
    for block in re.split(r"(?m)^(?=[ \t]*\[)", text):
        if _is_of_machine(block):
            block = "".join(
                line for line in block.splitlines(True) if line.lstrip().startswith("#")
            )
        kept.append(block)
    return "".join(kept)


def _is_of_machine(block: str) -> bool:
    try:
        rows: Mapping[str, Any] = tomllib.loads(block)
        return any(row.get("kind") == own_prices.MACHINE for row in rows.get("prices", ()))
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        return False
