"""Widgets of our own: what Textual lacks."""
