"""Benchmarks, run by hand with ``python -m tests.benchmarks.NAME``; they print ratios to limits."""
