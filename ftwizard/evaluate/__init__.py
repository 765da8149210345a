"""Evaluation: the tuned model compared with its base."""
