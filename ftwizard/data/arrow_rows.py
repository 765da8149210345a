"""Rows of Arrow tables as JSON: nothing that a column can hold is a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from ftwizard.data.quoted import quoted
from ftwizard.errors import FtwizardError

_Change = Callable[[Any], Any]


class NoJson(FtwizardError):
    """A value that JSON cannot hold: ``code``, and ``what`` it is without its row's number."""

    def __init__(self, place: str, what: str, hint: str, cause: Exception) -> None:
        super().__init__(f"{place}{what}.", hint)
        self.what = what
        self.code = "encoding" if isinstance(cause, UnicodeError) else "invalid_json"


def media(features: Any) -> list[str]:
    """Return the columns that hold pictures, sound and the like, by what ``datasets`` says."""
    return [str(name) for name, feature in (features or {}).items() if _is_media(feature)]


def _is_media(feature: Any) -> bool:
    if isinstance(feature, dict):
        return any(map(_is_media, feature.values()))
    if isinstance(feature, list | tuple):
        return any(map(_is_media, feature))
    if inner := getattr(feature, "feature", None):  # of a list
        return _is_media(inner)
    # Only what is more than its Arrow value has to be decoded; JSON text is, and is text.
    return hasattr(feature, "decode_example") and type(feature).__name__ != "Json"


def lines(tables: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """Yield of each table how many rows it has, and these as JSON Lines.

    Dates and times become ISO 8601 text, binary values Base64, decimals text, NaN null. Within a
    column, fields that are null are left out: Arrow gives every object all fields that any object
    of the column has, and a model would learn to write them. Raises NoJson, with the column, for a value
    that JSON cannot hold.
    """
    encoder = msgspec.json.Encoder(enc_hook=_other, decimal_format="string")
    done = 0
    for table in tables:
        changes = {field.name: _change(field.type) for field in table.schema}
        needed = {name: change for name, change in changes.items() if change}
        try:
            rows = table.to_pylist()
            for row in rows:
                for name, change in needed.items():
                    row[name] = change(row[name])
            text = encoder.encode_lines(rows)
        except (ValueError, TypeError, OverflowError, ArithmeticError, RecursionError) as error:
            raise _cannot(table, needed, encoder, done, error) from error
        done += len(rows)
        yield len(rows), text


def _cannot(
    table: Any, needed: dict[str, _Change], encoder: Any, before: int, error: Exception
) -> NoJson:
    """Find the value that JSON cannot hold."""
    for index, name in enumerate(table.column_names):
        for row in range(table.num_rows):
            try:
                value = table.column(index)[row].as_py()
                encoder.encode(needed[name](value) if name in needed else value)
            except Exception as cause:  # noqa: BLE001 (this is the one that is looked for)
                return NoJson(
                    f"Row {before + row + 1}, ",
                    f"column {quoted(name, 60)}: its value cannot be written as JSON "
                    f"({quoted(str(cause), 200)})",
                    "Save the data set without that column as JSON Lines, and name the file.",
                    cause,
                )
    what = f"The rows cannot be written as JSON: {quoted(str(error), 200)}"
    return NoJson("", what, "", error)


def _change(kind: Any) -> _Change | None:
    """Return what makes a value of an Arrow type fit for JSON, None where it is as it comes."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return _parsed if kind.extension_name == "arrow.json" else _change(kind.storage_type)
    if pa.types.is_struct(kind):
        return _struct({field.name: _change(field.type) for field in kind})
    if pa.types.is_map(kind):
        inner = _change(kind.item_type) or _same
        return lambda value: value and {str(key): inner(item) for key, item in value}
    if pa.types.is_dictionary(kind):
        return _change(kind.value_type)
    if pa.types.is_nested(kind) and hasattr(kind, "value_type") and (
        each := _change(kind.value_type)
    ):  # fmt: skip
        return lambda value: value and [each(item) for item in value]
    return None


def _struct(changes: dict[str, _Change | None]) -> _Change:
    def change(value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        return {
            key: (changes.get(key) or _same)(item)
            for key, item in value.items()
            if item is not None
        }

    return change


def _same(value: Any) -> Any:
    return value


def _parsed(value: Any) -> Any:
    """Return what JSON text means; the text where it is none."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str | bytes) else value
    except (msgspec.DecodeError, RecursionError):
        return value


def _other(value: Any) -> Any:
    """Return what stands for a value that JSON has no form for."""
    if hasattr(value, "isoformat"):  # nanoseconds, which only pandas has
        return value.isoformat()
    return value.item() if hasattr(value, "item") else str(value)
