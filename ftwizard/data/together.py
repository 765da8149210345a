"""What stays on one side when rows are divided."""

from __future__ import annotations

from typing import Literal

GroupBy = Literal["near-copies", "prompts"]
"""Rows of one prompt and near copies, or rows of the very same prompt alone."""
