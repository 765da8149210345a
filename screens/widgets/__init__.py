"""Custom Textual widgets."""
