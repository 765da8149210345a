"""Rows from the bytes of a file: layouts, compression, damage."""
