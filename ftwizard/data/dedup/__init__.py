"""Exact and near duplicates, and leakage between files."""
