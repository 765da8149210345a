"""Advice with its reasons: which path, which settings. Pure functions; they start nothing."""
