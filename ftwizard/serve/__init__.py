"""Servers of a tuned model on this machine."""
