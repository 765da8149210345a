"""Options for which rows stay together in a split."""

from __future__ import annotations

from typing import Literal

GroupBy = Literal["near-copies", "prompts"]
"""Rows with the same prompt and near-duplicates, or only rows with exactly the same prompt."""
