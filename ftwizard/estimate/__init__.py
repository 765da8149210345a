"""Estimates of memory, time and disk, each with its source; pure functions."""
