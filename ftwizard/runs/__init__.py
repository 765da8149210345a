"""Runs on disk: list, follow, describe, compare, delete."""
