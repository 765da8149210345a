"""Tests that need a GPU, and print what they measured; not part of the usual test run.

``.venv/bin/pytest tests/gpu -s``; with ``--device cpu``, the same on a CPU, with a smaller model.
"""
