"""Training on this machine with TRL."""
