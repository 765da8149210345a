"""Base models: where they are found, their configuration and their shape."""
