"""Checks of data: single rows, one family of checks per module, and all rows together."""
