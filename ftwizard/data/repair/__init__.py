"""Repairs that have one meaning only, and what they changed."""
