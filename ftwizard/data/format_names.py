"""The formats of rows that are read, by name: the one list of them. It imports nothing heavy."""

from __future__ import annotations

from typing import Literal

Format = Literal["messages", "prompt-completion", "alpaca"]
FormatChoice = Literal["auto", Format]
"""``auto``: told apart by the rows themselves."""
