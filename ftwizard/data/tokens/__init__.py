"""Tokenizers, token counts, and what a platform bills."""
