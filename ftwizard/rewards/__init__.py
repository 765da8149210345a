"""Rewards of verifiable answers: packaged functions, the user's own, and their dry run."""
