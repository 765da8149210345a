"""Measured by hand: ``python -m tests.benchmarks.NAME``. Each prints ratios to a named limit."""
