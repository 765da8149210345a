"""How a file is read where its rows do not say so themselves: encoding and column mapping."""

from __future__ import annotations

import msgspec

from ftwizard.data.mapping.column_map import ColumnMap


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Encoding and column mapping of the data files of a plan."""

    columns: ColumnMap = ColumnMap()
    encoding: str | None = None
    """Encoding of text files without a byte-order mark. Default: UTF-8."""


AS_IS = ReadOptions()
"""Rows in a known format, in UTF-8."""
