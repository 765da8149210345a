"""Training data: read, recognised, split."""
