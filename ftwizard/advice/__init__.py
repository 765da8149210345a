"""Advice on provider and settings, with reasons. Pure functions that start nothing."""
