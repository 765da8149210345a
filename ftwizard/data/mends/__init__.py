"""Repairs that need no guessing: one module for each kind of damage."""
