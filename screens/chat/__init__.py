"""Chat with the tuned and the base model of a run."""
