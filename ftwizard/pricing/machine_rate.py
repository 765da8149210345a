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

from ftwizard import locations
from ftwizard.catalog.prices import Price, PriceRate, Prices, to_decimal
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder, write_whole
from ftwizard.pricing import gpu_costs, user_prices
from ftwizard.pricing.money import format_price, multiply_price
from ftwizard.quantity import Figure
from ftwizard.text import format_dollar_range, make_visible

RECORDED = "hour_price"
"""Key among the inputs of a run's ``job.json``, or of an attempt with another price."""
OPTION = "--price machine=USD"
"""The command line option that sets it."""
WIZARD_SOURCE = "your own, set in the wizard"
_HEAD = "# Your own prices in US dollars. They override ftwizard's prices.\n"


def read_price(texts: Iterable[str] = ()) -> PriceRate | None:
    """Return the price from ``texts`` of ``--price``, else from the price file.

    None without either. Raises FtwizardError for an invalid price.
    """
    return _to_rate(user_prices.read_user_prices(texts, datetime.date.today()))


def parse_command_price(texts: Iterable[str]) -> PriceRate | None:
    """Return the price from a command whose ``--price`` accepts only this machine: ``machine=2``, ``2``."""
    named = (text if "=" in text else f"{user_prices.MACHINE}={text}" for text in texts)
    prices = user_prices.parse_options(named, datetime.date.today())
    for price in prices:
        if price.kind != user_prices.MACHINE:
            raise FtwizardError(
                f"The price of {make_visible(price.model, 40)} does not apply to a run on this machine.",
                f"Set your hourly machine price: {OPTION}",
                USAGE,
            )
    return _to_rate(prices)


def read_saved_price() -> PriceRate | None:
    """Return the price in the price file; None also if the file is invalid."""
    try:
        return read_price()
    except FtwizardError:
        return None


def parse_typed_price(typed: str) -> PriceRate:
    """Parse a price typed in the wizard; raises FtwizardError if it is invalid."""
    rate = _to_rate([user_prices.parse_machine_price(typed, WIZARD_SOURCE, datetime.date.today())])
    assert rate is not None
    return rate


def price_arguments(hour: PriceRate | None) -> tuple[str, ...]:
    """Return the command line arguments for a typed price; empty if it is in the price file."""
    if hour is None or hour.source != WIZARD_SOURCE:
        return ()
    return ("--price", f"{user_prices.MACHINE}={hour.usd:f}")


def save_price(usd: Decimal) -> Path:
    """Write the price to the price file, replacing an earlier one, and return the file's path.

    The rest of the file is kept. Raises FtwizardError if it cannot be read or written.
    """
    today, path = datetime.date.today(), locations.prices_file().resolve()
    text = user_prices.read_price_file(path)
    before = user_prices.parse(text, path, today)
    row = f'[[prices]]\nkind = "machine"  # an hour of this machine\nusd = {usd:f}\nas_of = "{today}"\n'
    kept = _without_machine(text).rstrip()
    new = f"{kept}\n\n{row}" if kept else f"{_HEAD}\n{row}"
    kept_prices = [price for price in before if price.kind != user_prices.MACHINE]
    try:
        after = user_prices.parse(new, path, today)
    except FtwizardError:
        after = []
    is_kept = [price for price in after if price.kind != user_prices.MACHINE] == kept_prices
    if not is_kept or [p.usd for p in after if p.kind == user_prices.MACHINE] != [usd]:
        raise FtwizardError(
            f"{make_visible(str(path), 200)} cannot be edited automatically.",
            f'Add it there yourself: kind = "machine", usd = {usd:f}',
        )
    locations.create_private_folder(path.parent)
    try:
        write_whole(path, new.encode())
    except OSError as error:
        raise FtwizardError(
            f"{make_visible(str(path), 200)} cannot be written: {error.strerror}.",
            f"Pass it each time: --price machine={usd:f}",
        ) from None
    return path


def shown_file() -> str:
    """Return the path of the price file for display."""
    return make_visible(str(locations.prices_file()), 200)


def read_recorded_price(folder: JobFolder) -> PriceRate | None:
    """Return the price of a run: the last one passed at a start; None if there was none."""
    for number in range(folder.newest_attempt(), 0, -1):
        with contextlib.suppress(OSError, FtwizardError):  # an unreadable old attempt
            if hour := _from_inputs(folder.read_attempt(number).inputs):
                return hour
    return _from_inputs(folder.read_job().inputs)


def _from_inputs(inputs: Mapping[str, Any]) -> PriceRate | None:
    try:
        rate = msgspec.convert(inputs.get(RECORDED), PriceRate | None)
    except (msgspec.ValidationError, ValueError):
        return None
    amounts = (rate.usd, rate.low, rate.high) if rate else ()
    sound = all(amount is None or (amount.is_finite() and amount >= 0) for amount in amounts)
    return rate if sound else None


def price_record(hour: PriceRate | None) -> dict[str, Any]:
    """Return the price as an entry for the inputs of a job or an attempt; empty for None."""
    return {RECORDED: msgspec.to_builtins(hour)} if hour else {}


def describe_setup_cost(price: Figure) -> str:
    """Describe the cost of setting up the machine, if that is still to be done."""
    low, _, high = gpu_costs.SETUP_HOURS
    words = format_dollar_range(price.lowest * float(low), price.highest * float(high))
    return f"{words} extra if not done yet (assumed: {low:f}–{high:f} h to install and download)"


def describe_rental(rental: Figure | None) -> str:
    """Describe the rental price of a similar GPU for comparison; empty if unknown."""
    if rental is None:
        return ""
    card = make_visible(rental.brief_source, 60)
    return f"for comparison: {card} rents for {format_price(rental)} per hour ({rental.as_of})"


def _to_rate(own: Iterable[Price]) -> PriceRate | None:
    return Prices(rows=()).over(own).machine()


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
        return any(row.get("kind") == user_prices.MACHINE for row in rows.get("prices", ()))
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        return False


# Cost by the hour: time × hourly price of the machine, in Decimal.

_HOUR = Decimal(3600)


def usd_for(seconds: float, usd_an_hour: Decimal) -> Decimal:
    """Return the US dollars for ``seconds`` at an hourly price, unrounded."""
    return to_decimal(float(seconds)) * usd_an_hour / _HOUR


def measured_cost(seconds: float, hour: PriceRate, description: str = "the time so far") -> Figure:
    """Return the cost of measured ``seconds``, as a range if the price has one.

    ``description``: description of the time. For budgets use ``usd_for``, which is not rounded.
    """
    return _multiply((seconds, seconds, seconds), hour, description)


def estimate_cost(
    time: Figure | None, hour: PriceRate | None, description: str = "the time of the run"
) -> Figure | None:
    """Return the US dollars for an expected time (seconds); None if time or price is unknown.

    The range covers that of the time and of the price.
    """
    if time is None or hour is None:
        return None
    return _multiply((time.lowest, time.value, time.highest), hour, description)


def _multiply(seconds: Iterable[float], hour: PriceRate, description: str) -> Figure:
    return multiply_price([to_decimal(float(s)) for s in seconds], hour, description, per=_HOUR)
