"""User prices from the price file in the settings folder and from ``--price``."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from ftwizard import locations, user_paths
from ftwizard.catalog import gpu_specs
from ftwizard.catalog.hosted_models import PLATFORM_NAMES, list_hosted_models
from ftwizard.catalog.prices import Kind, Market, Price, Prices, Unit, packaged, parse_date
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import format_suggestion, make_visible

MAX_USD = Decimal(1_000_000)
"""Largest plausible price in US dollars per unit."""
MAX_BYTES = 1_000_000
"""A larger file is not a price file."""
CURRENCIES = ("eur", "euro", "gbp", "chf", "inr", "cny", "jpy", "cad", "aud", "€", "£", "¥", "₹")
"""Other currencies that people type."""
_CONVERT = "Prices are in US dollars. Convert the amount to dollars."
_HOURLY = re.compile(
    r"(?:usd\s*|\$\s*)?(\d[\d_]*(?:\.\d+)?|\.\d+)\s*(?:usd|\$|dollars?)?\s*"
    r"(?:(?:/|per|an|a)\s*(?:h|hr|hour))?",
    re.IGNORECASE,
)
_KEYS = (
    "provider", "model", "kind", "unit", "usd", "low", "high", "market", "as_of", "source",
    "confidence", "note",
)  # fmt: skip
MACHINE: Kind = "machine"
"""Kind of the hourly price of the user's machine, which has no provider and no model."""
_UNITS: dict[Kind, tuple[Unit, ...]] = {
    "hosting": ("hour",), "gpu": ("hour",), "storage": ("month", "GB-month"),
    "training": ("million tokens", "hour"), MACHINE: ("hour",),
}  # fmt: skip
"""Units by kind, the usual one first; all other kinds are per million tokens."""
_GPU = re.compile(r"gpu(?:-(spot|on-demand))?")
_FORM = (
    "Use PROVIDER/MODEL/KIND=USD, like openai/gpt-4.1-mini/training=5, or machine=USD for the "
    "hourly price of this machine."
)
_MOVE = (
    "Replace it with a text file of prices, or move it away. Each price is a table [[prices]] "
    "with provider, model, kind and usd."
)
_ROW = '[[prices]] followed by kind = "machine" and usd = 1.50'


def parse_options(texts: Iterable[str], today: datetime.date) -> list[Price]:
    """Parse prices of ``--price PROVIDER/MODEL/KIND=USD`` and ``machine=USD``, in their order.

    The kind of a GPU is ``gpu-spot``, ``gpu-on-demand``, or ``gpu`` for both. Raises FtwizardError
    for an invalid price.
    """
    return [price for text in texts for price in _parse_argument(text, today)]


def from_file(path: Path, today: datetime.date) -> list[Price]:
    """Read prices from a file in the form of assets/prices.toml; none if there is no file.

    Required are ``provider``, ``model``, ``kind`` and ``usd``; for this machine only ``kind``
    (``machine``) and ``usd``. ``as_of`` defaults to ``today``. Raises FtwizardError with the line or
    row, the key and the nearest valid key.
    """
    return parse(read_price_file(path), path, today)


def read_price_file(path: Path) -> str:
    """Return the text of a price file; empty if there is none. Raises FtwizardError."""
    shown = make_visible(str(path), 200)
    try:
        content = user_paths.read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        return ""
    except FtwizardError as error:
        raise FtwizardError(error.message, _MOVE) from None
    except OSError as error:
        problem = f"{shown} cannot be read: {error.strerror}."
        raise FtwizardError(problem, "Make it readable, or move it away.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problem = f"{shown} cannot be read: line {line} is not UTF-8 text."
        raise FtwizardError(problem, _MOVE) from None


def parse(text: str, path: Path, today: datetime.date) -> list[Price]:
    """Parse the text of a price file; see ``from_file``."""
    shown, form = make_visible(str(path), 200), "Each price is a table [[prices]]."
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        problem = f"{shown} is not valid TOML: {make_visible(str(error), 200)}."
        raise FtwizardError(problem, "Fix it there.") from None
    for key in data:
        if key != "prices":
            raise FtwizardError(
                f"{shown}: {make_visible(key, 60)} does not belong in a price file.",
                f"Write the hourly price of this machine as {_ROW}." if key == MACHINE else form,
            )
    rows = data.get("prices", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FtwizardError(f"{shown}: prices is not a list of tables.", form)
    return [price for n, row in enumerate(rows) for price in _parse_row(row, n, path, text, today)]


def _parse_row(
    row: dict[str, Any], number: int, path: Path, text: str, today: datetime.date
) -> Iterator[Price]:
    try:
        _check_keys(row)
        yield from _prices(row, f"your own ({path})", today)
    except _PriceError as error:
        line = _find_line(text, number, error.key)
        where = f"{make_visible(str(path), 200)}, row {number + 1}"
        where += f", line {line}" if line else ""
        raise FtwizardError(f"{where}: {error.problem}", error.hint) from None


class _PriceError(Exception):
    def __init__(self, key: str, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.key, self.problem, self.hint = key, problem, hint


def _check_keys(row: dict[str, Any]) -> None:
    for key in row:
        if key not in _KEYS:
            hint = _CONVERT if key.lower() in CURRENCIES else _suggest(key, _KEYS)
            raise _PriceError(key, f"{make_visible(key, 60)} is not a key of a price.", hint)
    of_machine = row.get("kind") == MACHINE
    needed = ("kind", "usd") if of_machine else ("provider", "model", "kind", "usd")
    for key in needed:
        if key not in row:
            raise _PriceError("", f"{key} is missing.", f"Required: {', '.join(needed)}.")
    for key in ("provider", "model") if of_machine else ():
        if key in row:
            problem = f"The price of this machine has no {key}."
            raise _PriceError(key, problem, f"Write it as {_ROW}.")
    for key in ("provider", "model", "kind", "unit", "market", "as_of", "source", "note"):
        if key in row and not isinstance(row[key], str):
            raise _PriceError(key, f"{key} is not a string.", 'Write it in quotes: "…".')


def _parse_argument(text: str, today: datetime.date) -> list[Price]:
    name, equals, amount = text.partition("=")
    if equals and name.strip().lower() == MACHINE:
        return [parse_machine_price(amount, "your own (--price)", today)]
    provider, _, rest = name.strip().partition("/")
    model, _, kind = rest.rpartition("/")
    if not (equals and provider and model and kind):
        raise FtwizardError(f"“{make_visible(text, 80)}” is not a price.", _FORM, USAGE)
    row = {"provider": provider, "model": model, "kind": kind, "usd": amount.strip()}
    if gpu := _GPU.fullmatch(kind):
        row["kind"] = "gpu"
        if gpu[1]:
            row["market"] = gpu[1].replace("-", " ")
    return _parse_typed(row, f"--price {make_visible(text, 80)}", "your own (--price)", today)


def parse_machine_price(typed: str, source: str, today: datetime.date) -> Price:
    """Parse a typed hourly price of the user's machine: ``1.50``, ``$1.50/h``.

    Raises FtwizardError if it is not an hourly amount in US dollars.
    """
    row = {"kind": MACHINE, "usd": typed.strip()}
    return _parse_typed(row, "Hourly price of this machine", source, today)[0]


def _parse_typed(row: dict[str, Any], label: str, source: str, today: datetime.date) -> list[Price]:
    try:
        return list(_prices(row, source, today))
    except _PriceError as error:
        raise FtwizardError(f"{label}: {error.problem}", error.hint, USAGE) from None


def _parse_hourly_price(value: Any) -> Any:
    """Return the digits of a text such as ``1.50``, ``$1.50/h``, ``1.5 USD an hour``.

    Other types are returned unchanged.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if match := _HOURLY.fullmatch(text):
        return match[1]
    if any(currency in text.lower() for currency in CURRENCIES):
        hint = _CONVERT
    elif re.search(r"(?:/|\bper\b|\ban?\b)\s*[a-z]+\.?$", text, re.IGNORECASE):
        hint = "Enter the hourly price: divide a daily price by 24, a monthly price by 730."
    elif re.fullmatch(r"\$?\s*\d+,\d+", text):
        hint = f"Use a decimal point, not a comma: {text.replace(',', '.')}"
    else:
        hint = "Enter US dollars per hour, like 1.50."
    problem = f"“{make_visible(text, 40)}” is not a price."
    raise _PriceError("usd", problem, hint)


def _prices(row: dict[str, Any], source: str, today: datetime.date) -> Iterator[Price]:
    kind = _check_choice("kind", row["kind"], get_args(Kind))
    if kind == MACHINE:
        row = {"provider": "own", "model": MACHINE, **row, "usd": _parse_hourly_price(row["usd"])}
    else:
        _normalize_model(row, kind)
    units = _UNITS.get(kind, ("million tokens",))
    unit = row.get("unit", _usual_unit(row, kind, units))
    if unit not in units:
        problem = f"{make_visible(unit, 60)} is not a unit of {kind}."
        raise _PriceError("unit", problem, f"Use {' or '.join(units)}.")
    amounts: dict[str, Any] = {
        key: _amount(key, row[key]) for key in ("usd", "low", "high") if key in row
    }
    usd = amounts["usd"]
    if not amounts.get("low", usd) <= usd <= amounts.get("high", usd):
        raise _PriceError("usd", "usd is not between low and high.", "Fix one of them.")
    markets = get_args(Market) if kind == "gpu" else (None,)
    if "market" in row:
        if kind != "gpu":
            raise _PriceError("market", f"{kind} has no market.", "Only GPU prices have one.")
        markets = (_check_choice("market", row["market"], get_args(Market)),)
    row_source = row.get("source")
    for market in markets:
        yield Price(
            provider=row["provider"], model=row["model"], kind=kind, unit=unit, market=market,
            as_of=_check_date(row.get("as_of"), today), confidence="high", note=row.get("note", ""),
            source=f"{source}: {row_source}" if row_source else source, own=True,
            **amounts,
        )  # fmt: skip


def _normalize_model(row: dict[str, Any], kind: Kind) -> None:
    """Normalize a GPU's name in ``row``; raise for a model without prices, which would be ignored."""
    if kind == "gpu":
        row["model"] = _find_card_name(row["model"])
        return
    provider = _check_choice("provider", row["provider"], tuple(PLATFORM_NAMES))
    models = (model for model in list_hosted_models() if model.platform == provider)
    names = dict.fromkeys(
        name for model in models for name in (*model.priced_as, *model.full_priced_as)
    )
    if row["model"] not in names:
        problem = f"{provider} has no price for {make_visible(row['model'], 60)}."
        raise _PriceError("model", problem, _suggest(row["model"], names))


def _find_card_name(typed: str) -> str:
    """Return the name of a GPU in the packaged prices, else its own key."""
    priced = dict.fromkeys(price.model for price in packaged().rows if price.kind == "gpu")
    if typed in priced:
        return typed
    meant = gpu_specs.find_gpu(typed)
    if meant is None:
        near = gpu_specs.nearest_gpu(typed)
        hint = f"Did you mean {near}?" if near else gpu_specs.describe_known()
        raise _PriceError("model", f"{make_visible(typed, 60)} is not a known GPU.", hint)
    return next((name for name in priced if gpu_specs.find_gpu(name) == meant), meant.key)


def _usual_unit(row: dict[str, Any], kind: Kind, units: tuple[Unit, ...]) -> Unit:
    """Return the unit of the same price in the packaged table, else the usual one."""
    for price in packaged().rows:
        if (price.provider, price.model, price.kind) == (row["provider"], row["model"], kind):
            return price.unit
    return units[0]


def _check_choice(key: str, value: str, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        problem = f"{key} cannot be {make_visible(value, 60)}."
        raise _PriceError(key, problem, _suggest(value, allowed))
    return value


def _amount(key: str, value: object) -> Decimal:
    hint = "Use US dollars, like 5 or 0.80. Remove the row if the price is unknown."
    is_number = isinstance(value, int | str | Decimal) and not isinstance(value, bool)
    try:
        amount = Decimal(value) if is_number else None  # type: ignore[arg-type]
    except (InvalidOperation, ValueError):
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= MAX_USD:
        if any(currency in str(value).lower() for currency in CURRENCIES):
            hint = _CONVERT
        raise _PriceError(key, f"{key} is not an amount: {make_visible(str(value), 40)}.", hint)
    return amount


def _check_date(value: str | None, today: datetime.date) -> str:
    if value is None:
        return today.isoformat()
    try:
        if parse_date(value) > today or len(value) not in (7, 10):
            raise ValueError
    except ValueError:
        problem = f"as_of is not a past month or day: {make_visible(value, 40)}."
        raise _PriceError("as_of", problem, 'Write it as "2026-11" or "2026-11-25".') from None
    return value


def _suggest(word: str, names: Collection[str]) -> str:
    return format_suggestion(str(word), names) or f"Known: {', '.join(names)}."


def _find_line(text: str, number: int, key: str) -> int | None:
    """Return the line of a key in a row by number; tomllib does not keep lines."""
    row = -1
    heading = None
    for line, content in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*prices\s*\]\]", content):
            row += 1
            if row == number:
                heading = line
        elif row == number and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", content):
            return line
    return heading


def read_user_prices(texts: Iterable[str], today: datetime.date) -> list[Price]:
    """Return all user prices, those of the command line last."""
    return [*from_file(locations.prices_file(), today), *parse_options(texts, today)]


def load_prices(texts: Iterable[str], today: datetime.date) -> Prices:
    """Return the packaged prices, overridden by the user's own."""
    return packaged().over(read_user_prices(texts, today))
